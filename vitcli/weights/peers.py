"""The layouts of other libraries whose names are theirs alone.

torchvision   `torchvision.models.VisionTransformer`; its older names of the MLP are read too
google        google-research/vision_transformer, as in its published `.npz` files
big_vision    google-research/big_vision: class token, mean or attention pooling; learned or fixed positions
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from vitcli.core.spec import ModelSpec
from vitcli.weights.renaming import Code, Tensor, layer, one

_LAYER = "encoder.layers.encoder_layer_{i}"
_TORCHVISION = Code(
    marker="conv_proj.weight",
    tensors={
        "cls_token": one("class_token"),
        "pos_embed": one("encoder.pos_embedding"),
        **layer("patch_embed.proj", "conv_proj"),
        **layer("blocks.{i}.norm1", f"{_LAYER}.ln_1"),
        **{
            f"blocks.{{i}}.attn.qkv.{leaf}": one(f"{_LAYER}.self_attention.in_proj_{leaf}")
            for leaf in ("weight", "bias")
        },
        **layer("blocks.{i}.attn.proj", f"{_LAYER}.self_attention.out_proj"),
        **layer("blocks.{i}.norm2", f"{_LAYER}.ln_2"),
        **layer("blocks.{i}.mlp.fc1", f"{_LAYER}.mlp.0", f"{_LAYER}.mlp.linear_1"),
        **layer("blocks.{i}.mlp.fc2", f"{_LAYER}.mlp.3", f"{_LAYER}.mlp.linear_2"),
        **layer("norm", "encoder.ln"),
        **layer("pre_logits", "heads.pre_logits"),
        **layer("head", "heads.head"),
    },
    facts={"norm.eps": 1e-6},
    free=("head.pre_logits",),
    fit="crop",
    cut=0.875,
    notes=(
        "torchvision.models.VisionTransformer: sizes, and pre_logits of a representation_size, come from shapes",
        "the usual heads of the width are assumed and said (or model.num_heads=N); eps 1e-6, exact GELU, pool cls",
        "the older names of the MLP, linear_1 and linear_2, are read; the newer ones are written",
        "images bilinear, the middle 0.875 of the short side, ImageNet's mean and standard deviation",
    ),
)


def _dense(native: str, there: str) -> dict[str, Tensor]:
    """Returns kernel and bias of flax's Dense."""
    return {f"{native}.weight": one(f"{there}/kernel", (1, 0)), f"{native}.bias": one(f"{there}/bias")}


def _norm(native: str, there: str) -> dict[str, Tensor]:
    return {f"{native}.weight": one(f"{there}/scale"), f"{native}.bias": one(f"{there}/bias")}


_ENCODER = "Transformer/encoderblock_{i}"
_ATTENTION = f"{_ENCODER}/MultiHeadDotProductAttention_1"
_QKV = tuple(f"{_ATTENTION}/{part}" for part in ("query", "key", "value"))
# What both of Google's programs have, under the names of the published files.
_FLAX = {
    "cls_token": one("cls"),
    "patch_embed.proj.weight": one("embedding/kernel", (2, 3, 1, 0)),
    "patch_embed.proj.bias": one("embedding/bias"),
    **_norm("blocks.{i}.norm1", f"{_ENCODER}/LayerNorm_0"),
    "blocks.{i}.attn.qkv.weight": Tensor(
        names=tuple(f"{part}/kernel" for part in _QKV), axes=(1, 0), fold="heads out"
    ),
    "blocks.{i}.attn.qkv.bias": Tensor(names=tuple(f"{part}/bias" for part in _QKV), fold="heads out"),
    "blocks.{i}.attn.proj.weight": one(f"{_ATTENTION}/out/kernel", (1, 0), "heads in"),
    "blocks.{i}.attn.proj.bias": one(f"{_ATTENTION}/out/bias"),
    **_norm("blocks.{i}.norm2", f"{_ENCODER}/LayerNorm_2"),
    **_dense("blocks.{i}.mlp.fc1", f"{_ENCODER}/MlpBlock_3/Dense_0"),
    **_dense("blocks.{i}.mlp.fc2", f"{_ENCODER}/MlpBlock_3/Dense_1"),
    **_norm("norm", "Transformer/encoder_norm"),
    **_dense("pre_logits", "pre_logits"),
    **_dense("head", "head"),
}


