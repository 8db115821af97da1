"""Small weights files of every kind that vit reads, with what stands beside them, and how to ask for them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from tests.models import random_weights
from tests.weights.adapters import files
from vitcli.core.spec import ModelSpec
from vitcli.jobs.adapters import carry, open_adapter
from vitcli.jobs.tensors import write_tensors
from vitcli.weights.beside import configuration
from vitcli.weights.file import Weights
from vitcli.weights.header import Card, Layout, Preprocess
from vitcli.weights.layouts import from_native

SIZES = {
    "image_size": 8,
    "patch_size": 4,
    "num_classes": 5,
    "embed_dim": 12,
    "depth": 2,
    "num_heads": 3,
    "mlp_dim": 24,
}
# own: as vit writes it, with metadata. bare: as the layout's library does, with its configuration. half: bare, in
# bfloat16. state_dict, ema, old: what training scripts save, the last in the format before zip archives.
Wrapping = Literal["own", "bare", "half", "state_dict", "ema", "old", "adapter", "peft", "peft bare"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of file: its layout, its suffix, the options of its model that make it one, who wrote it."""

    layout: Layout
    suffix: str
    wrapping: Wrapping = "own"
    changes: Mapping[str, Any] = field(default_factory=dict)
    arguments: tuple[str, ...] = ("model.num_heads=3",)

    @property
    def spec(self) -> ModelSpec:
        """The model of such a file."""
        return ModelSpec.model_validate({**SIZES, **self.changes})

    @property
    def card(self) -> Card:
        """What such a file says about itself, or its library beside it."""
        seen = Preprocess(fit="crop", size=10, mean=(0.5,), std=(0.5,))
        classes = tuple("abcde"[: self.spec.num_classes])
        return Card(spec=self.spec, classes=classes, preprocess=seen, source="five")

    def write(self, folder: Path) -> Path:
        """Writes a good one, and what belongs beside it, into a folder of its own; returns what to convert."""
        if self.wrapping in ("adapter", "peft", "peft bare"):
            return self._adapter(folder)
        path, spec = folder / f"model.{self.suffix}", self.spec
        weights = from_native(random_weights(spec), spec, self.layout)
        if self.wrapping == "own":
            write_tensors(path, weights, self.card, self.layout)
            return path
        _foreign(path, weights, self.wrapping)
        for name, text in configuration(self.card, self.layout).items():
            (folder / name).write_text(text, encoding="utf-8")
        return path

    def _adapter(self, folder: Path) -> Path:
        _, path, _ = files(folder, self.spec)
        if self.wrapping == "adapter":
            return path
        adapter, target = open_adapter(path), folder / "adapter_model.safetensors"
        carry(adapter, target, "peft")
        path.unlink()
        if self.wrapping == "peft bare":
            _bare(target)
        return target


