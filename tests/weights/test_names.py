"""A layout is a permutation of names and axes, and a file's layout is seen from its names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.models import OPTIONS, random_weights, spec_of
from tests.weights.specs import random_spec
from vitcli.core.errors import WeightsError
from vitcli.core.parameters import parameter_table
from vitcli.core.spec import ModelSpec
from vitcli.weights.header import Header, Layout
from vitcli.weights.layouts import from_native, to_native
from vitcli.weights.names import detect, file_shapes, native_shapes, places
from vitcli.weights.place import inverse

# Layouts that hold every model; the others are in test_origins.py.
LAYOUTS: tuple[Layout, ...] = ("native", "torch", "jax")
SPECS = [random_spec(seed) for seed in range(40)] + [spec_of(option) for option in OPTIONS]


def header(names: list[str], metadata: dict[str, str] | None = None) -> Header:
    return Header(path=Path("a"), shapes=dict.fromkeys(names, (1,)), metadata=metadata or {})


def test_there_and_back_every_bit_is_the_same() -> None:
    for spec in SPECS:
        weights = random_weights(spec)
        for layout in LAYOUTS:
            moved = from_native(weights, spec, layout)
            back = to_native(moved, spec, layout)
            assert list(back) == list(weights)
            for name, value in weights.items():
                assert back[name].dtype == value.dtype
                np.testing.assert_array_equal(back[name], value)
            assert all(value.flags.c_contiguous for value in (*moved.values(), *back.values()))


def test_native_and_torch_tensors_are_the_same() -> None:
    spec = spec_of("all at once")
    weights = random_weights(spec)
    moved = from_native(weights, spec, "torch")
    assert list(moved) == list(weights)
    assert all((moved[name] == value).all() for name, value in weights.items())


def test_jax_kernels_are_in_out_and_height_width_in_out() -> None:
    spec = spec_of("standard")  # P 5, C 3, D 16, M 22, 6 classes
    weights = random_weights(spec)
    found = from_native(weights, spec, "jax")
    assert found["blocks/0/mlp/fc1/kernel"].shape == (16, 22)
    assert found["blocks/0/mlp/fc1/kernel"][3, 7] == weights["blocks.0.mlp.fc1.weight"][7, 3]
    assert found["head/kernel"].shape == (16, 6)
    assert found["patch_embed/proj/kernel"].shape == (5, 5, 3, 16)
    # (height, width, in, out) of (out, in, height, width).
    assert found["patch_embed/proj/kernel"][1, 4, 2, 13] == weights["patch_embed.proj.weight"][13, 2, 1, 4]


def test_jax_names_are_paths_with_the_names_of_its_libraries() -> None:
    spec = spec_of("all at once")
    found = set(from_native(random_weights(spec), spec, "jax"))
    assert {
        "cls_token",
        "pos_embed",
        "patch_embed/proj/bias",
        "norm_pre/scale",
        "norm_pre/bias",
        "blocks/1/norm1/scale",
        "blocks/1/attn/qkv/kernel",
        "blocks/1/attn/qkv/bias",
        "blocks/1/attn/q_norm/scale",
        "blocks/1/ls2/gamma",
        "attn_pool/latent",
        "attn_pool/kv/kernel",
        "fc_norm/scale",
        "head/bias",
    } <= found
    assert not any("." in name or name.endswith("weight") for name in found)


def test_native_shapes_are_known_without_the_spec() -> None:
    for spec in SPECS:
        table = parameter_table(spec)
        native = {name: parameter.shape for name, parameter in table.items()}
        for layout in LAYOUTS:
            assert native_shapes(file_shapes(spec, layout), layout) == native


def test_no_two_tensors_share_a_place() -> None:
    for spec in SPECS:
        for layout in LAYOUTS:
            found = [place.name for parts in places(spec, layout).values() for place in parts]
            assert len(set(found)) == len(found)


@pytest.mark.parametrize("axes", [(), (0,), (1, 0), (2, 3, 1, 0), (1, 2, 0)])
def test_a_permutation_and_its_inverse_change_nothing(axes: tuple[int, ...]) -> None:
    array = np.arange(int(np.prod(range(2, 2 + len(axes))))).reshape(range(2, 2 + len(axes)))
    np.testing.assert_array_equal(array.transpose(axes).transpose(inverse(axes)), array)


def test_a_layout_is_seen_from_names_and_metadata() -> None:
    assert detect(header(["cls_token", "head.weight"])) == "torch"
    assert detect(header(["cls_token", "head.weight"], {"vit.schema": "1"})) == "native"
    timms = list(parameter_table(spec_of("standard")))
    assert detect(header(timms)) == "timm"
    assert detect(header(timms, {"vit.schema": "1", "vit.layout": "native"})) == "native"
    assert detect(header(timms, {"vit.schema": "1", "vit.layout": "timm"})) == "timm"
    for ours in ("pre_logits.weight", "blocks.0.attn.q.lora_a"):  # timm has none of them
        assert detect(header([*timms, ours])) == "torch"
    assert detect(header(list(parameter_table(spec_of("no output projection"))))) == "torch"
    assert detect(header(["dist_token", *timms])) == "timm"
    assert detect(header(["mask_token", *timms])) == "dinov2"
    assert detect(header(["register_tokens", *timms])) == "dinov2"
    assert detect(header(["blocks.0.0.mlp.w12.weight"])) == "dinov2"
    assert detect(header(["visual.class_embedding"])) == detect(header(["class_embedding"])) == "clip"
    assert detect(header(["cls_token", "head/kernel"])) == "jax"
    assert detect(header([*timms, "../../strange"])) == "timm"  # to be refused by its name
    assert detect(header(["cls_token", "head/kernel"], {"vit.schema": "1", "vit.layout": "jax"})) == "jax"


def test_an_embedding_alone_keeps_its_name() -> None:
    spec = ModelSpec.model_validate(spec_of("standard").model_dump())
    found = places(spec, "jax")
    assert (found["cls_token"][0].name, found["pos_embed"][0].axes) == ("cls_token", (0, 1, 2))


def test_what_keeps_a_model_from_a_layout_is_told_together() -> None:
    """Four differences: three of them, and how many more."""
    changes = {"pool": "mean_all", "layer_scale": 0.1, "mlp": {"activation": "relu"}, "norm": {"eps": 1e-3}}
    with pytest.raises(
        WeightsError, match=r"torchvision cannot hold this model: .* \(and 1 more\)$"
    ) as refusal:
        places(spec_of("standard", **changes), "torchvision")
    assert str(refusal.value).count(", in that code it is ") == 3
