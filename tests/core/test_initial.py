"""How a recipe says first values."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from pydantic import ValidationError

from tests.core.test_spec import spec
from vitcli.core.initial import Initial, InitSpec, distribution
from vitcli.core.parameters import parameter_table


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("zeros", Initial(kind="constant", scale=0.0)),
        ("normal 0.02", Initial(kind="normal", scale=0.02)),
        ("normal 1", Initial(kind="normal", scale=1.0)),
        ("uniform 0 1", Initial(kind="uniform", scale=0.5, middle=0.5)),
        (" uniform  -0.5 0.25 ", Initial(kind="uniform", scale=0.375, middle=-0.125)),
    ],
)
def test_a_distribution_is_a_kind_and_its_numbers(text: str, expected: Initial) -> None:
    assert distribution(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ones",
        "zeros 0",
        "normal",
        "normal -1",
        "normal a",
        "normal nan",
        "uniform 1",
        "uniform 1 0",
        "uniform 0 inf",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"'{text}' is not a distribution; write 'zeros'")):
        distribution(text)
    with pytest.raises(ValidationError, match="class_token: .* is not a distribution"):
        InitSpec(class_token=text)


# S 15, P 5, C 3, D 14, M 22, 6 classes.
TABLE: list[tuple[dict[str, Any], str, Initial]] = [
    ({"linear": "xavier"}, "blocks.1.mlp.fc1.bias", Initial(kind="constant", scale=0.0)),
    ({"linear": "xavier"}, "head.weight", Initial(kind="uniform", scale=math.sqrt(6 / 20))),
    ({"linear": "xavier"}, "patch_embed.proj.weight", Initial(kind="uniform", scale=math.sqrt(6 / 89))),
    ({"linear": "xavier", "head": "normal 0.5"}, "head.weight", Initial(kind="normal", scale=0.5)),
    ({"patch": "normal 0.25"}, "patch_embed.proj.weight", Initial(kind="normal", scale=0.25)),
    ({"class_token": "uniform 0 1"}, "cls_token", Initial(kind="uniform", scale=0.5, middle=0.5)),
    ({"positions": "normal 1"}, "pos_embed", Initial(kind="normal", scale=1.0)),
    ({"positions": "normal 1"}, "reg_token", Initial(kind="normal", scale=0.02)),
    # PyTorch's nn.Linear and nn.Conv2d: kaiming_uniform(a = sqrt 5) is uniform in +-1/sqrt(fan in), biases as well.
    ({"linear": "torch"}, "blocks.1.attn.qkv.weight", Initial(kind="uniform", scale=1 / math.sqrt(14))),
    ({"linear": "torch"}, "blocks.1.mlp.fc1.bias", Initial(kind="uniform", scale=1 / math.sqrt(14))),
    ({"linear": "torch"}, "blocks.1.mlp.fc2.bias", Initial(kind="uniform", scale=1 / math.sqrt(22))),
    ({"linear": "torch"}, "patch_embed.proj.bias", Initial(kind="uniform", scale=1 / math.sqrt(75))),
    ({"linear": "torch"}, "head.weight", Initial(kind="uniform", scale=1 / math.sqrt(14))),
    ({"linear": "torch"}, "blocks.1.norm1.weight", Initial(kind="constant", scale=1.0)),
]


@pytest.mark.parametrize(("init", "name", "expected"), TABLE, ids=str)
def test_every_rule_reaches_its_tensors(init: dict[str, Any], name: str, expected: Initial) -> None:
    found = parameter_table(spec(), InitSpec(**init))[name].initial
    assert (found.kind, found.middle) == (expected.kind, expected.middle)
    assert found.scale == pytest.approx(expected.scale, rel=1e-12)


def test_whole_sequence_layers_have_the_whole_sequence_as_fan() -> None:
    made = spec(linear="sequence", attention={"output_projection": False})  # N 13, D 14, 2 heads of 7
    table = parameter_table(made, InitSpec(linear="torch"))
    assert table["blocks.0.attn.qkv.weight"].initial.scale == pytest.approx((13 * 7) ** -0.5)
    assert table["blocks.0.mlp.fc1.bias"].initial.scale == pytest.approx((13 * 14) ** -0.5)
