"""CLIP's visual tower is what OpenAI's own code makes of it, and goes back into it bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conformance.conftest import backend as backend
from tests.peers.compare import assert_logits
from tests.peers.original_torch import exact, tower
from tests.peers.random import converted, inputs
from vitcli.core.backend import Backend
from vitcli.jobs.model import open_weights

pytestmark = pytest.mark.originals


@pytest.mark.parametrize(
    "sizes", [(24, 8, 24, 3, 3, 5), (35, 7, 20, 1, 5, 9), (9, 3, 32, 2, 2, 32)], ids=["3", "5", "2"]
)
def test_random_towers_are_openais(backend: Backend, sizes: tuple[int, ...], tmp_path: Path) -> None:
    names = ("input_resolution", "patch_size", "width", "layers", "heads", "output_dim")
    arguments = dict(zip(names, sizes, strict=True))
    theirs = tower(**arguments)
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    told = f"model.num_heads={arguments['heads']}"
    file = open_weights(tmp_path / "a.pth", [told])
    assert file.layout == "clip"
    pixels = inputs(file.card)
    narrow = theirs(torch.tensor(pixels)).detach().numpy()
    assert_logits(backend, file.card.spec, file.read(), pixels, exact=exact(theirs, pixels), narrow=narrow)
    ours = converted(file.path, tmp_path / "ours.safetensors", "native", told)
    again = torch.load(converted(ours, tmp_path / "again.pth", "clip"), weights_only=True)
    back = tower(**arguments)
    back.load_state_dict(again, strict=True)
    state = theirs.float().state_dict()
    assert all(torch.equal(value, state[name]) for name, value in back.state_dict().items())
