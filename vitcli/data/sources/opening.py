"""A source becomes a data set with a validation part: which kind it is, its content says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from vitcli.core.errors import DataError, nearest
from vitcli.core.recipe import DataSpec
from vitcli.core.reporter import Reporter, Silent
from vitcli.data.catalogue import CATALOGUE, Known, lookup
from vitcli.data.dataset import Dataset, hold_out
from vitcli.data.digits import digits
from vitcli.data.sources import archives, arrays, folders, hub, idx, layouts, records, tables
from vitcli.data.sources.labels import check_classes, twins
from vitcli.fetch.unpack import is_archive

# Whether a folder or a file is of a kind, and what reads it; class folders and tables are what is left.
_FOLDERS: tuple[tuple[Callable[[Path], bool], Callable[[Path, DataSpec], Dataset]], ...] = (
    (hub.holds, hub.read),
    (idx.holds, idx.read),
    (records.holds, records.read),
    (layouts.holds, layouts.read),
)


def open_source(data: DataSpec, *, seed: int, reporter: Reporter | None = None) -> Dataset:
    """Returns the data set that `data.source` names, with a validation part.

    Args:
        data: source, how a table is read, and where validation images come from.
        seed: decides which images are held out.
        reporter: told of what takes long: archives unpacked.

    Raises:
        DataError: nothing is there, a class is empty or unknown, there is only one class, or no test images
            that could serve as validation images.
        VitError: what is unpacked cannot be written.
    """
    try:
        dataset = _open(data, reporter or Silent())
    except OSError as error:
        raise DataError(f"cannot read {error.filename or data.source}: {error.strerror or error}") from error
    check_classes(dataset)
    dataset = replace(dataset, notes=(*dataset.notes, *twins(dataset.classes)))
    if data.validation == "test":
        if "test" not in dataset.parts:
            raise DataError(
                f'{dataset.name} has no test images, which data.validation="test" takes for validation; '
                f"put some in test/CLASS, or hold out a part of train with data.validation=0.1"
            )
        return replace(dataset, parts={**dataset.parts, "validation": dataset.parts["test"]})
    if "validation" in dataset.parts:
        return dataset
    train = dataset.parts["train"]
    count = max(1, round(data.validation * len(train)))
    if count >= len(train):
        raise DataError(
            f"{data.source} has {len(train)} training image: too few to hold some out for validation"
        )
    train, validation = hold_out(train, count, seed)
    return replace(dataset, parts={**dataset.parts, "train": train, "validation": validation})


def _open(data: DataSpec, reporter: Reporter) -> Dataset:
    if data.source == "digits":
        return digits()
    path = Path(data.source).expanduser()
    if known := lookup(data.source):
        path, data = _known(known, data)
    if path.is_dir():
        dataset = _from_folder(path, data)
        return replace(dataset, classes=known.entry.classes) if known and known.entry.classes else dataset
    if path.is_file():
        return _from_file(path, data, reporter)
    raise DataError(
        f"no data at '{data.source}': neither a folder, a table (CSV, TSV, Parquet), an .npz, a tar or zip, "
        f"nor one of {', '.join(CATALOGUE)}{nearest(data.source, CATALOGUE)}; say --data NAME|DIR|FILE"
    )


def _from_folder(folder: Path, data: DataSpec) -> Dataset:
    for place in _places(folder):
        for holds, read in _FOLDERS:
            if holds(place):
                return replace(read(place, data), name=str(folder))
    place = next((place for place in _places(folder) if folders.has_train(place)), folder)
    return replace(folders.read(place, data), name=str(folder))


def _places(folder: Path) -> Iterator[Path]:
    """Yields a folder and, while it has one sole folder (as published archives do), that one."""
    yield folder
    for _ in range(2):
        with os.scandir(folder) as entries:
            inner = (entry.path for entry in entries if not entry.name.startswith(".") and entry.is_dir())
            two = list(islice(inner, 2))
        if len(two) != 1:
            return
        folder = Path(two[0])
        yield folder


def _from_file(path: Path, data: DataSpec, reporter: Reporter) -> Dataset:
    if arrays.holds(path):
        return arrays.read(path)
    if is_archive(path):
        return replace(_from_folder(archives.unpacked(path, reporter), data), name=str(path))
    return tables.read(path, data)


def _known(known: Known, data: DataSpec) -> tuple[Path, DataSpec]:
    """Returns where a known set is, and how it is read: as the catalogue says, unless the recipe says otherwise."""
    entry, here = known.entry, Path(known.name)
    path = next((place for place in (here / entry.csv, here, known.place) if place.exists()), None)
    if path is None:
        other = "file with --data CSV" if entry.csv else "folder with --data DIR"
        raise DataError(
            f"{entry.title} is not at {known.place}; pass its {other}, "
            f"or get it there: {known.obtain} (vit datasets info {known.name})"
        )
    unsaid = {
        key: value
        for key, value in entry.reading.items()
        if getattr(data, key) == DataSpec.model_fields[key].default
    }
    return path, data.model_copy(update=unsaid)
