"""`config.json` beside a file of timm's, as `push_to_hf_hub` writes it and `create_model` reads it.

Matched: timm 1.0.31. What it calls `model_args` are arguments of `VisionTransformer` that replace those of the
architecture; what no argument can say (eps, the gated MLP, the distilled head) goes by the architecture's name.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitcli.core.errors import WeightsError
from vitcli.core.recipe import Interpolation
from vitcli.core.reporter import Reporter
from vitcli.core.spec import ModelSpec
from vitcli.weights.config import CONFIG as CONFIG
from vitcli.weights.config import read_json, side
from vitcli.weights.header import Card, Preprocess
from vitcli.weights.renaming import Code

# Families whose blocks are those of `VisionTransformer`; of them some have its names and another function.
_FAMILIES = r"^(vit|deit3?|flexivit|eva_large|test_vit2?)(_|$)"
# Rotary ones (of module `eva`) and relative ones may have no tensor of their own, so that the name alone tells.
_OTHERWISE = (
    r"_rpn_|_s?relpos|_rope_|_pe_(core|lang|spatial)_|_dinov3|_lingbot|_sapiens|_r(esnet)?\d*d?_|_mci_|_xp_|"
    r"_\d+x2_|_(pw|dpw|dw)ee_|_dlittle_"
)
# Architectures by a part of their names, the first that fits: `num_heads` of their registration.
_HEADS = (
    (r"base_patch16_gap_224|giantopt|gigantic|so400m|large|huge|intern300m", 16),
    (r"giant_patch14_(reg\d_)?(dinov2|tipsv2)|giant_patch16_radio", 24),
    (r"giant", 16),
    (r"so150m2", 13),
    (r"so150m|_plus_", 14),
    (r"base", 12),
    (r"betwixt", 10),
    (r"medium", 8),
    (r"little", 5),
    (r"xsmall|wee", 4),
    (r"small", 6),
    (r"tiny", 3),
    (r"^test_vit2?$", 2),
)
_GATED = r"giant_patch14_(reg\d_)?(dinov2|tipsv2)"
_TANH = r"base_patch32_siglip|giantopt|large_patch16_siglip_(gap_)?512|so400m_patch16_siglip"
_ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_tanh", "quick_gelu": "quick_gelu", "relu": "relu"}
_POOLS = {"token": "cls", "avg": "mean", "map": "map"}
# Arguments that tensors tell, that only training sees, or that are read here.
_KNOWN = re.compile(
    r"(img_size|patch_size|in_chans|num_classes|embed_dim|depth|mlp_ratio|qkv_bias|qk_norm|proj_bias|init_values|"
    r"class_token|reg_tokens|pre_norm|final_norm|fc_norm|dynamic_img_size|dynamic_img_pad|strict_img_size|drop_rate|"
    r"pos_drop_rate|patch_drop_rate|proj_drop_rate|attn_drop_rate|drop_path_rate|weight_init|fix_init|num_heads|"
    r"act_layer|norm_layer|global_pool|pool_include_prefix|no_embed_class|pos_embed|pretrained_strict)"
)
# Those that tensors tell too, and the keys of the spec with which they must agree.
_SAME = {
    "patch_size": "model.patch_size",
    "in_chans": "model.in_channels",
    "num_classes": "model.num_classes",
    "embed_dim": "model.embed_dim",
    "depth": "model.depth",
    "class_token": "model.tokens.class_token",
    "qkv_bias": "model.attention.qkv_bias",
    "qk_norm": "model.attention.qk_norm",
    "pre_norm": "model.norm.before_blocks",
}
_FILTERS: dict[str, Interpolation] = {"bilinear": "bilinear", "bicubic": "bicubic"}


def read_config(folder: Path) -> dict[str, Any]:
    """Returns timm's `config.json` in a folder; empty where there is none, or one of another program.

    Raises:
        WeightsError: it cannot be read, or is of an architecture that vit has not.
    """
    config = read_json(folder / CONFIG)
    if "architecture" not in config:
        return {}
    if "pretrained_cfg" not in config:  # as written before timm 0.9
        config = {**config, "pretrained_cfg": config}
    name = str(config["architecture"]).partition(".")[0]
    if not re.search(_FAMILIES, name) or re.search(_OTHERWISE, name):
        raise WeightsError(
            f"{folder / CONFIG} is of timm's architecture '{name}'; vit reads vit_*, deit_*, deit3_* and flexivit_*, "
            f"where blocks are plain pre-norm ones, positions absolute, and patches go through one convolution"
        )
    parts = (config.get("model_args") or {}, config["pretrained_cfg"])
    if not all(isinstance(part, dict) for part in parts):
        raise WeightsError(
            f"{folder / CONFIG} cannot be understood: model_args or pretrained_cfg is no object"
        )
    return {**config, "architecture": name, "model_args": parts[0], "pretrained_cfg": parts[1]}


def told(config: Mapping[str, Any], source: str, code: Code) -> dict[str, Any]:
    """Returns what a configuration says of the model, as dotted recipe keys; its names are those of one code.

    Raises:
        WeightsError: an argument says what vit has not.
    """
    if not config:
        return {}
    name = config["architecture"]
    arguments = {key: value for key, value in config["model_args"].items() if value is not None}
    clip = "clip" in name and "siglip" not in name
    values: dict[str, Any] = {"model.norm.eps": 1e-5 if clip else 1e-6}
    values |= {ours: side(arguments[theirs]) for theirs, ours in _SAME.items() if theirs in arguments}
    size, patch = side(arguments.get("img_size")), values.get("model.patch_size")
    if size is not None and isinstance(patch, int) and patch > 0:
        # What is left over beside the last patch is not seen.
        values["model.image_size"] = size // patch * patch if isinstance(size, int) else size
    for key, value in arguments.items():
        if value and not _KNOWN.fullmatch(key):
            raise WeightsError(f"{source} has model_args.{key} {value!r}, which vit has not")
    if "norm_layer" in arguments:
        _one_of(
            source, "norm_layer", str(arguments["norm_layer"]).replace("_", "").lower(), {"layernorm": ""}
        )
        values["model.norm.eps"] = 1e-6
    heads = [number for part, number in _HEADS if re.search(part, name)]
    if number := arguments.get("num_heads", heads[0] if heads else None):
        values["model.num_heads"] = number
    if re.search(_GATED, name):
        _one_of(source, "act_layer", str(arguments.get("act_layer", "silu")), {"silu": "", "swish": ""})
    else:
        usual = "quick_gelu" if "quickgelu" in name else "gelu_tanh" if re.search(_TANH, name) else "gelu"
        given = str(arguments.get("act_layer", usual))
        values["model.mlp.activation"] = _one_of(source, "act_layer", given, _ACTIVATIONS)
    return values | _pool(config, arguments, source) | _positions(config, arguments)


def class_names(config: Mapping[str, Any], count: int) -> tuple[str, ...] | None:
    """Returns the class names of a configuration, where it has one for each class."""
    labels = config.get("label_names", config.get("pretrained_cfg", {}).get("label_names"))
    if isinstance(labels, dict):  # by number
        labels = [labels[str(i)] for i in range(count)] if set(labels) == {*map(str, range(count))} else None
    if not isinstance(labels, list) or len(labels) != count:
        return None
    return tuple(map(str, labels))


def read_preprocess(folder: Path, size: int, otherwise: Preprocess, reporter: Reporter) -> Preprocess | None:
    """Returns how images are seen by what is said in a folder, for a model of `size` pixels; none: nothing is said.

    Raises:
        WeightsError: it cannot be understood.
    """
    said = read_config(folder).get("pretrained_cfg")
    if not said:
        return None
    how = str(said.get("interpolation", "bicubic"))
    if how not in _FILTERS:
        reporter.note(f"{folder / CONFIG} resizes images {how}; here they are resized bilinear")
    if said.get("crop_mode") == "border":
        reporter.note(f"{folder / CONFIG} puts borders around images; here the middle is cut out")
    try:
        return Preprocess(
            fit="squash" if said.get("crop_mode") == "squash" else "crop",
            size=math.floor(size / said.get("crop_pct", 0.875)),
            mean=tuple(said.get("mean", otherwise.mean)),
            std=tuple(said.get("std", otherwise.std)),
            interpolation=_FILTERS.get(how, "bilinear"),
        )
    except (TypeError, ValueError, ArithmeticError) as error:
        raise WeightsError(f"{folder / CONFIG} cannot be understood: {str(error).splitlines()[0]}") from error


def files(card: Card, code: Code) -> dict[str, str]:
    """Returns the text of the file for a model.

    Raises:
        WeightsError: no architecture of timm's has such norms.
    """
    spec, seen = card.spec, card.preprocess
    repeat = spec.in_channels if len(seen.mean) == 1 else 1
    config: dict[str, Any] = {
        "architecture": _architecture(spec),
        "num_classes": spec.num_classes,
        "num_features": spec.embed_dim,
        "global_pool": _global_pool(spec),
        "model_args": _arguments(spec),
        "pretrained_cfg": {
            "custom_load": False,
            "input_size": [spec.in_channels, spec.image_size, spec.image_size],
            "fixed_input_size": True,
            "interpolation": seen.interpolation,
            "crop_pct": _crop_pct(spec.image_size, seen.size),
            "crop_mode": "squash" if seen.fit == "squash" else "center",
            "mean": list(seen.mean) * repeat,
            "std": list(seen.std) * (spec.in_channels if len(seen.std) == 1 else 1),
            "num_classes": spec.num_classes,
            "pool_size": None,
            "first_conv": "patch_embed.proj",
            "classifier": ["head", "head_dist"] if spec.head.distilled else "head",
        },
    }
    if card.classes:
        config["label_names"] = list(card.classes)
    return {CONFIG: json.dumps(config, indent=2) + "\n"}


def _one_of(source: str, key: str, value: str, known: Mapping[str, str]) -> str:
    if value not in known:
        raise WeightsError(f"{source} has model_args.{key} '{value}'; vit has {', '.join(known)}")
    return known[value]


def _pool(config: Mapping[str, Any], arguments: Mapping[str, Any], source: str) -> dict[str, Any]:
    kind = arguments.get("global_pool", config.get("global_pool"))
    if kind is None:
        return {}
    pool = _one_of(source, "global_pool", str(kind), _POOLS)
    if arguments.get("pool_include_prefix") and pool == "map":
        raise WeightsError(
            f"{source} has model_args.pool_include_prefix with global_pool 'map', which vit has not"
        )
    return {"model.pool": "mean_all" if arguments.get("pool_include_prefix") and pool == "mean" else pool}


def _positions(config: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if "no_embed_class" in arguments:
        values["model.tokens.position_slots"] = "patches" if arguments["no_embed_class"] else "all"
    if arguments.get("pos_embed") in ("", "none"):  # no table tells the size
        sides = arguments.get("img_size", config["pretrained_cfg"].get("input_size"))
        size = sides[-1] if isinstance(sides, list) and sides else sides
        values |= {"model.image_size": size} if isinstance(size, int) else {}
    return values


def _architecture(spec: ModelSpec) -> str:
    """Returns an architecture that has what no argument can say."""
    distilled, gated = spec.head.distilled, spec.mlp.activation == "swiglu"
    allowed = (1e-6,) if distilled or gated else (1e-6, 1e-5)
    if spec.norm.eps not in allowed:
        raise WeightsError(
            f"timm cannot hold this model: model.norm.eps is {spec.norm.eps:g}, in its architectures with "
            f"{'a distilled head' if distilled else 'SwiGLU' if gated else 'LayerNorm'} it is "
            f"{' or '.join(f'{eps:g}' for eps in allowed)}"
        )
    if distilled:
        return "deit_base_distilled_patch16_224"
    if gated:
        return "vit_giant_patch14_dinov2"
    return "vit_base_patch16_clip_224" if spec.norm.eps == 1e-5 else "vit_base_patch16_224"


def _global_pool(spec: ModelSpec) -> str:
    names = {ours: theirs for theirs, ours in _POOLS.items()}
    return names["mean" if spec.pool == "mean_all" else spec.pool]


def _arguments(spec: ModelSpec) -> dict[str, Any]:
    """Returns the arguments of timm's constructor; all of them, since architectures have their own."""
    arguments: dict[str, Any] = {
        "img_size": spec.image_size,
        "patch_size": spec.patch_size,
        "in_chans": spec.in_channels,
        "embed_dim": spec.embed_dim,
        "depth": spec.depth,
        "num_heads": spec.num_heads,
        "mlp_ratio": _ratio(spec.fc1_dim, spec.embed_dim),
        "qkv_bias": spec.attention.qkv_bias,
        "qk_norm": spec.attention.qk_norm,
        # 0 is no LayerScale; the gammas themselves are in the file.
        "init_values": 0.0 if spec.layer_scale is None else spec.layer_scale or 1.0,
        "class_token": spec.tokens.class_token,
        "reg_tokens": 0 if spec.head.distilled else spec.tokens.registers,
        "no_embed_class": spec.prefix_tokens > 0 and spec.position_slots == spec.grid**2,
        "pos_embed": "none" if spec.tokens.positions == "none" else "learn",
        "pre_norm": spec.norm.before_blocks,
        "final_norm": spec.norm.final != "none",
        "fc_norm": spec.norm.final == "after_pool",
        "global_pool": _global_pool(spec),
        "pool_include_prefix": spec.pool == "mean_all",
    }
    if spec.mlp.activation != "swiglu":
        names = {ours: theirs for theirs, ours in _ACTIVATIONS.items()}
        arguments["act_layer"] = names[spec.mlp.activation]
    return arguments


def _ratio(width: int, embed_dim: int) -> float:
    """Returns a ratio of which timm's `int(embed_dim * ratio)` makes that width."""
    ratio = width / embed_dim
    return ratio if int(embed_dim * ratio) == width else math.nextafter(ratio, math.inf)


def _crop_pct(side: int, size: int) -> float:
    """Returns a part of which timm's `floor(side / part)` makes that size."""
    part = side / size
    return part if math.floor(side / part) == size else math.nextafter(part, 0)
