"""Batches in a fixed order: a pure function of the seed, the epoch and the step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vitcli.core.backend import Batch
from vitcli.core.bits import Purpose, stream
from vitcli.core.recipe import Recipe
from vitcli.core.schedule import Length
from vitcli.data.augment import Plan, draw_mixing, draw_plan
from vitcli.data.decode import Pixels
from vitcli.data.random import permutation
from vitcli.data.store import Store


def training_batches(
    store: Store, labels: NDArray[np.int32], recipe: Recipe, length: Length, *, resident: bool = False
) -> Iterator[tuple[int, Batch]]:
    """Yields (step, batch) for a whole run; each epoch goes through the images in an order of its own.

    With `augment.repeats` each image stands so many times in a row, its copies have plans of their own, and an
    epoch of the same length goes through the first part of the order.

    Args:
        store: the training images.
        labels: of the training images.
        recipe: batch size, seed and augmentation.
        length: of the run.
        resident: the images are on the device already: batches carry none.
    """
    for epoch in range(length.epochs):
        order = permutation(stream(recipe.train.seed, Purpose.ORDER, epoch), len(store))
        for batch in range(length.steps_per_epoch):
            step = epoch * length.steps_per_epoch + batch
            if step == length.steps:
                return
            start = batch * recipe.train.batch_size
            place = np.arange(start, min(start + recipe.train.batch_size, len(store)))
            sample = order[place // recipe.augment.repeats] + len(store) * (place % recipe.augment.repeats)
            yield step, _batch(store, labels, recipe, sample, epoch=epoch, step=step, resident=resident)


def evaluation_batches(store: Store, size: int) -> Iterator[tuple[Pixels, int]]:
    """Yields all images of a store in order, and how many of each `size` are images and not filling.

    The last batch is filled up with black, so that one compiled program serves all.
    """
    for start in range(0, len(store), size):
        images, _ = store.gather(np.arange(start, min(start + size, len(store))), None)
        count = len(images)
        if count < size:
            images = np.concatenate([images, np.zeros((size - count, *images.shape[1:]), np.uint8)])
        yield images, count


def _batch(
    store: Store,
    labels: NDArray[np.int32],
    recipe: Recipe,
    sample: NDArray[np.int64],
    *,
    epoch: int,
    step: int,
    resident: bool,
) -> Batch:
    augment, seed, side = recipe.augment, recipe.train.seed, recipe.model.image_size
    index = sample % len(store)  # numbers beyond the set are further copies of its images
    plan = draw_plan(augment, seed=seed, epoch=epoch, index=sample, sizes=store.sizes(index), side=side)
    images = None
    if not resident:
        images, boxes = store.gather(index, plan.get("box"))
        if boxes is not None:
            plan["box"] = boxes
    if augment.mixes:
        plan |= draw_mixing(augment, seed=seed, step=step, count=len(index), side=side)
    return _padded(images, index, labels[index], plan, recipe.train.batch_size)


def _padded(
    images: Pixels | None, index: NDArray[np.int64], labels: NDArray[np.int32], plan: Plan, size: int
) -> Batch:
    """Returns a batch of `size`: the last one of an epoch is filled with copies of its first image, weight 0."""
    rows = np.arange(size)
    fill = np.where(rows < len(index), rows, 0)
    return Batch(
        images=None if images is None else (images if len(index) == size else images[fill]),
        index=index[fill].astype(np.int32),
        labels=labels[fill],
        weights=(rows < len(index)).astype(np.float32),
        plan=plan if len(index) == size else {name: value[fill] for name, value in plan.items()},
    )
