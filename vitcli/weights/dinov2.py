"""The layout `dinov2`: models of facebookresearch/dinov2, without a head or with its linear classifier.

The backbone is `dinov2/models/vision_transformer.py`: registers stand behind the class token and have no positions,
and the gated MLP of the giant model has names of its own. A classifier is `dinov2/hub/classifiers.py` on the last
layer (`layers=1`), over the class token beside the mean of the patches; one on four layers vit has not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitcli.core.spec import ModelSpec
from vitcli.weights.renaming import Code, Tensor, layer, one

_BLOCK = "blocks.{i}"
_FREE = ("tokens.registers", "attention.qkv_bias", "attention.projection_bias", "layer_scale")
_POOLS = ("cls", "mean", "cls_mean")
_NOTES = (
    "sizes, registers, LayerScale, biases of attention and SwiGLU (mlp.w12, mlp.w3) come from names and shapes; "
    "chunked blocks are read",
    "the usual heads of the width are assumed and said (or model.num_heads=N); eps 1e-6, exact GELU",
    "features come out: those of the class token, or as said by model.pool=mean or cls_mean",
    "registers have no positions; mask_token is left out when read, and written as zeros",
    "images bicubic, the middle 0.875 of the short side, ImageNet's mean and standard deviation",
)
_CLASSIFIER = (
    "backbone and linear_head as dinov2_*_lc(layers=1) of its hub has them: classes, pool cls_mean; a head on four "
    "layers (layers=4) vit has not",
    *_NOTES[:2],
    *_NOTES[3:],
)


def _code(*, gated: bool, classifier: bool) -> Code:
    """Returns the backbone with a plain MLP, or with the gated one, alone or inside of the classifier."""
    inside = "backbone." if classifier else ""
    block = f"{inside}{_BLOCK}"
    fc1, fc2 = ("w12", "w3") if gated else ("fc1", "fc2")
    mark = f"{inside}blocks.0.mlp.{fc1}.weight"
    # Names of chunked blocks are what its training writes.
    bare = (
        (mark, "blocks.0.0.mlp.w12.weight")
        if gated
        else ("register_tokens", "mask_token", "blocks.0.0.norm1.weight")
    )

    def rules(spec: ModelSpec) -> Mapping[str, Any]:
        if classifier:
            return {"pool": "cls_mean", "num_classes": max(1, spec.num_classes)}
        return {"num_classes": 0, "pool": spec.pool if spec.pool in _POOLS else "cls"}

    return Code(
        marker="linear_head.weight" if classifier else bare[0],
        markers=() if classifier else bare[1:],
        beside=(mark,) if classifier else (),
        tensors={
            **{name: one(inside + name) for name in ("cls_token", "pos_embed")},
            "reg_token": one(f"{inside}register_tokens"),
            **_layers(inside, "patch_embed.proj", "norm"),
            **_layers(inside, *(f"{_BLOCK}.{name}" for name in ("norm1", "attn.qkv", "attn.proj", "norm2"))),
            **layer(f"{_BLOCK}.mlp.fc1", f"{block}.mlp.{fc1}"),
            **layer(f"{_BLOCK}.mlp.fc2", f"{block}.mlp.{fc2}"),
            **{f"{_BLOCK}.{name}.gamma": one(f"{block}.{name}.gamma") for name in ("ls1", "ls2")},
            **(layer("head", "linear_head") if classifier else {}),
        },
        facts={
            "norm.eps": 1e-6,
            "tokens.position_slots": "class",
            "mlp.activation": "swiglu" if gated else "gelu",
            **({"pool": "cls_mean"} if classifier else {}),
        },
        free=(*_FREE, *(() if classifier else ("pool",))),
        rules=rules,
        zeros=lambda spec: {f"{inside}mask_token": (1, spec.embed_dim)},
        aliases=((rf"^{inside}blocks\.\d+\.(\d+)\.", rf"{inside}blocks.\1."),),
        dropped=(rf"{inside}mask_token",),
        fit="crop",
        cut=0.875,
        interpolation="bicubic",
        notes=_CLASSIFIER if classifier else _NOTES,
    )


def _layers(inside: str, *names: str) -> dict[str, Tensor]:
    """Returns layers, weight and bias, that have timm's names, inside of a classifier or not."""
    return {key: value for name in names for key, value in layer(name, inside + name).items()}


# The plainest comes last: its page of help is the layout's.
DINOV2 = tuple(
    _code(gated=gated, classifier=classifier) for classifier in (True, False) for gated in (True, False)
)
