"""SGD, Adam, AdamW and Lion as pure functions of maps of arrays. `vitcli_torch/optimizer.py` is its twin."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
from jax import Array

from vitcli.core.recipe import TrainSpec
from vitcli.core.tune import Move

Arrays = dict[str, Array]
Moments = dict[str, Arrays]  # "moment1", "moment2" -> name -> array
Own = tuple[Array, ...]
Numbers = tuple[Array, Array, Array]


def moment_names(train: TrainSpec) -> tuple[str, ...]:
    """Returns which moments the optimiser keeps, by their names in the training state."""
    return {"sgd": ("moment1",), "lion": ("moment1",)}.get(train.optimizer, ("moment1", "moment2"))


def bias_corrections(train: TrainSpec, step: int) -> tuple[float, float]:
    """Returns 1 - beta^t for both moments at a step from 0; on the host, since float32 would lose digits."""
    beta1, beta2 = train.moment_decays
    return 1 - beta1 ** (step + 1), 1 - beta2 ** (step + 1)


def clip(gradients: Arrays, norm: Array, limit: float | None) -> Arrays:
    """Returns the gradients scaled so that their global norm is at most `limit` (torch's clip_grad_norm_)."""
    if limit is None:
        return gradients
    factor = jnp.minimum(1.0, limit / (norm + 1e-6))
    return {name: value * factor for name, value in gradients.items()}


def global_norm(gradients: Arrays) -> Array:
    """Returns the Euclidean norm over all arrays."""
    return jnp.sqrt(sum(jnp.vdot(value, value) for value in gradients.values()))


def update(
    train: TrainSpec,
    moves: Mapping[str, Move],
    params: Arrays,
    gradients: Arrays,
    moments: Moments,
    numbers: Numbers,
) -> tuple[Arrays, Moments]:
    """Returns parameters and moments after one step; `numbers` are lr and the two bias corrections."""
    rule = {"sgd": _sgd, "adam": _adam, "adamw": _adamw, "lion": _lion}[train.optimizer]
    new_params: Arrays = {}
    new_moments: Moments = {kind: {} for kind in moments}
    for name, param in params.items():
        move, (lr, correction1, correction2) = moves[name], numbers
        own = tuple(values[name] for values in moments.values())
        at = (lr * move.rate, correction1, correction2)
        new_params[name], *after = rule(train, param, gradients[name], own, move.decay, at)
        for kind, value in zip(moments, after, strict=True):
            new_moments[kind][name] = value
    return new_params, new_moments


def _sgd(
    train: TrainSpec, p: Array, g: Array, moments: Own, decay: float, numbers: Numbers
) -> tuple[Array, ...]:
    (m,) = moments
    g = g + decay * p
    m = train.momentum * m + g
    return p - numbers[0] * (g + train.momentum * m if train.nesterov else m), m


def _adam(
    train: TrainSpec, p: Array, g: Array, moments: Own, decay: float, numbers: Numbers
) -> tuple[Array, ...]:
    (lr, correction1, correction2), (m, v) = numbers, moments
    beta1, beta2 = train.moment_decays
    g = g + decay * p
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    return p - lr / correction1 * m / (jnp.sqrt(v) / jnp.sqrt(correction2) + train.adam_eps), m, v


def _adamw(
    train: TrainSpec, p: Array, g: Array, moments: Own, decay: float, numbers: Numbers
) -> tuple[Array, ...]:
    return _adam(train, p - numbers[0] * decay * p, g, moments, 0.0, numbers)


def _lion(
    train: TrainSpec, p: Array, g: Array, moments: Own, decay: float, numbers: Numbers
) -> tuple[Array, ...]:
    (m,) = moments
    beta1, beta2 = train.moment_decays
    direction = jnp.sign(beta1 * m + (1 - beta1) * g)
    return p - numbers[0] * (direction + decay * p), beta2 * m + (1 - beta2) * g
