"""What stands beside a file of Hugging Face's: `config.json` and `preprocessor_config.json`, read and written.

Matched: transformers 5.23 (`ViTConfig`, `DeiTConfig`, `Dinov2Config`, `Dinov2WithRegistersConfig`, `ViTMAEConfig`;
`ViTImageProcessor`, and `CLIPImageProcessor` or `BitImageProcessor` where the middle is cut out).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitcli.core.errors import WeightsError
from vitcli.core.recipe import Interpolation
from vitcli.core.reporter import Reporter
from vitcli.weights.header import Card, Preprocess
from vitcli.weights.huggingface import ACTIVATIONS, mlp_ratio, mlp_width
from vitcli.weights.renaming import Code

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
_MOST = 10_000_000  # bytes; the names of 21,843 classes are one
# Pillow's numbers of filters.
_FILTERS: dict[object, Interpolation] = {2: "bilinear", 3: "bicubic"}
# Keys of configurations, and of the spec.
_KEYS = {
    "image_size": "model.image_size",
    "patch_size": "model.patch_size",
    "num_channels": "model.in_channels",
    "hidden_size": "model.embed_dim",
    "num_hidden_layers": "model.depth",
    "num_attention_heads": "model.num_heads",
    "intermediate_size": "model.mlp_dim",
    "layer_norm_eps": "model.norm.eps",
    "qkv_bias": "model.attention.qkv_bias",
    "layerscale_value": "model.layer_scale",
    "num_register_tokens": "model.tokens.registers",
}
# Types of models, and the type whose names their tensors have.
_KINDS = {"vit_mae": "vit"} | {kind: kind for kind in ("vit", "deit", "dinov2", "dinov2_with_registers")}


def read_config(folder: Path) -> dict[str, Any]:
    """Returns the `config.json` in a folder; empty where there is none.

    Raises:
        WeightsError: it cannot be read, or is of a model that is no ViT.
    """
    config = read_json(folder / CONFIG)
    kind = config.get("model_type", "vit")
    if str(kind) not in _KINDS:
        known = ", ".join(f"'{name}'" for name in sorted(_KINDS))
        raise WeightsError(f"{folder / CONFIG} is of a model of type '{kind}'; vit reads {known}")
    return config


def told(config: Mapping[str, Any], source: str, code: Code) -> dict[str, Any]:
    """Returns what a configuration says of a model with the names of `code`, as dotted recipe keys.

    Raises:
        WeightsError: it is another model's, or has an activation that vit has not.
    """
    kind, names = config.get("model_type"), code.config.get("model_type")
    if kind is not None and _KINDS[kind] != _KINDS.get(str(names)):
        raise WeightsError(
            f"{source} is of a model of type '{kind}', but the tensors have the names of '{names}'"
        )
    values = {ours: side(config[theirs]) for theirs, ours in _KEYS.items() if theirs in config}
    if "hidden_act" in config and not config.get("use_swiglu_ffn"):
        if str(config["hidden_act"]) not in ACTIVATIONS:
            raise WeightsError(
                f"{source} has hidden_act '{config['hidden_act']}'; vit has {', '.join(ACTIVATIONS)}"
            )
        values["model.mlp.activation"] = ACTIVATIONS[config["hidden_act"]]
    if "pre_logits.weight" in code.tensors and config.get("pooler_act", "tanh") != "tanh":
        raise WeightsError(f"{source} has pooler_act '{config['pooler_act']}'; vit's pooler has 'tanh'")
    ratio, width = config.get("mlp_ratio"), config.get("hidden_size")
    if isinstance(ratio, int | float) and isinstance(width, int):
        try:
            values["model.mlp_dim"] = mlp_width(width, ratio, gated=bool(config.get("use_swiglu_ffn")))
        except (OverflowError, ValueError) as error:
            raise WeightsError(f"{source} has mlp_ratio {ratio}, not a number of widths") from error
    return values


def side(value: Any) -> Any:
    """Returns the side of a square that may be written as two equal ones."""
    return value[0] if isinstance(value, list) and len(set(map(str, value))) == 1 else value


def class_names(config: Mapping[str, Any], count: int) -> tuple[str, ...] | None:
    """Returns the class names of a configuration, where it has one for each class."""
    labels = config.get("id2label")
    if not isinstance(labels, dict) or set(labels) != {str(i) for i in range(count)}:
        return None
    return tuple(str(labels[str(i)]) for i in range(count))


def read_preprocess(folder: Path, size: int, otherwise: Preprocess, reporter: Reporter) -> Preprocess | None:
    """Returns how images are seen by what is said in a folder, for a model of `size` pixels; none: nothing is said.

    `reporter` is told where vit sees them otherwise.

    Raises:
        WeightsError: it cannot be read.
    """
    said, path = read_json(folder / PROCESSOR), folder / PROCESSOR
    if not said:
        return None
    try:
        crops = bool(said.get("do_center_crop"))
        sides = said.get("size", size)
        short = sides if isinstance(sides, int) else sides.get("shortest_edge") or sides.get("height")
        cut = said.get("crop_size", size)
        cut = (cut if isinstance(cut, int) else cut.get("height", size)) if crops else size
        if crops and short < cut:
            raise ValueError(f"{cut} pixels cannot be cut out of {short}")
        if crops and isinstance(sides, dict) and "shortest_edge" not in sides:
            reporter.note(f"{path} squashes images before it cuts out the middle; here they keep their shape")
        interpolation = _FILTERS.get(said.get("resample"), otherwise.interpolation)
        if said.get("resample", 2) not in _FILTERS:
            reporter.note(f"{path} has resample {said['resample']}; here images are resized {interpolation}")
        if cut != size:
            # Published DINOv2 models have positions for 518 pixels, and are told to see 224 of 256.
            reporter.note(
                f"{path} cuts out {cut} pixels, the model has {size}: the short side is scaled alike"
            )
        normalised = said.get("do_normalize", True)
        mean = said.get("image_mean", otherwise.mean) if normalised else (0.0,)
        std = said.get("image_std", otherwise.std) if normalised else (1.0,)
        # Ours are of levels / 255; another factor is the same as other numbers.
        factor = 255 * said.get("rescale_factor", 1 / 255) if said.get("do_rescale", True) else 255.0
        return Preprocess(
            fit="crop" if crops else "squash",
            size=round(short * size / cut) if crops else size,
            mean=tuple(value / factor for value in mean),
            std=tuple(value / factor for value in std),
            interpolation=interpolation,
        )
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise WeightsError(f"{path} cannot be understood: {error}") from error


def files(card: Card, code: Code) -> dict[str, str]:
    """Returns the texts of both files for a model that is written as `code`."""
    spec, gated = card.spec, card.spec.mlp.activation == "swiglu"
    config = {
        **code.config,
        "image_size": spec.image_size,
        "patch_size": spec.patch_size,
        "num_channels": spec.in_channels,
        "hidden_size": spec.embed_dim,
        "num_hidden_layers": spec.depth,
        "num_attention_heads": spec.num_heads,
        "hidden_act": "gelu" if gated else _activation(spec.mlp.activation),
        "layer_norm_eps": spec.norm.eps,
        "qkv_bias": spec.attention.qkv_bias,
        "id2label": {str(i): name for i, name in enumerate(card.classes)},
        "label2id": {name: i for i, name in enumerate(card.classes)},
    }
    if spec.layer_scale is None:
        config |= {"intermediate_size": spec.mlp_dim}
    else:
        config |= {
            "mlp_ratio": mlp_ratio(spec),
            "use_swiglu_ffn": gated,
            "layerscale_value": spec.layer_scale,
        }
    if "reg_token" in code.tensors and spec.layer_scale is not None:
        config |= {"num_register_tokens": spec.tokens.registers}
    if spec.head.pre_logits is not None:
        config |= {"pooler_output_size": spec.head.pre_logits, "pooler_act": "tanh"}
    return {
        CONFIG: json.dumps(config, indent=2) + "\n",
        PROCESSOR: json.dumps(_processor(card, code), indent=2) + "\n",
    }


def _activation(ours: str) -> str:
    return next(theirs for theirs, name in reversed(ACTIVATIONS.items()) if name == ours)


def _processor(card: Card, code: Code) -> dict[str, Any]:
    spec, seen = card.spec, card.preprocess
    sides = {"height": spec.image_size, "width": spec.image_size}
    dinov2 = str(code.config["model_type"]).startswith("dinov2")
    processor = {
        "do_resize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": _channels(seen.mean, spec.in_channels),
        "image_std": _channels(seen.std, spec.in_channels),
        "resample": next(number for number, name in _FILTERS.items() if name == seen.interpolation),
    }
    if seen.fit == "squash":
        return processor | {"image_processor_type": "ViTImageProcessor", "size": sides}
    return processor | {
        "image_processor_type": "BitImageProcessor" if dinov2 else "CLIPImageProcessor",
        "size": {"shortest_edge": seen.size},
        "do_center_crop": True,
        "crop_size": sides,
    }


def _channels(values: tuple[float, ...], count: int) -> list[float]:
    """Returns one value for each channel."""
    return [values[channel % len(values)] for channel in range(count)]


def read_json(path: Path) -> dict[str, Any]:
    """Returns the object in a JSON file; empty where there is no file.

    Raises:
        WeightsError: it cannot be read.
    """
    if not os.path.lexists(path):
        return {}
    if not path.is_file():  # a pipe would be waited for
        raise WeightsError(f"{path} is not a file")
    if path.stat().st_size > _MOST:
        raise WeightsError(f"{path} has more than {_MOST:,} bytes: not a model's configuration")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise WeightsError(f"{path} holds no JSON object")
    return found
