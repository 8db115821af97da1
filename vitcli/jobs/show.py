"""Some images of a data set with their labels, to look at; no engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitcli.core.errors import DataError, RequestError, nearest
from vitcli.data.dataset import SPLITS, evenly
from vitcli.data.decode import decode_within
from vitcli.data.sources import open_source
from vitcli.jobs.drafts import provisional, recipe_draft

# Longest side in pixels of what is shown: about twice what a cell of the picture has.
SIZE = 384


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Images chosen from one part of a data set, sorted by class.

    Attributes:
        data: name of the data set.
        split: its part.
        total: images in that part.
        classes: number of classes.
        images: uint8 (h, w, C): files in RGB, aspect kept, at most `SIZE` pixels a side; embedded ones as they are.
        labels: the class name of each.
        paths: the file of each; None where the set is embedded.
        positions: of each in its part.
    """

    data: str
    split: str
    total: int
    classes: int
    images: list[NDArray[np.uint8]]
    labels: list[str]
    paths: list[Path | None]
    positions: list[int]


def show(
    source: str, *, overrides: Sequence[str] = (), split: str = "train", count: int = 25, seed: int = 0
) -> Sample:
    """Returns up to `count` images of a part: as many of each class as of another, chosen by the seed.

    Args:
        source: a known name, a folder, a table or an archive, as for training.
        overrides: `data.key=value`, as for training.
        split: `train`, `validation` or `test`.
        count: images.
        seed: of the choice; which images validation holds out is as in training with train.seed=0.

    Raises:
        RequestError: the split is not known, or the data is not there or cannot be read.
    """
    if split not in SPLITS:
        raise RequestError(
            f"--split {split} is not known{nearest(split, SPLITS)}; allowed: {', '.join(SPLITS)}"
        )
    recipe = provisional(recipe_draft("folder", overrides, data=source))
    dataset = open_source(recipe.data, seed=recipe.train.seed)
    part = dataset.parts.get(split)
    if part is None:
        raise DataError(f"{dataset.name} has no {split} images; it has {', '.join(dataset.parts)}")
    positions = evenly(part.labels, count, seed)
    chosen = part.take(positions)
    images: list[NDArray[np.uint8]]
    paths: list[Path | None]
    if isinstance(chosen.images, np.ndarray):
        images, paths = list(chosen.images), [None] * len(chosen)
    else:
        images, paths = [decode_within(path, SIZE) for path in chosen.images], list(chosen.images)
    return Sample(
        data=dataset.name,
        split=split,
        total=len(part),
        classes=len(dataset.classes),
        images=images,
        labels=[dataset.classes[label] for label in chosen.labels],
        paths=paths,
        positions=positions.tolist(),
    )
