"""Real numbers of a plan as the integers that devices compute with: the one place where they are rounded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vitcli.core.pixels import FACTOR_BITS, HUE_TURN, KERNEL_BITS, MATRIX_BITS
from vitcli.data.random import Reals

Whole = NDArray[np.int32]


def factors(values: Reals) -> Whole:
    """Returns factors in 1/256."""
    return _rounded(values * 2**FACTOR_BITS)


def hues(turns: Reals) -> Whole:
    """Returns hues from 0 to below one turn, in 1/256 of a sextant."""
    return _rounded(turns * HUE_TURN) % HUE_TURN


def matrices(values: Reals) -> Whole:
    """Returns matrices with 16 bits after the point."""
    return _rounded(values * 2**MATRIX_BITS)


def maps(*, angle: Reals, slope: Reals, scale: Reals, shift: Reals, about: Reals) -> Reals:
    """Returns maps (n, 2, 3) from output (row, column, 1) to source (row, column).

    An image is sheared, turned and scaled about a point, then shifted; a map undoes that. The shear is
    that of torchvision's `affine`: first along x, then along y.

    Args:
        angle: (n,) radians, counter-clockwise.
        slope: (n, 2) tangents of the shear along x and along y.
        scale: (n,) above 1 enlarges.
        shift: (n, 2) pixels down and to the right.
        about: (n,) row and column of the point; pixel middles are whole numbers.
    """
    one, (x, y) = np.ones_like(angle), slope.T
    shear = _square(one, y, x, one + x * y)
    turn = _square(np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle))
    linear = np.einsum("nij,njk->nik", shear, turn) / scale[:, None, None]
    point = about[:, None]
    offset = point - np.einsum("nij,nj->ni", linear, point + shift)
    return np.concatenate([linear, offset[..., None]], axis=-1)


def kernels(sigma: Reals, blurred: NDArray[np.bool_], radius: int) -> Whole:
    """Returns Gaussian weights (n, 2 radius + 1) that sum to 2**14; where not blurred, all is in the middle."""
    at = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (at / sigma[:, None]) ** 2) * blurred[:, None]
    weights[:, radius] = 1.0
    found = _rounded(weights / weights.sum(axis=1, keepdims=True) * 2**KERNEL_BITS)
    found[:, radius] += 2**KERNEL_BITS - found.sum(axis=1, dtype=np.int32)
    return found


def radius(sigma: float) -> int:
    """Returns how many pixels a blur reaches to each side: three deviations, 99.7 % of its weight."""
    return int(np.ceil(3 * sigma))


def _rounded(values: Reals) -> Whole:
    return np.rint(values).astype(np.int32)


def _square(a: Reals, b: Reals, c: Reals, d: Reals) -> Reals:
    return np.stack([np.stack([a, b], -1), np.stack([c, d], -1)], axis=1)
