"""NumPy archives of tensors, as Google's JAX code publishes its weights; nothing pickled is read.

Sub-modules are numbered in two ways: before flax's linen, one counter for all of a block (as in the published
files); since, one for each class, below `params/` (as big_vision has them). Both are read, out of training states and
of pairs of towers, with blocks stacked for a scan, under the older names; either is written.
"""

from __future__ import annotations

import math
import os
import re
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitcli.core.archive import check_unpacked, members
from vitcli.core.errors import WeightsError, reason
from vitcli.core.reporter import Reporter, Silent
from vitcli.weights.file import Weights, check_values, replacing
from vitcli.weights.header import MOST_TENSORS

_MOST_BYTES = 8 << 30
# What stands before the names in training states (of flax, then of optax) and in a pair of towers, and what stands
# beside them there: the optimizer, the clock, the other tower, and temperature and bias of the loss of pairs.
_PREFIXES = ("opt/target/", "params/", "img/")
_BESIDE = re.compile(r"(opt|chrono|txt)/.+|[tb]")
# How NumPy calls what it writes of numbers of half the width.
_NARROW = {"|V2": "bfloat16", "float16": "float16"}
# What linen calls the parts of a block, and what they were called before.
_LINEN = {
    "LayerNorm_1/": "LayerNorm_2/",
    "MultiHeadDotProductAttention_0/": "MultiHeadDotProductAttention_1/",
    "MlpBlock_0/": "MlpBlock_3/",
}
# What stood at the top of early models of big_vision that pool by attention.
_INLINED = r"^(probe$|LayerNorm_0/|MlpBlock_0/|MultiHeadDotProductAttention_0/)"
# Where the positions are: google's, where the class token has one; of big_vision before 2022; of big_vision today.
_TABLES = ("Transformer/posembed_input/pos_embedding", "Transformer/pos_embedding", "pos_embedding")


def is_npz(path: Path) -> bool:
    """Whether a file is a zip archive of NumPy arrays; PyTorch's files are zip archives too."""
    return any(name.endswith(".npy") for name in members(path))


def read_npz(path: Path, reporter: Reporter | None = None) -> Weights:
    """Returns the tensors of an archive, under the names of the published files.

    `reporter` is told what is left out, and of numbers of half the width.

    Raises:
        WeightsError: it is damaged, too large unpacked, holds pickled objects, two tensors of one name, or values
            that are not finite floating-point numbers.
    """
    reporter = reporter or Silent()
    try:
        with zipfile.ZipFile(path) as archive:
            held = archive.infolist()
        size = sum(member.file_size for member in held)
        if len(held) > MOST_TENSORS or size > _MOST_BYTES:
            raise WeightsError(f"{path} holds {len(held):,} tensors of {size:,} bytes: too large")
        check_unpacked(path, size)
        with np.load(path, allow_pickle=False) as file:
            names, prefix, beside = _below(file.files)
            found, distinct = {name: file[name] for name in names}, len(set(file.files))
    except WeightsError:
        raise
    except Exception as error:  # a damaged archive, or header of an array, may raise anything
        raise WeightsError(f"{path} is not a whole archive of arrays: {reason(error)}") from error
    tensors = [*_unstacked((_published(names[name]), _wide(value)) for name, value in found.items())]
    weights = dict(tensors)
    if distinct != len(held) or len(weights) != len(tensors):
        raise WeightsError(f"{path} holds two tensors of one name")
    if beside:
        reporter.note(f"{path}: {', '.join(beside)} are not of the model below {prefix} and are left out")
    narrow = {_NARROW[str(value.dtype)] for value in found.values() if str(value.dtype) in _NARROW}
    if narrow:
        reporter.note(
            f"{path}: {' and '.join(sorted(narrow))} numbers become float32, which holds them exactly"
        )
    weights = _mended(path, weights, reporter)
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


def _below(names: Collection[str]) -> tuple[dict[str, str], str, list[str]]:
    """Returns a model's names as they are, and without what stands before them; that; and what stands beside them."""
    kept, prefix, beside = {name: name for name in names}, "", set()
    for step in _PREFIXES:
        if any(name.startswith(step) for name in kept.values()):
            prefix += step
            others = {old for old, now in kept.items() if not now.startswith(step) and _BESIDE.fullmatch(now)}
            beside |= {kept[old].partition("/")[0] for old in others}
            kept = {old: now.removeprefix(step) for old, now in kept.items() if old not in others}
    return kept, prefix, sorted(beside)


def _published(name: str) -> str:
    """Returns the name that a tensor has in the published files; `LayerNorm_0` is the same in both."""
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


def _mended(path: Path, weights: Weights, reporter: Reporter) -> Weights:
    """Returns an older file of big_vision as it is today, which is what its `fix_old_checkpoints` is for.

    The parts of the attention pooling stood at the top. Positions stood elsewhere, and began with the class token's;
    where there is such a token, that is google's layout, in which nothing has to be added up.
    """
    if "probe" in weights and not any(name.startswith("MAPHead_0/") for name in weights):
        weights = {re.sub(_INLINED, r"MAPHead_0/\g<0>", name): value for name, value in weights.items()}
    tables = [name for name in _TABLES if name in weights]
    if len(tables) != 1:  # none is fixed positions; which of several is meant nobody knows
        return weights
    old = tables[0]
    rows = weights[old].shape[1] if weights[old].ndim == 3 else 0
    with_slot = rows > 1 and math.isqrt(rows - 1) ** 2 == rows - 1
    if with_slot and "cls" not in weights:
        reporter.note(f"{path}: the first row of {old} is left out: it is of a class token that is not there")
        weights[old], with_slot = weights[old][:, 1:], False
    own = old != _TABLES[0] or "MAPHead_0/probe" in weights or "cls" in weights  # big_vision's alone
    weights[_TABLES[-1] if own and not with_slot else _TABLES[0]] = weights.pop(old)
    return weights
