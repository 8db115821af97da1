"""Labels become indices of classes: the training part says which classes there are."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitcli.core.errors import DataError
from vitcli.data.dataset import Dataset, Examples, Split

Images = Sequence[Path] | NDArray[np.uint8]
# What the parts of a set are called, in folders, columns and arrays.
PARTS: Mapping[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val"),
    "test": ("test",),
}
TREE = (
    "expected DIR/train/CLASS/*.jpg (with val/ and test/ beside train/ if you have them), or DIR/CLASS/*.jpg"
)


def part_of(word: str) -> Split | None:
    """Returns the part that a word names, if it names one."""
    return next((part for part, names in PARTS.items() if word.strip().lower() in names), None)


def by_text(
    name: str,
    parts: Mapping[Split, tuple[Images, Sequence[str]]],
    *,
    names: Mapping[str, str] | None = None,
    names_from: str | None = None,
    notes: tuple[str, ...] = (),
) -> Dataset:
    """Returns a set whose labels are words; numbers are sorted as numbers and before words.

    Args:
        name: of the set.
        parts: images and labels.
        names: of labels, all that there are; none: the labels themselves, those of the training part.
        names_from: where the names are from, for messages.
        notes: of the set.

    Raises:
        DataError: no training images, or a label without a class.
    """
    _check_train(name, parts)
    given = sorted(set(parts["train"][1]) if names is None else names, key=_numeric_first)
    index = {label: position for position, label in enumerate(given)}
    examples: dict[Split, Examples] = {}
    for part, (images, labels) in parts.items():
        if unknown := sorted(set(labels) - index.keys(), key=_numeric_first):
            if names is not None:
                raise DataError(
                    f"{names_from or name} has no name for label {some(unknown)} of {name}, {part}"
                )
            raise DataError(_unknown(name, part, unknown, given))
        examples[part] = Examples(
            images=images, labels=np.array([index[label] for label in labels], np.int32)
        )
    classes = tuple(names[label] if names is not None else label for label in given)
    return Dataset(name=name, classes=classes, parts=examples, notes=notes)


def by_number(
    name: str,
    parts: Mapping[Split, tuple[Images, NDArray[Any]]],
    *,
    classes: Sequence[str] | None = None,
    notes: tuple[str, ...] = (),
) -> Dataset:
    """Returns a set whose labels are numbers: positions in `classes`, or else the classes' names themselves.

    Raises:
        DataError: no training images, counts that differ, or a label without a class.
    """
    _check_train(name, parts)
    for part, (images, labels) in parts.items():
        if len(images) != len(labels):
            raise DataError(f"{name}, {part}: {len(images):,} images but {len(labels):,} labels")
        if len(labels) and labels.min() < 0:
            raise DataError(f"{name}, {part}: label {labels.min()} is negative; labels count from 0")
    known = np.unique(parts["train"][1]) if classes is None else np.arange(len(classes))
    given = [str(label) for label in known]
    examples: dict[Split, Examples] = {}
    for part, (images, labels) in parts.items():
        if unknown := np.setdiff1d(labels, known).tolist():
            raise DataError(_unknown(name, part, unknown, given))
        examples[part] = Examples(images=images, labels=np.searchsorted(known, labels).astype(np.int32))
    return Dataset(name=name, classes=tuple(classes or given), parts=examples, notes=notes)


def check_classes(dataset: Dataset) -> None:
    """Does nothing where there is something to tell apart.

    Raises:
        DataError: there is one class, or two of one name.
    """
    classes = dataset.classes
    if len(classes) < 2:
        raise DataError(
            f"{dataset.name} has one class, '{classes[0]}': there is nothing to tell apart; {TREE}"
        )
    if len(set(classes)) < len(classes):
        twice = sorted({name for name in classes if classes.count(name) > 1})
        raise DataError(f"{dataset.name} has several classes of one name: {some(twice)}; give each its own")


def twins(classes: Sequence[str]) -> tuple[str, ...]:
    """Returns a note for class names that differ in case, or in how an accent is encoded, alone."""
    alike = defaultdict(list)
    for name in classes:
        alike[unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())].append(name)
    return tuple(
        f"classes {' and '.join(map(ascii, names))} differ in case or encoding alone: one class, or two?"
        for names in alike.values()
        if len(names) > 1
    )


def check_files(source: str, files: Sequence[str], advice: str = "") -> None:
    """Does nothing where all files are there.

    Raises:
        DataError: some are not; the first few are listed.
    """
    if absent := [file for file in files if not os.path.isfile(file)]:
        shown = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
        raise DataError(
            f"{len(absent)} of {len(files)} files of {source} do not exist, first {shown}"
            f"{advice and '; '}{advice}"
        )


def some(words: Iterable[object]) -> str:
    """Returns words in a list that fits a line, without what a terminal would obey."""
    listed = [str(word) for word in words]
    return ", ".join(map(_shown, listed[:8])) + (f", ... ({len(listed)} in all)" if len(listed) > 8 else "")


def _shown(word: str) -> str:
    text = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in word[:200])
    return text if len(word) <= 200 else f"{text}..."


def _check_train(name: str, parts: Mapping[Split, tuple[Images, Any]]) -> None:
    if not len(parts["train"][1] if "train" in parts else ()):
        others = f" (it has {' and '.join(parts)} images)" if parts else ""
        raise DataError(f"{name} has no training images{others}; labels come from the training part")


def _unknown(name: str, part: Split, labels: Iterable[object], given: Sequence[str]) -> str:
    return f"{name}, {part}: labels without a class: {some(labels)}; the classes have {some(given)}"


def _numeric_first(label: str) -> tuple[bool, int, str]:
    """Sorts "2" before "10", and both before words."""
    numeric = label.isascii() and label.isdigit() and len(label) < 20
    return not numeric, int(label) if numeric else 0, label
