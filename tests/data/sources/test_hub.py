"""Folders that Hugging Face's library saved, or an error says what is wrong with them."""

from __future__ import annotations

import builtins
import io
import json
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.sources.opened import content, labels, opened
from vitcli.core.errors import DataError, VitError
from vitcli.data.dataset import Dataset
from vitcli.data.decode import Geometry, decode

hf = pytest.importorskip("datasets")
pa = pytest.importorskip("pyarrow")
hf.disable_progress_bars()
RANDOM = np.random.default_rng(0)
PICTURES = RANDOM.integers(0, 256, (7, 6, 6, 3), np.uint8)
LABELS = [2, 0, 1, 2, 0, 1, 1]
NAMES = ["cat", "dog", "emu"]


def png(pixels: Any, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def rows(labels: Any = LABELS, *, image: str = "image", label: str = "label", feature: Any = None) -> Any:
    feature = feature or hf.ClassLabel(names=NAMES)
    columns = {image: [Image.fromarray(p) for p in PICTURES[: len(labels)]], label: labels}
    features = hf.Features({image: hf.Image(), label: feature})
    return hf.Dataset.from_dict(columns, features=features)


def seen(dataset: Dataset, part: Any) -> list[bytes]:
    images = dataset.parts[part].images
    return [decode(path, Geometry(fit="crop", size=6, channels=3)).tobytes() for path in images]


def test_splits_become_parts(tmp_path: Path) -> None:
    splits = {"train": rows(), "validation": rows([1, 1]), "test": rows([0, 2, 1])}
    hf.DatasetDict(splits).save_to_disk(tmp_path / "set")
    found = opened(tmp_path / "set")
    assert (found.name, found.classes, found.notes) == (str(tmp_path / "set"), tuple(NAMES), ())
    for part, saved in splits.items():
        assert labels(found, part) == saved["label"][:]
        assert seen(found, part) == [np.asarray(image).tobytes() for image in saved["image"]]


def test_one_split_is_for_training_and_its_images_are_written_once(tmp_path: Path) -> None:
    rows().save_to_disk(tmp_path / "set")
    first = opened(tmp_path / "set", validation=0.5)
    files = sorted([*first.parts["train"].images, *first.parts["validation"].images])
    times = [path.stat().st_mtime_ns for path in files]
    again = opened(tmp_path / "set", validation=0.5)
    assert sorted([*again.parts["train"].images, *again.parts["validation"].images]) == files
    assert [path.stat().st_mtime_ns for path in files] == times
    assert [path.name for path in files] == [f"{i:08d}.png" for i in range(7)]
    rows([0, 1, 2]).save_to_disk(tmp_path / "other")
    assert opened(tmp_path / "other").parts["train"].images[0] not in files


def test_a_set_saved_again_is_read_again(tmp_path: Path) -> None:
    rows().save_to_disk(tmp_path / "set")
    opened(tmp_path / "set")
    rows([0, 1, 2, 0]).save_to_disk(tmp_path / "set")
    assert len(opened(tmp_path / "set", validation=0.25).parts["train"]) == 3


def test_a_selection_is_read_as_selected(tmp_path: Path) -> None:
    rows().select([5, 0, 3, 2]).save_to_disk(tmp_path / "set", num_shards=2)
    hf.DatasetDict({"train": rows().select([5, 0, 3, 2, 1]), "test": rows()}).save_to_disk(tmp_path / "sets")
    found = opened(tmp_path / "sets", validation="test")
    assert labels(found, "train") == [1, 2, 2, 1, 0]
    assert seen(found, "train") == [PICTURES[i].tobytes() for i in (5, 0, 3, 2, 1)]
    assert len(opened(tmp_path / "set").parts["train"]) == 3


def test_images_that_are_files_stay_where_they_are(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(7)]
    for path, pixels in zip(paths, PICTURES, strict=True):
        Image.fromarray(pixels).save(path)
    rows().save_to_disk(tmp_path / "set")
    # The library takes the files' bytes in when it saves; older versions did not.
    file = tmp_path / "set" / "data-00000-of-00001.arrow"
    with pa.ipc.open_stream(file.read_bytes()) as reader:
        table = reader.read_all()
    images = pa.array(
        [{"bytes": None, "path": str(path)} for path in paths], table.schema.field("image").type
    )
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table.set_column(0, table.schema.field("image"), images))
    found = opened(tmp_path / "set", validation=2 / 7)
    assert sorted([*found.parts["train"].images, *found.parts["validation"].images]) == paths
    paths[4].unlink()
    with pytest.raises(DataError, match=r"1 of 7 files of .* do not exist, first .*/4.png"):
        opened(tmp_path / "set")


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    rows(image="img", label="fine_label").save_to_disk(tmp_path / "set")
    assert opened(tmp_path / "set").classes == tuple(NAMES)
    rows(image="img", label="species", feature=hf.Value("string")).save_to_disk(tmp_path / "words")
    found = opened(tmp_path / "words", label_column="species")
    assert found.classes == ("0", "1", "2")
    with pytest.raises(
        DataError, match=r"no column of type ClassLabel; it has img \(Image\), species \(Value\)"
    ):
        opened(tmp_path / "words")


