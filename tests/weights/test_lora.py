"""Adapters merged into their kernels, and adapter files with their base."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests import reference
from tests.conformance.conftest import backend as backend
from tests.models import random_pixels, random_weights, spec_of
from tests.weights.adapters import adapted, card_of, files
from vitcli.core.backend import Backend
from vitcli.core.errors import WeightsError
from vitcli.core.parameters import parameter_table
from vitcli.core.spec import LAYERS, LoraSpec, ModelSpec
from vitcli.jobs.adapters import complete, open_adapter
from vitcli.jobs.convert import convert
from vitcli.weights.file import Weights, read_weights, write_weights
from vitcli.weights.header import read_header
from vitcli.weights.lora import adapter_of, digest, merged, plain

SUBSETS = [targets for count in range(1, len(LAYERS) + 1) for targets in combinations(LAYERS, count)]


def small(targets: tuple[str, ...], **changes: Any) -> ModelSpec:
    return spec_of("standard", depth=1, lora={"rank": 2, "alpha": 3.0, "targets": targets}, **changes)


@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
def test_every_choice_of_layers_merges_to_the_same_function(activation: str) -> None:
    """In float64 nothing is rounded that matters."""
    assert len(SUBSETS) == 127
    for number, targets in enumerate(SUBSETS):
        spec = small(targets, mlp={"activation": activation})
        weights = {name: value.astype(np.float64) for name, value in random_weights(spec, number).items()}
        pixels = random_pixels(spec, 1)
        whole, bare = merged(weights, spec)
        assert bare == plain(spec)
        assert {name: value.shape for name, value in whole.items()} == {
            name: parameter.shape for name, parameter in parameter_table(bare).items()
        }
        expected = reference.logits(weights, pixels, spec)
        found = reference.logits(whole, pixels, bare)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12, err_msg=str(targets))
        without = {name: value for name, value in weights.items() if ".lora_" not in name}
        assert np.abs(reference.logits(without, pixels, bare) - expected).max() > 1e-3, targets


@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
@pytest.mark.parametrize("targets", [("q", "v"), ("qkv",), LAYERS], ids=",".join)
def test_engines_give_the_same_merged_and_not(
    backend: Backend, targets: tuple[str, ...], activation: str
) -> None:
    spec = small(targets, mlp={"activation": activation})
    weights, pixels = random_weights(spec), random_pixels(spec)
    whole, bare = merged(weights, spec)
    assert all(value.dtype == np.float32 for value in whole.values())
    apart = backend.load(spec, weights, device="cpu", precision="float32").logits(pixels)
    together = backend.load(bare, whole, device="cpu", precision="float32").logits(pixels)
    # Measured 1e-6 at most.
    assert np.abs(apart - together).max() <= 1e-5 * max(1.0, np.abs(apart).max())


def test_merging_leaves_what_it_is_given() -> None:
    spec = small(("q", "k", "v", "qkv"))
    weights = random_weights(spec)
    before = {name: value.copy() for name, value in weights.items()}
    merged(weights, spec)
    assert all(np.array_equal(weights[name], value) for name, value in before.items())


def test_an_alpha_that_is_not_said_is_the_rank() -> None:
    """The factor is then 1, and the sum that of the three rows of query, key and value."""
    spec = spec_of("standard", depth=1, lora={"rank": 2, "targets": ["k"]})
    weights = random_weights(spec)
    whole, _ = merged(weights, spec)
    name, D = "blocks.0.attn", spec.embed_dim
    difference = whole[f"{name}.qkv.weight"].astype(float) - weights[f"{name}.qkv.weight"]
    product = weights[f"{name}.k.lora_b"].astype(float) @ weights[f"{name}.k.lora_a"]
    np.testing.assert_allclose(difference[D : 2 * D], product, atol=1e-6)
    assert not difference[:D].any()
    assert not difference[2 * D :].any()


def test_an_adapter_file_is_small_and_complete(tmp_path: Path) -> None:
    spec = small(("q", "v"), embed_dim=96, mlp_dim=384)
    base, path, whole = files(tmp_path, spec)
    held = set(read_header(path).shapes)
    assert held == {name for name in whole if ".lora_" in name or name.startswith("head")}
    assert path.stat().st_size < base.stat().st_size / 30
    adapter = open_adapter(path)
    assert replace(adapter.card, base=None) == card_of(spec)
    again = complete(adapter)
    assert list(again) == list(whole)
    assert all(again[name].tobytes() == value.tobytes() for name, value in whole.items())


def test_what_training_moved_beside_the_adapters_is_held() -> None:
    base, whole = adapted(small(("q",)))
    del base["head.bias"]
    base["pos_embed"] = base["pos_embed"][:, :5]
    whole["norm.weight"] = whole["norm.weight"] + 1
    assert {name for name in adapter_of(whole, base) if ".lora_" not in name} == {
        "head.weight",
        "head.bias",
        "pos_embed",
        "norm.weight",
    }


@pytest.mark.parametrize("layout", ["jax", "huggingface", "no metadata"])
def test_the_base_may_stand_in_any_layout_and_place(tmp_path: Path, layout: str) -> None:
    spec = small(("q", "fc2"), norm={"eps": 1e-12})
    base, path, whole = files(tmp_path, spec)
    other = tmp_path / "elsewhere" / "model.safetensors"
    other.parent.mkdir()
    if layout == "no metadata":  # which does not say how many heads it has
        save_file(read_weights(base), other)
    else:
        convert(base, other, to=layout)
    base.unlink()
    with pytest.raises(WeightsError, match=r"base\.safetensors.*--base FILE"):
        complete(open_adapter(path))
    for place in (other, other.parent):
        again = complete(open_adapter(path), place)
        assert all(again[name].tobytes() == value.tobytes() for name, value in whole.items())


def test_a_base_that_moved_with_its_adapter_is_found(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    files(tmp_path / "a", small(("q",)))
    (tmp_path / "a").rename(tmp_path / "b")
    assert complete(open_adapter(tmp_path / "b" / "adapter.safetensors"))


@pytest.mark.parametrize("change", ["one value", "another model", "the head alone"])
def test_another_base_is_refused(tmp_path: Path, change: str) -> None:
    spec = small(("q",))
    base, path, _ = files(tmp_path, spec)
    weights = read_weights(base)
    if change == "one value":
        value = weights["blocks.0.norm1.bias"].copy()
        value[3] = np.nextafter(value[3], np.float32(9))
        weights["blocks.0.norm1.bias"] = value
    elif change == "another model":
        spec = small(("q",), mlp_dim=23)
        weights = random_weights(plain(spec))
    else:
        weights["head.weight"] = weights["head.weight"] * 2
    write_weights(base, weights, card_of(plain(spec)), "native")
    if change == "the head alone":  # which the adapter has itself
        complete(open_adapter(path))
        return
    with pytest.raises(
        WeightsError, match=r"base\.safetensors is not the base of .*adapter\.safetensors.*--base"
    ):
        complete(open_adapter(path))


def _without(weights: Weights) -> str:
    del weights["blocks.0.attn.q.lora_b"]
    return "q.lora_b is missing"


def _wider(weights: Weights) -> str:
    weights["blocks.0.attn.q.lora_a"] = np.ones((3, 16), np.float32)
    return r"q.lora_a is \[3, 16\], not \[2, 16\]"


def _alien(weights: Weights) -> str:
    weights["blocks.7.norm1.weight"] = np.ones(16, np.float32)
    return "blocks.7.norm1.weight is not part"


def _more(weights: Weights) -> str:
    weights["norm.weight"] = np.ones(16, np.float32)
    return "its values are others"


def _headless(weights: Weights) -> str:
    del weights["head.weight"]
    return "its values are others"


@pytest.mark.parametrize("change", [_without, _wider, _alien, _more, _headless])
def test_an_adapter_with_other_tensors_is_refused(tmp_path: Path, change: Any) -> None:
    _, path, _ = files(tmp_path, small(("q",)))
    adapter = open_adapter(path)
    weights = dict(adapter.tensors)
    words = change(weights)
    write_weights(path, weights, adapter.card, "native")
    with pytest.raises(WeightsError, match=words):
        complete(open_adapter(path))


def test_damaged_metadata_of_the_base_are_told(tmp_path: Path) -> None:
    _, path, _ = files(tmp_path, small(("q",)))
    metadata = {**read_header(path).metadata, "vit.base": '{"path": 3}'}
    save_file(dict(read_weights(path)), path, metadata)
    with pytest.raises(WeightsError, match="damaged metadata"):
        open_adapter(path)


def test_the_digest_knows_names_shapes_and_values_and_no_types() -> None:
    weights = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.float32)}
    first = digest(weights, ["a", "b"])
    assert first == digest({name: value.astype(np.float64) for name, value in weights.items()}, ["b", "a"])
    assert first == digest({**weights, "a": np.asfortranarray(weights["a"])}, ["a", "b"])
    others = [
        digest(weights, ["a"]),
        digest({**weights, "a": weights["a"].reshape(3, 2)}, ["a", "b"]),
        digest({**weights, "b": -weights["b"]}, ["a", "b"]),
        digest({"a": weights["a"], "c": weights["b"]}, ["a", "c"]),
    ]
    assert len({first, *others}) == 5


def test_adapters_of_a_base_with_adapters_are_refused(tmp_path: Path) -> None:
    spec = small(("q",))
    base, path, whole = files(tmp_path, spec)
    write_weights(base, whole, card_of(spec), "native")
    with pytest.raises(WeightsError, match="adapters of its own"):
        complete(open_adapter(path))
    assert spec.lora == LoraSpec(rank=2, alpha=3.0, targets=("q",))
