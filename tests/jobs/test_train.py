"""Which weights a run keeps, with an engine whose losses and logits are written down beforehand."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from tests.cli.running import TINY
from vitcli.core import registry
from vitcli.core.backend import Batch, StepInput
from vitcli.core.errors import DivergedError
from vitcli.data.digits import digits
from vitcli.jobs.train import TrainResult, train

# Of 1,257 images: three steps an epoch, so that windows of other lengths end inside epochs.
BATCH = "train.batch_size=419"
# Before the first step and after each epoch: how many of the 180 validation images are named rightly.
HITS = (170, 30, 90, 60, 90)


@dataclass
class Script:
    """An engine and its trainer: the weights are the number of steps made."""

    losses: Sequence[float]
    validation: NDArray[np.int32]
    resident: bool = True
    state_of: dict[str, NDArray[Any]] = field(default_factory=dict)
    made: int = 0
    evaluated: int = 0
    seen: int = 0

    def devices(self) -> list[str]:
        return ["nowhere"]

    def trainer(self, recipe: Any, state: dict[str, NDArray[Any]], **options: Any) -> Script:
        self.state_of = state
        self.evaluated = 0 if recipe.train.evaluate_first else 1
        return self

    def step(self, batch: Batch, at: StepInput) -> Any:
        self.made += 1
        loss = self.losses[at.step]

        class Metrics:
            def read(self) -> dict[str, float]:
                return {"loss": loss, "gradient_norm": 1.0}

        return Metrics()

    def logits(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        right = self.validation[self.seen : self.seen + len(images)]
        named = np.where(
            np.arange(self.seen, self.seen + len(right)) < HITS[self.evaluated], right, right + 1
        )
        self.seen += len(right)
        if self.seen == len(self.validation):
            self.seen, self.evaluated = 0, self.evaluated + 1
        out = np.zeros((len(images), 10))
        out[np.arange(len(right)), named % 10] = 1.0
        return out

    def state(self) -> dict[str, NDArray[Any]]:
        return {name: np.full_like(value, self.made) for name, value in self.state_of.items()}


def run(
    losses: Sequence[float], runs: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str
) -> tuple[TrainResult, float]:
    """A run of as many steps as losses; its result, and after how many steps the kept weights were taken."""
    script = Script(losses, digits().parts["validation"].labels)
    monkeypatch.setattr(registry, "load", lambda name: script)
    steps = f"train.steps={len(losses)}"
    result = train("digits", overrides=[*TINY[1:], BATCH, steps, *overrides], backend="torch", runs=runs)
    taken = {float(value.flat[0]) for value in load_file(result.run / "model.safetensors").values()}
    assert len(taken) == 1
    return result, taken.pop()


@pytest.mark.parametrize(
    ("losses", "window", "step", "mean"),
    [
        ([9, 9, 9, 9, 1, 3, 2, 4, 5, 5, 5, 5], 4, 7, 2.5),  # a window that ends inside an epoch
        ([1, 3, 2, 4, 9, 9, 9, 9, 5, 5, 5, 5], 4, 3, 2.5),
        ([9, 9, 9, 9, 9, 5, 5, 5, 5, 5, 0, 0], 5, 9, 5.0),  # the two steps that are left over do not count
        ([9, 9, 7, 7, 8, 8, 7, 7, 8, 8, 7, 7], 2, 3, 7.0),  # of equal means, the first
        ([3, 9, 2, 9, 9, 9, 9, 9, 1, 9, 9, 9], 1, 8, 1.0),
        ([9, 8, 7, 6, 5, 4, 3, 2, 1, 1, 1, 5], 12, 11, 13 / 3),
        ([4, 2, 3, 1, 0], 100, 4, 2.0),  # no window is whole: the run is one
        ([4, 2], 100, 1, 3.0),
    ],
)
def test_the_window_of_the_lowest_mean_loss_decides(
    losses: list[float],
    window: int,
    step: int,
    mean: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = ("train.keep=loss", f"train.loss_window={window}")
    result, taken = run(losses, tmp_path, monkeypatch, *wanted)
    assert taken == step + 1
    last = HITS[(len(losses) + 2) // 3] / 180  # the run's last evaluation
    assert {key: result.best[key] for key in ("epoch", "step", "train_loss", "top1")} == {
        "epoch": step // 3 + 1, "step": step, "train_loss": pytest.approx(mean), "top1": last
    }  # fmt: skip


@pytest.mark.parametrize("first", ["true", "false"])
@pytest.mark.parametrize("keep", ["accuracy", "loss"])
def test_first_weights_are_evaluated_but_never_kept(
    keep: str, first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = (f"train.evaluate_first={first}", f"train.keep={keep}", "train.loss_window=4")
    result, taken = run([5.0] * 12, tmp_path, monkeypatch, *wanted)
    # The first weights are the most accurate; then epochs 2 and 4 are, of which the first is kept.
    assert taken == (6 if keep == "accuracy" else 4)
    lines = (result.run / "metrics.jsonl").read_text().splitlines()
    records = [record for record in map(json.loads, lines) if record["event"] == "epoch"]
    if first == "true":
        before = records.pop(0)
        assert set(before) == {"event", "epoch", "validation"}
        assert (before["epoch"], before["validation"]["top1"]) == (0, 170 / 180)
        assert json.loads(lines[2]) == before  # behind what is said of the two parts
    assert [record["epoch"] for record in records] == [1, 2, 3, 4]
    assert [record["validation"]["top1"] for record in records] == [hits / 180 for hits in HITS[1:]]
    assert all(record["loss"] == 5.0 for record in records)


def test_accuracy_keeps_the_weights_after_its_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, taken = run([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], tmp_path, monkeypatch, "train.loss_window=1")
    assert taken == 6
    assert set(result.best) == {"epoch", "step", "loss", "top1"}
    assert (result.best["epoch"], result.best["step"], result.best["top1"]) == (2, 5, 0.5)


@pytest.mark.parametrize(
    ("losses", "told"),
    [
        ([9, 9, 9, 9, 8, math.nan], r"best weights so far \(epoch 2\) are in .*model.safetensors"),
        ([9, 9, 9, math.nan, 9, 9], "No best weights had been chosen yet"),
    ],
)
def test_what_was_kept_survives_a_loss_that_is_no_number(
    losses: list[float], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DivergedError, match=told):
        run(losses, tmp_path, monkeypatch, "train.keep=loss", "train.loss_window=4")
    assert len(list(tmp_path.rglob("model.safetensors"))) == (1 if "epoch 2" in told else 0)
