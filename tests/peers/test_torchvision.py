"""torchvision's VisionTransformer with the same weights gives the same logits, on random configurations."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models.vision_transformer import VisionTransformer

from tests.cli.inputs import weights_file
from tests.cli.running import here
from tests.conformance.conftest import backend as backend
from tests.models import random_pixels, random_weights
from tests.peers.compare import assert_logits
from vitcli.core.backend import Backend
from vitcli.core.spec import ModelSpec
from vitcli.weights.layouts import from_native


@pytest.mark.parametrize("seed", range(4))
def test_logits_equal_torchvision(backend: Backend, seed: int) -> None:
    random = np.random.default_rng(seed)
    patch, heads = int(random.integers(2, 6)), int(random.integers(2, 5))
    spec = ModelSpec.model_validate(
        {
            "image_size": patch * int(random.integers(2, 5)),
            "patch_size": patch,
            "embed_dim": heads * int(random.integers(5, 9)),
            "num_heads": heads,
            "depth": int(random.integers(1, 4)),
            "mlp_dim": int(random.integers(20, 50)),
            "num_classes": int(random.integers(2, 12)),
            "head": {"pre_logits": 13} if seed % 2 else {},
        }
    )
    weights, pixels = random_weights(spec, seed), random_pixels(spec)
    peer = VisionTransformer(
        image_size=spec.image_size,
        patch_size=spec.patch_size,
        num_layers=spec.depth,
        num_heads=spec.num_heads,
        hidden_dim=spec.embed_dim,
        mlp_dim=spec.mlp_dim,
        num_classes=spec.num_classes,
        representation_size=spec.head.pre_logits,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
    )
    theirs = {name: torch.tensor(value) for name, value in from_native(weights, spec, "torchvision").items()}
    peer.eval().load_state_dict(theirs, strict=True)
    with torch.inference_mode():
        narrow = peer(torch.tensor(pixels)).numpy()
        exact = peer.double()(torch.tensor(pixels, dtype=torch.float64)).numpy()
    assert_logits(backend, spec, weights, pixels, exact=exact, narrow=narrow)


def test_a_state_dict_comes_in_and_goes_out(tmp_path: Path) -> None:
    peer = VisionTransformer(
        image_size=20, patch_size=5, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=50, num_classes=7
    )
    torch.manual_seed(0)
    for value in peer.parameters():
        torch.nn.init.normal_(value, std=0.3)
    torch.save(peer.state_dict(), tmp_path / "theirs.pth")
    for source, target, options in (
        ("theirs.pth", "ours.safetensors", ["model.num_heads=3"]),
        ("ours.safetensors", "again.pth", ["--to", "torchvision"]),
    ):
        said = here("convert", "weights", tmp_path / source, tmp_path / target, *options)
        assert said.code == 0, said.err
    again = torch.load(tmp_path / "again.pth", weights_only=True)
    assert all(torch.equal(again[name], value) for name, value in peer.state_dict().items())
    assert list(again) and set(again) == set(peer.state_dict())


def test_older_names_of_the_mlp_are_read(tmp_path: Path) -> None:
    peer = VisionTransformer(
        image_size=20, patch_size=5, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=50, num_classes=7
    )
    torch.manual_seed(1)
    for value in peer.parameters():
        torch.nn.init.normal_(value, std=0.3)
    state = peer.state_dict()
    renamed = {"mlp.0.": "mlp.linear_1.", "mlp.3.": "mlp.linear_2."}
    old = dict(state)
    for new, name in renamed.items():
        old = {key.replace(new, name): value for key, value in old.items()}
    # As the library itself reads a module of version 1.
    again = VisionTransformer(
        image_size=20, patch_size=5, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=50, num_classes=7
    )
    again.load_state_dict(old, strict=True)
    assert all(torch.equal(again.state_dict()[name], value) for name, value in state.items())
    assert set(old) != set(state)
    torch.save(old, tmp_path / "old.pth")
    for source, target, options in (
        ("old.pth", "ours.safetensors", ["model.num_heads=3"]),
        ("ours.safetensors", "new.pth", ["--to", "torchvision"]),
    ):
        said = here("convert", "weights", tmp_path / source, tmp_path / target, *options)
        assert said.code == 0, said.err
    new = torch.load(tmp_path / "new.pth", weights_only=True)
    assert set(new) == set(state)
    assert all(torch.equal(new[name], value) for name, value in state.items())


def test_what_torchvision_has_not_is_refused(tmp_path: Path) -> None:
    weights = weights_file(tmp_path / "ours.safetensors")
    said = here("convert", "weights", weights, tmp_path / "theirs.safetensors", "--to", "torchvision")
    assert said.code == 2
    assert "torchvision cannot hold this model: model." in said.err
