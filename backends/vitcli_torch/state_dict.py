"""PyTorch's own files: pickled state dicts, read without running any code that they may hold."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from vitcli.core.errors import VitError, WeightsError, reason

if TYPE_CHECKING:
    from vitcli.core.backend import Arrays

# Where training scripts put the state dict when they save more than it.
_WRAPPERS = ("state_dict", "model_state_dict", "model")


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Returns the tensors of a `.pth` file by name; float16 and bfloat16 become float32, which holds them exactly.

    Raises:
        WeightsError: it is damaged, holds more than tensors, or values that are no finite floating-point numbers.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds Python objects, not tensors alone, and loading them could run code; save the state dict: "
            f"torch.save(model.state_dict(), '{path.name}')"
        ) from error
    except Exception as error:  # a damaged pickle may raise anything
        raise WeightsError(f"{path} is not a whole PyTorch file: {reason(error)}") from error
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path} holds no state dict (a map of name to tensor)")
    return {str(name): _array(path, str(name), value) for name, value in content.items()}


def write_state_dict(path: Path, weights: Arrays) -> None:
    """Writes tensors as a state dict.

    Raises:
        VitError: the file cannot be written.
    """
    try:
        torch.save({name: torch.from_numpy(np.array(value)) for name, value in weights.items()}, path)
    except (OSError, RuntimeError) as error:
        raise VitError(f"cannot write {path}: {reason(error)}") from error


def _array(path: Path, name: str, value: object) -> NDArray[Any]:
    if not isinstance(value, torch.Tensor):
        raise WeightsError(f"{path}: {name} is a {type(value).__name__}, not a tensor")
    if not value.is_floating_point():
        raise WeightsError(f"{path}: {name} holds {value.dtype}, not floating-point numbers")
    wide = value if value.dtype in (torch.float32, torch.float64) else value.float()
    bad = int((~torch.isfinite(wide)).sum())
    if bad:
        raise WeightsError(f"{path}: {bad} of {wide.numel()} values of {name} are not finite numbers")
    return wide.detach().contiguous().numpy()
