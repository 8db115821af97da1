"""How long a run is and what the learning rate is at each step: pure functions of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vitcli.core.errors import DataError
from vitcli.core.recipe import TrainSpec, duration


@dataclass(frozen=True, kw_only=True)
class Length:
    """A run in steps."""

    steps: int
    steps_per_epoch: int

    @property
    def epochs(self) -> int:
        """Passes over the data, the last one possibly cut short."""
        return math.ceil(self.steps / self.steps_per_epoch)


def length(train: TrainSpec, samples: int) -> Length:
    """Returns the length of a run over `samples` images.

    Raises:
        DataError: `drop_last` leaves no full batch.
    """
    batches = samples / train.batch_size
    per_epoch = math.floor(batches) if train.drop_last else math.ceil(batches)
    if per_epoch == 0:
        raise DataError(
            f"{samples} training images make no batch of {train.batch_size} with train.drop_last=true; "
            f"set train.batch_size={max(1, samples)} or less, or train.drop_last=false"
        )
    steps = train.steps if train.steps is not None else (train.epochs or 0) * per_epoch
    return Length(steps=steps, steps_per_epoch=per_epoch)


def learning_rate(train: TrainSpec, length: Length, step: int) -> float:
    """Returns the learning rate of a step, counted from 0.

    Warm-up rises linearly and reaches `lr` at its last step. Cosine (Loshchilov & Hutter 2017,
    arXiv:1608.03983) and linear then fall to `final_lr * lr` at the end of the run; step and multistep
    change where torch.optim's StepLR and MultiStepLR do.
    """
    warmup = 0 if train.warmup is None else _steps(train.warmup, length)
    if step < warmup:
        return train.lr * (step + 1) / warmup
    return train.lr * _factor(train, length, step, warmup)


def ema_decay(train: TrainSpec, step: int) -> float:
    """Returns the decay of the moving average at a step, from 0: min(ema, (1 + step) / (10 + step)).

    The ramp (TensorFlow's ExponentialMovingAverage with `num_updates`) keeps the first weights from
    weighing on a short run.
    """
    return min(train.ema or 0.0, (1 + step) / (10 + step))


def _factor(train: TrainSpec, length: Length, step: int, warmup: int) -> float:
    if train.schedule == "constant":
        return 1.0
    if train.schedule == "step":
        return float(train.gamma ** (step // max(1, _steps(train.step_every, length))))
    if train.schedule == "multistep":
        passed = sum(step >= _steps(milestone, length) for milestone in train.milestones)
        return float(train.gamma**passed)
    progress = (step - warmup) / max(1, length.steps - warmup)
    falling = (1 + math.cos(math.pi * progress)) / 2 if train.schedule == "cosine" else 1 - progress
    return train.final_lr + (1 - train.final_lr) * falling


def _steps(text: str, length: Length) -> int:
    value, unit = duration(text)
    return round(value * length.steps_per_epoch) if unit == "epochs" else round(value)
