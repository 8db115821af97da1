"""The layout `timm`: tensors of `timm.models.vision_transformer.VisionTransformer`, and of its distilled twin.

Native names are timm's wherever it has the tensor. This layout is what another program can open that knows nothing
of ours, and what such a program wrote: no tensor that timm lacks, and the distillation token under its own name.
Matched: timm 1.0.31; what stands beside such a file is in `vitcli.weights.timm_config`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitcli.core.spec import ModelSpec
from vitcli.weights.place import Shape
from vitcli.weights.renaming import Code, Tensor, layer, one

_BLOCK = "blocks.{i}"
_FREE = (
    "tokens.class_token",
    "tokens.positions",
    "attention.qkv_bias",
    "attention.qk_norm",
    "mlp.activation",
    "norm.eps",
    "norm.before_blocks",
    "norm.final",
    "layer_scale",
    "pool",
)


def same(*names: str) -> dict[str, Tensor]:
    """Returns layers, weight and bias, that have one name on both sides."""
    return {key: value for name in names for key, value in layer(name, name).items()}


def is_timms(shapes: Mapping[str, Shape]) -> bool:
    """Returns whether tensors without our metadata are those of a model that timm has."""
    ours = any(name.startswith("pre_logits.") or name.endswith(".lora_a") for name in shapes)
    needed = ("patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "blocks.0.attn.proj.weight")
    return not ours and all(name in shapes for name in needed)


def _rules(spec: ModelSpec) -> dict[str, Any]:
    """Returns what timm fixes where other keys are as they are."""
    tokens = spec.tokens
    fixed: dict[str, Any] = {
        "tokens.patch_bias": not spec.norm.before_blocks,  # CLIP's way, one switch for both
        "tokens.positions": "none" if tokens.positions == "none" else "learned",
    }
    if tokens.class_token and tokens.registers and tokens.position_slots == "class":
        fixed["tokens.position_slots"] = "all"
    if spec.pool == "cls_mean":
        fixed["pool"] = "cls"
    if spec.mlp.activation == "swiglu" and (spec.pool == "map" or spec.head.distilled):
        fixed["mlp.activation"] = "gelu"
    return fixed


def _zeros(spec: ModelSpec) -> dict[str, Shape]:
    """Returns the bias that its classifier always has: CLIP's projection has none."""
    return {} if spec.head.bias or not spec.num_classes else {"head.bias": (spec.num_classes,)}


def _code(*, distilled: bool) -> Code:
    """Returns `VisionTransformer`, or `VisionTransformerDistilled` with its token and its second classifier."""
    single = ("tokens.registers", "tokens.position_slots", "head.bias")
    return Code(
        marker="dist_token",
        tensors={
            **{name: one(name) for name in ("cls_token", "pos_embed", "attn_pool.latent")},
            "reg_token": one("dist_token" if distilled else "reg_token"),
            **same("patch_embed.proj", "norm_pre"),
            **same(*(f"{_BLOCK}.{name}" for name in ("norm1", "attn.qkv", "attn.q_norm", "attn.k_norm"))),
            **same(*(f"{_BLOCK}.{name}" for name in ("attn.proj", "norm2", "mlp.fc1", "mlp.fc2"))),
            **{f"{_BLOCK}.{name}.gamma": one(f"{_BLOCK}.{name}.gamma") for name in ("ls1", "ls2")},
            **same(*(f"attn_pool.{name}" for name in ("q", "kv", "proj", "norm", "mlp.fc1", "mlp.fc2"))),
            **same("norm", "fc_norm", "head", *(["head_dist"] if distilled else [])),
        },
        facts={
            "norm.eps": 1e-6,
            "mlp.activation": "gelu",
            "pool": "cls",
            **({"head.distilled": True, "tokens.registers": 1} if distilled else {}),
        },
        free=(*_FREE, *(() if distilled else single)),
        rules=_rules,
        zeros=None if distilled else _zeros,
        positions="none",
        # DeiT-III's own files.
        aliases=((r"^blocks\.(\d+)\.gamma_([12])$", r"blocks.\1.ls\2.gamma"),),
        fit="crop",
        cut=0.9,
        interpolation="bicubic",
        mean=(0.5,),
        std=(0.5,),
        notes=(
            "sizes, tokens, norms, LayerScale, SwiGLU and kinds of head come from names and shapes",
            "config.json beside it (as push_to_hf_hub writes it) tells heads, pooling, GELU, eps, classes, "
            "preprocessing",
            "without it: the usual heads of the width are assumed and said (or model.num_heads=N), exact GELU "
            "(model.mlp.activation=gelu_tanh or quick_gelu), eps 1e-6 (model.norm.eps=1e-5 in CLIP's), the class token "
            "where there is one (model.pool=mean), bicubic, the middle 0.9, mean and standard deviation 0.5",
            "without pos_embed there are no positions: model.image_size=N is needed",
            "dist_token is the first register, head_dist its classifier; DeiT-III's gamma_1 and gamma_2 are read",
            "written with a config.json: timm.create_model('local-dir:FOLDER', pretrained=True) gives the same logits; "
            "a head without bias gets one of zeros",
        ),
    )


TIMM = (_code(distilled=True), _code(distilled=False))
