"""torchvision's VisionTransformer with the same weights gives the same logits, on random configurations."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torchvision.models.vision_transformer import VisionTransformer

from tests.conformance.conftest import backend as backend
from tests.models import random_pixels, random_weights
from tests.peers.compare import assert_logits
from tests.peers.test_golden import torchvision_name
from vitcli.core.backend import Backend
from vitcli.core.spec import ModelSpec


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
    theirs = {name: torch.tensor(weights[torchvision_name(name)]) for name in peer.state_dict()}
    peer.eval().load_state_dict(theirs, strict=True)
    with torch.inference_mode():
        narrow = peer(torch.tensor(pixels)).numpy()
        exact = peer.double()(torch.tensor(pixels, dtype=torch.float64)).numpy()
    assert_logits(backend, spec, weights, pixels, exact=exact, narrow=narrow)
