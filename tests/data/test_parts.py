"""Parts are made of the images that can be read: their pixels and labels, and what is told of the others."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data.stores import Notes, every, part, recipe, spoil
from vitcli.core.errors import DataError
from vitcli.core.recipe import Recipe
from vitcli.data.dataset import Dataset, Examples
from vitcli.data.parts import geometry, open_parts
from vitcli.data.store import RaggedStore, SquareStore, StreamStore

CACHES = ("square", "ragged", "none")


@pytest.mark.parametrize("cache", CACHES)
def test_the_others_are_as_if_the_bad_ones_had_never_been_there(cache: str, examples: Examples) -> None:
    for i in (0, 2):
        spoil(Path(str(examples.images[i])))
    left = part(examples, cache=cache, skip_bad="2")
    alone = part(examples.take(np.array([1, 3])), cache=cache)
    assert (len(left), left.total, alone.total) == (2, 4, 2)
    assert left.labels.tolist() == alone.labels.tolist() == [1, 3]
    np.testing.assert_array_equal(every(left.store), every(alone.store))
    np.testing.assert_array_equal(left.digests, alone.digests)
    assert len(set(left.digests.tolist())) == 2
    for fault, i in zip(left.faults, (0, 2), strict=True):
        assert fault.startswith(f"{examples.images[i]} is not a readable image")
    assert alone.faults == ()


@pytest.mark.parametrize("cache", CACHES)
def test_second_time_as_first(cache: str, examples: Examples) -> None:
    spoil(Path(str(examples.images[1])))
    first, second = (part(examples, cache=cache, skip_bad="30%") for _ in range(2))
    assert first.faults == second.faults
    assert first.labels.tolist() == second.labels.tolist() == [0, 2, 3]
    np.testing.assert_array_equal(every(first.store), every(second.store))


@pytest.mark.parametrize("cache", CACHES)
def test_a_part_without_a_readable_image_is_refused(cache: str, examples: Examples) -> None:
    for path in examples.images:
        spoil(Path(str(path)))
    with pytest.raises(DataError, match=r"^none of the 4 train images can be read, first: .*0\.png is not"):
        part(examples, cache=cache, skip_bad="100%")


@pytest.mark.parametrize(
    ("cache", "budget", "kind"),
    [
        # Four images of 15 x 15 x 3 bytes are 2,700.
        ("square", None, SquareStore),
        ("square", 2.7e-6, SquareStore),
        ("square", 2.6e-6, StreamStore),
        ("ragged", None, RaggedStore),
        ("ragged", 2.7e-6, RaggedStore),
        ("ragged", 2.6e-6, StreamStore),
        ("none", None, StreamStore),
        ("none", 1.0, StreamStore),
    ],
)
def test_a_budget_decides_what_is_cached(
    cache: str, budget: float | None, kind: type, examples: Examples
) -> None:
    store = part(examples, cache=cache, cache_budget=budget).store
    assert type(store) is kind
    np.testing.assert_array_equal(every(store), every(part(examples, cache=cache).store))


def _both(train: Examples, validation: Examples, notes: Notes, made: Recipe) -> None:
    dataset = Dataset(
        name="set",
        classes=tuple("abcd"),
        parts={"train": train, "validation": validation},
        notes=("this is odd", "and this"),
    )
    open_parts(dataset, made, notes, ("train", "validation"), training=True)


@pytest.mark.parametrize("cache", CACHES)
def test_twins_across_parts_are_counted(cache: str, examples: Examples, tmp_path: Path) -> None:
    copies = []
    for i, place in enumerate((0, 2, 2)):
        copies.append(tmp_path / f"copy{i}.png")
        shutil.copy(str(examples.images[place]), copies[-1])
    own = tmp_path / "own.png"
    own.write_bytes(Path(str(examples.images[0])).read_bytes() + b"\0")  # the same pixels, another file
    validation = Examples(images=[*copies, own], labels=np.zeros(4, np.int32))
    notes = Notes()
    _both(examples, validation, notes, recipe(cache=cache))
    assert notes.told == [
        "this is odd",
        "and this",
        "3 validation images are also among the training images, byte for byte",
    ]


def test_unreadable_images_and_pixels_are_no_twins(examples: Examples) -> None:
    path = Path(str(examples.images[1]))
    path.write_bytes(b"")
    notes = Notes()
    others = examples.take(np.array([1, 2]))
    _both(examples.take(np.array([0, 1])), others, notes, recipe(skip_bad="2"))
    pixels = Examples(images=np.zeros((4, 15, 15, 3), np.uint8), labels=examples.labels)
    _both(pixels, pixels, notes, recipe())
    assert notes.told == ["this is odd", "and this"] * 2


def test_faults_of_all_parts_are_counted_together(examples: Examples) -> None:
    for i in (0, 3):
        spoil(Path(str(examples.images[i])))
    parts = examples.take(np.array([0, 1])), examples.take(np.array([2, 3]))
    with pytest.raises(DataError, match=r"^2 of 4 images cannot be read: .*0\.png.*3\.png.*--skip-bad 2 "):
        _both(*parts, Notes(), recipe(skip_bad="1"))
    _both(*parts, Notes(), recipe(skip_bad="50%"))


def test_more_faults_than_are_listed_end_in_dots(examples: Examples, tmp_path: Path) -> None:
    paths = [tmp_path / f"empty{i}.png" for i in range(9)]
    for path in paths:
        path.write_bytes(b"")
    some = replace(examples, images=paths, labels=np.zeros(9, np.int32))
    with pytest.raises(
        DataError,
        match=r"^9 of 9 images .*empty7\.png is an empty file; \.\.\. \(vit datasets scan digits lists all\); replace",
    ):
        part(some)


@pytest.mark.parametrize("change", ["content", "sides", "gone"])
@pytest.mark.parametrize("cache", ["none", "ragged"])
def test_a_stream_refuses_another_image_than_was_scanned(cache: str, change: str, examples: Examples) -> None:
    store = part(examples, cache=cache, cache_budget=0.0).store
    path, other = Path(str(examples.images[1])), Path(str(examples.images[2]))
    if change == "content":  # the same picture, saved once more
        path.write_bytes(path.read_bytes() + b"\0")
    elif change == "sides":
        shutil.copy(other, path)
    else:
        path.unlink()
    told = "No such file" if change == "gone" else "has changed since the images were scanned"
    with pytest.raises(DataError, match=rf"1\.png:? {told}"):
        every(store)


def test_fast_decoding_is_for_training_alone() -> None:
    made = recipe(decoder="fast")
    assert geometry(made, training=True).fast
    assert not geometry(made, training=False).fast
    assert not geometry(recipe(), training=True).fast
