"""Random model specs, with every option on now and then."""

from __future__ import annotations

import random
from typing import Any

from vitcli.core.spec import ModelSpec


def random_spec(seed: int) -> ModelSpec:
    """A small spec in which no two sizes are equal by accident: widths are multiples of 8, the rest is not."""
    chance = random.Random(seed)
    class_token = chance.random() < 0.7
    patch_size = chance.choice([1, 3, 5])
    projected = chance.random() < 0.8
    pools = ["mean", "mean_all", "map"] + (["cls", "cls_mean"] if class_token else [])
    fields: dict[str, Any] = {
        "image_size": patch_size * chance.randint(2, 5),
        "patch_size": patch_size,
        "in_channels": chance.choice([1, 3]),
        "num_classes": chance.randint(2, 7),
        "embed_dim": 8 * chance.randint(2, 4),
        "depth": chance.randint(1, 11),
        "num_heads": chance.choice([1, 2, 4]),
        "mlp_dim": chance.choice([9, 22, 33]),
        "pool": chance.choice(pools),
        "layer_scale": chance.choice([None, 1e-5]),
        "tokens": {
            "patch_bias": chance.random() < 0.5,
            "class_token": class_token,
            "registers": chance.choice([0, 0, 2, 3]),
            "positions": chance.choice(["learned", "learned", "sincos2d", "none"]),
            "position_slots": chance.choice(["all", "class", "patches"]),
        },
        "attention": {
            "qkv_bias": chance.random() < 0.7,
            "output_projection": projected,
            "projection_bias": not projected or chance.random() < 0.8,
            "qk_norm": chance.random() < 0.3,
        },
        "mlp": {"activation": chance.choice(["gelu", "gelu_tanh", "quick_gelu", "relu", "swiglu"])},
        "norm": {
            "eps": chance.choice([1e-6, 1e-5]),
            "before_blocks": chance.random() < 0.3,
            "final": chance.choice(["before_pool", "after_pool", "none"]),
        },
        "head": {"pre_logits": chance.choice([None, None, 11])},
    }
    if chance.random() < 0.2:
        fields["num_classes"] = 0
    elif chance.random() < 0.3:
        fields["head"]["bias"] = False
    possible = fields["pool"] == "cls" and fields["tokens"]["registers"] and fields["num_classes"]
    if possible and not fields["head"]["pre_logits"] and fields["norm"]["final"] != "after_pool":
        fields["head"]["distilled"] = chance.random() < 0.5
    if chance.random() < 0.3:
        targets = chance.choice([["q", "v"], ["qkv", "fc2"], ["k", "fc1"]])
        fields["lora"] = {"rank": chance.choice([1, 4]), "alpha": 3.0, "targets": targets}
    return ModelSpec.model_validate(fields)
