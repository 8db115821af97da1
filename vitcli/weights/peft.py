"""Adapters as Hugging Face's PEFT keeps them: `adapter_model.safetensors` and `adapter_config.json` in a folder.

Names are those of the adapted model's modules: of timm's, of transformers' since 5, or of transformers' before.
Matched: PEFT 0.21 (`LoraConfig`, `get_peft_model_state_dict`), transformers 5.23, timm 1.0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vitcli.core.errors import WeightsError
from vitcli.core.parameters import parameter_table
from vitcli.core.spec import LAYERS, LoraSpec, ModelSpec
from vitcli.weights.file import Weights
from vitcli.weights.header import Card
from vitcli.weights.lora import plain
from vitcli.weights.names import PEFT_PREFIX, file_shapes

CONFIG, MODEL = "adapter_config.json", "adapter_model.safetensors"
PeftLayout = Literal["peft", "peft-timm", "peft-transformers", "peft-transformers4"]
PEFT_LAYOUTS: tuple[PeftLayout, ...] = get_args(PeftLayout)

# Layers of a block under the names of each program's modules.
_TIMM = {"qkv": "attn.qkv", "proj": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
_NOW = {letter: f"attention.{letter}_proj" for letter in "qkv"} | {
    "proj": "attention.o_proj",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
}
_BEFORE = {
    "q": "attention.attention.query",
    "k": "attention.attention.key",
    "v": "attention.attention.value",
    "proj": "attention.output.dense",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
}
_READ = {there: ours for names in (_TIMM, _NOW, _BEFORE) for ours, there in names.items()} | {
    "mlp.weights_in": "fc1",
    "mlp.weights_out": "fc2",
    "mlp.down_proj": "fc2",
}
_BLOCK = re.compile(r"(?:\w+\.)?(?:blocks|layers|encoder\.layers?)\.(\d+)\.(.+)")
_HEADS = {
    "head": "head",
    "head_dist": "head_dist",
    "classifier": "head",
    "cls_classifier": "head",
    "distillation_classifier": "head_dist",
}

# Keys of the configuration that are read, or that change nothing in an adapter that is finished.
_KNOWN = {
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_dropout",
    "megatron_core",
    "modules_to_save",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_rslora",
}
# Others change the function or the base where they are on. These are how plain adapters are drawn.
_ALLOWED: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "init_lora_weights": (True, False, None, "gaussian", "orthogonal", "eva"),
}


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """One adapter: A (rank, in), B (out, rank), and what their product is multiplied by."""

    a: NDArray[Any]
    b: NDArray[Any]
    alpha: float
    scale: float


def from_peft(
    weights: Weights, config: Mapping[str, Any], spec: ModelSpec, source: str
) -> tuple[Weights, ModelSpec]:
    """Returns the native tensors of an adapter, and the spec of the base with it.

    Adapters of several ranks or scales, or of some blocks alone, become one rank and one scale: filled up with zeros,
    B multiplied by the quotient. Where there is one rank and scale, values stay as they are, bit for bit.

    Args:
        weights: by PEFT's names.
        config: its `adapter_config.json`.
        spec: of the base.
        source: what to call the file.

    Raises:
        WeightsError: it is no plain LoRA, or adapts something else than linear layers of blocks and the head.
    """
    try:
        _check_options(config, source)
        pairs, rest = _pairs(weights, config, source)
    except (TypeError, ValueError, AttributeError, KeyError, re.error) as error:
        raise WeightsError(f"the {CONFIG} of {source} cannot be understood: {error}") from error
    widest = max(pairs.values(), key=lambda pair: len(pair.a))
    targets = [layer for layer in LAYERS if any(name.endswith(f".{layer}") for name in pairs)]
    spec = _with_head(spec, rest)
    lora = LoraSpec(rank=len(widest.a), alpha=widest.alpha, targets=tuple(targets))
    spec = spec.model_copy(update={"lora": lora})
    table = parameter_table(spec)
    found = dict(rest)
    for name in (name.removesuffix(".lora_a") for name in table if name.endswith(".lora_a")):
        shapes = table[f"{name}.lora_a"].shape, table[f"{name}.lora_b"].shape
        a, b = _filled(pairs.pop(name, None), widest, shapes, f"{source}: {name}")
        found |= {f"{name}.lora_a": a, f"{name}.lora_b": b}
    if pairs:
        raise WeightsError(
            f"{source} adapts {next(iter(pairs))}, which its base has not: it is another model"
        )
    return found, spec


def to_peft(
    adapter: Weights, card: Card, layout: PeftLayout, base: str | None
) -> tuple[Weights, dict[str, Any]]:
    """Returns an adapter's tensors by PEFT's names, and its configuration.

    Args:
        adapter: native: adapters and a head.
        card: of the adapter file.
        layout: `peft` means timm's names where `qkv` is adapted, else those of transformers 5.
        base: what the configuration calls the base.

    Raises:
        WeightsError: the program has no such layer or model, or the adapter holds more than PEFT's can.
    """
    lora = card.spec.lora
    if layout == "peft":
        layout = "peft-timm" if "qkv" in lora.targets else "peft-transformers"
    block, layers, heads = _names(card.spec, layout)
    lacking = [layer for layer in lora.targets if layer not in layers]
    if lacking:
        raise WeightsError(
            f"{layout} has no layer {lacking[0]} for an adapter; it has {', '.join(layers)}: "
            f"merge this one (--merge), or choose another of {', '.join(PEFT_LAYOUTS)}"
        )
    named: Weights = {}
    for name, value in adapter.items():
        stem, _, leaf = name.rpartition(".")
        if leaf in ("lora_a", "lora_b"):
            _, number, _, layer = stem.split(".")
            module = f"{block.format(i=number)}.{layers[layer]}"
            named[f"{PEFT_PREFIX}{module}.lora_{leaf[-1].upper()}.weight"] = value
        elif stem in heads:
            named[f"{PEFT_PREFIX}{heads[stem]}.{leaf}"] = value
        else:
            raise WeightsError(
                f"{layout} holds adapters and the head, and this adapter {name} too: merge it (--merge)"
            )
    alpha = lora.scale * lora.rank if lora.alpha is None else lora.alpha
    alternatives = "|".join(re.escape(layers[layer]) for layer in lora.targets)
    saved = [there for ours, there in heads.items() if any(name.startswith(f"{ours}.") for name in adapter)]
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "lora_dropout": 0.0,
        "use_rslora": False,
        "bias": "none",
        "fan_in_fan_out": False,
        # The whole name of a module: the last words of one are shared by others (patch_embed.proj).
        "target_modules": rf"{re.escape(block).replace(re.escape('{i}'), r'[0-9]+')}\.({alternatives})",
        "modules_to_save": saved or None,
        "inference_mode": True,
    }
    return named, config


def _names(spec: ModelSpec, layout: PeftLayout) -> tuple[str, Mapping[str, str], dict[str, str]]:
    """Returns the name of a block, of its layers, and of the heads in a program's model.

    Raises:
        WeightsError: transformers has no such model.
    """
    if layout == "peft-timm":
        return "blocks.{i}", _TIMM, {"head": "head", "head_dist": "head_dist"}
    try:
        file_shapes(plain(spec), "huggingface")
    except WeightsError as error:
        raise WeightsError(f"{error}; --to peft-timm has timm's names") from error
    heads = {"head": "classifier"}
    if spec.head.distilled:
        heads = {"head": "cls_classifier", "head_dist": "distillation_classifier"}
    dino = spec.layer_scale is not None
    model = ("dinov2_with_registers" if spec.tokens.registers else "dinov2") if dino else "vit"
    model = "deit" if spec.head.distilled else model
    layers = dict(_NOW if layout == "peft-transformers" else _BEFORE)
    if dino and layout == "peft-transformers4":
        layers |= {"fc1": "mlp.fc1", "fc2": "mlp.fc2"}
    if spec.mlp.activation == "swiglu":  # the first layer is two there
        del layers["fc1"]
        layers["fc2"] = "mlp.down_proj" if layout == "peft-transformers" else "mlp.weights_out"
    flat = layout == "peft-transformers" and not dino
    return f"{model}.layers.{{i}}" if flat else f"{model}.encoder.layer.{{i}}", layers, heads


def _check_options(config: Mapping[str, Any], source: str) -> None:
    for key, value in config.items():
        fine = value in _ALLOWED[key] if key in _ALLOWED else key in _KNOWN or not value
        if not fine:
            raise WeightsError(
                f"{source} was made with {key}={value!r}, which vit has not: merge it with PEFT "
                f"(merge_and_unload) and convert the whole model"
            )
    if "peft_type" not in config or "lora_alpha" not in config or "r" not in config:
        raise WeightsError(
            f"the {CONFIG} of {source} is not that of a LoRA: it has no peft_type, r or lora_alpha"
        )


def _pairs(weights: Weights, config: Mapping[str, Any], source: str) -> tuple[dict[str, _Pair], Weights]:
    """Returns the adapters by the native name of their layer, and the other tensors by native name."""
    halves: dict[str, dict[str, NDArray[Any]]] = {}
    modules: dict[str, str] = {}
    rest: Weights = {}
    for name, value in weights.items():
        module, half = name.removeprefix(PEFT_PREFIX), ""
        if found := re.fullmatch(r"(.+)\.lora_([AB])\.weight", module):
            module, half = found[1], found[2]
            if layer := _layer(module):
                halves.setdefault(layer, {})[half] = value
                modules[layer] = module
                continue
        module, _, leaf = module.replace(".modules_to_save.", ".").rpartition(".")
        if half or module not in _HEADS or leaf not in ("weight", "bias"):
            raise WeightsError(
                f"{source} holds {name}; vit reads adapters of a block's linear layers, and a head: "
                f"merge it with PEFT (merge_and_unload) and convert the whole model"
            )
        rest[f"{_HEADS[module]}.{leaf}"] = value
    for layer, both in halves.items():
        a, b = both.get("A"), both.get("B")
        rank = _of_pattern(config.get("rank_pattern") or {}, modules[layer], config["r"])
        if a is None or b is None or (a.ndim, b.ndim) != (2, 2) or not len(a) == b.shape[1] == rank:
            raise WeightsError(f"{source}: {modules[layer]} has no lora_A and lora_B of rank {rank}")
    if not halves:
        raise WeightsError(f"{source} holds no adapters")
    return {name: _pair(both["A"], both["B"], config, modules[name]) for name, both in halves.items()}, rest


def _pair(a: NDArray[Any], b: NDArray[Any], config: Mapping[str, Any], module: str) -> _Pair:
    alpha = float(_of_pattern(config.get("alpha_pattern") or {}, module, config["lora_alpha"]))
    if not (math.isfinite(alpha) and alpha > 0):
        raise ValueError(f"lora_alpha is {alpha} for {module}")
    if config.get("use_rslora"):  # arXiv:2312.03732: alpha / sqrt(rank)
        alpha *= math.sqrt(len(a))
    return _Pair(a=a, b=b, alpha=alpha, scale=alpha / len(a))


def _layer(module: str) -> str | None:
    """Returns the native name of the layer that a module is."""
    found = _BLOCK.fullmatch(module)
    if found is None or found[2] not in _READ:
        return None
    layer = _READ[found[2]]
    return f"blocks.{int(found[1])}.{'mlp' if layer.startswith('fc') else 'attn'}.{layer}"


def _of_pattern(patterns: Mapping[str, Any], module: str, otherwise: Any) -> Any:
    """Returns the value of the first pattern that a module's name ends with, as PEFT finds it."""
    for pattern, value in patterns.items():
        # What repeats can be made to take for ever.
        if re.search(r"[*?+{]", pattern.replace(r"\d+", "")):
            raise ValueError(f"the pattern {pattern!r}; vit reads names, and \\d+")
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return otherwise


