"""Both engines from the same start on the same batches: is it the same run?"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitcli.core import registry
from vitcli.core.backend import Backend, StepInput, Trainer
from vitcli.core.errors import RecipeError
from vitcli.core.parameters import parameter_table
from vitcli.core.recipe import Recipe
from vitcli.core.reporter import Reporter, Silent
from vitcli.core.schedule import ema_decay, learning_rate, length
from vitcli.data.batches import TrainingBatches
from vitcli.data.parts import open_parts
from vitcli.jobs.drafts import recipe_draft
from vitcli.jobs.prepare import open_data
from vitcli.jobs.start import first_weights, open_start
from vitcli.weights.initial import perturbed

PAIR = ("jax", "torch")
# Size of the perturbation of the start weights whose growth shows how fast a run forgets its rounding.
PERTURBATION = 1e-7


@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """What two engines may differ by. Measured on the CPU; a real mistake is 10 times larger and more.

    float64: rounding is 1e-16, a hundred steps leave 1e-13. float32: one gradient has a rounding of 1e-6;
    after some ten steps training is chaotic, and the growth of a perturbation of one engine is the yardstick.
    """

    logits: float
    gradient: float
    loss: float
    steps: int
    """The loss tolerance holds for so many steps; later, `growth` times the perturbed twin's difference does."""
    growth: float = 10.0


TOLERANCES = {
    "float64": Tolerances(logits=1e-9, gradient=1e-9, loss=1e-9, steps=10**9),
    "float32": Tolerances(logits=2e-5, gradient=1e-5, loss=2e-5, steps=10),
}


@dataclass(frozen=True, kw_only=True)
class ParityStep:
    """One step; differences of logits and gradients are relative, those of losses absolute.

    `gradient` is over all parameters together, `worst` the parameter with the largest relative difference
    of its own; both leave out rows whose gradient is identically zero. `perturbed_loss_difference` is what the
    second engine shows against itself.
    """

    step: int
    loss: dict[str, float]
    loss_difference: float
    logits_difference: float
    gradient_difference: float
    worst_gradient: str
    worst_gradient_difference: float
    perturbed_loss_difference: float
    gradients: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class ParityResult:
    """All steps, and whether every one of them was within the tolerances."""

    recipe: str
    precision: str
    steps: list[ParityStep]
    parameter_difference: float
    max_loss_difference: float
    faults: list[str]

    @property
    def ok(self) -> bool:
        """Whether the engines agree."""
        return not self.faults


def parity(
    recipe: str = "digits",
    *,
    overrides: Sequence[str] = (),
    data: str | None = None,
    steps: int = 10,
    precision: str | None = None,
    reporter: Reporter | None = None,
) -> ParityResult:
    """Runs both engines on the CPU in one process, and the second one from perturbed weights beside them.

    Args:
        recipe: name or file.
        overrides: `key=value` texts.
        data: replaces `data.source`.
        steps: how many to make.
        precision: `float32` or `float64`; none: the recipe's.
        reporter: is told what happens.

    Raises:
        RequestError: something in the request is wrong, or an engine is not installed.
    """
    reporter = reporter or Silent()
    for name in PAIR:
        registry.choose(name)
    draft = recipe_draft(recipe, overrides, data=data, precision=precision)
    draft, source = open_start(draft, reporter)
    resolved, dataset = open_data(draft)
    if resolved.train.precision not in TOLERANCES:
        raise RecipeError(
            f"train.precision={resolved.train.precision} rounds too much to hold two engines to a tolerance; "
            f"say --precision {' or '.join(TOLERANCES)}"
        )
    weights, _ = first_weights(resolved, dataset.classes, source, reporter)
    part = open_parts(dataset, resolved, reporter, ("train",), training=True)["train"]
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    engines = {name: registry.load(name) for name in PAIR}
    trainers = {name: _trainer(engine, resolved, weights) for name, engine in engines.items()}
    seed = resolved.train.seed
    start = (
        {name: value.astype(np.float64) for name, value in weights.items()} if _wide(resolved) else weights
    )
    twin = _trainer(engines[PAIR[1]], resolved, perturbed(start, seed, PERTURBATION))
    span = length(resolved.train, len(part))
    batches = TrainingBatches(part.store, part.labels, resolved, span)
    made: list[ParityStep] = []
    with reporter.track("comparing", min(steps, span.steps), "steps") as advance:
        for step in range(min(steps, span.steps)):
            batch = batches(step)
            seen = {name: trainer.inspect(batch, step) for name, trainer in trainers.items()}
            other = twin.inspect(batch, step)
            made.append(_compare(step, seen, other, resolved, batch.weights > 0))
            train = resolved.train
            at = StepInput(step=step, lr=learning_rate(train, span, step), ema_decay=ema_decay(train, step))
            for trainer in (*trainers.values(), twin):
                trainer.step(batch, at)
            advance(1)
    return ParityResult(
        recipe=recipe,
        precision=resolved.train.precision,
        steps=made,
        parameter_difference=_state_difference(trainers, resolved),
        max_loss_difference=max(step.loss_difference for step in made),
        faults=_faults(made, TOLERANCES[resolved.train.precision]),
    )


