"""timm's VisionTransformer with the same weights gives the same logits, on random configurations."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from timm.layers import QuickGELU, SwiGLUPacked
from timm.models.vision_transformer import VisionTransformer

from tests.conformance.conftest import backend as backend
from tests.models import random_pixels, random_weights
from tests.peers.compare import assert_logits
from vitcli.core.backend import Backend
from vitcli.core.parameters import count, parameter_table
from vitcli.core.spec import ModelSpec
from vitcli.core.variants import variant

# (our spec, timm's arguments); None stands for a choice of the random draw.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "cls": ({}, {}),
    "mean, norm after": (
        {"pool": "mean", "norm": {"final": "after_pool"}},
        {"global_pool": "avg"},
    ),
    "mean without class token, norm before": (
        {"pool": "mean", "tokens": {"class_token": False}},
        {"global_pool": "avg", "class_token": False, "fc_norm": False},
    ),
    "map": ({"pool": "map"}, {"global_pool": "map"}),
    "registers": ({"tokens": {"registers": 3}}, {"reg_tokens": 3}),
    "registers without slots": (
        {"tokens": {"registers": 2, "position_slots": "patches"}},
        {"reg_tokens": 2, "no_embed_class": True},
    ),
    "no positions": ({"tokens": {"positions": "none"}}, {"pos_embed": "none"}),
    "qk norm, no qkv bias": (
        {"attention": {"qk_norm": True, "qkv_bias": False}},
        {"qk_norm": True, "qkv_bias": False},
    ),
    "layer scale": ({"layer_scale": 0.1}, {"init_values": 0.1}),
    "norm before the blocks, quick gelu": (
        {"norm": {"before_blocks": True, "eps": 1e-5}, "mlp": {"activation": "quick_gelu"}},
        {
            "pre_norm": True,
            "act_layer": QuickGELU,
            "norm_layer": partial(torch.nn.LayerNorm, eps=1e-5),
        },
    ),
    "tanh gelu": (
        {"mlp": {"activation": "gelu_tanh"}},
        {"act_layer": partial(torch.nn.GELU, approximate="tanh")},
    ),
    "relu": ({"mlp": {"activation": "relu"}}, {"act_layer": torch.nn.ReLU}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_logits_equal_timm(backend: Backend, case: str, seed: int) -> None:
    spec, arguments = _random_case(case, seed)
    weights, pixels = random_weights(spec, seed), random_pixels(spec)
    peer = VisionTransformer(**arguments).eval()
    # timm drops the patch bias where a norm stands before the blocks (CLIP).
    peer.load_state_dict({name: torch.tensor(value) for name, value in weights.items()}, strict=True)
    with torch.inference_mode():
        theirs = peer(torch.tensor(pixels)).numpy()
        exact = peer.double()(torch.tensor(pixels, dtype=torch.float64)).numpy()
    assert_logits(backend, spec, weights, pixels, exact=exact, narrow=theirs)


def test_swiglu_equals_timm(backend: Backend) -> None:
    """The MLP ratio of timm counts the packed first layer; our width is half of it."""
    spec = _spec(1, {"mlp": {"activation": "swiglu"}})
    weights, pixels = random_weights(spec), random_pixels(spec)
    arguments = _timm(spec) | {"mlp_ratio": 2 * spec.mlp_dim / spec.embed_dim, "mlp_layer": SwiGLUPacked}
    arguments |= {"act_layer": torch.nn.SiLU}  # timm's default would turn the gate into a GELU
    peer = VisionTransformer(**arguments).eval().double()
    peer.load_state_dict({name: torch.tensor(value) for name, value in weights.items()}, strict=True)
    with torch.inference_mode():
        exact = peer(torch.tensor(pixels, dtype=torch.float64)).numpy()
    assert_logits(backend, spec, weights, pixels, exact=exact)


@pytest.mark.parametrize("name", ["Ti/16", "S/16", "B/16", "B/32", "L/16"])
def test_variants_have_timm_names_and_shapes(name: str) -> None:
    spec = ModelSpec(image_size=224, num_classes=1000, **variant(name))
    with torch.device("meta"):
        peer = VisionTransformer(**_timm(spec))
    table = {name: parameter.shape for name, parameter in parameter_table(spec).items()}
    assert table == {name: tuple(value.shape) for name, value in peer.named_parameters()}
    assert count(spec) == sum(value.numel() for value in peer.parameters())


def _random_case(case: str, seed: int) -> tuple[ModelSpec, dict[str, Any]]:
    ours, theirs = CASES[case]
    if "pre_norm" in theirs:
        ours = ours | {"tokens": {"patch_bias": False}}
    spec = _spec(seed, ours)
    return spec, _timm(spec) | theirs


def _spec(seed: int, changes: dict[str, Any]) -> ModelSpec:
    """A random small configuration; every draw has sizes that differ from one another."""
    random = np.random.default_rng(seed + 100)
    patch, heads = int(random.integers(2, 6)), int(random.integers(2, 4))
    base = {
        "patch_size": patch,
        "image_size": patch * int(random.integers(2, 5)),
        "embed_dim": heads * int(random.integers(5, 9)),
        "num_heads": heads,
        "depth": int(random.integers(1, 4)),
        "num_classes": int(random.integers(2, 12)),
    }
    return ModelSpec.model_validate({**base, "mlp_dim": 2 * base["embed_dim"], **changes})


def _timm(spec: ModelSpec) -> dict[str, Any]:
    return {
        "img_size": spec.image_size,
        "patch_size": spec.patch_size,
        "in_chans": spec.in_channels,
        "num_classes": spec.num_classes,
        "embed_dim": spec.embed_dim,
        "depth": spec.depth,
        "num_heads": spec.num_heads,
        "mlp_ratio": spec.mlp_dim / spec.embed_dim,
    }
