"""A report of all images of a data set: what is there, what is odd, what cannot be read; no engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitcli.core.reporter import Reporter, Silent
from vitcli.data.cache import scanned
from vitcli.data.dataset import Dataset, Examples
from vitcli.data.decode import Geometry
from vitcli.data.scan import Scan
from vitcli.data.sources import open_source
from vitcli.jobs.drafts import provisional, recipe_draft

# Whatever becomes of the pixels, an image is read to its end.
_ANY = Geometry(fit="squash", size=1, channels=3)


@dataclass(frozen=True, kw_only=True)
class PartReport:
    """What one part of a data set holds.

    Attributes:
        images: how many there are, unreadable ones included.
        by_class: images of each class.
        short_side: smallest, median and largest short side of the readable images, in pixels.
        long_side: the same of the long side.
        remarks: how many are odd in which way (`vitcli.data.decode.Seen`).
        faults: why images cannot be read, one line each.
    """

    images: int
    by_class: dict[str, int]
    short_side: tuple[int, int, int]
    long_side: tuple[int, int, int]
    remarks: dict[str, int]
    faults: list[str]


def scan(
    source: str, *, overrides: Sequence[str] = (), reporter: Reporter | None = None
) -> dict[str, PartReport]:
    """Returns a report of each part; every image is read to its end once, and not again until it changes.

    Args:
        source: a known name, a folder, a table or an archive, as for training.
        overrides: `data.key=value`, as for training.
        reporter: is told what happens.

    Raises:
        RequestError: the data is not there.
    """
    reporter = reporter or Silent()
    recipe = provisional(recipe_draft("folder", overrides, data=source))
    dataset = open_source(recipe.data, seed=recipe.train.seed, reporter=reporter)
    for note in dataset.notes:
        reporter.note(note)
    return {
        split: _report(dataset, part, scanned(part.images, _ANY, reporter, f"scanning {split} images"))
        for split, part in dataset.parts.items()
    }


def _report(dataset: Dataset, part: Examples, found: Scan) -> PartReport:
    counts = np.bincount(part.labels, minlength=len(dataset.classes)).tolist()
    sides = found.sides[found.good]
    return PartReport(
        images=len(part),
        by_class=dict(zip(dataset.classes, counts, strict=True)),
        short_side=_range(sides.min(axis=1)),
        long_side=_range(sides.max(axis=1)),
        remarks=dict(found.remarks),
        faults=list(found.faults.values()),
    )


def _range(values: np.ndarray[tuple[int, ...], np.dtype[np.int32]]) -> tuple[int, int, int]:
    if not len(values):
        return 0, 0, 0
    return int(values.min()), int(np.median(values)), int(values.max())
