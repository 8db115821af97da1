"""Numbers that a device needs at every step, copied there once."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor


@cache
def constant(values: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Returns nested tuples of numbers as a tensor; a copy from the host at each step would hold it up."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)