def _table_or(other: Literal["sincos2d", "none"]) -> Callable[[ModelSpec], Mapping[str, Any]]:
    """Returns the rule of a code whose models have learned positions, or else these."""
    return lambda spec: {"tokens.positions": other if spec.tokens.positions == other else "learned"}


_GOOGLE = Code(
    marker="Transformer/posembed_input/pos_embedding",
    tensors={**_FLAX, "pos_embed": one("Transformer/posembed_input/pos_embedding")},
    facts={"norm.eps": 1e-6, "mlp.activation": "gelu_tanh"},
    free=("tokens.class_token", "tokens.positions", "head.pre_logits"),
    rules=_table_or("none"),
    positions="none",
    heads=f"{_ATTENTION}/query/bias".format(i=0),
    mean=(0.5,),
    std=(0.5,),
    notes=(
        "google-research/vision_transformer's .npz: sizes, heads and pre_logits come from shapes",
        "both numberings of sub-modules are read, below opt/target/, params/ or nothing; the published one is written",
        "tanh GELU, eps 1e-6; the class token is read, or the mean over the patches where there is none",
        "a model without positions is read where --from google and model.image_size=N are said: else big_vision's",
        "mean and standard deviation 0.5, both sides resized",
    ),
)

_POOL = "MAPHead_0/MultiHeadDotProductAttention_0"
_BIG_VISION = Code(
    # Where its positions are fixed, no tensor tells it from the other but the one that is missing.
    marker=f"{_ATTENTION}/query/kernel".format(i=0),
    tensors={
        **_FLAX,
        "pos_embed": one("pos_embedding"),
        "attn_pool.latent": one("MAPHead_0/probe"),
        "attn_pool.q.weight": one(f"{_POOL}/query/kernel", (1, 0), "heads out"),
        "attn_pool.q.bias": one(f"{_POOL}/query/bias", None, "heads out"),
        "attn_pool.kv.weight": Tensor(
            names=(f"{_POOL}/key/kernel", f"{_POOL}/value/kernel"), axes=(1, 0), fold="heads out"
        ),
        "attn_pool.kv.bias": Tensor(names=(f"{_POOL}/key/bias", f"{_POOL}/value/bias"), fold="heads out"),
        "attn_pool.proj.weight": one(f"{_POOL}/out/kernel", (1, 0), "heads in"),
        "attn_pool.proj.bias": one(f"{_POOL}/out/bias"),
        **_norm("attn_pool.norm", "MAPHead_0/LayerNorm_0"),
        **_dense("attn_pool.mlp.fc1", "MAPHead_0/MlpBlock_0/Dense_0"),
        **_dense("attn_pool.mlp.fc2", "MAPHead_0/MlpBlock_0/Dense_1"),
    },
    facts={"norm.eps": 1e-6, "mlp.activation": "gelu_tanh", "tokens.position_slots": "patches"},
    free=("tokens.class_token", "tokens.positions", "head.pre_logits"),
    rules=_table_or("sincos2d"),
    map_pool=True,
    heads=f"{_ATTENTION}/query/bias".format(i=0),
    mean=(0.5,),
    std=(0.5,),
    notes=(
        "big_vision's .npz: sizes, heads, pre_logits and attention pooling come from shapes",
        "blocks stacked for a scan are read, below params/, params/img/ or nothing; written one by one below params/",
        "older files are read as it mends them: positions in Transformer/, a row for class tokens, pooling at the top",
        "tanh GELU, eps 1e-6; class token, attention pooling (MAPHead_0), or else the mean over the patches",
        "(a model that reads its first patch, pool_type 0, has the same tensors as the mean: vit has it not)",
        "without a table positions are the fixed sin-cos ones: model.image_size=N is needed",
        "mean and standard deviation 0.5, both sides resized",
    ),
)

PEERS: Mapping[str, Code] = {
    "torchvision": _TORCHVISION,
    "google": _GOOGLE,
    "big_vision": _BIG_VISION,
}
