"""One recipe and one seed are the same run on both engines."""

from __future__ import annotations

import numpy as np
import pytest

from vitcli.core import registry
from vitcli.core.backend import StepInput
from vitcli.core.schedule import learning_rate, length
from vitcli.data.batches import TrainingBatches
from vitcli.data.store import SquareStore
from vitcli.jobs.drafts import recipe_draft
from vitcli.jobs.parity import ParityResult, ParityStep, parity
from vitcli.jobs.prepare import open_data
from vitcli.weights.initial import initial_weights

# Everything that could set two engines apart, and an epoch of 5 steps with a last partial batch of 232 images.
EVERYTHING = [
    "model.depth=2",
    "model.drop.embedding=0.1",
    "model.drop.attention=0.1",
    "model.drop.projection=0.1",
    "model.drop.mlp=0.1",
    "model.drop.path=0.2",
    "model.layer_scale=0.1",
    "augment.crop=padded",
    "augment.crop_padding=1",
    "augment.flip=0.5",
    "augment.mixup=0.4",
    "augment.cutmix=1.0",
    "train.batch_size=255",
    "train.micro_batch=16",
    "train.ema=0.99",
    "train.clip=0.5",
    "train.epochs=3",
    "train.warmup=3 steps",
]
OPTIMIZERS = {
    "adamw": ["train.optimizer=adamw", "train.weight_decay=0.1"],
    "sgd momentum": ["train.optimizer=sgd", "train.lr=0.05", "train.weight_decay=0.0005"],
}


@pytest.mark.parametrize("optimizer", ["adamw", pytest.param("sgd momentum", marks=pytest.mark.slow)])
def test_float64_runs_are_one_algorithm(optimizer: str) -> None:
    result = parity("digits", overrides=[*EVERYTHING, *OPTIMIZERS[optimizer]], steps=7, precision="float64")
    assert result.ok, result.faults
    # Rounding in float64 leaves 1e-15 a step; 1e-9 is the project's tolerance.
    assert result.max_loss_difference < 1e-12
    assert result.parameter_difference < 1e-9
    assert len({step.loss["jax"] for step in result.steps}) == 7


def test_float32_runs_agree_to_rounding() -> None:
    result = parity("digits", overrides=[*EVERYTHING, *OPTIMIZERS["adamw"]], steps=7, precision="float32")
    assert result.ok, result.faults
    assert result.max_loss_difference < 2e-5
    assert result.steps[0].gradient_difference < 1e-5


def test_bfloat16_first_steps_are_near() -> None:
    recipe, dataset = open_data(recipe_draft("digits", ["train.precision=bfloat16", "train.epochs=1"]))
    examples = dataset.parts["train"]
    store, span = SquareStore(np.asarray(examples.images)), length(recipe.train, len(examples))
    state = {f"param.{name}": value for name, value in initial_weights(recipe.model, 0).items()}
    batch = TrainingBatches(store, examples.labels, recipe, span)(0)
    at = StepInput(step=0, lr=learning_rate(recipe.train, span, 0), ema_decay=0.0)
    losses = [
        registry.load(name).trainer(recipe, state, device="cpu", images=None).step(batch, at).read()["loss"]
        for name in ("jax", "torch")
    ]
    # 8 bits of mantissa: 5e-4 measured between engines, 5e-3 allowed.
    assert abs(losses[0] - losses[1]) < 5e-3


def test_a_fault_is_told_by_step_and_size() -> None:
    step = ParityStep(
        step=3,
        loss={"jax": 1.0, "torch": 1.1},
        loss_difference=0.1,
        logits_difference=0.0,
        gradient_difference=0.0,
        worst_gradient="head.bias",
        worst_gradient_difference=0.0,
        perturbed_loss_difference=1e-6,
        gradients={},
    )
    from vitcli.jobs.parity import TOLERANCES, _faults

    (fault,) = _faults([step], TOLERANCES["float32"])
    assert fault == "step 3: loss differs by 0.1 (allowed: 2e-05)"
    late = step.__class__(**{**step.__dict__, "step": 60, "loss_difference": 9e-6})
    assert _faults([late], TOLERANCES["float32"]) == []
    result = ParityResult(
        recipe="digits",
        precision="float32",
        steps=[step],
        parameter_difference=0.0,
        max_loss_difference=0.1,
        faults=[fault],
    )
    assert not result.ok
