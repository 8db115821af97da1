"""Golden files: weights, inputs and logits that other programs wrote, read as they are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray
from safetensors import safe_open

from tests.conformance.conftest import backend as backend
from tests.peers.compare import assert_logits
from vitcli.core.backend import Backend
from vitcli.core.spec import ModelSpec
from vitcli.weights.derive import derive_spec
from vitcli.weights.file import read_weights

GOLDEN = Path(__file__).parent.parent / "golden"
TIMM = sorted(path.name for path in (GOLDEN / "peers").glob("timm_*"))


@pytest.mark.parametrize("name", TIMM)
def test_timm_file_is_read_as_it_is(backend: Backend, name: str) -> None:
    """The state dict of timm needs nothing but the number of heads."""
    weights = read_weights(GOLDEN / "peers" / name / "model.safetensors")
    config = json.loads((GOLDEN / "peers" / name / "config.json").read_text())
    shapes = {key: value.shape for key, value in weights.items()}
    spec = derive_spec(shapes, [f"model.num_heads={config['num_heads']}"], name)
    assert sum(value.size for value in weights.values()) == config["_n_params"]
    _check(backend, spec, weights, GOLDEN / "peers" / name / "io.safetensors")


def test_torchvision_file_is_a_renaming_away(backend: Backend) -> None:
    weights = read_weights(GOLDEN / "peers" / "torchvision" / "model.safetensors")
    config = json.loads((GOLDEN / "peers" / "torchvision" / "config.json").read_text())
    native = {torchvision_name(name): value for name, value in weights.items()}
    shapes = {key: value.shape for key, value in native.items()}
    spec = derive_spec(shapes, [f"model.num_heads={config['num_heads']}"], "torchvision")
    _check(backend, spec, native, GOLDEN / "peers" / "torchvision" / "io.safetensors")


def torchvision_name(name: str) -> str:
    """Native name of a tensor of torchvision's VisionTransformer."""
    fixed = {
        "class_token": "cls_token",
        "encoder.pos_embedding": "pos_embed",
        "conv_proj.": "patch_embed.proj.",
        "encoder.ln.": "norm.",
        "heads.head.": "head.",
        "heads.pre_logits.": "pre_logits.",
    }
    for theirs, ours in fixed.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    name = re.sub(r"encoder\.layers\.encoder_layer_(\d+)", r"blocks.\1", name)
    parts = {"ln_1": "norm1", "ln_2": "norm2", "self_attention.in_proj_": "attn.qkv."}
    parts |= {"self_attention.out_proj": "attn.proj", "mlp.0": "mlp.fc1", "mlp.3": "mlp.fc2"}
    for theirs, ours in parts.items():
        name = name.replace(theirs, ours)
    return name


def tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Every tensor of a safetensors file."""
    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _check(backend: Backend, spec: ModelSpec, weights: dict[str, NDArray[Any]], path: Path) -> None:
    golden = tensors(path)
    assert_logits(
        backend, spec, weights, golden["input"], exact=golden["logits_f64"], narrow=golden["logits"]
    )
