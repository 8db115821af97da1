"""What tests of sources share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitcli.core.recipe import DataSpec
from vitcli.data.dataset import Dataset
from vitcli.data.sources import open_source


def touch(root: Path, *names: str) -> None:
    """Empty files: no source reads an image."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def opened(source: Path, **fields: Any) -> Dataset:
    return open_source(DataSpec(source=str(source), **fields), seed=0)


def content(dataset: Dataset, split: Any) -> list[tuple[str, str]]:
    """(file name, class name) of a part."""
    part = dataset.parts[split]
    return [(str(Path(f).name), dataset.classes[i]) for f, i in zip(part.images, part.labels, strict=True)]


def numbered(folder: str, count: int) -> list[str]:
    return [f"{folder}/{i}.png" for i in range(count)]


def train_and_validation(dataset: Dataset) -> list[tuple[str, str]]:
    return sorted(content(dataset, "train") + content(dataset, "validation"))


def pixels(dataset: Dataset, split: Any) -> NDArray[np.uint8]:
    """The pixels of a part that has them."""
    images = dataset.parts[split].images
    assert isinstance(images, np.ndarray)
    assert images.dtype == np.uint8
    return images


def labels(dataset: Dataset, split: Any) -> list[int]:
    """The labels of a part."""
    assert dataset.parts[split].labels.dtype == np.int32
    return [int(label) for label in dataset.parts[split].labels]