def _filled(
    pair: _Pair | None, widest: _Pair, shapes: tuple[tuple[int, ...], tuple[int, ...]], what: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns A and B at the rank and the scale of the widest adapter."""
    if pair is None:
        return np.zeros(shapes[0], widest.a.dtype), np.zeros(shapes[1], widest.b.dtype)
    a, b = pair.a, pair.b
    if (a.shape[1], b.shape[0]) != (shapes[0][1], shapes[1][0]):
        raise WeightsError(
            f"{what} maps {a.shape[1]} features to {b.shape[0]}, in its base {shapes[0][1]} to {shapes[1][0]}"
        )
    if pair.scale != widest.scale:
        b = (b.astype(np.float64) * (pair.scale / widest.scale)).astype(b.dtype)
    missing = len(widest.a) - len(a)
    if not missing:
        return a, b
    return np.pad(a, ((0, missing), (0, 0))), np.pad(b, ((0, 0), (0, missing)))


def _with_head(spec: ModelSpec, tensors: Weights) -> ModelSpec:
    """Returns the spec with the head that an adapter brings along."""
    if "head.weight" not in tensors:
        return spec
    head = spec.head.model_copy(update={"bias": "head.bias" in tensors})
    return spec.model_copy(update={"num_classes": len(tensors["head.weight"]), "head": head})
