"""Labelled images come from folders and CSV files, or an error says what is wrong with them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitcli.core.errors import DataError
from vitcli.core.recipe import DataSpec
from vitcli.data.dataset import Dataset
from vitcli.data.sources import image_files, open_source


def touch(root: Path, *names: str) -> None:
    """Empty files: no source reads an image."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def opened(source: Path, **fields: Any) -> Dataset:
    return open_source(DataSpec(source=str(source), **fields), seed=0)


def content(dataset: Dataset, split: Any) -> list[tuple[str, str]]:
    """(file name, class name) of a part."""
    part = dataset.parts[split]
    return [(str(Path(f).name), dataset.classes[i]) for f, i in zip(part.images, part.labels, strict=True)]


def numbered(folder: str, count: int) -> list[str]:
    return [f"{folder}/{i}.png" for i in range(count)]


def test_classes_are_folders_in_sorted_order(tmp_path: Path) -> None:
    touch(
        tmp_path, "train/dog/b.JPG", "train/dog/a.jpeg", "train/cat/z.png", "val/cat/y.webp", "val/dog/x.gif"
    )
    touch(tmp_path, "test/cat/w.bmp", "test/dog/v.tif", "test/dog/u.tiff")
    found = opened(tmp_path)
    assert found.classes == ("cat", "dog")
    assert content(found, "train") == [("z.png", "cat"), ("a.jpeg", "dog"), ("b.JPG", "dog")]
    assert content(found, "validation") == [("y.webp", "cat"), ("x.gif", "dog")]
    assert content(found, "test") == [("w.bmp", "cat"), ("u.tiff", "dog"), ("v.tif", "dog")]
    assert found.parts["train"].labels.dtype == np.int32


@pytest.mark.parametrize("name", ["validation", "valid", "val"])
def test_the_validation_folder_has_three_names(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "train/a/1.png", "train/b/2.png", f"{name}/a/3.png", f"{name}/b/4.png")
    found = opened(tmp_path)
    assert content(found, "validation") == [("3.png", "a"), ("4.png", "b")]
    assert content(found, "train") == [("1.png", "a"), ("2.png", "b")]


def test_two_validation_folders_are_one_too_many(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.png", "train/b/2.png", "val/a/3.png", "valid/a/4.png")
    with pytest.raises(DataError, match="has valid/ and val/: keep one of them"):
        opened(tmp_path)


def test_without_a_validation_folder_a_stratified_part_is_held_out(tmp_path: Path) -> None:
    touch(tmp_path, *numbered("a", 10), *numbered("b", 20))
    found = opened(tmp_path, validation=0.2)
    assert np.bincount(found.parts["train"].labels).tolist() == [8, 16]
    assert np.bincount(found.parts["validation"].labels).tolist() == [2, 4]
    files = [*found.parts["train"].images, *found.parts["validation"].images]
    assert sorted(map(str, files)) == sorted(str(tmp_path / f) for f in numbered("a", 10) + numbered("b", 20))
    assert "test" not in found.parts


def test_the_held_out_part_depends_on_the_seed(tmp_path: Path) -> None:
    touch(tmp_path, *numbered("a", 10), *numbered("b", 20))
    data = DataSpec(source=str(tmp_path), validation=0.5)
    parts = [content(open_source(data, seed=seed), "validation") for seed in (0, 0, 1)]
    assert parts[0] == parts[1] != parts[2]


@pytest.mark.parametrize("folders", [("train", "test"), ("train", "test", "val")], ids="+".join)
def test_the_test_part_may_serve_as_validation_part(tmp_path: Path, folders: Sequence[str]) -> None:
    for folder in folders:
        touch(tmp_path, *numbered(f"{folder}/a", 3), *numbered(f"{folder}/b", 2))
    found = opened(tmp_path, validation="test")
    test = [tmp_path / "test" / name for name in (*numbered("a", 3), *numbered("b", 2))]
    assert found.parts["validation"].images == found.parts["test"].images == test
    assert found.parts["validation"].labels.tolist() == [0, 0, 0, 1, 1]
    assert len(found.parts["train"]) == 5
    assert open_source(DataSpec(validation="test"), seed=0).parts["validation"].labels.size == 360


def test_at_least_one_image_is_held_out_and_one_stays(tmp_path: Path) -> None:
    touch(tmp_path, *numbered("a", 2), *numbered("b", 2))
    assert len(opened(tmp_path, validation=0.01).parts["validation"]) == 1
    (tmp_path / "a.csv").write_text("path,label\na/0.png,a\n")
    (tmp_path / "names.json").write_text('{"a": "A", "b": "B"}')
    with pytest.raises(DataError, match="has 1 training image: too few"):
        opened(tmp_path / "a.csv", label_names=str(tmp_path / "names.json"))


def test_hidden_and_other_files_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "a/.2.png", "a/._3.png", "a/.DS_Store", "a/.hidden/4.png", "a/read.txt", "a/5")
    touch(tmp_path, "b/6.png", ".git/7.png", "8.png")
    (tmp_path / "b" / "folder.png").mkdir()
    os.mkfifo(tmp_path / "b" / "pipe.png")
    assert [path.name for path in image_files(tmp_path / "a")] == ["1.png"]
    assert [path.name for path in image_files(tmp_path / "b")] == ["6.png"]
    assert opened(tmp_path).classes == ("a", "b")


