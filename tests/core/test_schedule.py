"""The learning rate is that of torch.optim's schedulers, and a run is as long as it says."""

from __future__ import annotations

from typing import Any

import pytest

from vitcli.core.errors import DataError
from vitcli.core.recipe import TrainSpec
from vitcli.core.schedule import Length, ema_decay, learning_rate, length

LR = 0.3


@pytest.fixture(scope="module")
def torch() -> Any:
    library = pytest.importorskip("torch")
    library.optim.SGD([library.zeros(1)], lr=1.0)  # the first optimiser takes seconds
    return library


def train(**fields: Any) -> TrainSpec:
    return TrainSpec.model_validate({"steps": 1, "lr": LR, **fields})


def ours(spec: TrainSpec, steps: int, per_epoch: int) -> list[float]:
    span = Length(steps=steps, steps_per_epoch=per_epoch)
    return [learning_rate(spec, span, step) for step in range(steps)]


def theirs(torch: Any, steps: int, make: Any) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=LR)
    schedule = make(optimizer, torch.optim.lr_scheduler)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def warmed(warmup: int, then: Any) -> Any:
    """A linear rise to the full rate at step `warmup - 1`, then another schedule from step `warmup`."""

    def make(optimizer: Any, schedulers: Any) -> Any:
        # LinearLR reaches its end factor after total_iters steps: at step `warmup`, where `then` begins.
        rise = schedulers.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / warmup))
        return schedulers.SequentialLR(optimizer, [rise, then(optimizer, schedulers)], [warmup])

    return make


# torch computes these recursively, which drifts by some rounding errors of float64.
DRIFT = 1e-12


@pytest.mark.parametrize("final", [0.0, 0.1])
@pytest.mark.parametrize("steps", [1, 2, 37])
def test_cosine_is_cosine_annealing(torch: Any, steps: int, final: float) -> None:
    expected = theirs(torch, steps, lambda o, s: s.CosineAnnealingLR(o, T_max=steps, eta_min=final * LR))
    assert ours(train(schedule="cosine", final_lr=final), steps, 5) == pytest.approx(expected, abs=DRIFT)


@pytest.mark.parametrize("warmup", ["7 steps", "1.4 epochs"])
def test_warm_up_rises_linearly_and_cosine_starts_when_it_is_over(torch: Any, warmup: str) -> None:
    steps = 37
    cosine = warmed(7, lambda o, s: s.CosineAnnealingLR(o, T_max=steps - 7))
    found = ours(train(schedule="cosine", warmup=warmup), steps, 5)
    assert found == pytest.approx(theirs(torch, steps, cosine), abs=DRIFT)
    assert found[:8] == pytest.approx([LR * k / 7 for k in (1, 2, 3, 4, 5, 6, 7, 7)], abs=DRIFT)


@pytest.mark.parametrize("final", [0.0, 0.25])
def test_linear_is_linear(torch: Any, final: float) -> None:
    expected = theirs(
        torch, 11, lambda o, s: s.LinearLR(o, start_factor=1.0, end_factor=final, total_iters=11)
    )
    assert ours(train(schedule="linear", final_lr=final), 11, 3) == pytest.approx(expected, abs=DRIFT)


@pytest.mark.parametrize(("every", "steps"), [("2 epochs", 6), ("4 steps", 4), ("0.5 epochs", 2)])
def test_step_is_step_lr(torch: Any, every: str, steps: int) -> None:
    expected = theirs(torch, 23, lambda o, s: s.StepLR(o, step_size=steps, gamma=0.5))
    found = ours(train(schedule="step", step_every=every, gamma=0.5), 23, 3)
    assert found == pytest.approx(expected, abs=DRIFT)


def test_multistep_is_multi_step_lr(torch: Any) -> None:
    expected = theirs(torch, 23, lambda o, s: s.MultiStepLR(o, milestones=[4, 9, 12], gamma=0.25))
    spec = train(schedule="multistep", milestones=["4 steps", "3 epochs", "12 steps"], gamma=0.25)
    assert ours(spec, 23, 3) == pytest.approx(expected, abs=DRIFT)


def test_constant_is_constant_after_warm_up() -> None:
    assert ours(train(schedule="constant", warmup="2 steps"), 5, 2) == [LR / 2, LR, LR, LR, LR]


def test_a_run_that_is_all_warm_up_ends_below_the_full_rate() -> None:
    assert ours(train(warmup="8 steps"), 4, 2) == pytest.approx([LR * k / 8 for k in (1, 2, 3, 4)], abs=DRIFT)


@pytest.mark.parametrize(
    ("fields", "samples", "expected"),
    [
        ({"epochs": 3}, 10, (9, 3, 3)),  # batches of 4, 4 and 2
        ({"epochs": 3, "drop_last": True}, 10, (6, 2, 3)),
        ({"epochs": 3}, 8, (6, 2, 3)),
        ({"steps": 7}, 10, (7, 3, 3)),
        ({"steps": 2}, 10, (2, 3, 1)),
        ({"steps": 6}, 10, (6, 3, 2)),
        ({"epochs": 2}, 1, (2, 1, 2)),
    ],
)
def test_epochs_become_steps_and_steps_epochs(
    fields: dict[str, Any], samples: int, expected: tuple[int, int, int]
) -> None:
    found = length(TrainSpec.model_validate({"batch_size": 4, **fields}), samples)
    assert (found.steps, found.steps_per_epoch, found.epochs) == expected


def test_a_set_that_makes_no_batch_is_refused() -> None:
    spec = TrainSpec(epochs=1, batch_size=4, drop_last=True)
    with pytest.raises(DataError, match=r"3 training images make no batch of 4.*batch_size=3 or less"):
        length(spec, 3)


def test_the_moving_average_begins_with_short_memory() -> None:
    spec = TrainSpec(steps=1, ema=0.9)
    # (1 + step) / (10 + step) is below 0.9 until step 80.
    found = [ema_decay(spec, step) for step in (0, 1, 79, 80, 81, 10_000)]
    assert found == pytest.approx([1 / 10, 2 / 11, 80 / 89, 0.9, 0.9, 0.9], abs=1e-15)
    assert ema_decay(TrainSpec(steps=1), 50) == 0.0
