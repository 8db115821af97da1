"""Images, data folders and weights files for the tests, right and wrong, made without an engine."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from vitcli.core.draft import to_toml
from vitcli.core.recipe import DataSpec, Recipe, TrainSpec
from vitcli.core.spec import ModelSpec
from vitcli.weights.file import Weights, write_weights
from vitcli.weights.header import Card
from vitcli.weights.initial import initial_weights

DIGITS = tuple("0123456789")


def image(path: Path, seed: int = 0) -> Path:
    """A small colour image of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def folders(root: Path, classes: Iterable[str], *, images: int = 3, suffix: str = "png") -> Path:
    """A folder of class folders."""
    for label, name in enumerate(classes):
        for number in range(images):
            image(root / name / f"{number}.{suffix}", seed=100 * label + number)
    return root


def tiny_recipe(classes: int = 10, source: str = "digits") -> Recipe:
    """A model of the digits' size with random weights."""
    spec = ModelSpec(
        image_size=8,
        patch_size=4,
        in_channels=1,
        num_classes=classes,
        embed_dim=12,
        depth=1,
        num_heads=3,
        mlp_dim=20,
        pool="mean",
    )
    return Recipe(model=spec, data=DataSpec(source=source), train=TrainSpec(epochs=1))


def weights_file(
    path: Path, classes: tuple[str, ...] = DIGITS, *, source: str = "digits", values: Weights | None = None
) -> Path:
    """First weights of `tiny_recipe` as a file that says all about itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    recipe = tiny_recipe(len(classes), source)
    write_weights(path, values or initial_weights(recipe.model, seed=0), Card.of(recipe, classes), "native")
    return path


def recipe_file(path: Path) -> Path:
    """`tiny_recipe` as a file."""
    path.write_text(to_toml(tiny_recipe()), encoding="utf-8")
    return path


def finished_run(folder: Path) -> Path:
    """A run folder as training leaves it."""
    weights_file(folder / "model.safetensors")
    recipe_file(folder / "recipe.toml")
    (folder / "metrics.jsonl").write_text(json.dumps({"event": "finished"}) + "\n", encoding="utf-8")
    return folder


def cut(path: Path, size: int) -> None:
    """Leaves the first bytes of a file."""
    path.write_bytes(path.read_bytes()[:size])
