"""What stands beside a file of Hugging Face's: `config.json` and `preprocessor_config.json`, read and written.

Matched: transformers 5.23 (`ViTConfig`, `ViTImageProcessor`, and `CLIPImageProcessor` where the middle is cut out).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitcli.core.errors import WeightsError
from vitcli.weights.header import Card, Preprocess

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
}
# Keys of `ViTConfig`, and of the spec.
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
}


def read_config(folder: Path) -> dict[str, Any]:
    """Returns the `config.json` in a folder; empty where there is none.

    Raises:
        WeightsError: it cannot be read, or is of a model that is no ViT.
    """
    config = read_json(folder / CONFIG)
    kind = config.get("model_type", "vit")
    if kind not in ("vit", "deit"):
        raise WeightsError(f"{folder / CONFIG} is of a model of type '{kind}'; vit reads 'vit' and 'deit'")
    return config


def told(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Returns what a configuration says of the model, as dotted recipe keys.

    Raises:
        WeightsError: it has an activation that vit has not.
    """
    values = {ours: config[theirs] for theirs, ours in _KEYS.items() if theirs in config}
    if "hidden_act" in config:
        if config["hidden_act"] not in _ACTIVATIONS:
            raise WeightsError(
                f"{source} has hidden_act '{config['hidden_act']}'; vit has {', '.join(_ACTIVATIONS)}"
            )
        values["model.mlp.activation"] = _ACTIVATIONS[config["hidden_act"]]
    return values


def class_names(config: Mapping[str, Any], count: int) -> tuple[str, ...] | None:
    """Returns the class names of a configuration, where it has one for each class."""
    labels = config.get("id2label")
    if not isinstance(labels, dict) or set(labels) != {str(i) for i in range(count)}:
        return None
    return tuple(str(labels[str(i)]) for i in range(count))


def read_preprocess(folder: Path, size: int, otherwise: Preprocess) -> Preprocess:
    """Returns how images are seen by what is said in a folder, for a model of `size` pixels.

    Raises:
        WeightsError: it cannot be read.
    """
    said = read_json(folder / PROCESSOR)
    if not said:
        return otherwise
    try:
        crops = bool(said.get("do_center_crop"))
        sides = said.get("size", size)
        side = sides if isinstance(sides, int) else sides.get("shortest_edge") or sides.get("height")
        return Preprocess(
            fit="crop" if crops else "squash",
            size=side if crops else size,
            mean=tuple(said.get("image_mean", otherwise.mean)),
            std=tuple(said.get("image_std", otherwise.std)),
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"{folder / PROCESSOR} cannot be understood: {error}") from error


def remarks(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns what is to be said aloud about a configuration: nothing."""
    return ()


def files(card: Card) -> dict[str, str]:
    """Returns the texts of both files for a model.

    Raises:
        WeightsError: Hugging Face's ViT has no such activation.
    """
    spec, seen = card.spec, card.preprocess
    names = [theirs for theirs, ours in _ACTIVATIONS.items() if ours == spec.mlp.activation]
    if not names:
        raise WeightsError(
            f"huggingface cannot hold this model: model.mlp.activation is {spec.mlp.activation}, "
            f"in that code it is one of {', '.join(_ACTIVATIONS.values())}"
        )
    config = {
        "architectures": ["ViTForImageClassification"],
        "model_type": "vit",
        "image_size": spec.image_size,
        "patch_size": spec.patch_size,
        "num_channels": spec.in_channels,
        "hidden_size": spec.embed_dim,
        "num_hidden_layers": spec.depth,
        "num_attention_heads": spec.num_heads,
        "intermediate_size": spec.mlp_dim,
        "hidden_act": names[-1] if spec.mlp.activation == "gelu_tanh" else names[0],
        "layer_norm_eps": spec.norm.eps,
        "qkv_bias": spec.attention.qkv_bias,
        "id2label": {str(i): name for i, name in enumerate(card.classes)},
        "label2id": {name: i for i, name in enumerate(card.classes)},
    }
    sides = {"height": spec.image_size, "width": spec.image_size}
    processor = {
        "do_resize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(seen.mean) * (spec.in_channels // len(seen.mean)),
        "image_std": list(seen.std) * (spec.in_channels // len(seen.std)),
        "resample": 2,  # bilinear
    }
    if seen.fit == "crop":
        processor |= {
            "image_processor_type": "CLIPImageProcessor",
            "size": {"shortest_edge": seen.size},
            "do_center_crop": True,
            "crop_size": sides,
        }
    else:
        processor |= {"image_processor_type": "ViTImageProcessor", "size": sides}
    return {CONFIG: json.dumps(config, indent=2) + "\n", PROCESSOR: json.dumps(processor, indent=2) + "\n"}


def read_json(path: Path) -> dict[str, Any]:
    """Returns the object in a JSON file; empty where there is no file.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise WeightsError(f"{path} holds no JSON object")
    return found
