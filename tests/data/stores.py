"""Pictures of odd sizes, and stores of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitcli.core.recipe import Recipe
from vitcli.core.reporter import Advance, Reporter, Silent
from vitcli.data.dataset import Dataset, Examples
from vitcli.data.decode import Geometry, decode
from vitcli.data.parts import Part, open_parts
from vitcli.data.store import Store

# (height, width) of the pictures: none is square, none is of the size asked for.
SIZES = [(33, 23), (23, 41), (29, 31), (50, 19)]


def recipe(*, channels: int = 3, augment: dict[str, Any] | None = None, **data: Any) -> Recipe:
    model = {
        "image_size": 15,
        "patch_size": 5,
        "in_channels": channels,
        "num_classes": 4,
        "embed_dim": 14,
        "depth": 1,
        "num_heads": 2,
        "mlp_dim": 22,
    }
    if data.get("cache") == "ragged":
        # Of the images, boxes are cut: the short side is that of the square store all the same.
        augment, data = {"crop": "resized", **(augment or {})}, {"cache_size": model["image_size"], **data}
    sections = {"model": model, "data": data, "augment": augment or {}, "train": {"epochs": 1}}
    return Recipe.model_validate(sections)


def opened(examples: Examples, reporter: Reporter | None = None, **options: Any) -> Store:
    """The store of examples, as the training part of a set that has no other."""
    return part(examples, reporter, **options).store


def part(examples: Examples, reporter: Reporter | None = None, **options: Any) -> Part:
    training = options.pop("training", options.get("cache") == "ragged")
    made = recipe(**options)
    dataset = Dataset(name="set", classes=tuple("abcd"), parts={"train": examples})
    return open_parts(dataset, made, reporter or Silent(), ("train",), training=training)["train"]


def noise(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(height).integers(0, 256, (height, width, channels), np.uint8)


def short_side(path: Any, size: int, channels: int) -> NDArray[np.uint8]:
    return decode(Path(str(path)), Geometry(fit="aspect", size=size, channels=channels))


def every(store: Store) -> NDArray[np.uint8]:
    """All images; of ragged ones the upper left corner that all of them have."""
    index = np.arange(len(store))
    if (store.sizes(index) == store.sizes(index)[0, 0]).all():
        return store.gather(index, None)[0]
    corner = np.tile(np.array([0, 0, 15, 15], np.int32), (len(store), 1))
    return store.gather(index, corner)[0][:, :15, :15]


def spoil(path: Path) -> None:
    """Makes a file unreadable, but leaves its size and its time as they are."""
    status = path.stat()
    path.write_bytes(b"\0" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


class Notes(Silent):
    """A reporter that remembers what it was told, and the titles of what took long."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.titles: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)

    @contextmanager
    def track(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        self.titles.append(title)
        yield lambda amount, detail="": None
