"""The layout `dinov2`: the backbones of facebookresearch/dinov2 (`dinov2/models/vision_transformer.py`), no head.

Registers stand behind the class token and have no positions. The gated MLP of the giant model has names of its own.
"""

from __future__ import annotations

from vitcli.weights.renaming import Code, layer, one
from vitcli.weights.timm import same

_BLOCK = "blocks.{i}"
_MLP = f"{_BLOCK}.mlp"


def _code(*, gated: bool) -> Code:
    """Returns the backbone with a plain MLP, or with the gated one."""
    fc1, fc2 = ("w12", "w3") if gated else ("fc1", "fc2")
    return Code(
        marker=f"blocks.0.mlp.{fc1}.weight" if gated else "register_tokens",
        # Names of chunked blocks are what its training writes.
        markers=("blocks.0.0.mlp.w12.weight",) if gated else ("mask_token", "blocks.0.0.norm1.weight"),
        tensors={
            **{name: one(name) for name in ("cls_token", "pos_embed")},
            "reg_token": one("register_tokens"),
            **same("patch_embed.proj", "norm"),
            **same(*(f"{_BLOCK}.{name}" for name in ("norm1", "attn.qkv", "attn.proj", "norm2"))),
            **layer(f"{_MLP}.fc1", f"{_MLP}.{fc1}"),
            **layer(f"{_MLP}.fc2", f"{_MLP}.{fc2}"),
            **{f"{_BLOCK}.{name}.gamma": one(f"{_BLOCK}.{name}.gamma") for name in ("ls1", "ls2")},
        },
        facts={
            "norm.eps": 1e-6,
            "tokens.position_slots": "class",
            "mlp.activation": "swiglu" if gated else "gelu",
        },
        free=("tokens.registers", "layer_scale", "pool"),
        rules=lambda spec: {"num_classes": 0},
        zeros=lambda spec: {"mask_token": (1, spec.embed_dim)},
        aliases=((r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),),
        dropped=("mask_token",),
        fit="crop",
        cut=0.875,
        interpolation="bicubic",
        notes=(
            "sizes, registers, LayerScale and SwiGLU (mlp.w12, mlp.w3) come from names and shapes; chunked blocks "
            "are read",
            "the usual heads of the width are assumed and said (or model.num_heads=N); eps 1e-6, exact GELU",
            "features come out: those of the class token, or as said by model.pool=mean or cls_mean",
            "registers have no positions; mask_token is left out when read, and written as zeros",
            "images bicubic, the middle 0.875 of the short side, ImageNet's mean and standard deviation",
        ),
    )


DINOV2 = (_code(gated=True), _code(gated=False))
