"""The layouts of other libraries whose names are theirs alone.

torchvision   `torchvision.models.VisionTransformer`
huggingface   `transformers.ViTForImageClassification`, as `save_pretrained` writes it (versions 4 and 5)
"""

from __future__ import annotations

from collections.abc import Mapping

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
        **layer("blocks.{i}.mlp.fc1", f"{_LAYER}.mlp.0"),
        **layer("blocks.{i}.mlp.fc2", f"{_LAYER}.mlp.3"),
        **layer("norm", "encoder.ln"),
        **layer("pre_logits", "heads.pre_logits"),
        **layer("head", "heads.head"),
    },
    facts={"norm.eps": 1e-6},
    free=("head.pre_logits",),
    fit="crop",
)

_BLOCK = "vit.encoder.layer.{i}"
_HUGGINGFACE = Code(
    marker="vit.embeddings.cls_token",
    tensors={
        "cls_token": one("vit.embeddings.cls_token"),
        "pos_embed": one("vit.embeddings.position_embeddings"),
        **layer("patch_embed.proj", "vit.embeddings.patch_embeddings.projection"),
        **layer("blocks.{i}.norm1", f"{_BLOCK}.layernorm_before"),
        **{
            f"blocks.{{i}}.attn.qkv.{leaf}": Tensor(
                names=tuple(
                    f"{_BLOCK}.attention.attention.{part}.{leaf}" for part in ("query", "key", "value")
                )
            )
            for leaf in ("weight", "bias")
        },
        **layer("blocks.{i}.attn.proj", f"{_BLOCK}.attention.output.dense"),
        **layer("blocks.{i}.norm2", f"{_BLOCK}.layernorm_after"),
        **layer("blocks.{i}.mlp.fc1", f"{_BLOCK}.intermediate.dense"),
        **layer("blocks.{i}.mlp.fc2", f"{_BLOCK}.output.dense"),
        **layer("norm", "vit.layernorm"),
        **layer("head", "classifier"),
    },
    # What its configuration has where a file config.json does not say otherwise.
    facts={"norm.eps": 1e-12},
    free=("norm.eps", "mlp.activation", "attention.qkv_bias"),
    mean=(0.5,),
    std=(0.5,),
)

PEERS: Mapping[str, Code] = {"torchvision": _TORCHVISION, "huggingface": _HUGGINGFACE}
