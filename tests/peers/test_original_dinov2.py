"""DINOv2's models are what Meta's own code makes of them, and go back into it bit for bit."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from tests.conformance.conftest import backend as backend
from tests.peers.compare import assert_logits
from tests.peers.original_torch import backbone, classifier, dinov2, exact
from tests.peers.random import converted, inputs
from vitcli.core.backend import Backend
from vitcli.core.errors import WeightsError
from vitcli.jobs.model import WeightsFile, open_weights
from vitcli.weights.derive import derive_spec
from vitcli.weights.resample import POSITIONS, resized_positions

pytestmark = pytest.mark.originals
HUB = {"init_values": 1.0, "block_chunks": 0}
REGISTERS = {"num_register_tokens": 4, "interpolate_antialias": True, "interpolate_offset": 0.0}
OPTIONS: dict[str, dict[str, Any]] = {
    "hub": HUB,
    "hub, registers": HUB | REGISTERS,
    "giant": HUB | {"ffn_layer": "swiglufused"},
    "giant, registers": HUB | REGISTERS | {"ffn_layer": "swiglufused"},
    "plain": {"block_chunks": 0},
    "one register, no LayerScale, swiglu": {
        "block_chunks": 0,
        "num_register_tokens": 1,
        "ffn_layer": "swiglu",
    },
    "one chunk": {"block_chunks": 1},
    "two chunks": {"block_chunks": 2, "init_values": 1e-5},
    "four chunks, swiglu": {"block_chunks": 4, "ffn_layer": "swiglu"},
    "four chunks, registers": {"block_chunks": 4, "init_values": 1e-5} | REGISTERS,
    "no qkv bias": HUB | {"qkv_bias": False},
    "no projection bias": HUB | {"proj_bias": False, "ffn_layer": "swiglufused"},
    "five channels": HUB | {"in_chans": 5},
    "grey": HUB | {"in_chans": 1, "num_register_tokens": 2},
    "drop path": HUB | {"drop_path_rate": 0.3, "drop_path_uniform": True},
}


def sizes(seed: str) -> dict[str, Any]:
    """Sizes drawn at random; four blocks, which chunks divide."""
    draw = Random(seed)
    heads, patch = draw.choice([2, 3, 5]), draw.choice([3, 5, 7])
    return {
        "img_size": patch * draw.choice([2, 3, 5]),
        "patch_size": patch,
        "embed_dim": heads * draw.choice([4, 8, 12]),
        "depth": 4,
        "num_heads": heads,
        "mlp_ratio": draw.choice([2, 3, 4]),
    }


def opened(model: Any, path: Path, seed: str, *told: str) -> WeightsFile:
    """Its weights as a file."""
    torch.save(model.state_dict(), path)
    return open_weights(path, [f"model.num_heads={sizes(seed)['num_heads']}", *told])


def check_back(file: WeightsFile, seed: str, theirs: Any, empty: Any) -> None:
    """Converts there and back into a model without weights, in which all but the mask's token is as it was."""
    told = f"model.num_heads={sizes(seed)['num_heads']}"
    ours = converted(file.path, file.path.with_name("ours.safetensors"), "native", told)
    again = torch.load(converted(ours, ours.with_name("again.pth"), "dinov2"), weights_only=True)
    empty.load_state_dict(again, strict=True)
    for (name, value), expected in zip(empty.named_parameters(), theirs.float().parameters(), strict=True):
        assert not value.any() if name.endswith("mask_token") else torch.equal(value, expected), name


@pytest.mark.parametrize("option", OPTIONS)
def test_random_backbones_are_metas(backend: Backend, option: str, tmp_path: Path) -> None:
    arguments = sizes(option) | OPTIONS[option]
    theirs = backbone(**arguments)
    file = opened(theirs, tmp_path / "a.pth", option)
    assert file.layout == "dinov2"
    pixels = inputs(file.card)
    assert_logits(backend, file.card.spec, file.read(), pixels, exact=exact(theirs, pixels))
    # Blocks are written unchunked, as those of the hub are.
    check_back(file, option, theirs, backbone(**arguments | {"block_chunks": 0}))


