"""Weights files of every kind: safetensors, NumPy archives, or state dicts that PyTorch's engine reads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

from vitcli.core import registry
from vitcli.core.backend import StateDicts
from vitcli.core.errors import BackendError
from vitcli.weights.file import Weights, read_weights, write_weights
from vitcli.weights.header import Card, Header, Layout, read_header
from vitcli.weights.npz import is_npz, read_npz, write_npz

# The suffixes under which weights are written; a file that is read is known by its content.
SUFFIXES = (".safetensors", ".pth", ".pt", ".npz")
# A zip archive, and the pickle that PyTorch wrote before 1.6; both would be safetensors headers of over 60 MB.
_PICKLES = (b"PK\x03\x04", b"\x80\x02\x8a\x0a")


def open_tensors(path: Path) -> tuple[Header, Callable[[], Weights]]:
    """Returns the names and shapes of a weights file, and a function that reads its values.

    Raises:
        WeightsError: it is missing or damaged.
        BackendError: it is a PyTorch file and PyTorch is not installed.
    """
    if is_npz(path):
        weights = read_npz(path)
    elif _is_pickle(path):
        weights = _torch(path).read_state_dict(path)
    else:
        return read_header(path), partial(read_weights, path)
    shapes = {name: value.shape for name, value in weights.items()}
    return Header(path=path, shapes=shapes, metadata={}), lambda: weights


def write_tensors(path: Path, weights: Weights, card: Card, layout: Layout) -> None:
    """Writes a weights file; its suffix says which kind. State dicts and archives hold tensors alone, and no card.

    Raises:
        VitError: the file cannot be written.
        BackendError: it is to be a PyTorch file and PyTorch is not installed.
    """
    if path.suffix == ".safetensors":
        write_weights(path, weights, card, layout)
    elif path.suffix == ".npz":
        write_npz(path, weights, linen=layout == "big_vision")
    else:
        _torch(path).write_state_dict(path, weights)


def _is_pickle(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) in _PICKLES
    except OSError:
        return False  # told better by who reads it


def _torch(path: Path) -> StateDicts:
    if not registry.installed("torch"):
        raise BackendError(
            f"{path} is a PyTorch file, which PyTorch must read; run: pip install 'vitcli[torch]'"
        )
    return cast(StateDicts, registry.load("torch"))
