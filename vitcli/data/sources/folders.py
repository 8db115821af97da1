"""A folder of class folders: DIR/train/CLASS/*.jpg with val/ and test/ beside it, or DIR/CLASS/*.jpg."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vitcli.core.errors import DataError
from vitcli.core.recipe import DataSpec
from vitcli.data.dataset import Dataset, Examples, Split
from vitcli.data.files import Files
from vitcli.data.sources.labels import TREE, some
from vitcli.data.sources.listing import Walk
from vitcli.data.sources.names import WNIDS

FOLDERS: Mapping[Split, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "valid", "val"),
    "test": ("test",),
}


def has_train(folder: Path) -> bool:
    """Returns whether a folder has a training part of its own."""
    return (folder / "train").is_dir()


def read(root: Path, data: DataSpec) -> Dataset:
    """Returns the images below a root; the folders of the training part are the classes, in sorted order.

    Raises:
        DataError: no class folders, classes that differ between parts, a class without images, a folder that
            cannot be read.
    """
    walk = Walk(root)
    roots = _roots(root)
    found = {split: walk.folders(str(path)) for split, path in roots.items()}
    walk.check()
    for split, folders in found.items():
        if not folders:
            loose = walk.loose(str(roots[split]))
            what = f"{loose} images directly in it" if loose else "no folders in it"
            raise DataError(f"{roots[split]} has no class folders ({what}); {TREE}")
    classes = tuple(found["train"])
    keep = data.empty_classes == "keep"
    for split in found:
        _check_same(roots["train"], roots[split], classes, tuple(found[split]), keep=keep)
    parts, empty = {}, []
    for split, folders in found.items():
        lists = [walk.images(folders[name]) if name in folders else [] for name in classes]
        empty += [str(roots[split] / name) for name, files in zip(classes, lists, strict=True) if not files]
        labels = np.repeat(np.arange(len(classes), dtype=np.int32), [len(files) for files in lists])
        parts[split] = Examples(images=Files([file for files in lists for file in files]), labels=labels)
    walk.check()
    if empty and not keep:
        raise DataError(
            f"no images in {some(empty)}; put some there, remove the class everywhere, "
            f"or let it be a class without images: data.empty_classes=keep"
        )
    for split, part in parts.items():
        if not len(part):
            raise DataError(f"no images in any class folder of {roots[split]}; {TREE}")
    names = tuple(WNIDS[name] for name in classes) if WNIDS.keys() >= set(classes) else classes
    return Dataset(name=str(root), classes=names, parts=parts, notes=walk.notes())


def _roots(root: Path) -> dict[Split, Path]:
    """Returns the folder of each part."""
    roots: dict[Split, Path] = {}
    for split, names in FOLDERS.items():
        found = [root / name for name in names if os.path.isdir(root / name)]
        if len(found) > 1:
            raise DataError(f"{root} has {' and '.join(path.name + '/' for path in found)}: keep one of them")
        if found:
            roots[split] = found[0]
    if not roots:
        return {"train": root}
    if "train" not in roots:
        raise DataError(
            f"{root} has {', '.join(path.name + '/' for path in roots.values())} but no train/; {TREE}"
        )
    return roots


def _check_same(
    train: Path, other: Path, classes: tuple[str, ...], names: tuple[str, ...], *, keep: bool
) -> None:
    """Does nothing where another part has the classes of train (`keep`: or some of them)."""
    lacking = [name for name in classes if name not in names]
    unknown = [name for name in names if name not in classes]
    if unknown or (lacking and not keep):
        raise DataError(
            f"{train} and {other} have different classes: only in {train.name}/: {some(lacking) or 'none'}; "
            f"only in {other.name}/: {some(unknown) or 'none'}; classes are those of train: make both the same"
            + ("" if unknown else ", or let classes be without images: data.empty_classes=keep")
        )
