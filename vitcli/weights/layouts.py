"""Weights moved between layouts: permutations only, so a round trip is bit-equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitcli.core.spec import ModelSpec
from vitcli.weights.file import Weights
from vitcli.weights.header import Layout
from vitcli.weights.names import inverse, places


def from_native(weights: Mapping[str, NDArray[Any]], spec: ModelSpec, layout: Layout) -> Weights:
    """Returns native weights in a layout."""
    return {
        place.name: np.ascontiguousarray(weights[name].transpose(place.axes))
        for name, place in places(spec, layout).items()
    }


def to_native(weights: Mapping[str, NDArray[Any]], spec: ModelSpec, layout: Layout) -> Weights:
    """Returns the native weights of a file in a layout."""
    return {
        name: np.ascontiguousarray(weights[place.name].transpose(inverse(place.axes)))
        for name, place in places(spec, layout).items()
    }
