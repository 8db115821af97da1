"""Parquet tables, of paths or with images in them, or an error says what is wrong with them."""

from __future__ import annotations

import builtins
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.sources.opened import content, numbered, opened, touch, train_and_validation
from vitcli.core.errors import DataError
from vitcli.data.decode import Geometry, decode

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
RANDOM = np.random.default_rng(0)
PICTURES = [RANDOM.integers(0, 256, (5, 5, 3), np.uint8) for _ in range(5)]
ROWS = [(f"{i}.png", label) for i, label in enumerate("bcabc")]


def png(pixels: Any, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def saved(folder: Path, table: Any, name: str = "labels.parquet") -> Path:
    pq.write_table(pa.table(table) if isinstance(table, dict) else table, folder / name, row_group_size=2)
    return folder / name


def paths(folder: Path) -> dict[str, Any]:
    touch(folder, *numbered("images", 5))
    return {"path": [f"images/{i}.png" for i in range(5)], "label": list("bcabc"), "fold": [1, 2, 3, 4, 5]}


@pytest.mark.parametrize("name", ["labels.parquet", "labels.csv"])
def test_paths_and_labels(tmp_path: Path, name: str) -> None:
    found = opened(saved(tmp_path, paths(tmp_path), name))
    assert found.classes == ("a", "b", "c")
    assert train_and_validation(found) == ROWS


def test_labels_may_be_numbers_or_coded_words(tmp_path: Path) -> None:
    table = paths(tmp_path)
    assert opened(saved(tmp_path, {**table, "label": [10, 2, 1, 2, 10]})).classes == ("1", "2", "10")
    coded = pa.array(table["label"]).dictionary_encode()
    assert train_and_validation(opened(saved(tmp_path, {**table, "label": coded}))) == ROWS


def test_a_column_may_say_the_part(tmp_path: Path) -> None:
    table = {**paths(tmp_path), "split": ["train", "train", "train", "test", "test"]}
    found = opened(saved(tmp_path, table), split_column="split")
    assert content(found, "test") == ROWS[3:]
    assert train_and_validation(found) == ROWS[:3]


@pytest.mark.parametrize("kind", ["hub", "bytes"])
def test_images_in_the_table_are_written_once(tmp_path: Path, kind: str) -> None:
    coded = [png(picture, "JPEG" if i == 3 else "PNG") for i, picture in enumerate(PICTURES)]
    column = [{"bytes": raw, "path": "../../../up.png"} for raw in coded] if kind == "hub" else coded
    path = saved(tmp_path, {"image": column, "label": list("bcabc")})
    found = opened(path, validation=0.2)
    files = sorted([*found.parts["train"].images, *found.parts["validation"].images])
    assert [file.name[7:] for file in files] == ["0.png", "1.png", "2.png", "3.jpg", "4.png"]
    assert train_and_validation(found) == [
        (file.name, label) for file, (_, label) in zip(files, ROWS, strict=True)
    ]
    for i in (0, 1, 2, 4):
        whole = decode(files[i], Geometry(fit="crop", size=5, channels=3))
        np.testing.assert_array_equal(whole, PICTURES[i])
    times = [file.stat().st_mtime_ns for file in files]
    again = opened(path, validation=0.2)
    assert sorted([*again.parts["train"].images, *again.parts["validation"].images]) == files
    assert [file.stat().st_mtime_ns for file in files] == times


def test_the_hubs_own_metadata_names_the_labels(tmp_path: Path) -> None:
    hf = pytest.importorskip("datasets")
    hf.disable_progress_bars()
    features = hf.Features({"image": hf.Image(), "label": hf.ClassLabel(names=["ape", "bee", "cat"])})
    columns = {"image": [Image.fromarray(picture) for picture in PICTURES], "label": [1, 0, 0, 1, 1]}
    peer = hf.Dataset.from_dict(columns, features=features)
    peer.to_parquet(tmp_path / "train-00000-of-00001.parquet")
    found = opened(tmp_path / "train-00000-of-00001.parquet")
    assert found.classes == ("ape", "bee", "cat")
    assert [label for _, label in train_and_validation(found)] == [found.classes[i] for i in peer["label"]]
    (tmp_path / "names.json").write_text('{"0": "A", "1": "B"}')  # the recipe's names win
    assert opened(tmp_path / "train-00000-of-00001.parquet", label_names="names.json").classes == ("A", "B")


def test_an_image_column_is_chosen_where_there_are_several(tmp_path: Path) -> None:
    coded = [png(picture) for picture in PICTURES]
    path = saved(tmp_path, {"left": coded, "right": coded[::-1], "label": list("bcabc")})
    with pytest.raises(
        DataError, match=r"several columns of images: left, right; choose with data.path_column"
    ):
        opened(path)
    found = opened(path, path_column="right")
    whole = decode(found.parts["train"].images[0], Geometry(fit="crop", size=5, channels=3))
    np.testing.assert_array_equal(whole, PICTURES[4])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": None}, r"no column 'path' \(data.path_column\); its first line holds: label, fold"),
        ({"label": None}, r"no column 'label' \(data.label_column\)"),
        ({"label": [None, *"cabc"]}, "column 'label' holds nothing; words or whole numbers are wanted"),
        ({"label": [0.5, 1, 1, 1, 1]}, "column 'label' holds a float"),
        (
            {"path": [f"images/{i}.jpg" for i in range(5)]},
            "5 of 5 files .* first .*/0.jpg, .*/1.jpg, .*/2.jpg, ...",
        ),
        ({"path": [b"", *(png(picture) for picture in PICTURES[1:])]}, "row 0: no image"),
        ({"label": ["a"] * 5}, "has one class, 'a'"),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    table = {key: column for key, column in {**paths(tmp_path), **change}.items() if column is not None}
    with pytest.raises(DataError, match=message):
        opened(saved(tmp_path, table))


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    table = pa.table({"path": pa.array([], pa.string()), "label": pa.array([], pa.string())})
    with pytest.raises(DataError, match="has no rows"):
        opened(saved(tmp_path, table))


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, paths(tmp_path))
    whole = path.read_bytes()
    for wrong in (whole[:-1], whole[:40], b"PAR1", b"PAR1" + whole[60:]):
        path.write_bytes(wrong)
        with pytest.raises(DataError, match="cannot be read as Parquet: "):
            opened(path)


def test_without_pyarrow_it_is_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, paths(tmp_path))
    original = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "pyarrow":
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(DataError, match=r"not installed; pip install 'vitcli\[sources\]'"):
        opened(path)
