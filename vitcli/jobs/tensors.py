"""Weights files of every kind: safetensors, NumPy archives, or state dicts that PyTorch's engine reads."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import cast

from vitcli.core import registry
from vitcli.core.backend import StateDicts
from vitcli.core.errors import BackendError, RequestError
from vitcli.core.reporter import Reporter, Silent
from vitcli.weights.current import with_current_names
from vitcli.weights.file import Weights, check_values, read_weights, write_weights
from vitcli.weights.header import Card, Header, Layout, read_header
from vitcli.weights.npz import is_npz, read_npz, write_npz

# The suffixes under which weights are written; a file that is read is known by its content.
SUFFIXES = (".safetensors", ".pth", ".pt", ".npz")
# A zip archive, and the pickle that PyTorch wrote before 1.6; both would be safetensors headers of over 60 MB.
_PICKLES = (b"PK\x03\x04", b"\x80\x02\x8a\x0a")
_NARROW = {"F16": "float16", "BF16": "bfloat16"}


def open_tensors(path: Path, reporter: Reporter | None = None) -> tuple[Header, Callable[[], Weights]]:
    """Returns the names and shapes of a weights file, and a function that reads its values.

    Names are those that its layout has today, without what wrappers put before them; tensors that logits do not
    depend on are not read. `reporter` is told of wrappers, and of numbers of half the width, which become float32.

    Raises:
        WeightsError: it is missing or damaged, or two of its names are one today.
        BackendError: it is a PyTorch file and PyTorch is not installed.
    """
    reporter = reporter or Silent()
    header, read = _raw(path, reporter)
    today, names = with_current_names(header, reporter)
    narrow = {
        _NARROW[kind] for old in names.values() if (kind := header.stored.get(old, ("",))[0]) in _NARROW
    }
    if narrow:
        reporter.note(
            f"{path}: {' and '.join(sorted(narrow))} numbers become float32, which holds them exactly"
        )

    def values() -> Weights:
        found = read(names.values())
        return {now: found[old] for now, old in names.items()}

    if header.stored:
        return today, values
    known = values()  # they are in memory: what is wrong with them is told before anything else
    return today, lambda: known


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


def check_writable(path: Path) -> None:
    """Checks that a file of this name can be written here.

    Raises:
        RequestError: the suffix says no kind of file.
        BackendError: it is to be a PyTorch file and PyTorch is not installed.
    """
    if path.suffix not in SUFFIXES:
        raise RequestError(
            f"{path} must end in one of {', '.join(SUFFIXES)}: what is written goes by its name"
        )
    if path.suffix in (".pth", ".pt"):
        _check_torch(path, "write")


def _raw(path: Path, reporter: Reporter) -> tuple[Header, Callable[[Collection[str]], Weights]]:
    """Returns a file as it is, and a function that reads values by name."""
    if is_npz(path):
        weights = read_npz(path, reporter)
    elif _is_pickle(path):
        weights = _torch(path).read_state_dict(path, reporter)
    else:
        return read_header(path), lambda names: read_weights(path, names)

    def read(names: Collection[str]) -> Weights:
        found = {name: weights[name] for name in names}
        check_values(path, found)
        return found

    shapes = {name: value.shape for name, value in weights.items()}
    return Header(path=path, shapes=shapes, metadata={}), read


def _is_pickle(path: Path) -> bool:
    if not path.is_file():  # a pipe would be waited for
        return False
    try:
        with path.open("rb") as file:
            return file.read(4) in _PICKLES
    except OSError:
        return False  # told better by who reads it


def _check_torch(path: Path, how: str) -> None:
    if not registry.installed("torch"):
        raise BackendError(
            f"{path} is a PyTorch file, which PyTorch must {how}; run: pip install 'vitcli[torch]'"
        )


def _torch(path: Path) -> StateDicts:
    _check_torch(path, "read")
    return cast(StateDicts, registry.load("torch"))
