"""All images of a part are looked at before the first step: what cannot be read, how large they are, what is odd."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vitcli.core.errors import DataError
from vitcli.core.reporter import Reporter
from vitcli.data.decode import Geometry, Item, Items, Seen, look

# Images that a thread takes at a time (a task each would cost as much as a small image does), and how many such
# pieces per core are decoded ahead of the one that is written.
PIECE, _AHEAD = 16, 2
_REMARKS = {
    "format": "of another format than their names say: read by their content",
    "frames": "with several frames or pages: the first is read",
    "tiny": "one pixel wide or high",
}
_FILE = "scan.npz"
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What was found in the images of a part.

    Attributes:
        sides: int32 (n, 2), height and width upright; 0 where the image cannot be read.
        digests: uint64 (n,), a hash of each file; 0 where there is no file, or none that can be read.
        faults: why an image cannot be read, by position.
        remarks: how many images are odd in which way (`vitcli.data.decode.Seen`).
    """

    sides: NDArray[np.int32]
    digests: NDArray[np.uint64]
    faults: Mapping[int, str]
    remarks: Mapping[str, int]

    @property
    def good(self) -> NDArray[np.int64]:
        """Positions of the images that can be read."""
        return np.setdiff1d(np.arange(len(self.sides)), np.fromiter(self.faults, np.int64))

    def save(self, folder: Path) -> None:
        """Writes it into a folder."""
        np.savez(
            folder / _FILE,
            sides=self.sides,
            digests=self.digests,
            faulty=np.array(list(self.faults), np.int64),
            faults=_texts(self.faults.values()),
            remarks=_texts(self.remarks),
            counts=np.array(list(self.remarks.values()), np.int64),
        )

    @classmethod
    def load(cls, folder: Path) -> Scan:
        """Returns what `save` wrote."""
        with np.load(folder / _FILE, allow_pickle=False) as file:
            faults = dict(zip(file["faulty"].tolist(), file["faults"].tolist(), strict=True))
            remarks = dict(zip(file["remarks"].tolist(), file["counts"].tolist(), strict=True))
            return cls(sides=file["sides"], digests=file["digests"], faults=faults, remarks=remarks)


class Notebook:
    """A scan in the making: one line an image, in order."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, int, int]] = []
        self._faults: dict[int, str] = {}
        self._remarks: dict[str, int] = {}

    def add(self, found: Seen | DataError) -> None:
        """Notes the next image."""
        if isinstance(found, DataError):
            self._faults[len(self._lines)] = str(found)
            self._lines.append((0, 0, 0))
            return
        self._lines.append((*found.sides, found.digest))
        for remark in found.remarks:
            self._remarks[remark] = self._remarks.get(remark, 0) + 1

    def scan(self) -> Scan:
        """Returns all that was noted."""
        sides = np.array([line[:2] for line in self._lines], np.int32).reshape(-1, 2)
        digests = np.array([line[2] for line in self._lines], np.uint64)
        return Scan(sides=sides, digests=digests, faults=self._faults, remarks=self._remarks)


def scan(items: Items, geometry: Geometry, reporter: Reporter, title: str) -> Scan:
    """Reads every image to its end by all cores, and keeps no pixel."""
    notebook = Notebook()
    for found in attempts(items, lambda item: look(item, geometry), reporter, title):
        notebook.add(found)
    return notebook.scan()


def attempts(
    items: Items, work: Callable[[Item], T], reporter: Reporter, title: str
) -> Iterator[T | DataError]:
    """Yields, in order, what work makes of each image, or its DataError; few are in memory at a time."""
    cores = os.cpu_count() or 1

    def attempt(item: Item) -> T | DataError:
        try:
            return work(item)
        except DataError as error:
            return error

    def piece(start: int) -> list[T | DataError]:
        return [attempt(item) for item in items[start : start + PIECE]]

    rest = iter(range(0, len(items), PIECE))
    with ThreadPoolExecutor(cores) as threads, reporter.track(title, len(items), "images") as advance:
        ahead = deque(threads.submit(piece, start) for start in islice(rest, _AHEAD * cores))
        while ahead:
            done = ahead.popleft().result()
            yield from done
            ahead.extend(threads.submit(piece, start) for start in islice(rest, 1))
            advance(len(done))


def tell(remarks: Mapping[str, int], name: str, reporter: Reporter) -> None:
    """Tells how many images are odd in which way, a line each."""
    for remark, count in sorted(remarks.items()):
        reporter.note(f"{name}: {count:,} {_REMARKS[remark]}")


def _texts(texts: object) -> NDArray[np.str_]:
    # An empty list would have a width of its own: none.
    return np.array(list(texts), np.str_)  # type: ignore[call-overload]
