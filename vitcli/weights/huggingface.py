"""The layout of Hugging Face's transformers: ViT, DeiT and DINOv2, with and without a classifier.

Matched: transformers 5.23. Written as `save_pretrained` writes it (versions 4 and 5 alike); read as well under the
names that the modules of version 5 have in memory. ViT-MAE's encoder has ViT's names, and is read as ViT; it is
written as ViT-MAE where that is asked for, since nothing in the model tells one from the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitcli.core.spec import ModelSpec
from vitcli.weights.renaming import Code, Tensor, layer

# By the names of `transformers.activations`; the last of two with the same function is what is written.
ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
}
_FREE = ("norm.eps", "mlp.activation", "attention.qkv_bias")
_MASKED = (r"(\w+\.)?embeddings\.mask_token", r"decoder\..+")
_ASSUMED = "assumed where config.json does not say: the usual model.num_heads, model.norm.eps={eps}"
_POOLER = "a pooler is model.head.pre_logits; no classifier: features come out"


def mlp_width(embed_dim: int, ratio: float, *, gated: bool) -> int:
    """Returns the hidden width of DINOv2's MLP; a gated one has two thirds, rounded up to a multiple of 8."""
    width = int(embed_dim * ratio)
    return (int(width * 2 / 3) + 7) // 8 * 8 if gated else width


