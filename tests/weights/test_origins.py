"""The origin recipes have the write-ups' tensors: counts everywhere, names and shapes where the tables are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.models import spec_of
from vitcli.core.errors import WeightsError
from vitcli.core.parameters import count
from vitcli.core.recipe import Recipe
from vitcli.jobs.drafts import provisional, recipe_draft
from vitcli.weights.header import Layout
from vitcli.weights.names import file_shapes, places

TABLES = Path(__file__).parents[3] / "shared" / "fixtures" / "param_tables.json"
SMALLER = ["model.image_size=224", "data.eval_size=224"]
# Recipe, layout, overrides, the published count, and the table's name.
SYSTEMS: list[tuple[str, Layout, list[str], int, str]] = [
    ("jax-imagenette", "origin-jax", [], 1_692_106, "seed000"),
    ("torch-cifar10", "origin-torch", [], 3_189_002, "seed001"),
    ("torch-custom", "origin-custom", [], 86_066_693, "seed002_5_img384"),
    ("torch-custom", "origin-custom", SMALLER, 85_774_853, "seed002_5"),
    ("torch-custom", "origin-custom", [*SMALLER, "model.num_classes=1000"], 86_540_008, "seed002_1000"),
    ("homework-coco5", "origin-homework", [], 52_213_253, "seed003"),
]


def made(name: str, overrides: list[str]) -> Recipe:
    return provisional(recipe_draft(f"origins/{name}", overrides))


@pytest.mark.parametrize(("name", "layout", "overrides", "parameters", "table"), SYSTEMS)
def test_counts_are_the_published_ones(
    name: str, layout: Layout, overrides: list[str], parameters: int, table: str
) -> None:
    recipe = made(name, overrides)
    assert count(recipe.model) == parameters
    for origin in ("origin-jax", "origin-torch", "origin-custom", "origin-homework"):
        if origin == layout:
            file_shapes(recipe.model, layout)
        else:
            with pytest.raises(WeightsError, match=f"{origin} cannot hold this model: model"):
                file_shapes(recipe.model, origin)


@pytest.mark.skipif(not TABLES.is_file(), reason=f"the write-ups' parameter tables are not at {TABLES}")
@pytest.mark.parametrize(("name", "layout", "overrides", "parameters", "table"), SYSTEMS)
def test_names_and_shapes_are_the_write_ups(
    name: str, layout: Layout, overrides: list[str], parameters: int, table: str
) -> None:
    rows: list[Any] = json.loads(TABLES.read_text())[table]["table"]
    expected = {key: tuple(shape) for key, shape, _ in rows}
    assert file_shapes(made(name, overrides).model, layout) == expected


def test_parts_of_a_tensor_are_rows_in_order() -> None:
    spec = made("homework-coco5", []).model
    parts = places(spec, "origin-homework")["blocks.1.attn.qkv.weight"]
    assert [part.name.rsplit(".", 3)[1:3] for part in parts] == [
        ["0", "WQ"], ["1", "WQ"], ["0", "WK"], ["1", "WK"], ["0", "WV"], ["1", "WV"],
    ]  # fmt: skip
    assert [part.rows for part in parts] == [(row, row + 1) for row in range(6)]
    assert {part.shape for part in parts} == {(1088, 1088)}


def test_the_standard_model_has_no_place_in_them() -> None:
    with pytest.raises(
        WeightsError, match=r"origin-torch cannot hold this model: model.attention.qkv_bias is True"
    ):
        places(spec_of("standard"), "origin-torch")


# What the published training says, beside the architecture.
TRAINING: dict[str, dict[str, Any]] = {
    "jax-imagenette": {
        "optimizer": "sgd",
        "lr": 0.01,
        "momentum": 0.0,
        "batch_size": 256,
        "epochs": 20,
        "drop_last": False,
        "evaluate_first": True,
    },
    "torch-cifar10": {
        "optimizer": "adam",
        "lr": 3e-4,
        "batch_size": 64,
        "epochs": 150,
        "drop_last": True,
        "milestones": ("80 epochs", "130 epochs"),
        "gamma": 0.1,
    },
    "torch-custom": {
        "optimizer": "adamw",
        "lr": 1e-4,
        "weight_decay": 1e-3,
        "decay": "all",
        "batch_size": 32,
        "epochs": 5,
        "drop_last": False,
        "step_every": "2 epochs",
        "keep": "accuracy",
    },
    "homework-coco5": {
        "optimizer": "adam",
        "lr": 1e-4,
        "moment_decays": (0.9, 0.999),
        "batch_size": 16,
        "epochs": 20,
        "drop_last": True,
        "keep": "loss",
        "loss_window": 100,
    },
}


@pytest.mark.parametrize("name", TRAINING)
def test_training_is_the_published_one(name: str) -> None:
    train = made(name, []).train
    assert {key: getattr(train, key) for key in TRAINING[name]} == TRAINING[name]
