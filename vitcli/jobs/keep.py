"""Which weights of a run are kept as its best: by the validation images, or by the running training loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from vitcli.core.recipe import TrainSpec


class Keeper(Protocol):
    """Watches a run and says when its weights, as they are at that moment, are the best so far."""

    @property
    def best(self) -> dict[str, float]:
        """Facts about the kept weights, as `TrainResult.best` has them; empty while none are kept."""
        ...

    def closes(self, step: int) -> bool:
        """Returns whether this step may decide, so that its loss must be known before the next one begins."""
        ...

    def stepped(self, epoch: int, step: int, loss: float) -> bool:
        """Takes in the training loss of a step; returns whether the weights after it are to be kept."""
        ...

    def evaluated(self, epoch: int, step: int, validation: Mapping[str, float]) -> bool:
        """Takes in `loss` and `top1` on the validation images; returns whether the weights are to be kept."""
        ...


def keeper(train: TrainSpec, steps: int) -> Keeper:
    """Returns the keeper that a recipe asks for, for a run of so many steps."""
    # A run shorter than the window is one window, so that something is always kept.
    return _ByLoss(min(train.loss_window, steps)) if train.keep == "loss" else _ByAccuracy()


class _ByAccuracy:
    """Keeps the weights of the highest validation top-1; of equal ones, those of the lowest loss."""

    def __init__(self) -> None:
        self.best: dict[str, float] = {}

    def closes(self, step: int) -> bool:
        return False

    def stepped(self, epoch: int, step: int, loss: float) -> bool:
        return False

    def evaluated(self, epoch: int, step: int, validation: Mapping[str, float]) -> bool:
        if self.best and (validation["top1"], -validation["loss"]) <= (self.best["top1"], -self.best["loss"]):
            return False
        self.best = {"epoch": epoch, "step": step, **validation}
        return True


class _ByLoss:
    """Keeps the weights at the end of the window of steps whose mean training loss is the lowest.

    Windows follow one another through the whole run, across epochs; of equal ones, the first counts.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._losses: list[float] = []
        self._kept: dict[str, float] = {}
        self._latest: Mapping[str, float] = {}

    @property
    def best(self) -> dict[str, float]:
        return {**self._kept, **self._latest} if self._kept else {}

    def closes(self, step: int) -> bool:
        return (step + 1) % self._window == 0

    def stepped(self, epoch: int, step: int, loss: float) -> bool:
        self._losses.append(loss)
        if not self.closes(step):
            return False
        mean, self._losses = float(np.mean(self._losses)), []
        if self._kept and mean >= self._kept["train_loss"]:
            return False
        self._kept = {"epoch": epoch, "step": step, "train_loss": mean}
        return True

    def evaluated(self, epoch: int, step: int, validation: Mapping[str, float]) -> bool:
        self._latest = validation
        return False
