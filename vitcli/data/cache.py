"""A cache of decoded pixels on disk: built once by all cores, memory-mapped, found again by its content.

A cache is addressed by what it is made of (which files, their sizes and times, and the geometry), is written
under a temporary name and renamed when whole. Beside the pixels of the images that can be read lies the scan,
which tells of all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitcli.core.errors import DataError, VitError
from vitcli.core.reporter import Reporter
from vitcli.data.decode import Geometry, Items, examine, look
from vitcli.data.files import Files
from vitcli.data.places import cache_root
from vitcli.data.scan import Notebook, Scan, attempts, scan
from vitcli.data.store import RaggedStore, SquareStore

# Raised when the decoder changes what it returns: old caches are then not found.
_VERSION = 4
_PIXELS, _SHAPES = "pixels.bin", "shapes.npy"


def cached(
    items: Items, geometry: Geometry, canvas: int, reporter: Reporter, title: str
) -> tuple[SquareStore | RaggedStore, Scan]:
    """Returns the images that can be read, from the cache or building it, and the scan of all.

    Args:
        items: files, or pixels (n, H, W, C).
        geometry: how they are brought to size.
        canvas: of images with their aspect kept, the longest side of a box that is cut out of them.
        reporter: is told of the building.
        title: of the building.

    Raises:
        VitError: the cache cannot be written, or is damaged.
    """
    folder = cache_root() / _address(items, asdict(geometry))
    if not _valid(folder, items, geometry):
        with _building(folder) as temporary:
            build(temporary, items, geometry, reporter, title)
    return opened(folder, geometry, canvas)


def scanned(items: Items, geometry: Geometry, reporter: Reporter, title: str) -> Scan:
    """Returns the scan of images that are not cached; the scan itself is, where that is possible."""
    folder = cache_root() / _address(items, {**asdict(geometry), "scan": True})
    if _valid(folder, items, geometry):
        return Scan.load(folder)
    found = scan(items, geometry, reporter, title)
    with suppress(VitError), _building(folder) as temporary:
        found.save(temporary)
    return found


def opened(folder: Path, geometry: Geometry, canvas: int) -> tuple[SquareStore | RaggedStore, Scan]:
    """Returns what `build` wrote into a folder.

    Raises:
        VitError: it is damaged.
    """
    found = Scan.load(folder)
    shapes: NDArray[np.int64] = np.load(folder / _SHAPES, allow_pickle=False)
    size = int(shapes.prod(axis=1).sum())
    if (folder / _PIXELS).stat().st_size != size or len(shapes) != len(found.good):
        raise VitError(
            f"the pixel cache {folder} is damaged: {_PIXELS} has {(folder / _PIXELS).stat().st_size:,} bytes, where "
            f"{len(shapes):,} images make {size:,}; remove that folder, and it will be made anew"
        )
    if not size:  # an empty file cannot be mapped
        return SquareStore(np.zeros((0, geometry.size, geometry.size, geometry.channels), np.uint8)), found
    packed = np.memmap(folder / _PIXELS, np.uint8, mode="r")
    if geometry.fit == "aspect":
        return RaggedStore(packed, shapes, canvas), found
    return SquareStore(packed.reshape(len(shapes), *shapes[0])), found


def least_size(count: int, geometry: Geometry) -> int:
    """Returns how many bytes so many images take at least: those of a square each."""
    return count * geometry.size**2 * geometry.channels


def _valid(folder: Path, items: Items, geometry: Geometry) -> bool:
    """Returns whether a folder holds what was found, and what could not be read then cannot be read now.

    Permissions and disks change, and leave a file's size and time as they are.
    """
    if not folder.is_dir():
        return False
    for index in Scan.load(folder).faults:
        with suppress(DataError):
            look(items[index], geometry)
            shutil.rmtree(folder, ignore_errors=True)
            return False
    return True


def build(folder: Path, items: Items, geometry: Geometry, reporter: Reporter, title: str) -> None:
    """Decodes images by all cores and writes them into a folder, with the scan of all.

    Raises:
        VitError: there is no room.
    """
    _check_room(folder, least_size(len(items), geometry))
    notebook, shapes = Notebook(), []
    # Written in order as a plain file: a memory map would be killed by the system where the disk is full.
    with (folder / _PIXELS).open("wb") as file:
        for found in attempts(items, lambda item: examine(item, geometry), reporter, title):
            if isinstance(found, DataError):
                notebook.add(found)
                continue
            pixels, seen = found
            notebook.add(seen)
            file.write(np.ascontiguousarray(pixels).data)
            shapes.append(pixels.shape)
    np.save(folder / _SHAPES, np.array(shapes, np.int64).reshape(-1, 3))
    notebook.scan().save(folder)


def _address(items: Items, settings: dict[str, object]) -> str:
    digest = hashlib.sha256(json.dumps([_VERSION, settings], sort_keys=True).encode())
    if isinstance(items, np.ndarray):
        digest.update(repr(items.shape).encode())
        digest.update(np.ascontiguousarray(items).data)
        return digest.hexdigest()[:32]
    here = os.getcwd()
    for path in items.names if isinstance(items, Files) else items:
        try:
            status = os.stat(path)
            state = f"{status.st_size}\0{status.st_mtime_ns}"
        except OSError:  # a fault as others are
            state = "none"
        name = os.path.join(here, path)
        digest.update(f"{name}\0{state}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


@contextmanager
def _building(folder: Path) -> Iterator[Path]:
    """Yields a temporary folder that takes the place of `folder` when the body is done."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # a killed run may have had the same process id
        temporary.mkdir(parents=True)
        yield temporary
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


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > 0.95 * free:
        raise VitError(
            f"the pixel cache needs {needed / 1e9:.1f} GB in {folder.parent}, {free / 1e9:.1f} GB are free; "
            f"set VIT_CACHE to a folder with room, or data.cache=none"
        )
