"""Decoded pixels: a uint8 cache on disk that is built once, memory-mapped, and gathered by index.

A cache is addressed by its content (which files, their sizes and times, and the geometry), is written under
a temporary name and renamed when whole.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vitcli.core.errors import DataError, VitError
from vitcli.core.recipe import Recipe
from vitcli.core.reporter import Reporter, Silent
from vitcli.data.dataset import Examples
from vitcli.data.decode import Geometry, Pixels, decode_short_side, decode_square

# Raised when the decoder changes what it returns: old caches are then not found.
_VERSION = 1
# Images per core that are decoded ahead of the one that is written.
_AHEAD = 8
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


class FileStore:
    """Images decoded each time they are asked for, by threads (the decoders release the interpreter lock)."""

    def __init__(self, paths: Sequence[Path], geometry: Geometry) -> None:
        self._paths, self._geometry = paths, geometry
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._paths)

    def sizes(self, index: Index) -> NDArray[np.int64]:
        """Returns the fitted side for each."""
        return np.full((len(index), 2), self._geometry.size, np.int64)

    def gather(self, index: Index, boxes: Boxes | None) -> tuple[Pixels, Boxes | None]:
        """Returns the whole fitted images."""
        images = self._threads.map(lambda i: decode_square(self._paths[i], self._geometry), index)
        return np.stack(list(images)), boxes


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
        if boxes is None:
            raise ValueError("a ragged store is gathered by boxes")
        out = np.zeros((len(index), self._canvas, self._canvas, self._shapes[0, 2]), np.uint8)
        for row, (i, box) in enumerate(zip(index, boxes, strict=True)):
            top, left, height, width = box
            out[row, :height, :width] = self._image(i)[top : top + height, left : left + width]
        moved = boxes.copy()
        moved[:, :2] = 0
        return out, moved

    def _image(self, i: int) -> Pixels:
        return self._packed[self._offsets[i] : self._offsets[i + 1]].reshape(self._shapes[i])


def geometry(recipe: Recipe, *, training: bool) -> Geometry:
    """Returns how a recipe fits images; evaluation and prediction see them alike."""
    size = recipe.cache_size if training else recipe.eval_size
    return Geometry(fit=recipe.data.fit, size=size, channels=recipe.model.in_channels)


def open_store(
    examples: Examples, recipe: Recipe, reporter: Reporter, title: str, *, training: bool = False
) -> Store:
    """Returns the decoded images of a part, from the cache or building it with all cores.

    Only `training` keeps the aspect where the recipe says so: evaluation sees what prediction sees.

    Raises:
        DataError: some images cannot be read, or the embedded pixels do not fit the recipe.
        VitError: the cache cannot be written.
    """
    shape = geometry(recipe, training=training)
    if isinstance(examples.images, np.ndarray):
        if examples.images.shape[1:] != (shape.size, shape.size, shape.channels):
            raise DataError(
                f"the images are {_shape(examples.images.shape[1:])}, but the recipe wants "
                f"{_shape((shape.size, shape.size, shape.channels))} "
                f"(data.cache_size x data.cache_size x model.in_channels)"
            )
        return SquareStore(examples.images)
    if recipe.data.cache == "none":
        return FileStore(examples.images, shape)
    ragged = training and recipe.data.cache == "ragged"
    settings = {**asdict(shape), "ragged": ragged}
    if ragged:
        del settings["fit"]  # pixels with their aspect kept are the same for either
    folder = cache_root() / _address(examples.images, settings)
    if not folder.is_dir():
        build = _build_ragged if ragged else _build_square
        _write(folder, lambda temporary: build(temporary, examples.images, shape, reporter, title))  # type: ignore[arg-type]
    if ragged:
        return _open_ragged(folder, len(examples), recipe)
    return SquareStore(np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False))


def few_images(examples: Examples, recipe: Recipe) -> Store:
    """Returns a few training images as a run would see them, decoded now and kept in memory alone.

    Raises:
        DataError: as `open_store`.
    """
    if isinstance(examples.images, np.ndarray) or recipe.data.cache != "ragged":
        uncached = recipe.data.model_copy(update={"cache": "none"})
        return open_store(examples, recipe.model_copy(update={"data": uncached}), Silent(), "", training=True)
    channels = recipe.model.in_channels
    images = [decode_short_side(path, recipe.cache_size, channels) for path in examples.images]
    shapes = np.array([image.shape for image in images], np.int64)
    return RaggedStore(np.concatenate([image.ravel() for image in images]), shapes, _canvas(recipe))


def cache_root() -> Path:
    """Returns the folder of caches: $VIT_CACHE, else $XDG_CACHE_HOME/vit, else ~/.cache/vit."""
    if given := os.environ.get("VIT_CACHE"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "vit"


def _address(paths: Sequence[Path], settings: dict[str, object]) -> str:
    digest = hashlib.sha256(json.dumps([_VERSION, settings], sort_keys=True).encode())
    for path in paths:
        try:
            status = path.stat()
        except OSError as error:
            raise DataError(f"cannot read image {path}: {error.strerror}") from error
        digest.update(
            f"{path.absolute()}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape")
        )
    return digest.hexdigest()[:32]


def _write(folder: Path, build: Callable[[Path], None]) -> None:
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # a killed run may have had the same process id
        temporary.mkdir(parents=True)
        build(temporary)
        temporary.rename(folder)
    except OSError as error:
        if folder.is_dir():  # another run has built the same cache meanwhile
            return
        raise VitError(
            f"cannot write the pixel cache in {folder.parent}: {error.strerror}; "
            f"set VIT_CACHE to a folder with room, or data.cache=none"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _build_square(
    folder: Path, paths: Sequence[Path], shape: Geometry, reporter: Reporter, title: str
) -> None:
    dimensions = (len(paths), shape.size, shape.size, shape.channels)
    _check_room(folder, math.prod(dimensions))
    pixels = np.lib.format.open_memmap(folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=dimensions)
    images = iter(pixels)

    def write(image: Pixels) -> None:
        next(images)[...] = image

    _decode_all(paths, lambda path: decode_square(path, shape), write, reporter, title)
    pixels.flush()


def _build_ragged(
    folder: Path, paths: Sequence[Path], shape: Geometry, reporter: Reporter, title: str
) -> None:
    # The short side of each is `size`: this is the least that they take.
    _check_room(folder, len(paths) * shape.size**2 * shape.channels)
    shapes: list[tuple[int, ...]] = []
    with (folder / "pixels.bin").open("wb") as file:

        def write(image: Pixels) -> None:
            file.write(image.tobytes())
            shapes.append(image.shape)

        _decode_all(
            paths, lambda path: decode_short_side(path, shape.size, shape.channels), write, reporter, title
        )
    np.save(folder / "shapes.npy", np.array(shapes, np.int64))


def _open_ragged(folder: Path, count: int, recipe: Recipe) -> RaggedStore:
    """Returns the ragged images of a cache.

    Raises:
        VitError: the cache does not hold what its list of shapes says.
    """
    packed = np.memmap(folder / "pixels.bin", np.uint8, mode="r")
    shapes: NDArray[np.int64] = np.load(folder / "shapes.npy", allow_pickle=False)
    expected = int(shapes.prod(axis=1).sum())
    if (len(shapes), len(packed)) != (count, expected):
        raise VitError(
            f"the pixel cache {folder} is damaged: it has {len(packed):,} bytes, where {count:,} images "
            f"listed as {len(shapes):,} make {expected:,}; remove that folder, and it will be made anew"
        )
    return RaggedStore(packed, shapes, _canvas(recipe))


def _canvas(recipe: Recipe) -> int:
    """Returns the longest side of a box: of one whose short side rounds to `cache_size`."""
    low, high = recipe.augment.crop_ratio
    return math.ceil((recipe.cache_size + 0.5) * max(high, 1 / low) + 0.5)


def _decode_all(
    paths: Sequence[Path],
    decode: Callable[[Path], Pixels],
    write: Callable[[Pixels], None],
    reporter: Reporter,
    title: str,
) -> None:
    """Decodes images by all cores and writes them in order; few are in memory at a time.

    Raises:
        DataError: some cannot be read; they are counted to the end and told together.
    """
    cores, rest = os.cpu_count() or 1, iter(paths)
    faults: list[str] = []
    with (
        ThreadPoolExecutor(cores) as threads,
        reporter.track(title, len(paths), "images") as advance,
    ):
        ahead = deque(threads.submit(decode, path) for path in islice(rest, _AHEAD * cores))
        while ahead:
            try:
                write(ahead.popleft().result())
            except DataError as error:
                faults.append(str(error))
            ahead.extend(threads.submit(decode, path) for path in islice(rest, 1))
            advance(1)
    if faults:
        faults.sort()
        count = f"{len(faults)} of {len(paths)} images cannot be read; first: " if len(faults) > 1 else ""
        raise DataError(f"{count}{faults[0]}; replace what cannot be read, or take it out of the data")


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > 0.95 * free:
        raise VitError(
            f"the pixel cache needs {needed / 1e9:.1f} GB in {folder.parent}, {free / 1e9:.1f} GB are free; "
            f"set VIT_CACHE to a folder with room, or data.cache=none"
        )


def _shape(sides: Sequence[int]) -> str:
    return " x ".join(str(side) for side in sides)
