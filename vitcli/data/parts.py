"""Parts of a data set made ready: every image looked at, what cannot be read told, pixels at hand by index."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from vitcli.core.errors import DataError
from vitcli.core.recipe import DataSpec, Recipe
from vitcli.core.reporter import Reporter, Silent
from vitcli.data.cache import cached, least_size, scanned
from vitcli.data.dataset import Dataset, Examples, Split
from vitcli.data.decode import Geometry, Items, Pixels
from vitcli.data.scan import scan, tell
from vitcli.data.store import SquareStore, Store, StreamStore, canvas

# Faults that an error lists.
_LISTED = 8


@dataclass(frozen=True, kw_only=True)
class Part:
    """The readable images of a part, and their labels.

    Attributes:
        store: the pixels.
        labels: int32 (n,).
        total: how many images there are, unreadable ones included.
        faults: why the others cannot be read, one line each.
        digests: uint64 (n,), a hash of each file; 0 where there is none.
    """

    store: Store
    labels: NDArray[np.int32]
    total: int
    faults: tuple[str, ...]
    digests: NDArray[np.uint64]

    def __len__(self) -> int:
        """Number of readable images."""
        return len(self.labels)


def open_parts(
    dataset: Dataset, recipe: Recipe, reporter: Reporter, splits: Sequence[Split], *, training: bool = False
) -> dict[Split, Part]:
    """Returns parts whose images have all been looked at, now or before, and tells what is odd about them.

    Args:
        dataset: of which they are parts.
        recipe: says how images are fitted and cached, and how many may be unreadable (`data.skip_bad`).
        reporter: is told.
        splits: which parts.
        training: only training's own part keeps the aspect where the recipe says so: evaluation sees what
            prediction sees.

    Raises:
        DataError: more images cannot be read than the recipe allows, or none can.
        VitError: the cache cannot be written.
    """
    for note in dataset.notes:
        reporter.note(note)
    parts = {}
    for split in splits:
        shape = geometry(recipe, training=training and split == "train")
        parts[split] = _part(dataset.parts[split], recipe, shape, reporter, f"{split} images")
    check_faults(parts, recipe.data)
    if "train" in parts and "validation" in parts:
        _tell_twins(parts["train"].digests, parts["validation"].digests, reporter)
    return parts


def few_images(examples: Examples, recipe: Recipe) -> Store:
    """Returns a few training images as a run would see them, decoded when they are asked for.

    Raises:
        DataError: one cannot be read.
    """
    images, shape = examples.images, geometry(recipe, training=True)
    if fits(images, shape):
        return SquareStore(images)
    found = scan(images, shape, Silent(), "")
    for fault in found.faults.values():
        raise DataError(fault)
    return StreamStore(images, shape, found, canvas(recipe), threads=0)


def geometry(recipe: Recipe, *, training: bool) -> Geometry:
    """Returns how a recipe fits images; evaluation and prediction see them alike."""
    return Geometry(
        fit="aspect" if training and recipe.data.cache == "ragged" else recipe.data.fit,
        size=recipe.cache_size if training else recipe.eval_size,
        channels=recipe.model.in_channels,
        fast=training and recipe.data.decoder == "fast",
        interpolation=recipe.data.interpolation,
        inner=None if training else recipe.model.image_size,
    )


def check_faults(parts: Mapping[Split, Part], data: DataSpec) -> None:
    """Checks that no more images are unreadable than are allowed.

    Raises:
        DataError: more are, or a part has no other.
    """
    faults = [fault for part in parts.values() for fault in part.faults]
    total = sum(part.total for part in parts.values())
    if len(faults) > data.allowed_bad(total):
        listed = "; ".join(faults[:_LISTED])
        if len(faults) > _LISTED:
            listed += f"; ... (vit datasets scan {data.source} lists all)"
        count = f"{len(faults)} of {total:,} images cannot be read: " if len(faults) > 1 else ""
        enough = f"--skip-bad {len(faults)}" + (f" (not {data.skip_bad})" if data.skip_bad != "0" else "")
        raise DataError(f"{count}{listed}; replace what cannot be read, take it out, or say {enough}")
    for split, part in parts.items():
        if not len(part):
            raise DataError(f"none of the {part.total:,} {split} images can be read, first: {part.faults[0]}")


def _part(examples: Examples, recipe: Recipe, shape: Geometry, reporter: Reporter, name: str) -> Part:
    images, data = examples.images, recipe.data
    budget = 0.0 if data.cache == "none" else data.cache_budget
    store: Store
    if fits(images, shape):
        return Part(
            store=SquareStore(images),
            labels=examples.labels,
            total=len(examples),
            faults=(),
            digests=np.zeros(len(examples), np.uint64),
        )
    if budget is None or least_size(len(examples), shape) <= budget * 1e9:
        store, found = cached(images, shape, canvas(recipe), reporter, f"decoding {name}")
    else:
        found = scanned(images, shape, reporter, f"scanning {name}")
        threads = data.threads if data.threads is not None else os.cpu_count() or 1
        readable = examples.take(found.good).images if found.faults else images
        store = StreamStore(readable, shape, found, canvas(recipe), threads)
    tell(found.remarks, name, reporter)
    return Part(
        store=store,
        labels=examples.labels[found.good],
        total=len(examples),
        faults=tuple(found.faults.values()),
        digests=found.digests[found.good],
    )


def fits(images: Items, shape: Geometry) -> TypeGuard[Pixels]:
    """Whether images are pixels that need nothing done to them."""
    return isinstance(images, np.ndarray) and images.shape[1:] == (shape.size, shape.size, shape.channels)


def _tell_twins(train: NDArray[np.uint64], validation: NDArray[np.uint64], reporter: Reporter) -> None:
    twins = int(np.isin(validation[validation > 0], train).sum())
    if twins:
        reporter.note(f"{twins:,} validation images are also among the training images, byte for byte")
