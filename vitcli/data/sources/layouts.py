"""Published sets in the layout that their own archives have: Oxford's pets and flowers, Food-101, Tiny ImageNet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vitcli.core.errors import DataError
from vitcli.core.recipe import DataSpec
from vitcli.data.dataset import Dataset, Split
from vitcli.data.files import Files
from vitcli.data.sources.labels import by_number, by_text, check_files
from vitcli.data.sources.listing import Walk
from vitcli.data.sources.names import FLOWERS

_Parts = dict[Split, tuple[Files, Sequence[str]]]


def holds(folder: Path) -> bool:
    """Returns whether a folder has the files by which one of these sets is known."""
    return _reader(folder) is not None


def read(folder: Path, data: DataSpec) -> Dataset:
    """Returns the images of the set that a folder holds.

    Raises:
        DataError: files absent or damaged.
    """
    reader = _reader(folder)
    if reader is None:
        raise ValueError(f"{folder} holds none of these sets")
    return reader(folder)


def _reader(folder: Path) -> Callable[[Path], Dataset] | None:
    return next(
        (reader for marks, reader in _MARKS.items() if all((folder / mark).exists() for mark in marks)), None
    )


def _pets(folder: Path) -> Dataset:
    """Parkhi et al. 2012, Cats and Dogs: lines of image, class (from 1), species, breed within the species."""
    parts: _Parts = {}
    breeds: dict[str, str] = {}
    for part, name in (("train", "trainval.txt"), ("test", "test.txt")):
        path = folder / "annotations" / name
        if part == "test" and not path.is_file():
            continue
        rows = [(fields[0], fields[1]) for fields in _lines(path, columns=4)]
        for image, number in rows:
            breed = image.rpartition("_")[0]
            if not breed:
                raise DataError(f"{path} names '{image}', which is no breed and number; get it again")
            if breeds.setdefault(number, breed) != breed:
                raise DataError(
                    f"{path} has class {number} for {breeds[number]} and for {image}; get it again"
                )
        files = [str(folder / "images" / f"{_plain(path, image)}.jpg") for image, _ in rows]
        parts[part] = Files(files), [number for _, number in rows]  # type: ignore[index]
    names = {number: breeds[number] for number in parts["train"][1]}
    return _checked(folder, by_text(str(folder), parts, names=names))


def _food(folder: Path) -> Dataset:
    """Bossard et al. 2014, Food-101: lines of CLASS/IMAGE."""
    parts: _Parts = {}
    for part in ("train", "test"):
        path = folder / "meta" / f"{part}.txt"
        if part == "test" and not path.is_file():
            continue
        files, labels = [], []
        for line, *_ in _lines(path, columns=1):
            label, _, image = line.partition("/")
            files.append(str(folder / "images" / _plain(path, label) / f"{_plain(path, image)}.jpg"))
            labels.append(label)
        parts[part] = Files(files), labels
    return _checked(folder, by_text(str(folder), parts))


def _flowers(folder: Path) -> Dataset:
    """Nilsback & Zisserman 2008, 102 flowers: labels of all images, and the numbers of those in each part."""
    labels = _matrices(folder / "imagelabels.mat", ["labels"])[0]
    if labels.min() < 1 or labels.max() > len(FLOWERS):
        raise DataError(
            f"{folder / 'imagelabels.mat'} has labels other than 1 to {len(FLOWERS)}; get it again"
        )
    chosen = _matrices(folder / "setid.mat", ["trnid", "valid", "tstid"])
    parts = {}
    for part, numbers in zip(("train", "validation", "test"), chosen, strict=True):
        if numbers.min() < 1 or numbers.max() > len(labels):
            raise DataError(
                f"{folder / 'setid.mat'} names images other than 1 to {len(labels)}; get it again"
            )
        files = Files([str(folder / "jpg" / f"image_{number:05d}.jpg") for number in numbers])
        parts[part] = files, labels[numbers - 1] - 1
    return _checked(folder, by_number(str(folder), parts, classes=FLOWERS))  # type: ignore[arg-type]


def _tiny_imagenet(folder: Path) -> Dataset:
    """Le & Yang 2015, Tiny ImageNet: 200 classes; the test images have no labels and are left out."""
    wnids = sorted(fields[0] for fields in _lines(folder / "wnids.txt", columns=1))
    walk = Walk(folder)
    train: tuple[list[str], list[str]] = ([], [])
    for wnid in wnids:
        files = walk.images(str(folder / "train" / _plain(folder / "wnids.txt", wnid) / "images"))
        train[0].extend(files)
        train[1].extend([wnid] * len(files))
    walk.check()
    parts: _Parts = {"train": (Files(train[0]), train[1])}
    listed = folder / "val" / "val_annotations.txt"
    if listed.is_file():
        rows = _lines(listed, columns=2)
        files = [str(folder / "val" / "images" / _plain(listed, fields[0])) for fields in rows]
        parts["validation"] = Files(files), [fields[1] for fields in rows]
    names = _words(folder / "words.txt", wnids)
    return _checked(folder, by_text(str(folder), parts, names=names))


def _words(path: Path, wnids: Sequence[str]) -> dict[str, str]:
    """Returns the first of the words for each WordNet id; all of them, where two classes have the first in common."""
    if not path.is_file():
        return {wnid: wnid for wnid in wnids}
    lines = [line.partition("\t") for line in _text(path).splitlines()]
    words = {wnid: text.strip() for wnid, _, text in lines if text.strip()}
    full = {wnid: words.get(wnid, wnid) for wnid in wnids}
    first = {wnid: text.partition(",")[0] for wnid, text in full.items()}
    given = list(first.values())
    return {wnid: full[wnid] if given.count(word) > 1 else word for wnid, word in first.items()}


_MARKS: dict[tuple[str, ...], Callable[[Path], Dataset]] = {
    ("annotations/trainval.txt", "images"): _pets,
    ("imagelabels.mat", "setid.mat", "jpg"): _flowers,
    ("meta/train.txt", "images"): _food,
    ("wnids.txt", "train"): _tiny_imagenet,
}


def _checked(folder: Path, dataset: Dataset) -> Dataset:
    files = [file for part in dataset.parts.values() for file in part.images.names]  # type: ignore[union-attr]
    check_files(str(folder), files, "unpack the set again")
    return dataset


def _lines(path: Path, *, columns: int) -> list[list[str]]:
    """Returns the fields of the lines that are neither empty nor comments."""
    rows = [line.split() for line in _text(path).splitlines() if line.strip() and not line.startswith("#")]
    for number, fields in enumerate(rows, 1):
        if len(fields) < columns:
            raise DataError(f"{path}, entry {number} has {len(fields)} fields, not {columns}; get it again")
    return rows


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text: {error}; get it again") from error


def _plain(path: Path, name: str) -> str:
    """Returns a name that leads nowhere but down."""
    if not name or "/" in name or "\0" in name or name in (".", ".."):
        raise DataError(f"{path} names '{name}', which is no plain file name; get it again")
    return name


def _matrices(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    """Returns rows of whole numbers of a MATLAB file."""
    try:
        import scipy.io
    except ImportError as error:
        raise DataError(
            f"{path} is MATLAB's, which scipy reads: it is not installed; pip install 'vitcli[sources]'"
        ) from error
    try:
        found = scipy.io.loadmat(path, variable_names=names)
        rows = [np.asarray(found[name]).reshape(-1) for name in names]
    except Exception as error:  # scipy's reader raises nearly anything over damaged files
        raise DataError(f"{path} cannot be read as MATLAB's: {error!r}; get it again") from error
    for name, row in zip(names, rows, strict=True):
        if row.dtype.kind not in "iu" or not len(row):
            raise DataError(f"{path}: {name} is no row of whole numbers; get it again")
    return [row.astype(np.int64) for row in rows]
