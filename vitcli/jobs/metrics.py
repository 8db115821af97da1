"""What logits are worth: loss, accuracy, confusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Mean cross-entropy, fractions of images right (0-1), and which class was taken for which.

    `confusion[i][j]` counts images of class i predicted as j; `per_class` is top-1 by class name, None for
    a class without images. `top5` means the k best, k at most the number of classes.
    """

    loss: float
    top1: float
    top5: float
    count: int
    per_class: dict[str, float | None]
    confusion: list[list[int]]


def evaluate_logits(logits: NDArray[Any], labels: NDArray[np.int32], classes: Sequence[str]) -> Evaluation:
    """Returns the evaluation of logits (n, classes) against labels (n,), computed in float64."""
    log_p = log_softmax(logits)
    rows, k = np.arange(len(labels)), min(5, len(classes))
    # Ties count as errors: the rank is the number of other classes that score at least as high.
    own = logits[rows, labels][:, None]
    rank = (logits >= own).sum(axis=1) - 1
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (labels, logits.argmax(axis=1)), 1)
    totals = confusion.sum(axis=1)
    return Evaluation(
        loss=float(-log_p[rows, labels].mean()),
        top1=float((rank < 1).mean()),
        top5=float((rank < k).mean()),
        count=len(labels),
        per_class={
            name: float(confusion[i, i] / totals[i]) if totals[i] else None for i, name in enumerate(classes)
        },
        confusion=confusion.tolist(),
    )


def log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Returns log-probabilities over the last axis, float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result
