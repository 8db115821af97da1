"""Weights on disk: safetensors, complete enough to predict with, checked after every write."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from vitcli.core.errors import VerificationError, VitError, WeightsError
from vitcli.weights.header import Card, Header, Layout, read_header

Weights = dict[str, NDArray[Any]]


def read_weights(path: Path, names: Collection[str] | None = None) -> Weights:
    """Returns tensors of a safetensors file, float32 or float64; what is narrower becomes float32, which holds it.

    Args:
        path: the file.
        names: which; none: all.

    Raises:
        WeightsError: it is missing, not a safetensors file, or holds values that are not finite numbers.
    """
    header = read_header(path)  # its errors are clearer than the library's
    weights = {}
    with _opened(path) as file:
        for name in header.shapes if names is None else names:
            try:
                narrow = header.stored[name][0] == "BF16"
                value = _bfloat16(header, name) if narrow else file.get_tensor(name)
            except (SafetensorError, TypeError, ValueError, AttributeError, OSError) as error:
                kind = header.stored[name][0]
                known = kind in ("F16", "F32", "F64")
                fault = str(error) if known else f"{name} holds {kind}, not numbers that vit reads"
                raise WeightsError(f"cannot read {path}: {fault}") from error
            weights[name] = value.astype(np.float32) if value.dtype == np.float16 else value
    check_values(path, weights)
    return weights


def check_values(path: Path, weights: Weights) -> None:
    """Checks that a file's tensors hold numbers.

    Raises:
        WeightsError: some are of another type, or not finite.
    """
    for name, value in weights.items():
        if value.dtype.kind != "f":
            raise WeightsError(f"{path}: {name} holds {value.dtype}, not floating-point numbers")
        bad = int((~np.isfinite(value)).sum())
        if bad:
            raise WeightsError(f"{path}: {bad} of {value.size} values of {name} are not finite numbers")


def write_weights(path: Path, weights: Weights, card: Card, layout: Layout) -> None:
    """Writes a weights file under a temporary name, reads it back, compares, and renames it.

    Raises:
        VitError: the disk is full or the folder cannot be written; an earlier file is untouched.
        VerificationError: what was read back differs.
    """
    # The library writes the memory of a transposed view as it lies: only contiguous arrays are safe.
    contiguous = {name: _in_order(value) for name, value in weights.items()}
    metadata = {
        "format": "np" if layout == "jax" else "pt",
        "vit.layout": layout,
        **card.texts(),
    }
    if card.base is not None:
        metadata["vit.base"] = card.base.model_dump_json()
    with replacing(path, contiguous) as temporary:
        save_file(contiguous, temporary, metadata)
        _compare(temporary, contiguous, path)


@contextmanager
def replacing(path: Path, weights: Weights) -> Iterator[Path]:
    """Yields a temporary file that takes the place of `path` when the body has written the weights into it.

    Raises:
        VitError: the disk is full or the folder cannot be written; an earlier file is untouched.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            _flush(temporary)
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        needed = sum(value.nbytes for value in weights.values())
        raise VitError(f"cannot write {path} ({needed / 1e6:.1f} MB): {_reason(error)}") from error


def _bfloat16(header: Header, name: str) -> NDArray[np.float32]:
    """Returns bfloat16 numbers, which NumPy has not: they are the first half of a float32's bits."""
    shape, (_, start) = header.shapes[name], header.stored[name]
    with header.path.open("rb") as file:
        file.seek(start)
        halves = np.frombuffer(file.read(2 * math.prod(shape)), "<u2")
    return (halves.astype(np.uint32) << 16).view(np.float32).reshape(shape)


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="numpy")
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"cannot read weights from {path}: {_reason(error)}") from error


def _compare(written: Path, weights: Weights, path: Path) -> None:
    with safe_open(written, framework="numpy") as file:
        names = set(file.keys())
        for name, value in weights.items():
            if name not in names or file.get_tensor(name).tobytes() != value.tobytes():
                raise VerificationError(
                    f"{path}: {name} came back from the disk changed; the disk may be failing"
                )


def _in_order(value: NDArray[Any]) -> NDArray[Any]:
    """Returns the array row by row in the machine's byte order (ascontiguousarray adds an axis to 0-d)."""
    return np.asarray(value, dtype=value.dtype.newbyteorder("="), order="C")


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