@pytest.mark.parametrize("pool", ["mean", "cls_mean"])
def test_features_of_patches_are_metas(backend: Backend, pool: str, tmp_path: Path) -> None:
    theirs = backbone(**sizes(pool) | HUB | REGISTERS)
    file = opened(theirs, tmp_path / "a.pth", pool, f"model.pool={pool}")
    pixels = inputs(file.card)

    class Features(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> Any:
            found = theirs.double().forward_features(images)
            mean = found["x_norm_patchtokens"].mean(dim=1)
            return mean if pool == "mean" else torch.cat([found["x_norm_clstoken"], mean], dim=1)

    assert_logits(backend, file.card.spec, file.read(), pixels, exact=exact(Features(), pixels))


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("registers", [{}, REGISTERS], ids=["no registers", "registers"])
def test_classifiers_on_the_last_layer_are_metas(
    backend: Backend, gated: bool, registers: dict[str, Any], tmp_path: Path
) -> None:
    arguments = sizes("head") | HUB | registers | {"ffn_layer": "swiglufused" if gated else "mlp"}
    theirs = classifier(7, **arguments)
    file = opened(theirs, tmp_path / "a.pth", "head")
    assert (file.layout, file.card.spec.pool) == ("dinov2", "cls_mean")
    pixels = inputs(file.card)
    assert_logits(backend, file.card.spec, file.read(), pixels, exact=exact(theirs, pixels))
    check_back(file, "head", theirs, classifier(7, **arguments))


# By what a model of DINOv2's does where an image is of another size.
INTERPOLATIONS = {
    "dinov2": {"interpolate_antialias": False, "interpolate_offset": 0.1},
    "dinov2-registers": {"interpolate_antialias": True, "interpolate_offset": 0.0},
    "huggingface": {"interpolate_antialias": False, "interpolate_offset": 0.0},
}


@pytest.mark.parametrize(("old", "new"), [(3, 5), (5, 3), (4, 8), (7, 6), (16, 37), (37, 16)])
@pytest.mark.parametrize("variant", INTERPOLATIONS)
def test_positions_are_resized_as_metas_are(variant: Any, old: int, new: int) -> None:
    arguments = {
        "embed_dim": 6,
        "num_heads": 1,
        "depth": 1,
        "mlp_ratio": 1,
        "img_size": 2 * old,
        "patch_size": 2,
    }
    theirs = backbone(**arguments, **INTERPOLATIONS[variant]).double()

    class Positions(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> Any:
            tokens = torch.zeros(1, 1 + new**2, 6, dtype=images.dtype)
            return theirs.interpolate_pos_encoding(tokens, *images.shape[2:])

    expected = exact(Positions(), np.zeros((1, 3, 2 * new, 2 * new)))
    ours = resized_positions(theirs.pos_embed.detach().numpy(), 1, new, POSITIONS[variant])
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("grid", [2, 3, 5, 8])
@pytest.mark.parametrize("variant", ["dinov2", "dinov2-registers"])
def test_other_image_sizes_are_metas(backend: Backend, variant: str, grid: int, tmp_path: Path) -> None:
    registers = REGISTERS if variant == "dinov2-registers" else {}
    size = sizes(variant) | {"img_size": 4 * sizes(variant)["patch_size"]}
    theirs = backbone(**size | HUB | registers)
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    side = grid * size["patch_size"]
    target = tmp_path / "ours.safetensors"
    told, wanted = f"model.num_heads={size['num_heads']}", f"model.image_size={side}"
    converted(tmp_path / "a.pth", target, "native", told, adaptations=[wanted], resample=variant)
    file = open_weights(target)
    pixels = inputs(file.card)
    narrow = theirs(torch.tensor(pixels)).detach().numpy()
    assert_logits(backend, file.card.spec, file.read(), pixels, narrow=narrow)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"ffn_bias": False}, "blocks.0.mlp.fc1.bias is missing"),
        ({"ffn_layer": "identity"}, "'blocks.0.mlp.fc1.weight' is missing"),
        ({"img_size": (12, 15), "patch_size": 3}, "no square grid of patches"),
    ],
)
def test_what_vit_has_not_is_refused_in_one_line(
    arguments: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=words) as refusal:
        opened(backbone(**sizes("other") | HUB | arguments), tmp_path / "a.pth", "other")
    assert "\n" not in str(refusal.value)


def test_a_head_on_four_layers_is_refused_in_one_line(tmp_path: Path) -> None:
    width = sizes("head")["embed_dim"]
    words = rf"linear_head.weight is \[7, {5 * width}\], not \[7, {2 * width}\]$"
    with pytest.raises(WeightsError, match=words):
        opened(classifier(7, layers=4, **sizes("head") | HUB), tmp_path / "a.pth", "head")


@pytest.mark.parametrize("build", ["vit_small", "vit_base", "vit_large", "vit_giant2"])
def test_models_of_the_hub_have_the_usual_heads(build: str) -> None:
    with torch.device("meta"):
        model = getattr(dinov2(), build)(img_size=14, patch_size=14, block_chunks=0, drop_path_uniform=True)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert derive_spec(shapes, [], "a file", "dinov2").num_heads == model.num_heads
