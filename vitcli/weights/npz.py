"""NumPy archives of tensors, as Google's JAX code publishes its weights; nothing pickled is read.

Sub-modules are numbered in two ways: before flax's linen, one counter for all of a block (as in the published
files); since, one for each class, below `params/` (as big_vision has them). Both are read, with the prefixes of
training states and with blocks stacked for a scan, under the older names; either is written.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitcli.core.archive import check_unpacked, members
from vitcli.core.errors import WeightsError, reason
from vitcli.weights.file import Weights, check_values, replacing
from vitcli.weights.header import MOST_TENSORS

_MOST_BYTES = 8 << 30
_PREFIXES = ("opt/target/", "params/", "img/")
# What linen calls the parts of a block, and what they were called before.
_LINEN = {
    "LayerNorm_1/": "LayerNorm_2/",
    "MultiHeadDotProductAttention_0/": "MultiHeadDotProductAttention_1/",
    "MlpBlock_0/": "MlpBlock_3/",
}


def is_npz(path: Path) -> bool:
    """Whether a file is a zip archive of NumPy arrays; PyTorch's files are zip archives too."""
    return any(name.endswith(".npy") for name in members(path))


def read_npz(path: Path) -> Weights:
    """Returns the tensors of an archive, under the names of the published files.

    Raises:
        WeightsError: it is damaged, too large unpacked, holds pickled objects, two tensors of one name, or values
            that are not finite floating-point numbers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            held = archive.infolist()
        size = sum(member.file_size for member in held)
        if len(held) > MOST_TENSORS or size > _MOST_BYTES:
            raise WeightsError(f"{path} holds {len(held):,} tensors of {size:,} bytes: too large")
        check_unpacked(path, size)
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except WeightsError:
        raise
    except Exception as error:  # a damaged archive, or header of an array, may raise anything
        raise WeightsError(f"{path} is not a whole archive of arrays: {reason(error)}") from error
    tensors = [*_unstacked((_published(name), _wide(value)) for name, value in found.items())]
    weights = dict(tensors)
    if len(found) != len(held) or len(weights) != len(tensors):
        raise WeightsError(f"{path} holds two tensors of one name")
    check_values(path, weights)
    return weights


def write_npz(path: Path, weights: Weights, *, linen: bool = False) -> None:
    """Writes an archive under a temporary name, and renames it.

    Args:
        path: the archive.
        weights: under the names of the published files.
        linen: whether to write linen's names, below `params/`.

    Raises:
        VitError: the disk is full or the folder cannot be written; an earlier file is untouched.
    """
    named = {_linen(name): value for name, value in weights.items()} if linen else weights
    with replacing(path, weights) as temporary, temporary.open("wb") as file:
        np.savez(file, **named)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())


def _wide(value: NDArray[Any]) -> NDArray[Any]:
    """Returns bfloat16, which NumPy writes as two bytes without a type, and float16 as float32, exactly."""
    if value.dtype == np.dtype("V2"):
        return (value.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return value.astype(np.float32) if value.dtype == np.float16 else value


def _published(name: str) -> str:
    """Returns the name that a tensor has in the published files; `LayerNorm_0` is the same in both."""
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return _in_block(name, _LINEN)


def _linen(name: str) -> str:
    return "params/" + _in_block(name, {before: now for now, before in _LINEN.items()})


def _in_block(name: str, renamed: Mapping[str, str]) -> str:
    found = re.match(r"(Transformer/encoderblock(?:_\d+)?/)([^/]+/)", name)
    if found is None:
        return name
    return found[1] + renamed.get(found[2], found[2]) + name[found.end() :]


def _unstacked(tensors: Iterable[tuple[str, NDArray[Any]]]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yields tensors by name; those of blocks that are stacked for a scan one by one."""
    stacked = "Transformer/encoderblock/"
    for name, value in tensors:
        if name.startswith(stacked) and value.ndim:
            for i, one in enumerate(value):
                yield f"Transformer/encoderblock_{i}/{name.removeprefix(stacked)}", one
        else:
            yield name, value
