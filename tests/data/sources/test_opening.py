"""What a source is: a known set, or what its content says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.data.sources.opened import numbered, opened, touch, train_and_validation
from vitcli.core.errors import DataError
from vitcli.core.recipe import DataSpec
from vitcli.data.sources import open_source


def test_no_data_at_all_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data at 'digit'.*did you mean 'digits'"):
        open_source(DataSpec(source="digit"), seed=0)


def test_a_known_set_is_looked_for_in_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIT_DATA", str(tmp_path))
    with pytest.raises(DataError, match=f"Imagenette is not at {tmp_path}/imagenette; pass its folder"):
        open_source(DataSpec(source="imagenette"), seed=0)
    touch(tmp_path / "imagenette", "train/a/1.png", "train/b/2.png", "val/a/3.png", "val/b/4.png")
    assert open_source(DataSpec(source="imagenette"), seed=0).classes == ("a", "b")


@pytest.fixture
def cassava(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of data sets, with the Cassava set as Kaggle packs it; the current folder is another."""
    folder = tmp_path / "sets" / "cassava"
    touch(folder, *numbered("train_images", 10), "test_images/0.png", "train_tfrecords/0.tfrec")
    rows = "".join(f"{i}.png,{i % 5}\n" for i in range(10))
    (folder / "train.csv").write_text("image_id,label\n" + rows)
    names = {"3": "Mosaic", "0": "Blight", "1": "Streak", "2": "Mottle", "4": "Healthy"}
    (folder / "label_num_to_disease_map.json").write_text(json.dumps(names))
    monkeypatch.setenv("VIT_DATA", str(tmp_path / "sets"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder


CASSAVA = {
    "path_column": "image_id",
    "image_folder": "train_images",
    "label_names": "label_num_to_disease_map.json",
}


@pytest.mark.parametrize("how", ["name", "name with keys", "link", "file with keys", "in the current folder"])
def test_the_catalogue_knows_how_its_csv_is_read(
    cassava: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source: Path | str = "cassava"
    if how == "link":
        source = Path("cassava")
        source.symlink_to(cassava)
        monkeypatch.delenv("VIT_DATA")
    elif how == "in the current folder":
        monkeypatch.chdir(cassava.parent)
        monkeypatch.delenv("VIT_DATA")
    elif how == "file with keys":
        source = cassava / "train.csv"
    found = opened(Path(source), **(CASSAVA if "keys" in how else {}))
    assert found.classes == ("Blight", "Streak", "Mottle", "Mosaic", "Healthy")
    assert train_and_validation(found) == sorted((f"{i}.png", found.classes[i % 5]) for i in range(10))
    assert "test" not in found.parts


def test_what_a_recipe_says_of_a_known_csv_wins(cassava: Path) -> None:
    (cassava / "short.json").write_text(json.dumps(dict(zip("01234", "abcde", strict=True))))
    assert opened(Path("cassava"), label_names="short.json").classes == tuple("abcde")
    with pytest.raises(DataError, match="no column 'file'"):
        opened(Path("cassava"), path_column="file")


def test_a_known_csv_that_is_not_there_is_told_with_its_place(cassava: Path) -> None:
    (cassava / "train.csv").unlink()
    with pytest.raises(
        DataError, match=r"is not at .*/cassava/train.csv; pass its file with --data CSV, or get"
    ):
        opened(Path("cassava"))


def test_what_is_no_data_is_told_with_what_is(tmp_path: Path) -> None:
    message = (
        r"neither a folder, a table \(CSV, TSV, Parquet\), an .npz, a tar or zip, nor one of digits, cifar10"
    )
    with pytest.raises(DataError, match=message):
        opened(tmp_path / "none")


def test_a_recipe_has_no_other_words_for_classes_without_images() -> None:
    assert DataSpec().empty_classes == "refuse"
    assert DataSpec().split_column is None
    with pytest.raises(ValidationError, match="'refuse' or 'keep'"):
        DataSpec(empty_classes="drop")  # type: ignore[arg-type]
