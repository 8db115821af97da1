"""PyTorch's own files: pickled state dicts, read without running any code that they may hold."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from vitcli.core.archive import check_unpacked, members
from vitcli.core.errors import VitError, WeightsError, reason

if TYPE_CHECKING:
    from vitcli.core.backend import Arrays
    from vitcli.core.reporter import Reporter

# Where training scripts put the state dict when they save more than it; averaged weights, which are the better
# ones, before those of the last step, as timm chooses.
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model")
_DEEPEST = 8  # a damaged one may hold itself
_NARROW = (torch.float16, torch.bfloat16)
_WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)


def read_state_dict(path: Path, reporter: Reporter) -> dict[str, NDArray[Any]]:
    """Returns the tensors of a `.pth` file by name; float16 and bfloat16 become float32, which holds them exactly.

    Whole numbers are returned as they are; who needs them to be weights refuses them. `reporter` is told which part
    of a training checkpoint was taken, and what was narrower.

    Raises:
        WeightsError: it is damaged, or holds more than tensors.
    """
    check_unpacked(path, sum(members(path).values()))
    try:
        # Checkpoints of training scripts hold their options in this class, which is a bag of values.
        with torch.serialization.safe_globals([argparse.Namespace]), path.open("rb") as file:
            # Not the path: PyTorch would go by its suffix.
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle may raise anything
        raise _unread(path, error) from error
    content = _contained(path, content, reporter)
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path} holds no state dict (a map of name to tensor)")
    sizes = [value.numel() * value.element_size() for value in content.values() if torch.is_tensor(value)]
    check_unpacked(path, 2 * sum(sizes))  # views of one storage may be of any size; narrow ones become wide
    arrays = {str(name): _array(path, str(name), value) for name, value in content.items()}
    kinds = {str(value.dtype).removeprefix("torch.") for value in content.values() if value.dtype in _NARROW}
    if kinds:
        reporter.note(
            f"{path}: {' and '.join(sorted(kinds))} numbers become float32, which holds them exactly"
        )
    return arrays


def write_state_dict(path: Path, weights: Arrays) -> None:
    """Writes tensors as a state dict.

    Raises:
        VitError: the file cannot be written.
    """
    try:
        torch.save({name: torch.from_numpy(np.array(value)) for name, value in weights.items()}, path)
    except (OSError, RuntimeError) as error:
        raise VitError(f"cannot write {path}: {reason(error)}") from error


def _contained(path: Path, content: object, reporter: Reporter) -> object:
    """Returns the state dict inside what a training script saved; they may be nested."""
    for _ in range(_DEEPEST):
        if not isinstance(content, Mapping):
            break
        inner = [key for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        if not inner:
            break
        others = f"; it holds {', '.join(inner[1:])} too" if inner[1:] else ""
        reporter.note(f"{path}: the tensors under '{inner[0]}' are taken{others}")
        content = content[inner[0]]
    return content


def _unread(path: Path, error: Exception) -> WeightsError:
    """Returns why PyTorch does not load a file."""
    if _is_program(path):
        return WeightsError(
            f"{path} is a TorchScript archive, a program with its weights, as OpenAI publishes CLIP; where you trust "
            f"it, save its tensors: torch.save(torch.jit.load('{path.name}').state_dict(), 'weights.pth')"
        )
    if isinstance(error, pickle.UnpicklingError):
        return WeightsError(
            f"{path} holds Python objects, not tensors alone, and loading them could run code; save the state dict: "
            f"torch.save(model.state_dict(), '{path.name}')"
        )
    # An offset beyond the end is to the system an invalid argument; an archive's list of members is its last part.
    cut = isinstance(error, OSError) or "zip archive" in str(error)
    why = "cut short or damaged" if cut else reason(error)
    return WeightsError(f"{path} is not a whole PyTorch file: {why}")


def _is_program(path: Path) -> bool:
    return any(name.endswith("/constants.pkl") for name in members(path))


def _array(path: Path, name: str, value: object) -> NDArray[Any]:
    if not isinstance(value, torch.Tensor) or value.device.type != "cpu":
        kind = type(value).__name__ if not isinstance(value, torch.Tensor) else "tensor without values"
        raise WeightsError(f"{path}: {name} is a {kind}, not a tensor")
    known = value.dtype in (torch.float32, torch.float64, *_NARROW) or value.dtype in _WHOLE
    if not known or value.layout != torch.strided:
        raise WeightsError(f"{path}: {name} holds {value.dtype}, not numbers that vit reads")
    wide = value.float() if value.dtype in _NARROW else value
    return wide.detach().contiguous().numpy()
