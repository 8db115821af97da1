"""Batches come in an order that depends on the seed and the epoch, and are always of one size."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vitcli.core.backend import Batch
from vitcli.core.errors import DataError
from vitcli.core.recipe import Recipe
from vitcli.core.schedule import length
from vitcli.data.batches import TrainingBatches, ahead, evaluation_batches
from vitcli.data.store import RaggedStore, SquareStore

COUNT = 10
LABELS = (np.arange(COUNT) % 4).astype(np.int32)
MODEL = {
    "image_size": 15,
    "patch_size": 5,
    "num_classes": 4,
    "embed_dim": 14,
    "depth": 1,
    "num_heads": 2,
    "mlp_dim": 22,
}


def store() -> SquareStore:
    """Images that are filled with their own number."""
    return SquareStore(np.full((COUNT, 15, 15, 3), np.arange(COUNT)[:, None, None, None], np.uint8))


def recipe(train: dict[str, Any], augment: dict[str, Any] | None = None) -> Recipe:
    sections = {"model": MODEL, "train": {"batch_size": 4, **train}, "augment": augment or {}}
    return Recipe.model_validate(sections)


def batches(
    train: dict[str, Any], augment: dict[str, Any] | None = None, *, resident: bool = False
) -> list[Batch]:
    made = recipe(train, augment)
    span = length(made.train, COUNT)
    make = TrainingBatches(store(), LABELS, made, span, resident=resident)
    return [make(step) for step in range(span.steps)]


def real(*found: Batch) -> list[int]:
    """The images that count, in order."""
    return [int(i) for batch in found for i in batch.index[batch.weights == 1]]


def test_each_epoch_holds_every_image_once_in_an_order_of_its_own() -> None:
    found = batches({"epochs": 3})
    epochs = [real(*found[start : start + 3]) for start in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert [len(real(batch)) for batch in found] == [4, 4, 2] * 3


def test_the_order_depends_on_the_seed_and_not_on_the_batch_size() -> None:
    def order(**train: Any) -> list[int]:
        return real(*batches({"epochs": 2, **train}))

    assert order() == order(batch_size=3) == order(batch_size=10)
    assert order() != order(seed=1)


def test_images_and_labels_are_those_of_the_index() -> None:
    for batch in batches({"epochs": 2}):
        assert batch.images is not None
        assert (batch.images.shape, batch.images.dtype.name) == ((4, 15, 15, 3), "uint8")
        types = [array.dtype.name for array in (batch.index, batch.labels, batch.weights)]
        assert types == ["int32", "int32", "float32"]
        np.testing.assert_array_equal(batch.images[:, 7, 7, 1], batch.index)
        np.testing.assert_array_equal(batch.labels, LABELS[batch.index])


def test_the_last_batch_is_filled_with_copies_that_weigh_nothing() -> None:
    augment = {"crop": "resized", "flip": 0.5, "rotate": 30.0, "mixup": 0.5}
    for last in batches({"epochs": 6}, augment)[2::3]:
        assert last.weights.tolist() == [1, 1, 0, 0]
        assert last.images is not None
        arrays: list[NDArray[Any]] = [last.index, last.labels, last.images, *last.plan.values()]
        for array in arrays:
            assert len(array) == 4
            np.testing.assert_array_equal(array[2:], array[[0, 0]])
        # Nobody's partner is a copy.
        assert sorted(last.plan["partner"][:2].tolist()) == [0, 1]


def test_the_last_batch_may_be_dropped() -> None:
    found = batches({"epochs": 3, "drop_last": True})
    assert len(found) == 6
    assert all(batch.weights.all() for batch in found)
    full = batches({"epochs": 3})
    assert [real(batch) for batch in found] == [real(full[i]) for i in (0, 1, 3, 4, 6, 7)]


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7])
def test_a_run_in_steps_ends_in_the_middle_of_an_epoch(steps: int) -> None:
    found = batches({"steps": steps})
    assert len(found) == steps
    assert [real(batch) for batch in found] == [real(batch) for batch in batches({"epochs": 3})[:steps]]


def test_resident_images_are_not_sent_again() -> None:
    augment = {"crop": "resized", "flip": 0.5, "cutmix": 1.0}
    sent, kept = batches({"epochs": 2}, augment), batches({"epochs": 2}, augment, resident=True)
    for left, right in zip(sent, kept, strict=True):
        assert right.images is None
        np.testing.assert_array_equal(left.index, right.index)
        for name in left.plan:
            np.testing.assert_array_equal(left.plan[name], right.plan[name])


def test_an_images_plan_does_not_depend_on_the_batch_size() -> None:
    def boxes(size: int) -> dict[tuple[int, int], list[float]]:
        found = {}
        for number, batch in enumerate(batches({"epochs": 2, "batch_size": size}, {"crop": "resized"})):
            epoch = number // -(-COUNT // size)
            for i in range(len(real(batch))):
                found[epoch, int(batch.index[i])] = batch.plan["box"][i].tolist()
        return found

    assert boxes(4) == boxes(7)
    assert len(boxes(4)) == 2 * COUNT


@pytest.mark.parametrize("resident", [False, True])
def test_repeated_images_stand_side_by_side_with_plans_of_their_own(resident: bool) -> None:
    augment = {"crop": "resized", "rotate": 30.0, "repeats": 3}
    found = batches({"epochs": 2}, augment, resident=resident)
    once = batches({"epochs": 2}, {**augment, "repeats": 1}, resident=resident)
    assert len(found) == len(once)
    for epoch in (0, 3):
        order, copies = real(*once[epoch : epoch + 3]), real(*found[epoch : epoch + 3])
        assert copies == [i for i in order for _ in range(3)][:COUNT]
        weighed = np.concatenate([batch.weights for batch in found[epoch : epoch + 3]]) > 0
        turns = np.concatenate([batch.plan["affine"] for batch in found[epoch : epoch + 3]])[weighed]
        assert len({turn.tobytes() for turn in turns}) == COUNT
        # The first copy is augmented as the image is without copies.
        first = {int(i): m for b in once for i, m in zip(b.index, b.plan["affine"], strict=True)}
        if epoch:  # `first` holds the last epoch
            for place in range(0, COUNT, 3):
                np.testing.assert_array_equal(turns[place], first[copies[place]])


def test_mixing_differs_at_each_step_and_the_rest_in_each_epoch() -> None:
    found = batches({"epochs": 2}, {"mixup": 0.5, "rotate": 30.0})
    shares = {tuple(batch.plan["share"].tolist()) for batch in found}
    assert len(shares) == len(found)
    turns = [
        {int(i): tuple(m.ravel()) for i, m in zip(b.index, b.plan["affine"], strict=True)} for b in found
    ]
    first, second = {**turns[0], **turns[1], **turns[2]}, {**turns[3], **turns[4], **turns[5]}
    assert all(first[i] != second[i] for i in range(COUNT))


def test_boxes_of_a_ragged_store_are_those_inside_what_was_gathered() -> None:
    shapes = np.array([[15, 20 + i, 3] for i in range(COUNT)])
    pixels = np.arange(int(shapes.prod(1).sum()), dtype=np.uint64).astype(np.uint8)
    ragged = RaggedStore(pixels, shapes, 21)
    made = recipe({"epochs": 1}, {"crop": "resized"})
    span = length(made.train, COUNT)
    for batch in map(TrainingBatches(ragged, LABELS, made, span), range(span.steps)):
        assert batch.images is not None
        assert batch.images.shape == (4, 21, 21, 3)
        assert (batch.plan["box"][:, :2] == 0).all()
        assert (batch.plan["box"][:, 2:] > 0).all()


@pytest.mark.parametrize(("size", "counts"), [(4, [4, 4, 2]), (5, [5, 5]), (16, [10])])
def test_evaluation_sees_each_image_once_in_order(size: int, counts: list[int]) -> None:
    found = list(evaluation_batches(store(), size))
    assert [count for _, count in found] == counts
    assert all(images.shape == (size, 15, 15, 3) for images, _ in found)
    seen = np.concatenate([images[:count, 0, 0, 0] for images, count in found])
    assert seen.tolist() == list(range(COUNT))
    assert not any(images[count:].any() for images, count in found)


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_what_is_made_ahead_comes_in_order(threads: int) -> None:
    def make(step: int) -> int:
        time.sleep(0.002 * (step % 3))  # later ones are done first
        return step * step

    assert list(ahead(make, range(20), threads)) == [(step, step * step) for step in range(20)]


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_a_failure_is_raised_at_its_step(threads: int) -> None:
    def make(step: int) -> int:
        if step == 5:
            raise DataError("gone")
        return step

    seen = []
    with pytest.raises(DataError, match="gone"):
        for step, _ in ahead(make, range(20), threads):
            seen.append(step)
    assert seen == [0, 1, 2, 3, 4]


def test_few_are_made_ahead_and_none_after_the_end() -> None:
    made: list[int] = []

    def make(step: int) -> int:
        made.append(step)
        return step

    before = threading.active_count()
    batches: Any = ahead(make, range(1000), 2)
    assert next(batches) == (0, 0)
    time.sleep(0.05)
    assert len(made) == 5  # the one that was taken, and two more than there are threads
    batches.close()
    assert threading.active_count() == before
    assert len(made) == 5
