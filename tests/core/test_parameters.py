"""The parameter table holds what the spec asks for, and nothing else."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.core.test_spec import spec
from vitcli.core.parameters import count, parameter_table
from vitcli.core.spec import ModelSpec

# D 14, M 22, P 5, C 3, 6 classes; a class token, 3 registers and 9 patches: 13 positions.
EMBEDDING = {
    "cls_token": (1, 1, 14),
    "reg_token": (1, 3, 14),
    "pos_embed": (1, 13, 14),
    "patch_embed.proj.weight": (14, 3, 5, 5),
    "patch_embed.proj.bias": (14,),
}
BLOCK = {
    "norm1.weight": (14,),
    "norm1.bias": (14,),
    "attn.qkv.weight": (42, 14),
    "attn.qkv.bias": (42,),
    "attn.proj.weight": (14, 14),
    "attn.proj.bias": (14,),
    "norm2.weight": (14,),
    "norm2.bias": (14,),
    "mlp.fc1.weight": (22, 14),
    "mlp.fc1.bias": (22,),
    "mlp.fc2.weight": (14, 22),
    "mlp.fc2.bias": (14,),
}
END = {"norm.weight": (14,), "norm.bias": (14,), "head.weight": (6, 14), "head.bias": (6,)}
BLOCKS = {f"blocks.{i}.{name}": shape for i in range(4) for name, shape in BLOCK.items()}


def shapes(made: ModelSpec) -> dict[str, tuple[int, ...]]:
    return {name: parameter.shape for name, parameter in parameter_table(made).items()}


def in_blocks(tensors: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {f"blocks.{i}.{name}": shape for i in range(4) for name, shape in tensors.items()}


def test_the_standard_model_has_these_tensors_in_this_order() -> None:
    assert list(shapes(spec()).items()) == list({**EMBEDDING, **BLOCKS, **END}.items())


MLP = {"fc1.weight": (22, 14), "fc1.bias": (22,), "fc2.weight": (14, 22), "fc2.bias": (14,)}
MAP = {
    "attn_pool.latent": (1, 1, 14),
    "attn_pool.q.weight": (14, 14),
    "attn_pool.q.bias": (14,),
    "attn_pool.kv.weight": (28, 14),
    "attn_pool.kv.bias": (28,),
    "attn_pool.proj.weight": (14, 14),
    "attn_pool.proj.bias": (14,),
    "attn_pool.norm.weight": (14,),
    "attn_pool.norm.bias": (14,),
    **{f"attn_pool.mlp.{name}": shape for name, shape in MLP.items()},
}


# What each option changes: tensors that come (or change their shape), and tensors that go.
@pytest.mark.parametrize(
    ("changes", "new", "gone"),
    [
        ({"in_channels": 1}, {"patch_embed.proj.weight": (14, 1, 5, 5)}, []),
        ({"tokens": {"patch_bias": False, "registers": 3}}, {}, ["patch_embed.proj.bias"]),
        (
            {"tokens": {"class_token": False, "registers": 3}, "pool": "mean"},
            {"pos_embed": (1, 12, 14)},
            ["cls_token"],
        ),
        ({"tokens": {"registers": 0}}, {"pos_embed": (1, 10, 14)}, ["reg_token"]),
        ({"tokens": {"positions": "none", "registers": 3}}, {}, ["pos_embed"]),
        ({"tokens": {"position_slots": "class", "registers": 3}}, {"pos_embed": (1, 10, 14)}, []),
        ({"tokens": {"position_slots": "patches", "registers": 3}}, {"pos_embed": (1, 9, 14)}, []),
        ({"attention": {"qkv_bias": False}}, {}, list(in_blocks({"attn.qkv.bias": ()}))),
        (
            {"attention": {"output_projection": False}},
            {},
            list(in_blocks({"attn.proj.weight": (), "attn.proj.bias": ()})),
        ),
        (
            {"attention": {"qk_norm": True}},
            in_blocks({f"attn.{x}_norm.{leaf}": (7,) for x in "qk" for leaf in ("weight", "bias")}),
            [],
        ),
        ({"layer_scale": 0.1}, in_blocks({"ls1.gamma": (14,), "ls2.gamma": (14,)}), []),
        (
            {"mlp": {"activation": "swiglu"}},
            in_blocks({"mlp.fc1.weight": (44, 14), "mlp.fc1.bias": (44,)}),
            [],
        ),
        ({"mlp": {"activation": "relu"}}, {}, []),
        ({"norm": {"before_blocks": True}}, {"norm_pre.weight": (14,), "norm_pre.bias": (14,)}, []),
        (
            {"norm": {"final": "after_pool"}},
            {"fc_norm.weight": (14,), "fc_norm.bias": (14,)},
            ["norm.weight", "norm.bias"],
        ),
        (
            {"norm": {"final": "after_pool"}, "pool": "cls_mean"},
            {"fc_norm.weight": (28,), "fc_norm.bias": (28,), "head.weight": (6, 28)},
            ["norm.weight", "norm.bias"],
        ),
        ({"pool": "cls_mean"}, {"head.weight": (6, 28)}, []),
        ({"norm": {"final": "none"}}, {}, ["norm.weight", "norm.bias"]),
        ({"attention": {"projection_bias": False}}, {}, list(in_blocks({"attn.proj.bias": ()}))),
        (
            # N 13: one 91 x 91 kernel for query, key and value of each of 2 heads; the MLP maps 13 x 14 = 182 values.
            {"linear": "sequence", "attention": {"output_projection": False}},
            in_blocks(
                {
                    "attn.qkv.weight": (6, 91, 91),
                    "attn.qkv.bias": (6, 91),
                    "mlp.fc1.weight": (22, 182),
                    "mlp.fc2.weight": (182, 22),
                    "mlp.fc2.bias": (182,),
                }
            ),
            list(in_blocks({"attn.proj.weight": (), "attn.proj.bias": ()})),
        ),
        ({"pool": "map"}, MAP, []),
        (
            {"head": {"pre_logits": 11}},
            {"pre_logits.weight": (11, 14), "pre_logits.bias": (11,), "head.weight": (6, 11)},
            [],
        ),
    ],
    ids=str,
)
def test_an_option_changes_these_tensors_alone(
    changes: dict[str, Any], new: dict[str, tuple[int, ...]], gone: list[str]
) -> None:
    expected = {**EMBEDDING, **BLOCKS, **END, **new}
    assert shapes(spec(**changes)) == {name: shape for name, shape in expected.items() if name not in gone}


def test_fixed_positions_are_no_parameter() -> None:
    fixed = spec(embed_dim=16, tokens={"positions": "sincos2d", "registers": 3})
    assert "pos_embed" not in parameter_table(fixed)


def test_weight_decay_applies_to_kernels_alone() -> None:
    made = spec(pool="map", layer_scale=0.1, head={"pre_logits": 11}, attention={"qk_norm": True})
    decayed = {name for name, parameter in parameter_table(made).items() if parameter.decay}
    kernels = {"patch_embed.proj", "attn_pool.q", "attn_pool.kv", "attn_pool.proj", "attn_pool.mlp.fc1"}
    kernels |= {"attn_pool.mlp.fc2", "pre_logits", "head"}
    kernels |= {
        f"blocks.{i}.{name}" for i in range(4) for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    }
    assert decayed == {f"{name}.weight" for name in kernels}


def test_only_key_biases_have_no_gradient() -> None:
    marked = {
        name: p.zero_gradient for name, p in parameter_table(spec(pool="map")).items() if p.zero_gradient
    }
    blocks = {f"blocks.{i}.attn.qkv.bias": (14, 28) for i in range(4)}
    # The key is the second third of query, key and value, and the first half of key and value.
    assert marked == {**blocks, "attn_pool.kv.bias": (0, 14)}
    # A norm behind the keys makes their bias matter; so does a head that holds pieces of several tokens.
    for matters in ({"qk_norm": True}, {"split": "raw"}):
        table = parameter_table(spec(attention=matters))
        assert not any(parameter.zero_gradient for parameter in table.values())
    # A softmax over the queries cancels what all queries share.
    queries = parameter_table(spec(attention={"softmax": "queries"}))
    assert queries["blocks.0.attn.qkv.bias"].zero_gradient == (0, 14)


@pytest.mark.parametrize(
    ("name", "kind", "scale"),
    [
        ("cls_token", "constant", 0.0),
        ("reg_token", "normal", 0.02),
        ("pos_embed", "normal", 0.02),
        # LeCun: the standard deviation over a fan of 3 x 5 x 5.
        ("patch_embed.proj.weight", "normal", math.sqrt(1 / 75)),
        ("patch_embed.proj.bias", "constant", 0.0),
        ("blocks.2.norm1.weight", "constant", 1.0),
        ("blocks.2.norm1.bias", "constant", 0.0),
        # Xavier: sqrt(6 / (in + out)) of one of the three kernels.
        ("blocks.2.attn.qkv.weight", "uniform", math.sqrt(6 / 28)),
        ("blocks.2.attn.proj.weight", "uniform", math.sqrt(6 / 28)),
        ("blocks.2.ls1.gamma", "constant", 0.125),
        ("blocks.2.mlp.fc1.weight", "uniform", math.sqrt(6 / 36)),
        ("blocks.2.mlp.fc1.bias", "normal", 1e-6),
        ("blocks.2.mlp.fc2.weight", "uniform", math.sqrt(6 / 36)),
        ("head.weight", "normal", 0.02),
        ("head.bias", "constant", 0.0),
    ],
)
def test_first_values_are_distributed_as_documented(name: str, kind: str, scale: float) -> None:
    initial = parameter_table(spec(layer_scale=0.125))[name].initial
    assert initial.kind == kind
    assert initial.scale == pytest.approx(scale, rel=1e-12)


def test_the_count_is_the_sum_of_the_sizes() -> None:
    block = 4 * 14 + (42 * 14 + 42) + (14 * 14 + 14) + (22 * 14 + 22) + (14 * 22 + 14)
    embedding = 14 + 3 * 14 + 13 * 14 + 14 * 75 + 14
    assert count(spec()) == embedding + 4 * block + 28 + (6 * 14 + 6)