def mlp_ratio(spec: ModelSpec) -> int:
    """Returns the ratio, a whole number, whose MLP of DINOv2's is the nearest to a model's."""
    gated, width = spec.mlp.activation == "swiglu", spec.embed_dim
    # Not each from 1 on: a damaged file may say any width.
    near = max(1, spec.mlp_dim * (3 if gated else 2) // (2 * width))
    return min(
        range(max(1, near - 1), near + 3),
        key=lambda ratio: abs(mlp_width(width, ratio, gated=gated) - spec.mlp_dim),
    )


def _one(prefixes: tuple[str, ...], name: str) -> Tensor:
    """Returns a tensor that stands there as a whole, under the first prefix or another one."""
    first, *others = (prefix + name for prefix in prefixes)
    return Tensor(names=(first,), others=tuple((other,) for other in others))


def _layer(native: str, prefixes: tuple[str, ...], *names: str) -> dict[str, Tensor]:
    """Returns weight and bias under the first prefix and name, or any others."""
    return layer(native, *(prefix + name for prefix in prefixes for name in names))


def _stacked(native: str, prefixes: tuple[str, ...], *names: tuple[str, ...]) -> dict[str, Tensor]:
    """Returns weight and bias whose rows are those of several layers there."""
    return {
        f"{native}.{leaf}": Tensor(names=groups[0], others=groups[1:])
        for leaf in ("weight", "bias")
        for groups in [
            tuple(tuple(f"{p}{part}.{leaf}" for part in parts) for p in prefixes for parts in names)
        ]
    }


def _parts(stem: str, *parts: str) -> tuple[str, ...]:
    return tuple(f"{stem}.{part}" for part in parts)


def _known(spec: ModelSpec) -> str:
    """Returns the model's activation, or the one that it would have to have."""
    return spec.mlp.activation if spec.mlp.activation in ACTIVATIONS.values() else "gelu"


def _embeddings(prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    return {
        "cls_token": _one(prefixes, "embeddings.cls_token"),
        "pos_embed": _one(prefixes, "embeddings.position_embeddings"),
        **_layer("patch_embed.proj", prefixes, "embeddings.patch_embeddings.projection"),
        **_layer("norm", prefixes, "layernorm"),
    }


_OLD, _NEW = "encoder.layer.{i}", "layers.{i}"  # of a file, and in the memory of version 5


def _vit(prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """Returns ViT's and DeiT's tensors without their heads."""
    block, attention = "blocks.{i}", f"{_OLD}.attention"
    return {
        **_embeddings(prefixes),
        **_layer(f"{block}.norm1", prefixes, f"{_OLD}.layernorm_before", f"{_NEW}.layernorm_before"),
        **_stacked(
            f"{block}.attn.qkv",
            prefixes,
            _parts(f"{attention}.attention", "query", "key", "value"),
            _parts(f"{_NEW}.attention", "q_proj", "k_proj", "v_proj"),
        ),
        **_layer(f"{block}.attn.proj", prefixes, f"{attention}.output.dense", f"{_NEW}.attention.o_proj"),
        **_layer(f"{block}.norm2", prefixes, f"{_OLD}.layernorm_after", f"{_NEW}.layernorm_after"),
        **_layer(f"{block}.mlp.fc1", prefixes, f"{_OLD}.intermediate.dense", f"{_NEW}.mlp.fc1"),
        **_layer(f"{block}.mlp.fc2", prefixes, f"{_OLD}.output.dense", f"{_NEW}.mlp.fc2"),
    }


def _vit_code(kind: str, prefixes: tuple[str, ...], *, pooler: bool = False, teacher: bool = False) -> Code:
    """Returns ViT (`kind="vit"`), ViT-MAE or DeiT: with a classifier or without, a pooler, or two classifiers."""
    distilled = kind == "deit"
    tensors = _vit(prefixes)
    facts: dict[str, Any] = {"norm.eps": 1e-12, "mlp.activation": "gelu"}
    markers = [f"{prefixes[0]}embeddings.cls_token"]
    name = {"vit": "ViT", "vit_mae": "ViTMAE", "deit": "DeiT"}[kind]
    task = "ForImageClassification"
    if distilled:
        tensors["reg_token"] = _one(prefixes, "embeddings.distillation_token")
        facts |= {"tokens.registers": 1}
        markers = [f"{prefixes[0]}embeddings.distillation_token"]
    if pooler:
        tensors |= layer("pre_logits", "pooler.dense")
        markers.insert(0, "pooler.dense.weight")
        task = "Model"
    elif kind == "vit_mae":
        task = "Model"
    elif teacher:
        tensors |= layer("head", "cls_classifier") | layer("head_dist", "distillation_classifier")
        facts |= {"head.distilled": True}
        markers.insert(0, "distillation_classifier.weight")
        task += "WithTeacher"
    else:
        tensors |= layer("head", "classifier")

    def rules(spec: ModelSpec) -> Mapping[str, Any]:
        pooled = {"num_classes": 0, "head.pre_logits": spec.head.pre_logits or spec.embed_dim}
        bare = {"num_classes": 0} if kind == "vit_mae" else {}
        return {"mlp.activation": _known(spec)} | (pooled if pooler else bare)

    return Code(
        marker=markers[0],
        beside=tuple(markers[1:]),
        tensors=tensors,
        facts=facts,
        free=(*_FREE, "head.pre_logits") if pooler else _FREE,
        rules=rules,
        dropped=_MASKED,
        config={"architectures": [name + task], "model_type": kind},
        # DeiT's as published: the short side to 256, the middle 224.
        **(
            {"fit": "crop", "cut": 0.875, "interpolation": "bicubic"}
            if distilled
            else {"mean": (0.5,), "std": (0.5,)}
        ),
        notes=(
            f"{name}{task}: pool cls" + (", the distillation token is a register" if distilled else ""),
            *((_POOLER,) if pooler else ()),
            *(("two classifiers are model.head.distilled",) if teacher else ()),
            _ASSUMED.format(eps="1e-12") + ", model.mlp.activation=gelu",
        ),
    )


def _dinov2_code(*, registers: bool, classifier: bool, gated: bool) -> Code:
    """Returns DINOv2, with registers or without, a gated MLP or a plain one, a classifier or the bare model."""
    kind = "dinov2_with_registers" if registers else "dinov2"
    name = "Dinov2WithRegisters" if registers else "Dinov2"
    prefix = f"{kind}." if classifier else ""
    prefixes, block = (prefix,), "blocks.{i}"
    tensors = {
        **_embeddings(prefixes),
        **_layer(f"{block}.norm1", prefixes, f"{_OLD}.norm1"),
        **_stacked(
            f"{block}.attn.qkv",
            prefixes,
            _parts(f"{_OLD}.attention.attention", "query", "key", "value"),
            _parts(f"{_OLD}.attention", "q_proj", "k_proj", "v_proj"),
        ),
        **_layer(
            f"{block}.attn.proj", prefixes, f"{_OLD}.attention.output.dense", f"{_OLD}.attention.o_proj"
        ),
        f"{block}.ls1.gamma": _one(prefixes, f"{_OLD}.layer_scale1.lambda1"),
        **_layer(f"{block}.norm2", prefixes, f"{_OLD}.norm2"),
        f"{block}.ls2.gamma": _one(prefixes, f"{_OLD}.layer_scale2.lambda1"),
    }
    beside = []
    if gated:
        beside.append(f"{prefix}{_OLD}.mlp.weights_in.weight")
        tensors |= _stacked(
            f"{block}.mlp.fc1",
            prefixes,
            (f"{_OLD}.mlp.weights_in",),
            _parts(f"{_OLD}.mlp", "gate_proj", "up_proj"),
        )
        tensors |= _layer(f"{block}.mlp.fc2", prefixes, f"{_OLD}.mlp.weights_out", f"{_OLD}.mlp.down_proj")
    else:
        tensors |= _layer(f"{block}.mlp.fc1", prefixes, f"{_OLD}.mlp.fc1")
        tensors |= _layer(f"{block}.mlp.fc2", prefixes, f"{_OLD}.mlp.fc2")
    if registers:
        beside.append(f"{prefix}embeddings.register_tokens")
        tensors["reg_token"] = _one(prefixes, "embeddings.register_tokens")
    if classifier:
        tensors |= layer("head", "classifier")

    def rules(spec: ModelSpec) -> Mapping[str, Any]:
        return {
            "mlp.activation": "swiglu" if gated else _known(spec),
            "mlp_dim": mlp_width(spec.embed_dim, mlp_ratio(spec), gated=gated),
            "layer_scale": 1.0 if spec.layer_scale is None else spec.layer_scale,
            "tokens.registers": max(1, spec.tokens.registers) if registers else 0,
            "num_classes": spec.num_classes if classifier else 0,
        }

    return Code(
        marker=f"{prefix}encoder.layer.0.layer_scale1.lambda1",
        beside=tuple(beside),
        tensors=tensors,
        facts={
            "norm.eps": 1e-6,
            "mlp.activation": "swiglu" if gated else "gelu",
            **({"tokens.position_slots": "class"} if registers else {}),
            **({"pool": "cls_mean"} if classifier else {}),
        },
        free=_FREE,
        rules=rules,
        dropped=_MASKED,
        zeros=lambda spec: {f"{prefix}embeddings.mask_token": (1, spec.embed_dim)},
        config={
            "architectures": [f"{name}{'ForImageClassification' if classifier else 'Model'}"],
            "model_type": kind,
        },
        fit="crop",
        cut=0.875,
        interpolation="bicubic",
        notes=(
            f"{name}{'ForImageClassification: pool cls_mean' if classifier else 'Model: pool cls, no classifier'}"
            f"{', gated MLP' if gated else ''}",
            "model.layer_scale, the first value of the scales, is config.json's, or 1",
            _ASSUMED.format(eps="1e-6") + ("" if gated else ", model.mlp.activation=gelu"),
        ),
    )


HUGGINGFACE: tuple[Code, ...] = (
    *(
        _dinov2_code(registers=registers, classifier=classifier, gated=gated)
        for registers in (True, False)
        for gated in (True, False)
        for classifier in (False, True)
    ),
    _vit_code("deit", ("",), pooler=True),
    _vit_code("deit", ("deit.", ""), teacher=True),
    _vit_code("deit", ("deit.", "")),
    _vit_code("vit", ("",), pooler=True),
    _vit_code("vit", ("vit.", "")),
)
MASKED_AUTOENCODER: tuple[Code, ...] = (_vit_code("vit_mae", ("",)),)