def _bare(path: Path) -> None:
    """Takes our metadata out of a file, as if another program had written it."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = {k: v for k, v in json.loads(content[8:end]).items() if k != "__metadata__"}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[end:])


def _foreign(path: Path, weights: Weights, wrapping: Wrapping) -> None:
    """Writes tensors as other programs do."""
    tensors = {name: torch.from_numpy(value.copy()) for name, value in weights.items()}
    named = {f"module.{name}": value for name, value in tensors.items()}
    if wrapping == "half":
        save_torch({name: value.bfloat16() for name, value in tensors.items()}, path)
    elif path.suffix == ".safetensors":
        save_file(weights, path)
    elif wrapping == "old":
        torch.save(tensors, path, _use_new_zipfile_serialization=False)
    elif wrapping == "state_dict":
        torch.save({"epoch": 3, "state_dict": named, "args": argparse.Namespace(lr=0.1)}, path)
    elif wrapping == "ema":
        torch.save({"state_dict": named, "state_dict_ema": tensors, "optimizer": {"state": {}}}, path)
    else:
        torch.save(tensors, path)


_LORA = {"norm": {"eps": 1e-12}, "lora": {"rank": 2, "alpha": 3.0, "targets": ["q", "v", "fc1"]}}
_CLIP = {
    "tokens": {"patch_bias": False},
    "norm": {"before_blocks": True, "eps": 1e-5},
    "mlp": {"activation": "quick_gelu"},
    "head": {"bias": False},
}
_TIMM = {"pool": "map", "tokens": {"registers": 2, "position_slots": "patches"}, "layer_scale": 1.0}
_DINOV2 = {"num_classes": 0, "layer_scale": 1.0}
_GATED = {"mlp": {"activation": "swiglu"}, "mlp_dim": 8}
_DEIT = {"tokens": {"registers": 1}, "head": {"distilled": True}}
_REGISTERS = {"registers": 2, "position_slots": "class"}
KINDS: dict[str, Kind] = {
    "native": Kind(
        layout="native",
        suffix="safetensors",
        changes={"mlp": {"activation": "swiglu"}, "tokens": {"registers": 1}},
    ),
    "torch": Kind(layout="torch", suffix="safetensors"),
    "jax": Kind(layout="jax", suffix="safetensors"),
    "huggingface": Kind(layout="huggingface", suffix="safetensors", changes={"norm": {"eps": 1e-12}}),
    "google": Kind(layout="google", suffix="npz", changes={"mlp": {"activation": "gelu_tanh"}}),
    "big_vision": Kind(
        layout="big_vision",
        suffix="npz",
        changes={"mlp": {"activation": "gelu_tanh"}, "tokens": {"position_slots": "patches"}},
    ),
    "pth": Kind(layout="torch", suffix="pth"),
    "old pth": Kind(layout="torch", suffix="pth", wrapping="old"),
    "timm": Kind(layout="timm", suffix="safetensors", wrapping="bare", arguments=()),
    "timm, map": Kind(layout="timm", suffix="pth", wrapping="bare", changes=_TIMM, arguments=()),
    "timm, ema": Kind(layout="timm", suffix="pth", wrapping="ema"),
    "timm, bfloat16": Kind(layout="timm", suffix="safetensors", wrapping="half", changes=_DEIT),
    "dinov2": Kind(layout="dinov2", suffix="pth", wrapping="bare", changes={**_DINOV2, "tokens": _REGISTERS}),
    "dinov2, gated": Kind(
        layout="dinov2",
        suffix="safetensors",
        wrapping="bare",
        changes={**_DINOV2, **_GATED, "tokens": {"position_slots": "class"}},
    ),
    "clip": Kind(layout="clip", suffix="safetensors", wrapping="bare", changes=_CLIP),
    "torchvision": Kind(layout="torchvision", suffix="pth", wrapping="state_dict"),
    "transformers, ViT": Kind(
        layout="huggingface",
        suffix="safetensors",
        wrapping="bare",
        changes={"norm": {"eps": 1e-12}},
        arguments=(),
    ),
    "transformers, DeiT": Kind(
        layout="huggingface",
        suffix="safetensors",
        wrapping="bare",
        changes={**_DEIT, "norm": {"eps": 1e-12}},
        arguments=(),
    ),
    "transformers, DINOv2": Kind(
        layout="huggingface",
        suffix="safetensors",
        wrapping="bare",
        changes={"pool": "cls_mean", "layer_scale": 1.0, "tokens": _REGISTERS},
        arguments=(),
    ),
    "transformers, DINOv2 gated": Kind(
        layout="huggingface",
        suffix="safetensors",
        wrapping="bare",
        changes={**_DINOV2, **_GATED},
        arguments=(),
    ),
    "origin": Kind(
        layout="origin-torch",
        suffix="safetensors",
        wrapping="bare",
        changes={
            "attention": {"qkv_bias": False, "projection_bias": False, "merge": "raw"},
            "norm": {"eps": 1e-5},
        },
    ),
    "adapter": Kind(
        layout="native", suffix="safetensors", wrapping="adapter", changes=_LORA, arguments=("--merge",)
    ),
    "adapter alone": Kind(
        layout="native", suffix="safetensors", wrapping="adapter", changes=_LORA, arguments=()
    ),
    "peft": Kind(layout="native", suffix="safetensors", wrapping="peft", changes=_LORA, arguments=()),
    "peft, bare": Kind(
        layout="native",
        suffix="safetensors",
        wrapping="peft bare",
        changes=_LORA,
        arguments=("--merge",),
    ),
}
