"""Costs are those that others publish, and those counted by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core.test_spec import spec
from tests.models import OPTIONS, spec_of
from vitcli.core.cost import (
    activation_bytes,
    cpu_micro_batch,
    forward_flops,
    layers,
    torchinfo_count,
    training_bytes,
)
from vitcli.core.parameters import count
from vitcli.core.spec import ModelSpec
from vitcli.core.variants import variant


# Billions of multiply-adds: `_ops` of torchvision's weights (measured with fvcore), to the three digits given.
@pytest.mark.parametrize(
    ("name", "billions"),
    [("B/16", 17.564), ("B/32", 4.409), ("L/16", 61.555), ("L/32", 15.378), ("H/14", 167.295)],
)
def test_multiply_adds_are_the_published_ones(name: str, billions: float) -> None:
    made = ModelSpec(image_size=224, num_classes=1000, **variant(name))
    assert sum(row.multiply_adds for row in layers(made)) / 1e9 == pytest.approx(billions, abs=6e-4)


def _sizes(image: int, patch: int, width: int, depth: int, heads: int, mlp: int) -> dict[str, int]:
    keys = ("image_size", "patch_size", "embed_dim", "depth", "num_heads", "mlp_dim")
    return dict(zip(keys, (image, patch, width, depth, heads, mlp), strict=True))


# Counted apart from this code, when the engines were first measured; to the digits given.
@pytest.mark.parametrize(
    ("classes", "sizes", "billions", "digits"),
    [
        (10, _sizes(32, 4, 256, 6, 8, 512), 0.4365, 4),
        (10, _sizes(64, 4, 192, 4, 4, 768), 1.1171, 4),
        (1000, _sizes(224, 16, 192, 12, 3, 768), 2.507, 3),
        (1000, _sizes(224, 16, 384, 12, 6, 1536), 9.198, 3),
        (1000, _sizes(224, 16, 768, 12, 12, 3072), 35.13, 2),
    ],
)
def test_flops_are_twice_the_multiply_adds(
    classes: int, sizes: dict[str, int], billions: float, digits: int
) -> None:
    made = ModelSpec.model_validate({"num_classes": classes, **sizes})
    assert round(forward_flops(made) / 1e9, digits) == billions


# By hand: N 13 (9 patches), D 14, M 22, 2 heads of 7, 6 classes.
EMBED, QKV, PRODUCTS, PROJ, MLP, HEAD = (
    9 * 75 * 14,
    13 * 14 * 42,
    2 * 13 * 13 * 14,
    13 * 14 * 14,
    13 * 2 * 14 * 22,
    84,
)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, EMBED + 4 * (QKV + PRODUCTS + PROJ + MLP) + HEAD),
        ({"attention": {"output_projection": False}}, EMBED + 4 * (QKV + PRODUCTS + MLP) + HEAD),
        ({"mlp": {"activation": "swiglu"}}, EMBED + 4 * (QKV + PRODUCTS + PROJ + 13 * 14 * 66) + HEAD),
        (
            # Three 91 x 91 kernels for each of 2 heads; the MLP sees the 13 tokens as one vector.
            {"linear": "sequence", "attention": {"output_projection": False}},
            EMBED + 4 * (6 * 91 * 91 + PRODUCTS + 2 * 182 * 22) + HEAD,
        ),
        ({"in_channels": 1}, EMBED // 3 + 4 * (QKV + PRODUCTS + PROJ + MLP) + HEAD),
        ({"pool": "cls_mean"}, EMBED + 4 * (QKV + PRODUCTS + PROJ + MLP) + 2 * HEAD),
        ({"head": {"pre_logits": 11}}, EMBED + 4 * (QKV + PRODUCTS + PROJ + MLP) + 14 * 11 + 11 * 6),
        (
            # One probe attends to 9 patches: query, keys and values, two products, projection, MLP.
            {"pool": "map"},
            EMBED
            + 4 * (QKV + PRODUCTS + PROJ + MLP)
            + (14 * 14 + 9 * 14 * 28 + 2 * 9 * 14 + 14 * 14 + 2 * 14 * 22)
            + HEAD,
        ),
    ],
    ids=str,
)
def test_multiply_adds_are_those_counted_by_hand(changes: dict[str, Any], expected: int) -> None:
    assert sum(row.multiply_adds for row in layers(spec(**changes))) == expected


@pytest.mark.parametrize("option", OPTIONS)
def test_rows_hold_every_parameter_once(option: str) -> None:
    made = spec_of(option)
    rows = layers(made)
    assert sum(row.parameters for row in rows) == count(made)
    assert len({row.name for row in rows}) == len(rows)
    assert rows[-1].output == (made.num_classes or made.head.pre_logits or made.embed_dim,)


def test_torchinfos_count_is_the_one_that_torchinfo_prints() -> None:
    # torchinfo 1.8.0 of a PyTorch model with these modules, 16 images: a 16 x 16 convolution of 3 x 64 x 64 to 128
    # channels (16 positions), a norm, linear layers 2176 -> 4352 -> 2176 and 128 -> 5.
    patches, rest = 128 * 768 + 128, 256 + 2 * 2176 * 4352 + 2176 + 4352 + 645
    assert 16 * (rest + 16 * patches) == 328_355_920
    made = spec()
    bare = 14 + 3 * 14 + 13 * 14  # class token, registers, positions
    patches = 14 * 75 + 14
    found = torchinfo_count(made, images=5)
    assert found.multiply_adds == 5 * (count(made) - bare + 8 * patches)
    assert found.weight_bytes == 4 * (count(made) - bare)


def test_training_holds_weights_gradients_and_the_optimisers_arrays() -> None:
    made = spec()
    assert training_bytes(made, slots=0) == 8 * count(made)
    assert training_bytes(made, slots=3) == 20 * count(made)


def test_activations_grow_with_the_images() -> None:
    made = spec()
    assert activation_bytes(made, images=7) == 7 * activation_bytes(made, images=1)
    assert activation_bytes(made, images=1, bytes_per_value=2) * 2 == activation_bytes(made, images=1)


def test_the_micro_batch_of_a_cpu_is_a_power_of_two_that_fits_the_budget() -> None:
    for name, size in (("Ti/16", 224), ("Ti/16", 32), ("S/16", 48), ("S/8", 64)):
        made = ModelSpec(image_size=size, num_classes=10, **variant(name))
        found = cpu_micro_batch(made, 10_000, least=1, budget=90_000_000)
        assert found.bit_count() == 1
        # The largest power of two within the budget uses more than half of it.
        assert 45_000_000 < activation_bytes(made, images=found) <= 90_000_000


@pytest.mark.parametrize(("batch_size", "found"), [(1, 1), (3, 3), (8, 8), (10_000, 8)])
def test_the_micro_batch_of_a_cpu_is_at_least_the_least_and_at_most_the_batch(
    batch_size: int, found: int
) -> None:
    made = ModelSpec(image_size=224, num_classes=10, **variant("L/16"))
    assert cpu_micro_batch(made, batch_size, least=8, budget=16_000_000) == found
