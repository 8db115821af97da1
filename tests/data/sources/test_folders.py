"""Class folders, or an error says what is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.sources.opened import content, numbered, opened, touch, train_and_validation
from vitcli.core.errors import DataError
from vitcli.core.recipe import DataSpec
from vitcli.data.sources import image_files, open_source


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


def test_links_that_lead_nowhere_are_listed(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/2.png", "b/deep/3.png")
    (tmp_path / "a" / "self.png").symlink_to("self.png")
    (tmp_path / "b" / "deep" / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "b" / ".hidden").symlink_to(tmp_path / "nowhere")
    message = r"links that lead nowhere: .*/a/self.png, .*/b/deep/gone; remove them, or put back"
    with pytest.raises(DataError, match=message):
        opened(tmp_path)
    with pytest.raises(DataError, match=r"links that lead nowhere: .*/a/self.png; remove"):
        image_files(tmp_path / "a")
    (tmp_path / "a" / "self.png").unlink()
    (tmp_path / "b" / "deep" / "gone").unlink()
    (tmp_path / "c").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"links that lead nowhere: .*/c; remove"):
        opened(tmp_path)


def test_a_folder_that_several_paths_reach_is_listed_once_where_it_is(tmp_path: Path) -> None:
    touch(tmp_path, "a/real/1.png", "a/2.png", "elsewhere/3.png", "b/4.png")
    (tmp_path / "a" / "early").symlink_to("real")
    (tmp_path / "a" / "y").symlink_to("../elsewhere")
    (tmp_path / "a" / "x").symlink_to("../elsewhere")
    found = [path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path / "a")]
    assert found == ["a/2.png", "a/real/1.png", "a/x/3.png"]


def test_a_link_up_does_not_mix_the_classes(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.png", "train/b/2.png", "val/a/3.png", "val/b/4.png")
    for name, target in (("train", ".."), ("all", "../.."), ("above", "../../..")):
        (tmp_path / "train" / "a" / name).symlink_to(target)
    found = opened(tmp_path)
    assert content(found, "train") == [("1.png", "a"), ("2.png", "b")]
    assert found.notes == ()


def test_links_out_of_the_folder_are_followed_and_told(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    touch(other, "1.png", "deep/2.png", "deep/3.png")
    touch(tmp_path, "set/a/4.png", "set/b/5.png", "set/b/6.png")
    (tmp_path / "set" / "a" / "7.png").symlink_to(other / "1.png")
    (tmp_path / "set" / "a" / "8.png").symlink_to("../b/5.png")
    (tmp_path / "set" / "a" / "more").symlink_to(other / "deep")
    (tmp_path / "link").symlink_to("set")
    for root in ("set", "link"):
        found = opened(tmp_path / root, validation=0.01)
        assert found.notes == (f"links followed that lead out of {tmp_path / 'set'}: 2",)
    names = [path.name for path in image_files(tmp_path / "set" / "a")]
    assert names == ["4.png", "7.png", "8.png", "2.png", "3.png"]


def test_a_class_may_be_a_link(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    touch(other, "1.png")
    touch(tmp_path, "a/2.png")
    (tmp_path / "b").symlink_to(other)
    found = opened(tmp_path, validation=0.5)
    assert found.classes == ("a", "b")
    assert train_and_validation(found) == [("1.png", "b"), ("2.png", "a")]
    assert found.notes == (f"links followed that lead out of {tmp_path}: 1",)
    touch(tmp_path, "parts/val/1/x.png", "parts/val/2/y.png", "elsewhere/1/x.png", "elsewhere/2/x.png")
    (tmp_path / "parts" / "train").symlink_to(tmp_path / "elsewhere")
    assert opened(tmp_path / "parts").notes == (f"links followed that lead out of {tmp_path / 'parts'}: 1",)


def test_what_is_no_image_by_its_suffix_is_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "a/README", "a/x.heic", "a/deep/y.HEIC", "a/.DS_Store", "b/2.png", "b/z.txt")
    touch(tmp_path, "notes.txt", "b/w.npy")
    told = "files left out, since their suffix is no image's: 5 (.heic 2, .npy 1, .txt 1, none 1)"
    assert opened(tmp_path).notes == (told,)


def test_the_order_is_that_of_paths(tmp_path: Path) -> None:
    names = ["a/x/1.png", "a/x 1/1.png", "a/x-1/1.png", "a/x.png", "a/x/0/1.png", "a/X/1.png", "a/é.png"]
    touch(tmp_path, *names)
    assert image_files(tmp_path / "a") == sorted(tmp_path / name for name in names)
    touch(tmp_path, *(f"b/{name}.png" for name in ("10", "9", "Z", "a b", "a", "a-b")))
    assert image_files(tmp_path / "b") == sorted((tmp_path / "b").iterdir())


def test_no_file_is_asked_for_on_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, *numbered("a", 300), *numbered("b", 300))
    calls: list[object] = []
    stat = os.stat

    def counted(path: Any, **keys: Any) -> os.stat_result:
        calls.append(path)
        return stat(path, **keys)

    monkeypatch.setattr(os, "stat", counted)
    assert len(opened(tmp_path).parts["train"]) == 540
    assert len(calls) < 100  # the folders, those above them, and the names that other kinds go by


def test_several_unreadable_folders_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1.png", "b/2.png", "c/3.png")
    scandir = os.scandir

    def refusing(folder: Any) -> Any:
        if Path(folder).name in "bc":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match=r"cannot read folder .*/b: Permission denied \(2 such folders\)"):
        opened(tmp_path)


def test_a_source_that_may_not_be_entered_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(folder: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(DataError, match=f"cannot read {tmp_path}: Permission denied"):
        opened(tmp_path)


def test_classes_of_the_parts_are_held_against_each_other(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.png", "train/b/2.png", "test/b/3.png", "test/c/4.png")
    message = "have different classes: only in train/: a; only in test/: c; classes are those of train"
    for keys in ({}, {"empty_classes": "keep"}):
        with pytest.raises(DataError, match=message):
            opened(tmp_path, **keys)


def test_classes_without_images_keep_their_index_where_the_recipe_says_so(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.png", "train/c/2.png", "train/b/README", "val/c/3.png", "val/a/x.txt")
    with pytest.raises(DataError, match="only in train/: b; only in val/: none"):
        opened(tmp_path)
    found = opened(tmp_path, empty_classes="keep")
    assert found.classes == ("a", "b", "c")
    assert found.parts["train"].labels.tolist() == [0, 2]
    assert found.parts["validation"].labels.tolist() == [2]
    touch(tmp_path, "val/b/4.png")
    with pytest.raises(
        DataError, match=r"no images in .*/train/b, .*/val/a; put some there, .*empty_classes=keep"
    ):
        opened(tmp_path)


def test_a_part_without_any_image_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.png", "train/b/2.png", "val/a/x.txt")
    with pytest.raises(DataError, match="no images in any class folder of .*/val"):
        opened(tmp_path, empty_classes="keep")


def test_twins_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "Cat/1.png", "cat/2.png", "caf\N{LATIN SMALL LETTER E WITH ACUTE}/3.png", "dog/4.png")
    touch(tmp_path, "cafe\N{COMBINING ACUTE ACCENT}/5.png")
    assert opened(tmp_path).notes == (
        "classes 'Cat' and 'cat' differ in case or encoding alone: one class, or two?",
        r"classes 'cafe\u0301' and 'caf\xe9' differ in case or encoding alone: one class, or two?",
    )


@pytest.mark.parametrize("inner", ["set", "outer/set"])
def test_the_sole_folder_of_a_folder_with_parts_is_read(tmp_path: Path, inner: str) -> None:
    touch(tmp_path / inner, "train/a/1.png", "train/b/2.png", "val/a/3.png", "val/b/4.png")
    touch(tmp_path, "set.tgz", ".cache/x/train")
    found = opened(tmp_path)
    assert (found.name, found.classes) == (str(tmp_path), ("a", "b"))
    assert content(found, "validation") == [("3.png", "a"), ("4.png", "b")]