def test_folders_inside_a_class_belong_to_it(tmp_path: Path) -> None:
    touch(tmp_path, "a/x/1.png", "a/y/z/2.png", "a/0.png", "b/3.png")
    assert [path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path / "a")] == [
        "a/0.png",
        "a/x/1.png",
        "a/y/z/2.png",
    ]


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    touch(tmp_path, "a/deep/1.png", "b/2.png", "elsewhere/3.png")
    (tmp_path / "a" / "deep" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "a" / "all").symlink_to(tmp_path)
    (tmp_path / "a" / "root").symlink_to("/")
    assert [path.name for path in image_files(tmp_path / "a")] == ["1.png", "3.png"]


def test_names_may_hold_anything(tmp_path: Path) -> None:
    touch(tmp_path, "-x/a b.png", "ünï😀/line\nbreak.png")
    (tmp_path / "-x" / os.fsdecode(b"\xff.png")).touch()
    assert opened(tmp_path).classes == ("-x", "ünï😀")
    assert len(image_files(tmp_path / "-x")) == 2


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            ["train/a/1.png", "train/b/2.png", "val/a/3.png", "val/b/4.png", "val/c/5.png"],
            r"/train and .*/val have different classes: only in train/: none; only in val/: c; ",
        ),
        (["a/1.png", "b/read.txt"], r"no images in .*/b; put some there, remove the class"),
        (
            ["train/a/1.png", "train/b/2.png", "val/a/3.png"],
            "only in train/: b; only in val/: none; .*, or let classes be without images: data.empty_classes=keep",
        ),
        (["a/1.png", "a/2.png"], "has one class, 'a': there is nothing to tell apart"),
        (["1.png", "2.jpg"], r"no class folders \(2 images directly in it\); expected DIR/train/CLASS"),
        (["read.txt"], r"no class folders \(no folders in it\)"),
        (["test/a/1.png", "test/b/1.png"], "has test/ but no train/; expected"),
        (["train/1.png", "val/a/2.png"], r"train has no class folders \(1 images directly in it\)"),
    ],
)
def test_a_wrong_tree_is_told_with_what_was_found(tmp_path: Path, files: Sequence[str], message: str) -> None:
    touch(tmp_path, *files)
    with pytest.raises(DataError, match=message):
        opened(tmp_path)


def test_a_folder_that_may_not_be_read_is_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a/1.png", "b/2.png")
    scandir = os.scandir

    def refusing(folder: Path) -> Any:  # as the system does, unless root runs the tests
        if Path(folder).name == "b":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match="cannot read folder .*/b: Permission denied"):
        opened(tmp_path)


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
def table(tmp_path: Path) -> Path:
    """A CSV of five images in a folder beside it."""
    touch(tmp_path, *numbered("images", 5))
    path = tmp_path / "labels.csv"
    path.write_text(
        "path,label,fold\n" + "".join(f"images/{i}.png,{label},x\n" for i, label in enumerate("bcabc"))
    )
    return path


def train_and_validation(dataset: Dataset) -> list[tuple[str, str]]:
    return sorted(content(dataset, "train") + content(dataset, "validation"))


ROWS = [("0.png", "b"), ("1.png", "c"), ("2.png", "a"), ("3.png", "b"), ("4.png", "c")]


def test_a_csv_names_files_beside_it(table: Path) -> None:
    found = opened(table)
    assert found.classes == ("a", "b", "c")
    assert train_and_validation(found) == ROWS
    assert {Path(str(file)).parent for file in found.parts["train"].images} == {table.parent / "images"}


