"""`open_clip_config.json` beside a file of OpenCLIP's, as its `push_to_hf_hub` writes it and `hf-hub:` reads it.

Matched: open_clip_torch 3.3.0 (`CLIPVisionCfg`, `PreprocessCfg`). Only what the tensors do not tell is read: heads,
activation, eps, pooling, and how images are seen. It is not written: half of it is of the text tower.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitcli.core.errors import WeightsError
from vitcli.core.recipe import Interpolation
from vitcli.core.reporter import Reporter
from vitcli.weights.config import read_json
from vitcli.weights.header import Card, Preprocess
from vitcli.weights.renaming import Code

CONFIG = "open_clip_config.json"
_POOLS = {"tok": "cls", "avg": "mean"}
_FILTERS: dict[str, Interpolation] = {"bilinear": "bilinear", "bicubic": "bicubic"}


def read_config(folder: Path) -> dict[str, Any]:
    """Returns the file in a folder; empty where there is none.

    Raises:
        WeightsError: it cannot be read, or says nothing of a visual tower.
    """
    config = read_json(folder / CONFIG)
    model, seen = config.get("model_cfg"), config.get("preprocess_cfg", {})
    vision = model.get("vision_cfg") if isinstance(model, dict) else None
    if config and not (isinstance(vision, dict) and isinstance(seen, dict)):
        raise WeightsError(
            f"{folder / CONFIG} cannot be understood: model_cfg.vision_cfg or preprocess_cfg is no object"
        )
    return config


def told(config: Mapping[str, Any], source: str, code: Code) -> dict[str, Any]:
    """Returns what a configuration says of the model, as dotted recipe keys.

    Raises:
        WeightsError: it says what vit has not.
    """
    if not config:
        return {}
    model, vision = config["model_cfg"], config["model_cfg"]["vision_cfg"]
    pool = str(vision.get("pool_type", "tok"))
    if pool not in _POOLS:
        raise WeightsError(f"{source} has pool_type {pool!r}; vit has {', '.join(_POOLS)}")
    try:
        heads = vision["width"] // vision.get("head_width", 64)
        norm, activation = dict(vision.get("norm_kwargs") or {}), dict(vision.get("act_kwargs") or {})
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{source} cannot be understood: vision_cfg ({error})") from error
    eps = norm.pop("eps", 1e-5)
    if norm:
        raise WeightsError(f"{source} has norm_kwargs {norm}, which vit has not")
    return {
        "model.num_heads": heads,
        "model.mlp.activation": _activation(bool(model.get("quick_gelu")), activation, source),
        "model.norm.eps": eps,
        "model.norm.final": "after_pool" if vision.get("final_ln_after_pool") else "before_pool",
        "model.pool": _POOLS[pool],
    }


def class_names(config: Mapping[str, Any], count: int) -> tuple[str, ...] | None:
    """Returns none: a projection has no classes."""
    return None


def read_preprocess(folder: Path, size: int, otherwise: Preprocess, reporter: Reporter) -> Preprocess | None:
    """Returns how images are seen by what is said in a folder, for a model of `size` pixels; none: nothing is said.

    Raises:
        WeightsError: it cannot be understood.
    """
    said, path = read_config(folder).get("preprocess_cfg"), folder / CONFIG
    if not said:
        return None
    how, mode = str(said.get("interpolation", "bicubic")), str(said.get("resize_mode", "shortest"))
    if mode not in ("shortest", "squash"):
        reporter.note(f"{path} puts borders around images; here the middle is cut out")
    try:
        return Preprocess(
            fit="squash" if mode == "squash" else "crop",
            size=size,
            mean=_each(said.get("mean", otherwise.mean)),
            std=_each(said.get("std", otherwise.std)),
            interpolation=_FILTERS.get(how, "bicubic"),  # as OpenCLIP, of one that is drawn at random
        )
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path} cannot be understood: {str(error).splitlines()[0]}") from error


def files(card: Card, code: Code) -> dict[str, str]:
    """Returns no texts."""
    return {}


def _activation(quick: bool, arguments: Mapping[str, Any], source: str) -> str:
    """Returns vit's name of QuickGELU or GELU with keyword arguments."""
    if not arguments or arguments == {"approximate": "none"}:
        return "quick_gelu" if quick else "gelu"
    if arguments == {"approximate": "tanh"} and not quick:
        return "gelu_tanh"
    raise WeightsError(f"{source} has act_kwargs {arguments}, which vit has not")


def _each(values: Any) -> tuple[float, ...]:
    return tuple(values) if isinstance(values, list | tuple) else (values,)
