"""The layouts of the four write-ups that the project grew from: parameters named as in their own code.

origin-jax        pure-JAX ViT on Imagenette: a pytree whose paths hold positions of tuples
origin-torch      PyTorch ViT on CIFAR-10
origin-custom     PyTorch ViT on a custom image set (Cassava leaves)
origin-homework   a course homework's ViT on five COCO classes, its encoder from the course's ViTHelper

What their code fixes and tensors cannot tell (the activation, how heads are cut) is stated here; sizes are read
from shapes. Where each departs from the standard is told by `vitcli.core.spec`.
"""

from __future__ import annotations

from collections.abc import Mapping

from vitcli.weights.renaming import Code, Tensor, layer, one, pair

_T = (1, 0)  # kernels (in, out)
_LAYER = "layers.{i}"
_JAX = Code(
    marker="positional_encoding",
    tensors={
        "cls_token": one("cls_token", fold="first"),
        "pos_embed": one("positional_encoding", fold="first"),
        # A patch is flattened row, column, channel.
        "patch_embed.proj.weight": one("patch_embed", (2, 3, 1, 0), "patch"),
        **pair("blocks.{i}.mlp.fc1", f"{_LAYER}.0", 0, _T),
        **pair("blocks.{i}.mlp.fc2", f"{_LAYER}.0", 2, _T),
        "blocks.{i}.attn.qkv.weight": Tensor(names=tuple(f"{_LAYER}.1.{k}" for k in (0, 1, 2)), axes=_T),
        "blocks.{i}.attn.qkv.bias": Tensor(names=tuple(f"{_LAYER}.1.{k}" for k in (3, 4, 5))),
        **pair("blocks.{i}.norm1", f"{_LAYER}.2", 0),
        **pair("blocks.{i}.norm2", f"{_LAYER}.3", 0),
        **pair("norm", "final_layer_norm", 0),
        **pair("head", "head", 0, _T),
    },
    facts={
        "tokens.patch_bias": False,
        "tokens.position_slots": "patches",
        "attention.output_projection": False,
        "attention.split": "raw",
        "attention.merge": "raw",
        "mlp.activation": "relu",
        "norm.eps": 1e-6,
    },
)

_TORCH = Code(
    marker="input_layer.weight",
    tensors={
        "cls_token": one("cls_token"),
        "pos_embed": one("pos_embedding"),
        "patch_embed.proj.weight": one("input_layer.weight", fold="patch"),
        "patch_embed.proj.bias": one("input_layer.bias"),
        **layer("blocks.{i}.norm1", "transformer.{i}.layer_norm_1"),
        "blocks.{i}.attn.qkv.weight": Tensor(
            names=tuple(f"transformer.{{i}}.attn.w{part}.weight" for part in "qkv")
        ),
        "blocks.{i}.attn.proj.weight": one("transformer.{i}.attn.wo.weight"),
        **layer("blocks.{i}.norm2", "transformer.{i}.layer_norm_2"),
        **layer("blocks.{i}.mlp.fc1", "transformer.{i}.ffn.0"),
        **layer("blocks.{i}.mlp.fc2", "transformer.{i}.ffn.3"),
        # The norm of the head module reads the class token alone: the last norm before pooling is the same.
        **layer("norm", "mlp.0"),
        **layer("head", "mlp.1"),
    },
    facts={
        "attention.qkv_bias": False,
        "attention.projection_bias": False,
        "attention.merge": "raw",
        "norm.eps": 1e-5,
    },
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
)

_CUSTOM = Code(
    marker="1.0.attention.qkv.weight",
    tensors={
        "cls_token": one("0.cls_token"),
        "pos_embed": one("0.pos_embed"),
        **layer("patch_embed.proj", "0.proj"),
        **layer("blocks.{i}.norm1", "1.{i}.layer_norm_1"),
        "blocks.{i}.attn.qkv.weight": one("1.{i}.attention.qkv.weight"),
        **layer("blocks.{i}.attn.proj", "1.{i}.attention.proj"),
        **layer("blocks.{i}.norm2", "1.{i}.layer_norm_2"),
        **layer("blocks.{i}.mlp.fc1", "1.{i}.mlp.0"),
        **layer("blocks.{i}.mlp.fc2", "1.{i}.mlp.3"),
        **layer("fc_norm", "2.1"),
        **layer("head", "2.2"),
    },
    facts={
        "pool": "mean_all",
        "attention.qkv_bias": False,
        "norm.eps": 1e-5,
        "norm.final": "after_pool",
    },
    num_heads=8,  # its code cannot be told otherwise
)

_ENCODER = "1.basic_encoder_arr.{i}"
_HEAD = f"{_ENCODER}.self_attention_layer.attention_heads_arr.{{h}}"
_HOMEWORK = Code(
    marker="0.class_token",
    tensors={
        "cls_token": one("0.class_token"),
        "pos_embed": one("0.positions", fold="first"),
        **layer("patch_embed.proj", "0.sequential.0"),
        **layer("blocks.{i}.norm1", f"{_ENCODER}.norm1"),
        **{
            f"blocks.{{i}}.attn.qkv.{leaf}": Tensor(
                names=tuple(f"{_HEAD}.W{part}.{leaf}" for part in "QKV"), fold="first"
            )
            for leaf in ("weight", "bias")
        },
        **layer("blocks.{i}.norm2", f"{_ENCODER}.norm2"),
        **layer("blocks.{i}.mlp.fc1", f"{_ENCODER}.W1"),
        **layer("blocks.{i}.mlp.fc2", f"{_ENCODER}.W2"),
        **layer("head", "2.1"),
    },
    facts={
        "pool": "mean_all",
        "linear": "sequence",
        "attention.output_projection": False,
        "attention.softmax": "queries",
        "attention.scale": "output",
        "mlp.activation": "relu",
        "norm.eps": 1e-5,
        "norm.final": "none",
    },
    mean=(0.5,),
    std=(0.5,),
)

ORIGINS: Mapping[str, Code] = {
    "origin-jax": _JAX,
    "origin-torch": _TORCH,
    "origin-custom": _CUSTOM,
    "origin-homework": _HOMEWORK,
}
