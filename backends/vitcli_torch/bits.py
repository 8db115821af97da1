"""The random bits of `vitcli.core.bits` on the device.

PyTorch multiplies int32 modulo 2**32, as wanted, but shifts it arithmetically and compares it as signed:
`_shift` and the upper 24 bits of a draw make up for both.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from vitcli.core.bits import MULTIPLIER_1, MULTIPLIER_2, RATE_BITS, threshold


class Noise(NamedTuple):
    """The streams of a batch at one step, and whether masks come from the shared bits or from PyTorch's own."""

    a: Tensor  # int32 (B,)
    b: Tensor  # int32 (B,)
    native: bool = False


def signed(word: int) -> int:
    """Returns the int32 that has the bits of an unsigned word."""
    word &= 0xFFFFFFFF
    return word - 2**32 if word >= 2**31 else word


def mix(x: Tensor) -> Tensor:
    """Returns `vitcli.core.bits.mix` of each int32."""
    x = (x ^ _shift(x, 16)) * signed(MULTIPLIER_1)
    x = (x ^ _shift(x, 15)) * signed(MULTIPLIER_2)
    return x ^ _shift(x, 16)


def absorb(noise: Noise, word: Tensor | int) -> Noise:
    """Returns the stream `word` inside each stream."""
    a = mix(noise.a ^ (signed(word) if isinstance(word, int) else word))
    return noise._replace(a=a, b=mix(noise.b + a))


def draw(noise: Noise, count: int) -> Tensor:
    """Returns (B, count): the first words of each stream."""
    k = torch.arange(count, dtype=torch.int32, device=noise.a.device)
    return mix(mix(noise.a[:, None] ^ k) + noise.b[:, None])


def dropout(x: Tensor, rate: float, noise: Noise | None, site: int) -> Tensor:
    """Returns x with values zeroed with probability `rate` and the others divided by 1 - rate."""
    return x if noise is None or not rate else _drop(x, rate, absorb(noise, site), x.shape)


def drop_path(x: Tensor, rate: float, noise: Noise | None, site: int) -> Tensor:
    """Returns x, or zeros with probability `rate` (Huang et al. 2016, arXiv:1603.09382), rescaled alike."""
    shape = x.shape[:1] + (1,) * (x.ndim - 1)
    return x if noise is None or not rate else _drop(x, rate, absorb(noise, site), shape)


def _drop(x: Tensor, rate: float, noise: Noise, shape: tuple[int, ...]) -> Tensor:
    if noise.native:
        return x * functional.dropout(x.new_ones(shape), rate)
    keep = (_shift(draw(noise, math.prod(shape[1:])), 32 - RATE_BITS) >= threshold(rate)).reshape(shape)
    return torch.where(keep, x / (1 - rate), 0.0)


def _shift(x: Tensor, places: int) -> Tensor:
    """Shifts to the right, filling with zeros."""
    return (x >> places) & ((1 << (32 - places)) - 1)
