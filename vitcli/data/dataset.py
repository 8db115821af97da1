"""A set of labelled images in three parts, before any pixel is decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vitcli.core.bits import Purpose, stream
from vitcli.data.files import Files
from vitcli.data.random import permutation, sequence

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Images and labels of one part.

    Attributes:
        images: files, or pixels uint8 (n, H, W, C).
        labels: int32 (n,), indices of the data set's classes.
    """

    images: Sequence[Path] | NDArray[np.uint8]
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def take(self, index: NDArray[np.int64]) -> Examples:
        """Returns the examples at these positions."""
        several = isinstance(self.images, np.ndarray | Files)
        images = self.images[index] if several else [self.images[i] for i in index]  # type: ignore[call-overload]
        return Examples(images=images, labels=self.labels[index])


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Class names in the order of their indices, and the parts that exist (train always does).

    Attributes:
        notes: what is no fault but may surprise, a line each.
    """

    name: str
    classes: tuple[str, ...]
    parts: Mapping[Split, Examples]
    notes: tuple[str, ...] = ()


def stratified(labels: NDArray[np.int32], count: int, seed: int) -> NDArray[np.int64]:
    """Returns `count` positions in ascending order, each class in proportion (largest remainders first).

    The choice within a class is that of the smallest shared bits, so it depends on the seed alone.
    """
    sizes = np.bincount(labels)
    exact = sizes * (count / len(labels))
    quota = np.floor(exact).astype(np.int64)
    for label in np.argsort(quota - exact, kind="stable")[: count - int(quota.sum())]:
        quota[label] += 1
    order = np.argsort(sequence(stream(seed, Purpose.SPLIT), len(labels)), kind="stable")
    chosen = [order[labels[order] == label][:take] for label, take in enumerate(quota)]
    return np.sort(np.concatenate(chosen))


def evenly(labels: NDArray[np.int32], count: int, seed: int) -> NDArray[np.int64]:
    """Returns `count` positions (all, where there are fewer), sorted by label: of each class as many as of another.

    Where classes are more than `count`, or run out of images, chance decides which are there; the seed is all of it.
    """
    order = permutation(stream(seed, Purpose.SHOW), len(labels))
    nth = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        mine = labels[order] == label
        nth[mine] = np.arange(mine.sum())
    chosen = order[np.argsort(nth, kind="stable")[:count]]
    return chosen[np.argsort(labels[chosen], kind="stable")]


def hold_out(examples: Examples, count: int, seed: int) -> tuple[Examples, Examples]:
    """Returns the examples in two: what stays, and a stratified part of `count`."""
    held = stratified(examples.labels, count, seed)
    stays = np.setdiff1d(np.arange(len(examples)), held)
    return examples.take(stays), examples.take(held)
