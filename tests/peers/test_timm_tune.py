"""timm's own groups for layer decay, with torch.optim, move a model as `tune.layer_decay` does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from timm.optim import param_groups_layer_decay

from tests.conformance.conftest import backend as backend
from tests.conformance.test_training import _batch, _pixels, _recipe, _trainer
from tests.models import random_weights
from vitcli.core.backend import Backend, StepInput
from vitcli.core.parameters import parameter_table
from vitcli.core.recipe import Recipe
from vitcli.core.tune import plan

DECAY, LR, WEIGHT_DECAY = 0.7, 0.01, 0.1


def _timm(**arguments: Any) -> VisionTransformer:
    return VisionTransformer(
        img_size=15,
        patch_size=5,
        embed_dim=16,
        depth=2,
        num_heads=2,
        mlp_ratio=22 / 16,
        num_classes=6,
        **arguments,
    ).double()


def _tuned(option: str, *rates: str) -> Recipe:
    plain = _recipe(option, lr=LR, weight_decay=WEIGHT_DECAY)
    return Recipe.model_validate({**plain.model_dump(), "tune": {"layer_decay": DECAY, "lr": list(rates)}})


def _groups(model: VisionTransformer) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = param_groups_layer_decay(
        model,
        weight_decay=WEIGHT_DECAY,
        no_weight_decay_list=[*model.no_weight_decay(), "reg_token"],
        layer_decay=DECAY,
    )
    return groups


@pytest.mark.parametrize(
    ("option", "arguments", "rates"),
    [
        # timm puts the norm before pooling in the last block's layer; BEiT, MAE and `layer_decay` do not.
        ("standard", {}, [f"norm.*={DECAY}"]),
        ("norm after pooling", {"global_pool": "avg"}, []),
        ("layer scale", {"init_values": 0.1}, [f"norm.*={DECAY}"]),
        (
            "registers, slots for patches",
            {"reg_tokens": 3, "no_embed_class": True},
            [f"norm.*={DECAY}"],
        ),
    ],
)
def test_rates_and_decays_are_timms(option: str, arguments: dict[str, Any], rates: list[str]) -> None:
    model = _timm(**arguments)
    names = {id(tensor): name for name, tensor in model.named_parameters()}
    expected = {
        names[id(tensor)]: (group["lr_scale"], group["weight_decay"])
        for group in _groups(model)
        for tensor in group["params"]
    }
    moves = plan(_tuned(option, *rates))
    assert {name: move.decay for name, move in moves.items()} == {
        name: pair[1] for name, pair in expected.items()
    }
    assert {name: move.rate for name, move in moves.items()} == pytest.approx(
        {name: pair[0] for name, pair in expected.items()}, rel=1e-15
    )


def test_steps_are_those_of_timm_and_torch_optim(backend: Backend) -> None:
    recipe = _tuned("standard", f"norm.*={DECAY}")
    batch, weights = _batch(recipe), random_weights(recipe.model)
    model = _timm()
    model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    groups = [
        {"params": group["params"], "weight_decay": group["weight_decay"], "lr": LR * group["lr_scale"]}
        for group in _groups(model)
    ]
    optimizer = torch.optim.AdamW(groups)
    trainer = _trainer(backend, recipe)
    for step in range(3):
        loss = torch.nn.functional.cross_entropy(
            model(torch.tensor(_pixels(batch))), torch.tensor(batch.labels).long()
        )
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        measured = trainer.step(batch, StepInput(step=step, lr=LR, ema_decay=0.0)).read()
        assert measured["loss"] == pytest.approx(loss.item(), rel=1e-9)
    state = trainer.state()
    for name, value in model.state_dict().items():
        rows = np.ones(len(value), bool)
        if (zero := parameter_table(recipe.model)[name].zero_gradient) is not None:
            rows[slice(*zero)] = False
        np.testing.assert_allclose(state[f"param.{name}"][rows], value.numpy()[rows], rtol=1e-9, atol=1e-12)
