"""Decoded pixels by index: in memory, memory-mapped, or decoded each time they are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vitcli.core.errors import DataError
from vitcli.core.recipe import Recipe
from vitcli.data.decode import Geometry, Items, Pixels, examine
from vitcli.data.scan import Scan

Boxes = NDArray[np.int32]
Index = NDArray[np.int64]


class Store(Protocol):
    """Decoded images by index."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def sizes(self, index: Index) -> NDArray[np.int64]:
        """Returns (n, 2): height and width of the pixels from which boxes may be cut."""
        ...

    def gather(self, index: Index, boxes: Boxes | None) -> tuple[Pixels, Boxes | None]:
        """Returns images (n, S, S, C) that hold the boxes (top, left, height, width), and the boxes in them.

        Without boxes: the fitted images, of which evaluation cuts the middle out.
        """
        ...


class SquareStore:
    """Images that are all of one size, in memory or memory-mapped."""

    def __init__(self, pixels: Pixels) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        """Number of images."""
        return len(self.pixels)

    def sizes(self, index: Index) -> NDArray[np.int64]:
        """Returns the same height and width for each."""
        return np.broadcast_to(np.array(self.pixels.shape[1:3], np.int64), (len(index), 2))

    def gather(self, index: Index, boxes: Boxes | None) -> tuple[Pixels, Boxes | None]:
        """Returns the whole images."""
        return self.pixels[index], boxes


class RaggedStore:
    """Images with their aspect kept, for random boxes: packed bytes, where each begins, height and width."""

    def __init__(self, packed: NDArray[np.uint8], shapes: NDArray[np.int64], canvas: int) -> None:
        self._packed, self._shapes, self._canvas = packed, shapes, canvas
        self._offsets = np.concatenate([[0], np.cumsum(shapes.prod(axis=1))])

    def __len__(self) -> int:
        """Number of images."""
        return len(self._shapes)

    def sizes(self, index: Index) -> NDArray[np.int64]:
        """Returns each image's own height and width."""
        return self._shapes[index, :2]

    def gather(self, index: Index, boxes: Boxes | None) -> tuple[Pixels, Boxes | None]:
        """Returns each box copied to the upper left of a canvas that holds the largest box."""
        return cut(map(self._image, index), boxes, self._canvas)

    def _image(self, i: int) -> Pixels:
        return self._packed[self._offsets[i] : self._offsets[i + 1]].reshape(self._shapes[i])


class StreamStore:
    """Images decoded each time they are asked for, by threads (the decoders release the interpreter lock)."""

    def __init__(self, items: Items, geometry: Geometry, scan: Scan, canvas: int, threads: int) -> None:
        self._items, self._geometry, self._canvas = items, geometry, canvas
        # Of the images that can be read, which the items are.
        self._sides, self._digests = _fitted(scan.sides[scan.good], geometry), scan.digests[scan.good]
        self._threads = ThreadPoolExecutor(threads) if threads else None

    def __len__(self) -> int:
        """Number of images."""
        return len(self._items)

    def sizes(self, index: Index) -> NDArray[np.int64]:
        """Returns each image's height and width as it will be decoded."""
        return self._sides[index]

    def gather(self, index: Index, boxes: Boxes | None) -> tuple[Pixels, Boxes | None]:
        """Returns the images, or (of those with their aspect kept) the boxes in a canvas that holds the largest.

        Raises:
            DataError: an image cannot be read any more, or is another one than was scanned.
        """
        images = self._each(self._image, index)
        if self._geometry.fit == "aspect":
            return cut(images, boxes, self._canvas)
        return np.stack(list(images)), boxes

    def _each(self, work: Callable[[int], Pixels], index: Index) -> Iterable[Pixels]:
        return map(work, index) if self._threads is None else self._threads.map(work, index)

    def _image(self, i: int) -> Pixels:
        pixels, seen = examine(self._items[i], self._geometry)
        if seen.digest != self._digests[i]:
            raise DataError(f"{self._items[i]} has changed since the images were scanned")
        return pixels


def cut(images: Iterable[Pixels], boxes: Boxes | None, canvas: int) -> tuple[Pixels, Boxes]:
    """Returns each box copied to the upper left of a black square, and where the boxes are then."""
    if boxes is None:
        raise ValueError("images with their aspect kept are gathered by boxes")
    out: Pixels | None = None
    for row, (image, (top, left, height, width)) in enumerate(zip(images, boxes, strict=True)):
        if out is None:
            out = np.zeros((len(boxes), canvas, canvas, image.shape[2]), np.uint8)
        out[row, :height, :width] = image[top : top + height, left : left + width]
    if out is None:
        raise ValueError("no images are asked for")
    moved = boxes.copy()
    moved[:, :2] = 0
    return out, moved


def _fitted(sides: NDArray[np.int32], geometry: Geometry) -> NDArray[np.int64]:
    """Returns the sides (n, 2) that images of these sides have once they are decoded."""
    if geometry.fit != "aspect":
        return np.full(sides.shape, geometry.size, np.int64)
    # As `aspect_sides`, for all at once.
    resized: NDArray[np.float64] = np.rint(sides * (geometry.size / sides.min(axis=1, keepdims=True)))
    return np.maximum(geometry.size, resized).astype(np.int64)


def canvas(recipe: Recipe) -> int:
    """Returns the longest side of a box: of one whose short side rounds to `cache_size`."""
    low, high = recipe.augment.crop_ratio
    return math.ceil((recipe.cache_size + 0.5) * max(high, 1 / low) + 0.5)
