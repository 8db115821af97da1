"""Small models with every option of the spec, and weights in which nothing is zero or one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitcli.core.parameters import parameter_table
from vitcli.core.spec import ModelSpec

# All sizes differ, so that swapped axes fail: S 15, P 5, N 9 (+ prefix), D 16, H 2, K 8, M 22, 6 classes.
BASE: dict[str, Any] = {
    "image_size": 15,
    "patch_size": 5,
    "num_classes": 6,
    "embed_dim": 16,
    "depth": 2,
    "num_heads": 2,
    "mlp_dim": 22,
}

# One entry an option, and some that combine what could disturb each other.
OPTIONS: dict[str, dict[str, Any]] = {
    "standard": {},
    "grey": {"in_channels": 1},
    "no patch bias": {"tokens": {"patch_bias": False}},
    "no class token": {"tokens": {"class_token": False}, "pool": "mean"},
    "registers": {"tokens": {"registers": 3}},
    "registers, slots for class": {"tokens": {"registers": 3, "position_slots": "class"}},
    "registers, slots for patches": {"tokens": {"registers": 3, "position_slots": "patches"}},
    "registers without class token": {"tokens": {"registers": 2, "class_token": False}, "pool": "mean"},
    "no class token, slots for class": {
        "tokens": {"registers": 2, "class_token": False, "position_slots": "class"},
        "pool": "mean_all",
    },
    "sincos2d": {"tokens": {"positions": "sincos2d", "registers": 1}},
    "no positions": {"tokens": {"positions": "none"}},
    "no qkv bias": {"attention": {"qkv_bias": False}},
    "no output projection": {"attention": {"output_projection": False}},
    "qk norm": {"attention": {"qk_norm": True}},
    "layer scale": {"layer_scale": 0.1},
    "norm before the blocks": {"norm": {"before_blocks": True}},
    "eps": {"norm": {"eps": 1e-3}},
    "gelu tanh": {"mlp": {"activation": "gelu_tanh"}},
    "quick gelu": {"mlp": {"activation": "quick_gelu"}},
    "relu": {"mlp": {"activation": "relu"}},
    "swiglu": {"mlp": {"activation": "swiglu"}},
    "mean": {"pool": "mean"},
    "mean of all": {"pool": "mean_all", "tokens": {"registers": 2}},
    "class token beside mean": {"pool": "cls_mean", "tokens": {"registers": 2}},
    "map head": {"pool": "map"},
    "map head, swiglu": {"pool": "map", "mlp": {"activation": "swiglu"}},
    "pre-logits": {"head": {"pre_logits": 11}},
    "norm after pooling": {"norm": {"final": "after_pool"}, "pool": "mean"},
    "norm after pooling twice as wide": {"norm": {"final": "after_pool"}, "pool": "cls_mean"},
    "no final norm": {"norm": {"final": "none"}, "pool": "mean_all"},
    "no projection bias": {"attention": {"projection_bias": False}},
    "heads cut raw": {"attention": {"split": "raw"}},
    "heads merged raw": {"attention": {"merge": "raw"}},
    "heads cut and merged raw": {"attention": {"split": "raw", "merge": "raw", "qk_norm": True}},
    "softmax over queries": {"attention": {"softmax": "queries"}},
    "scale behind": {"attention": {"scale": "output"}},
    "softmax over queries, scale behind": {"attention": {"softmax": "queries", "scale": "output"}},
    "whole sequence": {"linear": "sequence", "attention": {"output_projection": False}},
    "whole sequence, otherwise": {
        "linear": "sequence",
        "layer_scale": 0.5,
        "attention": {"output_projection": False, "qkv_bias": False, "softmax": "queries", "scale": "output"},
        "mlp": {"activation": "swiglu"},
    },
    "five channels": {"in_channels": 5},
    "no classes": {"num_classes": 0},
    "no classes, pre-logits": {"num_classes": 0, "head": {"pre_logits": 11}},
    "no head bias": {"head": {"bias": False}},
    "distilled": {"tokens": {"registers": 1}, "head": {"distilled": True}},
    "distilled, no final norm": {
        "tokens": {"registers": 2},
        "head": {"distilled": True, "bias": False},
        "norm": {"final": "none"},
    },
    "adapters": {"lora": {"rank": 3, "alpha": 5.0}},
    "adapters of all layers": {
        "lora": {"rank": 2, "alpha": 3.0, "targets": ["qkv", "k", "proj", "fc1", "fc2"]}
    },
    "adapters, swiglu, raw": {
        "lora": {"rank": 2, "targets": ["v", "fc1"]},
        "mlp": {"activation": "swiglu"},
        "attention": {"split": "raw"},
        "pool": "map",
    },
    "all at once": {
        "tokens": {"registers": 2, "position_slots": "class"},
        "attention": {"qk_norm": True},
        "layer_scale": 0.5,
        "mlp": {"activation": "swiglu"},
        "norm": {"before_blocks": True, "final": "after_pool"},
        "pool": "map",
        "head": {"pre_logits": 11},
    },
}


def spec_of(option: str, **changes: Any) -> ModelSpec:
    """The base model with one of the options."""
    return ModelSpec.model_validate({**BASE, **OPTIONS[option], **changes})


def random_weights(spec: ModelSpec, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Weights in which every bias, gain and token matters; exact in float32."""
    random = np.random.default_rng(seed)
    weights = {}
    for name, parameter in parameter_table(spec).items():
        fan_in = int(np.prod(parameter.shape[1:])) if len(parameter.shape) > 1 else 1
        size = 0.3 if len(parameter.shape) == 1 else 1.3 / np.sqrt(fan_in)
        value = size * random.standard_normal(parameter.shape)
        gain = name.endswith((".gamma", "norm.weight", "norm1.weight", "norm2.weight", "norm_pre.weight"))
        weights[name] = (value + gain).astype(np.float32)
    return weights


def random_pixels(spec: ModelSpec, count: int = 3, seed: int = 1) -> NDArray[np.float32]:
    """Normalised images (B, C, S, S)."""
    shape = (count, spec.in_channels, spec.image_size, spec.image_size)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
