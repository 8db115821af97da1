"""Weights moved between layouts: permutations only, so a round trip is bit-equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitcli.core.parameters import parameter_table
from vitcli.core.spec import ModelSpec
from vitcli.weights.file import Weights
from vitcli.weights.header import Layout
from vitcli.weights.names import code_for, places
from vitcli.weights.place import inverse, permuted


def from_native(weights: Mapping[str, NDArray[Any]], spec: ModelSpec, layout: Layout) -> Weights:
    """Returns native weights in a layout.

    Raises:
        WeightsError: the layout cannot hold such a model.
    """
    moved = {
        place.name: np.ascontiguousarray(
            weights[name][slice(*place.rows or (None,))].transpose(place.axes)
        ).reshape(place.shape)
        for name, parts in places(spec, layout).items()
        for place in parts
    }
    code = code_for(spec, layout)
    dtype = weights["patch_embed.proj.weight"].dtype
    spare = code.spare(spec) if code else {}
    return moved | {name: np.zeros(shape, dtype) for name, shape in spare.items()}


def to_native(weights: Mapping[str, NDArray[Any]], spec: ModelSpec, layout: Layout) -> Weights:
    """Returns the native weights of a file in a layout."""
    table, native = parameter_table(spec), {}
    for name, parts in places(spec, layout, weights).items():
        pieces = []
        for place in parts:
            there = permuted(place.native_shape(table[name].shape), place.axes)
            pieces.append(weights[place.name].reshape(there).transpose(inverse(place.axes)))
        native[name] = np.ascontiguousarray(np.concatenate(pieces) if len(pieces) > 1 else pieces[0])
    return native
