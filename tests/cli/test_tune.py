"""`vit train` with [tune]: what is said, what is written, what stays as it was."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.cli.running import PARAMETERS, TINY, here
from vitcli.core import registry
from vitcli.core.draft import parse, resolve
from vitcli.weights.initial import initial_weights

pytestmark = pytest.mark.usefixtures("one_thread")
# 16 features to 10 digits.
HEAD = 170


@pytest.mark.parametrize("backend", registry.names())
def test_a_probe_trains_the_head_alone(backend: str, tmp_path: Path) -> None:
    wanted = (
        "tune.probe=true",
        "tune.lr=head.bias=2",
        "train.ema=0.9",
        "train.decay=all",
        "train.weight_decay=0.1",
    )
    said = here("train", "digits", "-b", backend, *TINY, *wanted, "--runs", tmp_path, "--json")
    assert said.code == 0, said.err
    assert f"trains {HEAD} of {PARAMETERS:,} parameters, 1,257 training images" in said.err
    assert "most of this model is frozen at random first weights; --init FILE" in said.err
    run = Path(json.loads(said.out)["run"])
    text = (run / "recipe.toml").read_text()
    assert tomllib.loads(text)["tune"] == {
        "freeze": [],
        "train": [],
        "probe": True,
        "lr": ["head.bias=2"],
        "weight_decay": [],
    }
    recipe = resolve(parse(text, "recipe.toml"))
    first = initial_weights(recipe.model, recipe.train.seed, recipe.init)
    last = load_file(run / "model.safetensors")
    assert last.keys() == first.keys()
    for name, value in first.items():
        assert np.array_equal(last[name], value) == (not name.startswith("head.")), name
    # The run's own recipe is a recipe.
    again = here("recipes", "validate", run / "recipe.toml")
    assert again.code == 0


def test_parity_of_what_is_trained() -> None:
    wanted = ("tune.freeze=patch_embed.*,blocks.0.attn.*", "tune.layer_decay=0.5", "train.ema=0.9")
    said = here("parity", "digits", *TINY, *wanted, "--steps", "2", "--json", "train.precision=float64")
    assert (said.code, said.errors) == (0, [])
    found = json.loads(said.out)
    assert found["ok"] is True
    names = set(found["steps"][0]["gradients"])
    assert "blocks.0.mlp.fc1.weight" in names
    assert not any(name.startswith(("patch_embed.", "blocks.0.attn.")) for name in names)
