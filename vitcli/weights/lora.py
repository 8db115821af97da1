"""Low-rank adapters as weights: merged into their layers, or kept apart in a small file that names its base.

An adapter file holds the adapters and every other tensor that training moved (a new head, resampled positions), by
native names. The rest stands in the base, another weights file of any layout; a digest tells whether it is the one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitcli.core.errors import WeightsError
from vitcli.core.parameters import parameter_table
from vitcli.core.spec import LoraSpec, ModelSpec
from vitcli.weights.file import Weights
from vitcli.weights.header import Base, Card, check_tensors

Tensors = Mapping[str, NDArray[Any]]
_ENDINGS = (".lora_a", ".lora_b")


def plain(spec: ModelSpec) -> ModelSpec:
    """Returns the spec without adapters."""
    return spec.model_copy(update={"lora": LoraSpec()})


def merged(weights: Tensors, spec: ModelSpec) -> tuple[Weights, ModelSpec]:
    """Returns the weights with every adapter added to its kernel, W + alpha / rank B A, and the spec without them.

    The sum is taken in float64 and rounded once, to the type of the kernel.
    """
    sums: dict[str, NDArray[np.float64]] = {}
    for adapter, kernel, rows in _layers(spec):
        a, b = (weights[adapter + ending].astype(np.float64) for ending in _ENDINGS)
        whole = sums.setdefault(kernel, weights[kernel].astype(np.float64))
        whole[rows] += spec.lora.scale * (b @ a)
    kept = {name: value for name, value in weights.items() if not name.endswith(_ENDINGS)}
    return kept | {name: value.astype(weights[name].dtype) for name, value in sums.items()}, plain(spec)


def adapter_of(weights: Tensors, base: Tensors) -> Weights:
    """Returns the tensors that the base has not, or has with other values: what an adapter file holds."""
    return {
        name: value
        for name, value in weights.items()
        if name not in base or not np.array_equal(value, base[name])
    }


def adapter_base(card: Card, adapter: Collection[str], base: Tensors, path: Path) -> Base:
    """Returns what an adapter file that holds those tensors of a model says of its base, which is at `path`."""
    rest = [name for name in parameter_table(card.spec) if name not in adapter]
    return Base(path=str(path.absolute()), sha256=digest(base, rest))


def with_adapter(base: Tensors, adapter: Tensors, card: Card, *, path: Path, base_path: Path) -> Weights:
    """Returns the whole weights, adapters beside their layers.

    Args:
        base: native; what the adapter file holds itself is not taken from it.
        adapter: native, checked (`check_adapter`).
        card: of the adapter file.
        path: of the adapter file.
        base_path: of the base.

    Raises:
        WeightsError: the base is another one.
    """
    table = parameter_table(card.spec)
    rest = [name for name in table if name not in adapter]
    other = [name for name in rest if name not in base or base[name].shape != table[name].shape]
    if other or card.base is None or digest(base, rest) != card.base.sha256:
        why = f"its {other[0]} is missing or of another shape" if other else "its values are others"
        raise WeightsError(
            f"{base_path} is not the base of {path}: {why}; give the weights that it was trained from: --base FILE"
        )
    return {name: adapter[name] if name in adapter else base[name] for name in table}


def check_adapter(shapes: Mapping[str, tuple[int, ...]], card: Card, path: Path) -> None:
    """Checks that an adapter file holds all adapters of its spec, and otherwise tensors of its model alone.

    Raises:
        WeightsError: some are missing, unknown, or of another shape.
    """
    expected = {
        name: parameter.shape
        for name, parameter in parameter_table(card.spec).items()
        if name in shapes or name.endswith(_ENDINGS)
    }
    check_tensors(shapes, expected, path)


def digest(weights: Tensors, names: Collection[str]) -> str:
    """Returns the SHA-256 of tensors by name, as float32: the same for every layout and type they were kept in."""
    total = hashlib.sha256()
    for name in sorted(names):
        value = np.ascontiguousarray(weights[name], dtype="<f4")
        total.update(f"{name} {list(value.shape)}\n".encode())
        total.update(value.data if value.size else b"")
    return total.hexdigest()


def _layers(spec: ModelSpec) -> Iterator[tuple[str, str, slice]]:
    """Yields each adapter's name, the kernel that it stands beside, and the rows of it that it adds to."""
    D = spec.embed_dim
    for name in parameter_table(spec):
        adapter, found, _ = name.partition(_ENDINGS[0])
        if not found:
            continue
        block, _, layer = adapter.rpartition(".")
        if layer in ("q", "k", "v"):
            third = "qkv".index(layer)
            yield adapter, f"{block}.qkv.weight", slice(third * D, (third + 1) * D)
        else:
            yield adapter, f"{adapter}.weight", slice(None)
