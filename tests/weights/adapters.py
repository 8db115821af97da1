"""Whole models with adapters in which nothing is zero, and their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.models import random_weights
from vitcli.core.recipe import DataSpec, Recipe, TrainSpec
from vitcli.core.spec import ModelSpec
from vitcli.jobs.adapters import set_apart, write_adapter
from vitcli.weights.file import Weights, write_weights
from vitcli.weights.header import Card
from vitcli.weights.lora import plain


def card_of(spec: ModelSpec) -> Card:
    """A card with class names that are no numbers."""
    recipe = Recipe(model=spec, data=DataSpec(source="here", fit="squash"), train=TrainSpec(epochs=1))
    return Card.of(recipe, tuple("abcdefghijklm"[: spec.num_classes]))


def adapted(spec: ModelSpec, seed: int = 0) -> tuple[Weights, Weights]:
    """Weights of a base with a head of its own, and those of the model that was trained from it."""
    whole: dict[str, Any] = random_weights(spec, seed)
    base = {name: value for name, value in whole.items() if ".lora_" not in name}
    base |= {name: value + 1 for name, value in base.items() if name.startswith("head")}
    return base, whole


def files(folder: Path, spec: ModelSpec, seed: int = 0) -> tuple[Path, Path, Weights]:
    """`base.safetensors` and `adapter.safetensors` in a folder, and the whole weights."""
    base, whole = adapted(spec, seed)
    paths = folder / "base.safetensors", folder / "adapter.safetensors"
    write_weights(paths[0], base, card_of(plain(spec)), "native")
    card = card_of(spec)
    write_adapter(paths[1], whole, card, set_apart(whole, (), card, base, paths[0]))
    return *paths, whole