def test_the_images_of_a_csv_may_be_in_a_folder_beside_it(table: Path) -> None:
    table.write_text(table.read_text().replace("images/", ""))
    expected = [table.parent / "images" / name for name, _ in ROWS]
    for folder in ("images", str(table.parent / "images")):
        found = opened(table, image_folder=folder)
        assert train_and_validation(found) == ROWS
        assert sorted([*found.parts["train"].images, *found.parts["validation"].images]) == expected
    with pytest.raises(
        DataError,
        match=r"5 of 5 files .*first .*/photos/0.png, .*/photos/2.png, ...; paths are relative to .*/photos ",
    ):
        opened(table, image_folder="photos")


def test_label_names_are_found_as_given_or_beside_the_csv(
    table: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path_factory.mktemp("here")
    monkeypatch.chdir(here)
    names = {"a": "ape", "b": "bee", "c": "cat"}
    (table.parent / "names.json").write_text(json.dumps(names))
    assert opened(table, label_names="names.json").classes == ("ape", "bee", "cat")
    (here / "names.json").write_text(json.dumps({**names, "a": "ant"}))
    assert opened(table, label_names="names.json").classes == ("ant", "bee", "cat")
    with pytest.raises(DataError, match=r"label_names=none.json .*No such file.*beside .*labels.csv"):
        opened(table, label_names="none.json")


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


def test_a_csv_may_come_from_a_spreadsheet(table: Path) -> None:
    text = table.read_text().replace("\n", "\r\n").replace("images/0.png", '"images/0.png"')
    table.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert train_and_validation(opened(table)) == ROWS


def test_columns_may_have_other_names(table: Path) -> None:
    table.write_text(table.read_text().replace("path,label", "file,species"))
    assert train_and_validation(opened(table, path_column="file", label_column="species")) == ROWS


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"path_column": "file"}, r"no column 'file' \(data.path_column\).*holds: path, label, fold"),
        ({"label_column": "class"}, r"no column 'class' \(data.label_column\)"),
    ],
)
def test_a_missing_column_is_told_with_those_there_are(
    table: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        opened(table, **fields)


def test_numbers_are_sorted_as_numbers_and_before_words(table: Path) -> None:
    labels = ["10", "2", "word", "1", "2"]
    table.write_text("path,label\n" + "".join(f"images/{i}.png,{label}\n" for i, label in enumerate(labels)))
    assert opened(table).classes == ("1", "2", "10", "word")


def test_a_map_names_the_labels_and_fixes_their_number(table: Path) -> None:
    names = table.parent / "names.json"
    names.write_text(json.dumps({"c": "cat", "a": "ape", "b": "bee", "d": "dog"}))
    found = opened(table, label_names=str(names))
    assert found.classes == ("ape", "bee", "cat", "dog")
    full = {"a": "ape", "b": "bee", "c": "cat"}
    assert train_and_validation(found) == [(file, full[label]) for file, label in ROWS]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": "ape", "b": "bee"}', "has no name for label c of "),
        ('["ape", "bee", "cat"]', 'must be an object of label to name, as {"0": "cat"}'),
        ('{"a": 1, "b": 2, "c": 3}', "must be an object of label to name"),
        ("{", "cannot be read as JSON"),
    ],
)
def test_a_wrong_map_is_refused(table: Path, text: str, message: str) -> None:
    names = table.parent / "names.json"
    names.write_text(text)
    with pytest.raises(DataError, match=message):
        opened(table, label_names=str(names))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\n", "has no rows below its header"),
        ("", "no column 'path'"),
        ("path,label\nimages/0.png,a\nimages/1.png\n", "line 3: fewer columns than the first line has"),
        ("path,label\nimages/0.png,a\nx.png,b\ny.png,c\n", r"2 of 3 files of .* do not exist, first .*x.png"),
        ("path,label\nimages/0.png,a\nimages,b\n", "1 of 2 files"),
        ("path,label\nimages/0.png,a\nimages/1.png,a\n", "has one class, 'a'"),
    ],
)
def test_a_wrong_csv_is_refused(table: Path, text: str, message: str) -> None:
    table.write_text(text)
    with pytest.raises(DataError, match=message):
        opened(table)


@pytest.mark.parametrize(
    "raw", [b"\xff\xfe\x00\x01", b"path,label\na\x00b.png,c\n", b"\x89PNG\r\n\x1a\n\x00"]
)
def test_what_is_no_csv_is_refused(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(raw)
    with pytest.raises(DataError):
        opened(tmp_path / "a.csv")
