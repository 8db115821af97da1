"""Stages of the data path are measured on a sample, and nothing is left behind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from vitcli.data.places import cache_root
from vitcli.jobs.bench import bench
from vitcli.main import app

SMALL = [
    "model.image_size=16",
    "model.patch_size=8",
    "model.embed_dim=16",
    "model.num_heads=2",
    "model.depth=1",
    "model.mlp_dim=16",
]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(6):
            pixels = random.integers(0, 256, (20, 30, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


@pytest.mark.parametrize(
    ("cache", "backend"),
    [
        ("square", "torch"),
        ("square", "jax"),
        ("ragged", "torch"),
        pytest.param("ragged", "jax", marks=pytest.mark.slow),  # no engine knows what its batches come from
    ],
)
def test_every_stage_has_a_speed(photos: Path, backend: str, cache: str) -> None:
    found = bench(
        str(photos), overrides=[*SMALL, f"data.cache={cache}"], count=8, backend=backend, device="cpu"
    )
    assert list(found.stages) == ["decode", "cache", "plan", "gather", "copy", "augment", "step"]
    assert all(speed > 0 for speed in found.stages.values())
    assert found.stages["plan"] > found.stages["gather"]  # which draws the plan too
    fed = {name: found.stages[name] for name in ("gather", "copy", "step")}
    assert found.stages[found.limit] == min(fed.values())
    assert found.images == 8
    assert not cache_root().exists() or not list(cache_root().iterdir())


def test_a_model_that_costs_more_is_the_limit(photos: Path) -> None:
    larger = [
        "model.image_size=96",
        "model.embed_dim=192",
        "model.depth=8",
        "model.mlp_dim=768",
        "model.num_heads=3",
    ]
    assert bench(str(photos), overrides=larger, count=8, backend="torch", device="cpu").limit == "step"


def test_embedded_pixels_need_no_decoding() -> None:
    done = CliRunner().invoke(
        app, ["datasets", "bench", "digits", "--recipe", "digits", "-b", "torch", "--json"]
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert list(found["stages"]) == ["plan", "gather", "copy", "augment", "step"]
    assert found["stream_limit"] is None
    assert found["batch_size"] == 64
