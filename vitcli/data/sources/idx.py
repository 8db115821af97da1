"""MNIST's files, and those of sets that follow it: idx3 of images, idx1 of labels, gzipped or not.

The format: LeCun, Cortes & Burges, The MNIST Database (http://yann.lecun.com/exdb/mnist): big-endian magic
(0, 0, type 8 = uint8, number of axes), the length of each axis, then the bytes.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vitcli.core.errors import DataError
from vitcli.core.recipe import DataSpec
from vitcli.data.dataset import Dataset, Split
from vitcli.data.sources.arrays import MOST
from vitcli.data.sources.labels import by_number

_STEMS: dict[Split, str] = {"train": "train", "test": "t10k"}
_What = Literal["images", "labels"]
_AXES: dict[_What, int] = {"images": 3, "labels": 1}


def holds(folder: Path) -> bool:
    """Returns whether a folder has MNIST's training images."""
    return _find(folder, "train", "images") is not None


def read(folder: Path, data: DataSpec) -> Dataset:
    """Returns the images of idx files; labels are the names of classes.

    Raises:
        DataError: a file of a pair is absent, of another kind, cut short or too long.
    """
    parts: dict[Split, tuple[NDArray[np.uint8], NDArray[np.uint8]]] = {}
    for part, stem in _STEMS.items():
        images, labels = _find(folder, stem, "images"), _find(folder, stem, "labels")
        if images is None and labels is None:
            continue
        if images is None or labels is None:
            have, lack = ("images", "labels") if images else ("labels", "images")
            raise DataError(f"{folder} has {stem}-{have} but no {stem}-{lack}-idx{_AXES[lack]}-ubyte")  # type: ignore[index]
        parts[part] = _read(images, 3)[..., None], _read(labels, 1)
    if len({images.shape[1:] for images, _ in parts.values()}) > 1:
        raise DataError(f"{folder}: training and test images differ in size")
    return by_number(str(folder), parts)


def _find(folder: Path, stem: str, what: _What) -> Path | None:
    names = [f"{stem}-{what}{mark}idx{_AXES[what]}-ubyte{end}" for end in ("", ".gz") for mark in "-."]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read(path: Path, axes: int) -> NDArray[np.uint8]:
    """Returns the array of a file that holds exactly what its header says."""
    packed = path.stat().st_size
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(4 + 4 * axes)
            if header[:4] != bytes((0, 0, 8, axes)):
                raise DataError(
                    f"{path} is no idx{axes} file of bytes: it begins with {header[:4].hex() or 'nothing'}, "
                    f"not {bytes((0, 0, 8, axes)).hex()}; get it again"
                )
            if len(header) < 4 + 4 * axes:
                raise DataError(f"{path} ends within its header; get it again")
            shape = struct.unpack(f">{axes}I", header[4:])
            size = math.prod(shape)
            # Deflate packs 1,032 bytes into one at most: a header cannot make us reserve what is not there.
            if size > min(MOST, 1032 * packed):
                raise DataError(f"{path} has {packed:,} bytes, its header says {size:,}; get it again")
            content = file.read(size + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged or cut short: {error}; get it again") from error
    if len(content) != size:
        more = "more than" if len(content) > size else f"{len(content):,} of"
        raise DataError(f"{path} holds {more} the {size:,} bytes that its header says; get it again")
    return np.frombuffer(content, np.uint8).reshape(shape)
