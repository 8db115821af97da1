"""What a recipe trains: patterns, layers, rates and decays by name."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from pydantic import ValidationError

from tests.models import BASE, OPTIONS
from vitcli.core.draft import override, parse, resolve, to_toml
from vitcli.core.parameters import parameter_table
from vitcli.core.recipe import Recipe
from vitcli.core.tune import Move, TuneSpec, layer, plan

HEAD = ["head.weight", "head.bias"]


def recipe(option: str = "standard", decay: str = "kernels", **tune: Any) -> Recipe:
    train = {"epochs": 1, "weight_decay": 0.1, "decay": decay}
    return Recipe.model_validate({"model": {**BASE, **OPTIONS[option]}, "train": train, "tune": tune})


def test_by_default_everything_moves_alike() -> None:
    for option in ("standard", "all at once", "distilled", "whole sequence"):
        made = recipe(option)
        assert plan(made) == {
            name: Move(rate=1.0, decay=0.1 if tensor.decay else 0.0)
            for name, tensor in parameter_table(made.model).items()
        }
    everything = plan(recipe(decay="all"))
    assert set(everything.values()) == {Move(rate=1.0, decay=0.1)}


@pytest.mark.parametrize(
    ("tune", "frozen"),
    [
        ({"freeze": ["cls_token"]}, lambda name: name == "cls_token"),
        ({"freeze": ["blocks.0.*", "pos_embed"]}, lambda name: name.startswith(("blocks.0.", "pos_embed"))),
        ({"freeze": ["*.bias"]}, lambda name: name.endswith(".bias")),
        # A text is a list of patterns with commas between.
        ({"freeze": "*.bias, cls_token"}, lambda name: name.endswith(".bias") or name == "cls_token"),
        (
            {"freeze": ["*"], "train": ["*.norm?.*"]},
            lambda name: ".norm1." not in name and ".norm2." not in name,
        ),
        (
            {"freeze": ["blocks.*"], "train": ["blocks.1.mlp.*"]},
            lambda name: name.startswith("blocks.") and not name.startswith("blocks.1.mlp."),
        ),
        ({"probe": True}, lambda name: name not in HEAD),
        ({"probe": True, "freeze": ["head.bias"]}, lambda name: name != "head.weight"),
        (
            {"probe": True, "train": ["norm.*"]},
            lambda name: name not in HEAD and not name.startswith("norm."),
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_is_frozen(tune: dict[str, Any], frozen: Any) -> None:
    made = recipe(**tune)
    names = list(parameter_table(made.model))
    assert list(plan(made)) == [name for name in names if not frozen(name)]


def test_adapters_freeze_all_but_themselves_and_the_head() -> None:
    made = recipe("adapters of all layers")
    names = list(parameter_table(made.model))
    assert list(plan(made)) == [name for name in names if ".lora_" in name or name in HEAD]
    assert list(plan(recipe("adapters of all layers", train=["*"]))) == names
    less = plan(recipe("adapters of all layers", freeze=["blocks.1.*", "head.*"], train=["norm.*"]))
    assert {name.rpartition(".")[0] for name in less if ".lora_" not in name} == {"norm"}
    assert {name[:8] for name in less if ".lora_" in name} == {"blocks.0"}
    with pytest.raises(
        ValidationError, match=r"tune.probe=true trains the head alone, not model.lora's adapters"
    ):
        recipe("adapters", probe=True)


def test_a_probe_trains_every_classifier() -> None:
    assert list(plan(recipe("distilled", probe=True))) == [*HEAD, "head_dist.weight", "head_dist.bias"]


def test_layers_are_counted_from_the_image() -> None:
    expected = {"cls_token": 0, "reg_token": 0, "patch_embed.proj.bias": 0, "norm_pre.weight": 0}
    expected |= {"blocks.0.norm1.bias": 1, "blocks.9.mlp.fc1.weight": 10, "blocks.11.ls1.gamma": 12}
    expected |= dict.fromkeys(
        ("norm.bias", "fc_norm.bias", "attn_pool.kv.bias", "pre_logits.bias", *HEAD), 13
    )
    assert {name: layer(name, 12) for name in expected} == expected
    # Of "pos_embed" and its kin the slots are layer 0 in every model that has them.
    rates = {name: move.rate for name, move in plan(recipe("all at once", layer_decay=0.5)).items()}
    assert rates["pos_embed"] == rates["norm_pre.weight"] == 0.5**3
    assert rates["blocks.0.attn.qkv.weight"] == 0.5**2
    assert rates["blocks.1.attn.qkv.weight"] == 0.5
    assert rates["fc_norm.weight"] == rates["attn_pool.latent"] == rates["head.bias"] == 1.0


def test_rates_multiply_and_the_last_rule_counts() -> None:
    made = recipe(layer_decay=0.5, lr=["*=2", "head.*=10", "head.bias = 3e0"])
    moves = plan(made)
    assert moves["head.weight"].rate == 10
    assert moves["head.bias"].rate == 3
    assert moves["norm.weight"].rate == 2
    assert moves["blocks.0.norm1.bias"].rate == 2 * 0.5**2


def test_a_decay_rule_replaces_whatever_else_is_said() -> None:
    moves = plan(recipe(weight_decay=["blocks.*=0.5", "*.bias=0", "norm.bias=0.25"]))
    assert moves["blocks.0.norm1.weight"].decay == 0.5
    assert moves["blocks.0.attn.qkv.bias"].decay == 0
    assert moves["norm.bias"].decay == 0.25
    assert moves["head.weight"].decay == 0.1
    assert moves["norm.weight"].decay == 0


@pytest.mark.parametrize(
    ("tune", "message"),
    [
        ({"freeze": ["blocks.0"]}, r"'blocks.0' matches no tensor .*did you mean 'blocks.0.\*'.*vit summary"),
        ({"freeze": ["block.0.*"]}, r"'block.0.\*' matches no tensor .*did you mean 'blocks.0.\*'"),
        ({"freeze": ["blocks.7.*"]}, r"'blocks.7.\*' matches no tensor .*did you mean 'blocks.\d.\*'"),
        ({"freeze": ["head.*", "cls_tokn"]}, "'cls_tokn' matches no tensor .*did you mean 'cls_token'"),
        ({"freeze": ["Head.*"]}, r"did you mean 'head.\*'"),
        ({"freeze": ["zzzz"]}, "'zzzz' matches no tensor of this model; all names"),
        ({"freeze": "head.*,"}, "'' matches no tensor"),
        ({"freeze": ["*"], "train": ["head"]}, r"tune.train: 'head' .*did you mean 'head.\*'"),
        ({"freeze": ["*"]}, r"tune.freeze=\['\*'\] leaves nothing to train; say tune.train="),
        ({"probe": True, "freeze": ["head.*"]}, r"leaves nothing to train"),
        ({"train": ["head.*"]}, r"tune.train=\['head.\*'\] is trained anyway.*tune.freeze='\*'"),
        ({"lr": ["heads.*=2"]}, r"tune.lr: 'heads.\*' matches no tensor .*did you mean 'head.\*'"),
        ({"weight_decay": ["fc=0"]}, "tune.weight_decay: 'fc' matches no tensor"),
        (
            {"probe": True, "lr": ["blocks.*=2"]},
            r"tune.lr: 'blocks.\*' matches frozen tensors only; .*tune.train=",
        ),
        ({"freeze": ["*.bias"], "weight_decay": ["head.bias=1"]}, "'head.bias' matches frozen tensors only"),
        ({"lr": ["head.*"]}, r"lr: 'head.\*' is not a rule; write 'pattern=factor'"),
        ({"lr": ["=2"]}, "lr: '=2' is not a rule"),
        ({"lr": ["head.*=0"]}, "a factor above 0"),
        ({"lr": ["head.*=nan"]}, "is not a rule"),
        ({"lr": ["head.*=inf"]}, "is not a rule"),
        ({"weight_decay": ["head.*=-1"]}, "weight_decay: .* a value of 0 or more"),
        ({"weight_decay": ["head.*=much"]}, "is not a rule"),
        ({"layer_decay": 0.0}, "greater than 0"),
        ({"layer_decay": 1.1}, "less than or equal to 1"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(tune: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        recipe(**tune)


def test_a_recipe_keeps_it_in_words() -> None:
    text = to_toml(recipe())
    assert tomllib.loads(text)["tune"] == {
        "freeze": [],
        "train": [],
        "probe": False,
        "lr": [],
        "weight_decay": [],
    }
    draft = override(
        parse(text, "here"),
        [
            "tune.freeze=blocks.0.*,patch_embed.*",
            "tune.train=*.bias",
            'tune.lr=["head.*=2"]',
            "tune.layer_decay=0.75",
        ],
    )
    made = resolve(draft)
    assert made.tune == TuneSpec(
        freeze=("blocks.0.*", "patch_embed.*"), train=("*.bias",), lr=("head.*=2",), layer_decay=0.75
    )
    assert resolve(parse(to_toml(made), "there")) == made
