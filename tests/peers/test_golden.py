"""Golden files: weights, inputs and logits that other programs wrote, read as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open

from tests.conformance.conftest import backend as backend
from tests.conformance.conftest import load
from tests.peers.compare import assert_logits
from vitcli.core.backend import Backend
from vitcli.core.initial import InitSpec
from vitcli.core.spec import ModelSpec
from vitcli.jobs.model import open_weights
from vitcli.jobs.tensors import open_tensors
from vitcli.weights.adapt import adapt, adapted_card
from vitcli.weights.derive import derive_spec, describe
from vitcli.weights.file import read_weights
from vitcli.weights.layouts import from_native, to_native
from vitcli.weights.names import detect, file_shapes

GOLDEN = Path(__file__).parent.parent / "golden"
TIMM = sorted(path.name for path in (GOLDEN / "peers").glob("timm_*"))


@pytest.mark.parametrize("name", TIMM)
def test_timm_file_is_read_as_it_is(backend: Backend, name: str) -> None:
    """The state dict of timm needs nothing but the number of heads."""
    weights = read_weights(GOLDEN / "peers" / name / "model.safetensors")
    config = json.loads((GOLDEN / "peers" / name / "config.json").read_text())
    shapes = {key: value.shape for key, value in weights.items()}
    spec = derive_spec(shapes, [f"model.num_heads={config['num_heads']}"], name)
    file = open_weights(
        GOLDEN / "peers" / name / "model.safetensors", [f"model.num_heads={config['num_heads']}"]
    )
    assert (file.layout, file.card.spec) == ("timm", spec)
    assert sum(value.size for value in weights.values()) == config["_n_params"]
    _check(backend, spec, weights, GOLDEN / "peers" / name / "io.safetensors")


@pytest.mark.parametrize(
    ("name", "layout", "said"),
    [
        ("torchvision/model.safetensors", "torchvision", ["model.num_heads=4"]),
        ("hf_vit/model.safetensors", "huggingface", []),
        ("hf_vit_noqkvbias/model.safetensors", "huggingface", []),
        ("hf_dinov2/model.safetensors", "huggingface", []),
        ("dinov2/model.safetensors", "dinov2", ["model.num_heads=2"]),
        ("dinov2_reg_swiglu/model.safetensors", "dinov2", ["model.num_heads=2"]),
        ("dinov2_linear/model.safetensors", "dinov2", ["model.num_heads=2"]),
        ("clip_openai/model.safetensors", "clip", ["model.num_heads=2"]),
        ("gr_vit_gap/params.npz", "google", []),
        ("gr_vit_token/params.npz", "google", []),
        ("gr_vit_token_linen/params.npz", "google", []),
        ("gr_vit_token_rep/params.npz", "google", []),
        ("bv_gap_learn/params.npz", "big_vision", []),
        ("bv_gap_sincos2d/params.npz", "big_vision", ["model.image_size=32"]),
        ("bv_gap_sincos2d_scan/params.npz", "big_vision", ["model.image_size=32"]),
        ("bv_map_learn/params.npz", "big_vision", []),
        ("bv_map_sincos2d/params.npz", "big_vision", ["model.image_size=32"]),
        ("bv_tok_learn/params.npz", "big_vision", []),
        # Of other sizes, and in other states, by `tests/peers/original_goldens.py`.
        ("gr_gap_rep/params.npz", "google", []),
        ("gr_token_features/params.npz", "google", []),
        ("bv_tok_sincos2d_rep/params.npz", "big_vision", ["model.image_size=20"]),
        ("bv_map_scan_towers/params.npz", "big_vision", []),
        ("bv_gap_scan_bfloat16/params.npz", "big_vision", []),
        ("bv_gap_state/params.npz", "big_vision", []),
        ("bv_old_map/params.npz", "big_vision", []),
        ("bv_old_tok/params.npz", "google", []),
    ],
)
def test_another_librarys_file_is_the_same_function_and_goes_back_bit_for_bit(
    backend: Backend, name: str, layout: Any, said: list[str]
) -> None:
    path = GOLDEN / "peers" / name
    header, read = open_tensors(path)
    theirs = read()
    assert detect(header) == layout
    spec = describe(header, layout, said).spec
    ours = to_native(theirs, spec, layout)
    _check(backend, spec, ours, path.with_name("io.safetensors"))
    again = from_native(ours, spec, layout)
    assert {key: value.shape for key, value in again.items()} == header.shapes
    # What logits do not depend on goes back as zeros.
    needed = file_shapes(spec, layout)
    assert [key for key in theirs if key not in needed] == [key for key in theirs if "mask_token" in key]
    assert all(again[key].tobytes() == theirs[key].tobytes() for key in needed)


@pytest.mark.parametrize(
    ("name", "variant"), [("dinov2", "dinov2"), ("dinov2_reg_swiglu", "dinov2-registers")]
)
def test_larger_images_are_seen_as_dinov2s_own_code_sees_them(name: str, variant: Any) -> None:
    """Its own positions at the size of the images; ours are rounded to float32 once more."""
    file = open_weights(GOLDEN / "peers" / name / "model.safetensors", ["model.num_heads=2"])
    golden = tensors(file.path.with_name("io.safetensors"))
    card = adapted_card(file.card, [f"model.image_size={golden['larger_input'].shape[-1]}"])
    weights, _ = adapt(file.read(), file.card, card, init=InitSpec(resample=variant))
    engine = load("torch").load(card.spec, weights, device="cpu", precision="float64")
    ours, exact = engine.logits(golden["larger_input"]), golden["larger_logits_f64"]
    np.testing.assert_allclose(ours, exact, rtol=0, atol=1e-6 * np.abs(exact).max())


def tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Every tensor of a safetensors file."""
    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _check(backend: Backend, spec: ModelSpec, weights: dict[str, NDArray[Any]], path: Path) -> None:
    golden = tensors(path)
    assert_logits(
        backend, spec, weights, golden["input"], exact=golden.get("logits_f64"), narrow=golden["logits"]
    )