def _wide(recipe: Recipe) -> bool:
    return recipe.train.precision == "float64"


def _trainer(engine: Backend, recipe: Recipe, weights: Mapping[str, NDArray[Any]]) -> Trainer:
    state = {f"param.{name}": value for name, value in weights.items()}
    return engine.trainer(recipe, state, device="cpu", images=None)


def _compare(
    step: int,
    seen: Mapping[str, dict[str, Any]],
    twin: dict[str, Any],
    recipe: Recipe,
    real: NDArray[np.bool_],
) -> ParityStep:
    ours, theirs = (seen[name] for name in PAIR)
    gradients = {
        name: (
            _moving(ours["gradients"][name], parameter.zero_gradient),
            _moving(theirs["gradients"][name], parameter.zero_gradient),
        )
        for name, parameter in parameter_table(recipe.model).items()
        if name in theirs["gradients"]
    }
    each = {name: _relative([pair]) for name, pair in gradients.items()}
    worst = max(each, key=each.__getitem__)
    a, b = ours["logits"][real], theirs["logits"][real]
    return ParityStep(
        step=step,
        loss={name: values["loss"] for name, values in seen.items()},
        loss_difference=abs(ours["loss"] - theirs["loss"]),
        logits_difference=float(np.abs(a - b).max() / max(1.0, np.abs(b).max())),
        gradient_difference=_relative(list(gradients.values())),
        worst_gradient=worst,
        worst_gradient_difference=each[worst],
        perturbed_loss_difference=abs(twin["loss"] - theirs["loss"]),
        gradients=each,
    )


def _moving(value: NDArray[Any], zero: tuple[int, int] | None) -> NDArray[Any]:
    """Returns the rows of a gradient that are not identically zero."""
    return value if zero is None else np.delete(value, np.s_[zero[0] : zero[1]], axis=0)


def _relative(pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> float:
    """Returns ||a - b|| / ||b|| over all pairs together."""
    apart = sum(float(np.square(a.astype(np.float64) - b).sum()) for a, b in pairs)
    size = sum(float(np.square(b.astype(np.float64)).sum()) for _, b in pairs)
    return (apart / max(size, 1e-300)) ** 0.5 if apart else 0.0


def _state_difference(trainers: Mapping[str, Trainer], recipe: Recipe) -> float:
    """Returns the relative difference of the averaged or last parameters after all steps."""
    kind = "ema" if recipe.train.ema is not None else "param"
    a, b = (trainers[name].state() for name in PAIR)
    table = parameter_table(recipe.model)
    return _relative(
        [
            (_moving(a[f"{kind}.{name}"], p.zero_gradient), _moving(b[f"{kind}.{name}"], p.zero_gradient))
            for name, p in table.items()
            if f"{kind}.{name}" in b
        ]
    )


def _faults(steps: Sequence[ParityStep], allowed: Tolerances) -> list[str]:
    """Returns what is beyond the tolerances, in words.

    Logits and gradients are held to them at the first step in float32, where both engines still have the same
    parameters, and at every step in float64.
    """
    faults = []
    grown = 0.0
    for step in steps:
        grown = max(grown, step.perturbed_loss_difference)
        limit = allowed.loss if step.step < allowed.steps else max(allowed.loss, allowed.growth * grown)
        checks = [("loss", step.loss_difference, limit)]
        if step.step == 0 or allowed.steps > len(steps):
            checks += [
                ("logits", step.logits_difference, allowed.logits),
                ("gradient", step.gradient_difference, allowed.gradient),
            ]
        faults += [
            f"step {step.step}: {what} differs by {found:.2g} (allowed: {limit:.2g})"
            for what, found, limit in checks
            if not found <= limit
        ]
    return faults
