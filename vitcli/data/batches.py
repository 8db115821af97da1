"""Batches in a fixed order: each a pure function of the recipe and its step, made ahead by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from typing import TypeVar

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

T = TypeVar("T")


class TrainingBatches:
    """The batches of a whole run: each is a function of its step, whatever was asked for before.

    Each epoch goes through the images in an order of its own. With `augment.repeats` each image stands so many
    times in a row, its copies have plans of their own, and an epoch of the same length goes through the first
    part of the order.
    """

    def __init__(
        self,
        store: Store,
        labels: NDArray[np.int32],
        recipe: Recipe,
        length: Length,
        *,
        resident: bool = False,
    ) -> None:
        """Makes no batch yet.

        Args:
            store: the training images.
            labels: of the training images.
            recipe: batch size, seed and augmentation.
            length: of the run.
            resident: the images are on the device already: batches carry none.
        """
        self._store, self._labels, self._recipe, self._length = store, labels, recipe, length
        self._resident = resident
        # Two epochs' orders: threads that run ahead are in the next one already.
        self._order = lru_cache(2)(self._draw_order)

    def __call__(self, step: int) -> Batch:
        """Returns the batch of a step; several threads may ask at once.

        Raises:
            DataError: an image cannot be read any more.
        """
        recipe, count = self._recipe, len(self._store)
        augment, seed, side = recipe.augment, recipe.train.seed, recipe.model.image_size
        epoch, start = divmod(step, self._length.steps_per_epoch)
        place = np.arange(start * recipe.train.batch_size, min((start + 1) * recipe.train.batch_size, count))
        index = self._order(epoch)[place // augment.repeats]
        # Numbers beyond the set are further copies of its images.
        sample = index + count * (place % augment.repeats)
        sizes = self._store.sizes(index)
        plan = draw_plan(augment, seed=seed, epoch=epoch, index=sample, sizes=sizes, side=side)
        images = None
        if not self._resident:
            images, boxes = self._store.gather(index, plan.get("box"))
            if boxes is not None:
                plan["box"] = boxes
        if augment.mixes:
            plan |= draw_mixing(augment, seed=seed, step=step, count=len(index), side=side)
        return _padded(images, index, self._labels[index], plan, recipe.train.batch_size)

    def _draw_order(self, epoch: int) -> NDArray[np.int64]:
        return permutation(stream(self._recipe.train.seed, Purpose.ORDER, epoch), len(self._store))


def ahead(make: Callable[[int], T], steps: Iterable[int], threads: int) -> Iterator[tuple[int, T]]:
    """Yields (step, make(step)) in order, made by threads that run ahead by two more than they are.

    Without threads, each is made when it is asked for. What `make` raises is raised at its step.
    """
    if not threads:
        yield from ((step, make(step)) for step in steps)
        return
    rest = iter(steps)
    pool = ThreadPoolExecutor(threads)
    try:
        waiting = deque((step, pool.submit(make, step)) for step in islice(rest, threads + 2))
        while waiting:
            step, made = waiting.popleft()
            waiting.extend((later, pool.submit(make, later)) for later in islice(rest, 1))
            yield step, made.result()
    finally:  # also where the caller has stopped asking
        pool.shutdown(cancel_futures=True)


def evaluation_batches(store: Store, size: int, threads: int = 1) -> Iterator[tuple[Pixels, int]]:
    """Yields all images of a store in order, and how many of each `size` are images and not filling.

    The last batch is filled up with black, so that one compiled program serves all.
    """

    def make(start: int) -> tuple[Pixels, int]:
        images, _ = store.gather(np.arange(start, min(start + size, len(store))), None)
        count = len(images)
        if count < size:
            images = np.concatenate([images, np.zeros((size - count, *images.shape[1:]), np.uint8)])
        return images, count

    yield from (batch for _, batch in ahead(make, range(0, len(store), size), threads))


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
