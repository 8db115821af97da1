"""Tables of paths and labels, or an error says what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.data.sources.opened import content, numbered, opened, touch, train_and_validation
from vitcli.core.errors import DataError


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A CSV of five images in a folder beside it."""
    touch(tmp_path, *numbered("images", 5))
    path = tmp_path / "labels.csv"
    path.write_text(
        "path,label,fold\n" + "".join(f"images/{i}.png,{label},x\n" for i, label in enumerate("bcabc"))
    )
    return path


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


@pytest.mark.parametrize(
    ("name", "mark"), [("a.tsv", "\t"), ("a.csv", "\t"), ("a.txt", ";"), ("a", ","), ("a.TSV", "\t")]
)
def test_columns_are_parted_by_what_the_first_line_has(table: Path, name: str, mark: str) -> None:
    text = table.read_text().replace(",", mark).replace(f"{mark}x", f'{mark}"x{mark},;\t"')
    table.write_text(text)
    assert train_and_validation(opened(table.rename(table.with_name(name)))) == ROWS


def test_a_tsv_may_have_commas_in_its_header(table: Path) -> None:
    text = table.read_text().replace(",", "\t").replace("fold", "a, b, c, d")
    table.write_text(text)
    assert train_and_validation(opened(table.rename(table.with_name("a.tsv")))) == ROWS


def test_blank_lines_are_left_out(table: Path) -> None:
    table.write_text(table.read_text().replace("\nimages/2", "\n\nimages/2") + "\n\n")
    assert train_and_validation(opened(table)) == ROWS


def parted(table: Path, *words: str) -> Path:
    rows = [
        f"images/{i}.png,{label},{word}\n" for i, label, word in zip(range(5), "bcabc", words, strict=True)
    ]
    table.write_text("path,label,part\n" + "".join(rows))
    return table


@pytest.mark.parametrize("validation", ["validation", "valid", "val", " VAL "])
@pytest.mark.parametrize("train", ["train", "Training"])
def test_a_column_may_say_the_part(table: Path, train: str, validation: str) -> None:
    found = opened(parted(table, train, train, train, validation, "test"), split_column="part")
    assert content(found, "train") == ROWS[:3]
    assert content(found, "validation") == ROWS[3:4]
    assert content(found, "test") == ROWS[4:]
    assert train_and_validation(opened(table)) == ROWS  # unless it is not asked


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["train", "train", "dev", "test", "test"],
            "'part' .* says 'dev'; it may say train, training, validation",
        ),
        (["train", "train", "", "test", "test"], "says ''; it may say"),
        (
            ["test", "test", "val", "test", "test"],
            r"no training images \(it has test and validation images\)",
        ),
        (
            ["train", "train", "test", "test", "test"],
            "test: labels without a class: a; the classes have b, c",
        ),
    ],
)
def test_wrong_parts_are_refused(table: Path, words: Sequence[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(parted(table, *words), split_column="part")


def test_a_split_column_that_is_not_there_is_told(table: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'part' \(data.split_column\)"):
        opened(table, split_column="part")


def test_a_map_names_labels_that_only_other_parts_have(table: Path) -> None:
    (table.parent / "names.json").write_text(json.dumps({"a": "ape", "b": "bee", "c": "cat"}))
    parted(table, "train", "train", "test", "test", "test")
    found = opened(table, split_column="part", label_names="names.json")
    assert content(found, "test") == [("2.png", "ape"), ("3.png", "bee"), ("4.png", "cat")]


def test_a_huge_number_is_a_word(table: Path) -> None:
    table.write_text(f"path,label\nimages/0.png,{'9' * 5000}\nimages/1.png,1\n")
    assert opened(table).classes == ("1", "9" * 5000)


def test_what_a_terminal_obeys_is_not_told(table: Path) -> None:
    table.write_text("\x1b[31mpath,label\n" + "x" * 1000 + ",1\n")
    with pytest.raises(DataError) as caught:
        opened(table)
    assert r"its first line holds: \x1b[31mpath, label" in str(caught.value)
