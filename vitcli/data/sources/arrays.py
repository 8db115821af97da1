"""An .npz of images and labels, read without ever unpickling."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitcli.core.errors import DataError
from vitcli.data.dataset import Dataset, Split
from vitcli.data.sources.labels import PARTS, by_number, some

# Bytes of all arrays that are read, together.
MOST = 8 << 30
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_KEYS = "images and labels; x_train, y_train, x_test, y_test; or train_images, train_labels, test_images, ..."


def holds(path: Path) -> bool:
    """Returns whether a file is a zip of arrays alone, or claims to be one by its name."""
    if not zipfile.is_zipfile(path):
        return path.suffix.lower() == ".npz"
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return path.suffix.lower() == ".npz"
    return bool(names) and all(name.endswith(".npy") for name in names)


def read(path: Path) -> Dataset:
    """Returns the images of an .npz: uint8 (n, H, W), (n, H, W, 1 or 3) or (n, 3, H, W).

    Raises:
        DataError: no arrays of the names that are known, another shape or type, too large, damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            pairs = _pairs(members)
            if "train" not in pairs:
                raise DataError(f"{path} holds {some(members)}; expected {_KEYS}")
            chosen = [members[key] for pair in pairs.values() for key in pair]
            chosen += [members["classes"]] if "classes" in members else []
            total = sum(info.file_size for info in chosen)
            if total > MOST:
                raise DataError(
                    f"{path} unfolds to {total / 2**30:.1f} GiB; {MOST >> 30} GiB are the most that is read from an "
                    f".npz: put the images in class folders"
                )
            parts = {part: _part(path, archive, *pair) for part, pair in pairs.items()}
            classes = _classes(path, archive) if "classes" in members else None
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path} cannot be read as .npz: {error}") from error
    except MemoryError as error:
        raise DataError(f"{path} does not fit into memory; put the images in class folders") from error
    shapes = {images.shape[1:] for images, _ in parts.values()}
    if len(shapes) > 1:
        raise DataError(f"{path} has images of {some(map(_times, shapes))}; all parts must have one size")
    return by_number(str(path), parts, classes=classes)


def _pairs(members: Mapping[str, object]) -> dict[Split, tuple[str, str]]:
    """Returns the names of images and labels of each part that is there."""
    known = {name.lower(): name for name in members}
    pairs: dict[Split, tuple[str, str]] = {}
    for part, names in PARTS.items():
        spelt = [(f"x_{name}", f"y_{name}") for name in names]
        spelt += [(f"{name}_images", f"{name}_labels") for name in names]
        spelt += [("images", "labels")] if part == "train" else []
        found = [(known[x], known[y]) for x, y in spelt if x in known and y in known]
        if found:
            pairs[part] = found[0]
    return pairs


def _part(
    path: Path, archive: zipfile.ZipFile, x: str, y: str
) -> tuple[NDArray[np.uint8], NDArray[np.integer[Any]]]:
    images = channels_last(f"{path}, {x}", _array(path, archive, x, np.dtype(np.uint8)))
    labels = _array(path, archive, y)
    if labels.dtype.kind not in "iu" or labels.shape not in ((labels.size,), (labels.size, 1)):
        raise DataError(
            f"{path}, {y} is {labels.dtype} of {_times(labels.shape)}; labels are whole numbers, one for each image"
        )
    return images, labels.reshape(-1)


def channels_last(name: str, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns images as (n, H, W, C), from that, from (n, H, W) or from (n, C, H, W).

    Raises:
        DataError: another shape, or one that can be read in two ways.
    """
    shape = images.shape
    if len(shape) == 3:
        images = images[..., None]
    elif len(shape) == 4:
        first, last = shape[1] in (1, 3), shape[3] in (1, 3)
        if first and last:
            raise DataError(f"{name} is {_times(shape)}: channels first or last? save it as (n, H, W, C)")
        if first:
            images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape[1:]:
        raise DataError(f"{name} is {_times(shape)}; expected (n, H, W), (n, H, W, 1 or 3) or (n, 3, H, W)")
    return images


def _classes(path: Path, archive: zipfile.ZipFile) -> list[str]:
    names = _array(path, archive, "classes")
    if names.dtype.kind != "U" or names.ndim != 1:
        raise DataError(
            f"{path}, classes is {names.dtype} of {_times(names.shape)}; expected one row of strings"
        )
    return [str(name) for name in names]


def _array(
    path: Path, archive: zipfile.ZipFile, name: str, wanted: np.dtype[Any] | None = None
) -> NDArray[Any]:
    """Returns an array whose header has been held against its member's size, and its type, before it is read."""
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise DataError(f"{path}, {name}: .npy of version {version}; 1.0 and 2.0 are read")
        shape, _, dtype = _HEADERS[version](file)
        begin = file.tell()
    if dtype.hasobject:
        raise DataError(f"{path}, {name} is pickled, which is never loaded; save it as numbers or strings")
    if wanted is not None and dtype != wanted:
        raise DataError(f"{path}, {name} is {dtype}; pixels are {wanted} from 0 to 255: save them as such")
    if begin + math.prod(shape) * dtype.itemsize != member.file_size:
        raise DataError(f"{path}, {name} is cut short or too long for its shape {_times(shape)}")
    with archive.open(member) as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "no axes"
