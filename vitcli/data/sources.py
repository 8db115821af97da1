"""Where labelled images come from: the embedded digits, a folder of class folders, a CSV of paths and labels."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from vitcli.core.errors import DataError, nearest
from vitcli.core.recipe import DataSpec
from vitcli.data.catalogue import CATALOGUE, Known, lookup
from vitcli.data.dataset import Dataset, Examples, Split, hold_out
from vitcli.data.digits import digits

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
FOLDERS: Mapping[Split, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "valid", "val"),
    "test": ("test",),
}
_TREE = (
    "expected DIR/train/CLASS/*.jpg (with val/ and test/ beside train/ if you have them), or DIR/CLASS/*.jpg"
)


def open_source(data: DataSpec, *, seed: int) -> Dataset:
    """Returns the data set that `data.source` names, with a validation part.

    Args:
        data: source, how a CSV is read, and where validation images come from.
        seed: decides which images are held out.

    Raises:
        DataError: nothing is there, a class is empty or unknown, there is only one class, or no test images
            that could serve as validation images.
    """
    dataset = _open(data)
    _check_classes(dataset)
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


def image_files(folder: Path) -> list[Path]:
    """Returns the images below a folder in sorted order; hidden files are left out."""
    return sorted(_walk(folder, frozenset()))


def _open(data: DataSpec) -> Dataset:
    if data.source == "digits":
        return digits()
    path = Path(data.source).expanduser()
    if known := lookup(data.source):
        path, data = _known(known, data)
    if path.is_dir():
        return _from_folder(path)
    if path.is_file():
        return _from_csv(path, data)
    raise DataError(
        f"no data at '{data.source}': neither a folder, a CSV file nor one of "
        f"{', '.join(CATALOGUE)}{nearest(data.source, CATALOGUE)}; say --data NAME|DIR|CSV"
    )


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


def _from_folder(root: Path) -> Dataset:
    roots: dict[Split, Path] = {}
    for split, names in FOLDERS.items():
        found = [root / name for name in names if (root / name).is_dir()]
        if len(found) > 1:
            raise DataError(f"{root} has {' and '.join(path.name + '/' for path in found)}: keep one of them")
        if found:
            roots[split] = found[0]
    if not roots:
        roots = {"train": root}
    if "train" not in roots:
        raise DataError(
            f"{root} has {', '.join(path.name + '/' for path in roots.values())} but no train/; {_TREE}"
        )
    classes = _class_names(roots["train"])
    parts = {split: _class_folders(path, classes) for split, path in roots.items()}
    return Dataset(name=str(root), classes=classes, parts=parts)


def _class_names(root: Path) -> tuple[str, ...]:
    names = sorted(path.name for path in _entries(root) if path.is_dir() and not path.name.startswith("."))
    if not names:
        loose = sum(path.suffix.lower() in SUFFIXES for path in _entries(root))
        found = f"{loose} images directly in it" if loose else "no folders in it"
        raise DataError(f"{root} has no class folders ({found}); {_TREE}")
    return tuple(names)


def _class_folders(root: Path, classes: tuple[str, ...]) -> Examples:
    """Returns the images of a part whose folders must be classes of the training part."""
    names = _class_names(root)
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise DataError(
            f"{root} has classes that train has not: {_some(unknown)}; train has {_some(classes)}"
        )
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = image_files(root / name) if name in names else []
        if not found:
            raise DataError(f"no images in {root / name}; put some there, or remove the class everywhere")
        files += found
        labels += [label] * len(found)
    return Examples(images=files, labels=np.array(labels, np.int32))


def _from_csv(path: Path, data: DataSpec) -> Dataset:
    rows = _read_csv(path, data)
    names = _label_names(path, data)
    given = sorted({label for _, label in rows}, key=_numeric_first)
    if names is not None:
        missing = [label for label in given if label not in names]
        if missing:
            raise DataError(f"{data.label_names} has no name for label {_some(missing)} of {path}")
        given = sorted(names, key=_numeric_first)
    index = {label: position for position, label in enumerate(given)}
    classes = tuple(names[label] if names is not None else label for label in given)
    labels = np.array([index[label] for _, label in rows], np.int32)
    return Dataset(
        name=str(path),
        classes=classes,
        parts={"train": Examples(images=[file for file, _ in rows], labels=labels)},
    )


def _read_csv(path: Path, data: DataSpec) -> list[tuple[Path, str]]:
    folder = path.parent / Path(data.image_folder or "").expanduser()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            for key, column in (("path_column", data.path_column), ("label_column", data.label_column)):
                if column not in columns:
                    raise DataError(
                        f"{path} has no column '{column}' (data.{key}); its first line holds: {_some(columns)}"
                    )
            rows = []
            for row in reader:
                file_name, label = row[data.path_column], row[data.label_column]
                if file_name is None or label is None:
                    raise DataError(f"{path}, line {reader.line_num}: fewer columns than the first line has")
                rows.append((folder / file_name, label))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV: {error}") from error
    if not rows:
        raise DataError(f"{path} has no rows below its header")
    absent = [str(file) for file, _ in rows if not file.is_file()]
    if absent:
        raise DataError(
            f"{len(absent)} of {len(rows)} files of {path} do not exist, first {absent[0]}; "
            f"paths are relative to {folder} (the CSV's folder, joined with data.image_folder where that is said)"
        )
    return rows


def _label_names(path: Path, data: DataSpec) -> dict[str, str] | None:
    """Returns the names of the labels of the CSV at `path`."""
    if data.label_names is None:
        return None
    file = Path(data.label_names).expanduser()
    if not file.exists():
        file = path.parent / file
    try:
        names = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"data.label_names={data.label_names} cannot be read as JSON: {error}; "
            f"a file that is not there as given is looked for beside {path}"
        ) from error
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise DataError(
            f'data.label_names={data.label_names} must be an object of label to name, as {{"0": "cat"}}'
        )
    return {str(label): name for label, name in names.items()}


def _check_classes(dataset: Dataset) -> None:
    if len(dataset.classes) < 2:
        raise DataError(
            f"{dataset.name} has one class, '{dataset.classes[0]}': there is nothing to tell apart; {_TREE}"
        )


def _walk(folder: Path, parents: frozenset[tuple[int, int]]) -> Iterator[Path]:
    """Yields regular image files below a folder; a link to one of its own parents is not followed."""
    status = folder.stat()
    here = parents | {(status.st_dev, status.st_ino)}
    if len(here) == len(parents):
        return
    for path in _entries(folder):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path, here)
        elif path.suffix.lower() in SUFFIXES and path.is_file():
            yield path


def _entries(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries]
    except OSError as error:
        raise DataError(f"cannot read folder {folder}: {error.strerror}") from error


def _numeric_first(label: str) -> tuple[bool, int, str]:
    """Sorts "2" before "10", and both before words."""
    numeric = label.isascii() and label.isdigit()
    return not numeric, int(label) if numeric else 0, label


def _some(words: object) -> str:
    listed = [str(word) for word in words]  # type: ignore[attr-defined]
    return ", ".join(listed[:8]) + (f", ... ({len(listed)} in all)" if len(listed) > 8 else "")