def test_several_columns_want_a_choice(tmp_path: Path) -> None:
    table = rows().add_column("coarse", [0, 0, 1, 1, 0, 0, 1]).rename_column("label", "fine")
    table = table.cast_column("coarse", hf.ClassLabel(names=["x", "y"]))
    table.save_to_disk(tmp_path / "set")
    with pytest.raises(DataError, match=r"several columns of type ClassLabel; .*data.label_column"):
        opened(tmp_path / "set")
    assert opened(tmp_path / "set", label_column="coarse").classes == ("x", "y")


def test_splits_that_are_none_of_ours_and_those_without_labels_are_told(tmp_path: Path) -> None:
    splits = {"train": rows(), "unsupervised": rows(), "test": rows([-1, -1])}
    hf.DatasetDict(splits).save_to_disk(tmp_path / "set")
    found = opened(tmp_path / "set")
    assert set(found.parts) == {"train", "validation"}
    assert found.notes == (
        "splits unsupervised are left out: neither train, validation nor test",
        "the test split is left out: it has no labels",
    )


def test_an_image_that_is_none_is_refused(tmp_path: Path) -> None:
    features = hf.Features({"image": hf.Image(decode=False), "label": hf.ClassLabel(names=NAMES)})
    images = [
        {"bytes": png(PICTURES[0]), "path": None},
        None,
        {"bytes": png(PICTURES[1], "JPEG"), "path": "x"},
    ]
    table = hf.Dataset.from_dict({"image": images, "label": [0, 1, 2]}, features=features)
    table.save_to_disk(tmp_path / "set")
    with pytest.raises(DataError, match="set, row 1: no image"):
        opened(tmp_path / "set")
    table.select([0, 2]).save_to_disk(tmp_path / "set")
    found = opened(tmp_path / "set", validation=0.5)
    files = [*found.parts["train"].images, *found.parts["validation"].images]
    assert sorted(path.name for path in files) == ["00000000.png", "00000001.jpg"]


@pytest.mark.parametrize(
    ("values", "feature", "message"),
    [
        ([0, None, 1], None, "column 'label' holds NoneType; words or whole numbers"),
        ([0.5, 1.0, 0.5], "float32", "column 'label' holds float"),
        ([0, 1, -1], None, "no name for label -1 of"),
        ([1, 1, 1], "int64", "has one class, '1'"),
    ],
)
def test_wrong_labels_are_refused(tmp_path: Path, values: Any, feature: Any, message: str) -> None:
    rows(values, feature=feature and hf.Value(feature)).save_to_disk(tmp_path / "set")
    with pytest.raises(DataError, match=message):
        opened(tmp_path / "set")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("dataset_dict.json", "{", "does not list the splits"),
        ("dataset_dict.json", "[]", "does not list the splits"),
        ("dataset_dict.json", '{"splits": 3}', "does not list the splits"),
        (
            "dataset_dict.json",
            '{"splits": ["train", "../train"]}',
            "lacks ../train, which dataset_dict.json lists",
        ),
        ("dataset_dict.json", '{"splits": ["test"]}', r"has no training images \(it has test images\)"),
        ("train/state.json", "{", "cannot be read as a Hugging Face data set"),
        ("train/state.json", "{}", "cannot be read as a Hugging Face data set"),
        ("train/dataset_info.json", '{"features": {"x": {"_type": "os.system"}}}', "cannot be read as"),
        ("train/data-00000-of-00001.arrow", "no arrow", "cannot be read as"),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path: Path, file: str, text: str, message: str) -> None:
    hf.DatasetDict({"train": rows(), "test": rows()}).save_to_disk(tmp_path / "set")
    (tmp_path / "set" / file).write_text(text)
    with pytest.raises(DataError, match=message):
        opened(tmp_path / "set")


def test_a_damaged_cache_is_told(tmp_path: Path) -> None:
    rows().save_to_disk(tmp_path / "set")
    Path(opened(tmp_path / "set").parts["train"].images[0]).unlink()
    with pytest.raises(VitError, match="is damaged; remove that folder"):
        opened(tmp_path / "set")


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows().save_to_disk(tmp_path / "set")
    (tmp_path / "file").touch()
    monkeypatch.setenv("VIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        VitError, match="cannot write in .*file/unpacked: Not a directory; set VIT_CACHE"
    ) as caught:
        opened(tmp_path / "set")
    assert caught.value.exit_code == 1


def test_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows().save_to_disk(tmp_path / "set")
    info = tmp_path / "set" / "dataset_info.json"
    facts = {**json.loads(info.read_text()), "homepage": "https://localhost:9", "dataset_name": "owner/code"}
    info.write_text(json.dumps(facts))

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    assert content(opened(tmp_path / "set"), "train")


def test_without_the_library_it_is_told_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows().save_to_disk(tmp_path / "set")
    original = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "datasets":
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    monkeypatch.delitem(sys.modules, "datasets")
    with pytest.raises(DataError, match=r"not installed; pip install 'vitcli\[sources\]'"):
        opened(tmp_path / "set")
