"""First weights, drawn once on the host from the shared bits: the same numbers for every engine."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitcli.core.bits import Purpose, stream, text_words
from vitcli.core.initial import InitSpec
from vitcli.core.parameters import Parameter, parameter_table
from vitcli.core.spec import ModelSpec
from vitcli.data.random import normal, sequence, uniform

Weights = dict[str, NDArray[Any]]


def initial_weights(
    spec: ModelSpec, seed: int, init: InitSpec | None = None, *, only: Container[str] | None = None
) -> Weights:
    """Returns the first weights of a model, float32, by name; with `only`, those tensors alone.

    Each tensor's stream is keyed by its name: adding a parameter disturbs no other.
    """
    table = parameter_table(spec, init)
    return {name: _draw(parameter, seed) for name, parameter in table.items() if only is None or name in only}


def perturbed(weights: Weights, seed: int, size: float) -> Weights:
    """Returns the weights multiplied by (1 + size N), N standard normal: how sensitive a run is to rounding."""
    return {
        name: (value * (1 + size * _normal(Purpose.PERTURB, name, value.shape, seed))).astype(value.dtype)
        for name, value in weights.items()
    }


def _draw(parameter: Parameter, seed: int) -> NDArray[np.float32]:
    initial, shape = parameter.initial, parameter.shape
    if initial.kind == "constant":
        return np.full(shape, initial.scale, np.float32)
    if initial.kind == "normal":
        return (initial.scale * _normal(Purpose.INIT, parameter.name, shape, seed)).astype(np.float32)
    words = sequence(stream(seed, Purpose.INIT, *text_words(parameter.name)), parameter.size)
    return (initial.middle + initial.scale * (2 * uniform(words) - 1)).reshape(shape).astype(np.float32)


def _normal(purpose: Purpose, name: str, shape: tuple[int, ...], seed: int) -> NDArray[np.float64]:
    words = sequence(stream(seed, purpose, *text_words(name)), int(np.prod(shape)))
    return normal(words).reshape(shape)
