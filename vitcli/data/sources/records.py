"""Binaries of fixed records: CIFAR-10, CIFAR-100 (Krizhevsky 2009) and STL-10 (Coates, Ng & Lee 2011).

CIFAR's records: one label byte (CIFAR-100: coarse, then fine), then 3 x 32 x 32 bytes, row by row.
STL's: 3 x 96 x 96 bytes, column by column, labels 1 to 10 in a file of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitcli.core.errors import DataError
from vitcli.core.recipe import DataSpec
from vitcli.data.dataset import Dataset, Split
from vitcli.data.sources.labels import by_number

_Part = tuple[NDArray[np.uint8], NDArray[np.int64]]
_BATCHES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_STL: Sequence[Split] = ("train", "test")


def holds(folder: Path) -> bool:
    """Returns whether a folder has the binaries of CIFAR or STL, or CIFAR's pickles."""
    return _cifar10(folder) or _cifar100(folder) or _stl(folder) or _pickles(folder)


def read(folder: Path, data: DataSpec) -> Dataset:
    """Returns the images; CIFAR-100's classes are the fine ones.

    Raises:
        DataError: files absent, cut short, or with labels that are none; Python's pickles.
    """
    if _pickles(folder):
        raise DataError(
            f"{folder} holds CIFAR as Python pickles, which are never loaded; get the binary version "
            f"from https://www.cs.toronto.edu/~kriz/cifar.html"
        )
    if _stl(folder):
        return _read_stl(folder)
    if _cifar10(folder):
        files: dict[Split, Sequence[str]] = {"train": _BATCHES, "test": ("test_batch.bin",)}
        return _read_cifar(folder, files, labels=1, count=10, names="batches.meta.txt")
    files = {"train": ("train.bin",), "test": ("test.bin",)}
    return _read_cifar(folder, files, labels=2, count=100, names="fine_label_names.txt")


def _cifar10(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _BATCHES)


def _cifar100(folder: Path) -> bool:
    return (folder / "train.bin").is_file() and (folder / "fine_label_names.txt").is_file()


def _stl(folder: Path) -> bool:
    return (folder / "train_X.bin").is_file()


def _pickles(folder: Path) -> bool:
    ten, hundred = ("data_batch_1", "batches.meta"), ("train", "test", "meta")
    return any(all((folder / name).is_file() for name in names) for names in (ten, hundred))


def _read_cifar(
    folder: Path, files: dict[Split, Sequence[str]], *, labels: int, count: int, names: str
) -> Dataset:
    parts: dict[Split, _Part] = {}
    for part, batches in files.items():
        if part == "test" and not (folder / batches[0]).is_file():
            continue
        records = np.concatenate([_records(folder / name, labels + 3072) for name in batches])
        pixels = records[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        parts[part] = np.ascontiguousarray(pixels), records[:, labels - 1].astype(np.int64)
    return by_number(str(folder), parts, classes=_names(folder / names, count))


def _read_stl(folder: Path) -> Dataset:
    parts: dict[Split, _Part] = {}
    for part in _STL:
        images = folder / f"{part}_X.bin"
        if part == "test" and not images.is_file():
            continue
        pixels = _records(images, 3 * 96 * 96).reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1)
        labels = _records(folder / f"{part}_y.bin", 1)[:, 0].astype(np.int64)
        if wrong := set(labels.tolist()) - set(range(1, 11)):
            raise DataError(f"{folder / f'{part}_y.bin'} has label {max(wrong)}; STL-10's are 1 to 10")
        parts[part] = np.ascontiguousarray(pixels), labels - 1
    return by_number(str(folder), parts, classes=_names(folder / "class_names.txt", 10))


def _records(path: Path, size: int) -> NDArray[np.uint8]:
    """Returns a file as rows of `size` bytes."""
    if not path.is_file():
        raise DataError(f"{path} is not there, although other files of the set are; unpack the set again")
    length = path.stat().st_size
    if not length or length % size:
        raise DataError(
            f"{path} has {length:,} bytes, no whole number of {size:,} for each record; get it again"
        )
    return np.fromfile(path, np.uint8).reshape(-1, size)


def _names(path: Path, count: int) -> list[str]:
    """Returns the names of the classes that a file lists, a line each."""
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the class names in {path}: {error}; unpack the set again") from error
    if len(names) != count:
        raise DataError(f"{path} has {len(names)} names; {count} were expected; unpack the set again")
    return names
