"""Position tables and patch kernels at another size, by matrices that resize one axis of a square.

Every method is linear and separable, so it is one matrix (new, old), applied to rows and to columns. What other
libraries do differs in the filter, in its width, and in where they put the outermost samples:

timm               bicubic, antialiased; samples are middles of cells (`resample_abs_pos_embed`)
huggingface        bicubic, not antialiased (`ViTEmbeddings.interpolate_pos_encoding`, that of Dinov2 too)
torchvision        bicubic, the outermost samples stay where they are (`interpolate_embeddings`)
google, big_vision bilinear, the outermost samples stay where they are (`scipy.ndimage.zoom`, order 1)
dinov2             bicubic, not antialiased, by a factor of (new + 0.1) / old (facebookresearch/dinov2)
dinov2-registers   as timm: with registers, that code antialiases and adds nothing
bilinear           bilinear, not antialiased; samples are middles of cells (timm's reader of Google's files)

Kernels are resampled as FlexiViT does (Beyer et al. 2023, arXiv:2212.08013, section 3.4): by the pseudo-inverse of
the matrix that would resize the patch, bicubic and antialiased as in timm, or bilinear as in big_vision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitcli.core.initial import Resample

Reals = NDArray[np.float64]


def _cubic(x: Reals, a: float) -> Reals:
    """Returns the kernel of cubic convolution with slope `a` at 1 (Keys 1981, equation 4)."""
    x = np.abs(x)
    inner = ((a + 2) * x - (a + 3)) * x * x + 1
    outer = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x < 1, inner, np.where(x < 2, outer, 0.0))


def _bicubic(x: Reals) -> Reals:
    return _cubic(x, -0.75)


def _smooth(x: Reals) -> Reals:
    return _cubic(x, -0.5)


def _triangle(x: Reals) -> Reals:
    triangle: Reals = np.maximum(0.0, 1 - np.abs(x))
    return triangle


@dataclass(frozen=True, kw_only=True)
class Method:
    """How one axis is resized.

    Attributes:
        kernel: the filter, zero from a distance of 2 on.
        antialias: whether the filter is as wide as a new cell where that is the wider one; what it has outside is
            left out, and the rest is scaled to a sum of 1. Otherwise the outermost value goes on outside.
        corners: whether the first and the last sample stay where they are, instead of the outer edges of their cells.
        offset: what is added to the new size where the scale is computed.
    """

    kernel: Callable[[Reals], Reals]
    antialias: bool = False
    corners: bool = False
    offset: float = 0.0

    def matrix(self, old: int, new: int) -> Reals:
        """Returns the matrix (new, old) that resizes an axis."""
        at = np.arange(new)
        middles = (at + 0.5) * (old / (new + self.offset)) - 0.5
        places = at * ((old - 1) / max(new - 1, 1)) if self.corners else middles
        if self.antialias:
            weights = self.kernel((np.arange(old) - places[:, None]) / max(old / new, 1.0))
            weights /= weights.sum(axis=1, keepdims=True)
            return weights
        near = np.floor(places).astype(int)[:, None] + np.arange(-1, 3)
        weights = self.kernel(near - places[:, None])
        matrix = np.zeros((new, old))
        np.add.at(matrix, (at[:, None], near.clip(0, old - 1)), weights)
        return matrix


ANTIALIASED = Method(kernel=_smooth, antialias=True)
LINEAR = Method(kernel=_triangle)
_ZOOM = Method(kernel=_triangle, corners=True)
POSITIONS: Mapping[Resample, Method] = {
    "timm": ANTIALIASED,
    "huggingface": Method(kernel=_bicubic),
    "torchvision": Method(kernel=_bicubic, corners=True),
    "google": _ZOOM,
    "big_vision": _ZOOM,
    "dinov2": Method(kernel=_bicubic, offset=0.1),
    "dinov2-registers": ANTIALIASED,
    "bilinear": LINEAR,
}
KERNELS: Mapping[Resample, Method] = dict.fromkeys(POSITIONS, ANTIALIASED) | {
    "google": LINEAR,
    "big_vision": LINEAR,
    "bilinear": LINEAR,
}


def resized_positions(table: NDArray[Any], prefix: int, grid: int, method: Method) -> NDArray[Any]:
    """Returns a position table (1, prefix + grid grid, D) from one of another grid; the prefix is kept."""
    kept, patches = table[:, :prefix], table[0, prefix:].astype(np.float64)
    old = math.isqrt(len(patches))
    matrix = method.matrix(old, grid)
    square = patches.reshape(old, old, -1)
    resized = np.einsum("ih,jw,hwd->ijd", matrix, matrix, square, optimize=True)
    return np.concatenate([kept, resized.reshape(1, grid * grid, -1).astype(table.dtype)], axis=1)


def resized_kernel(kernel: NDArray[Any], side: int, method: Method) -> NDArray[Any]:
    """Returns a patch kernel (D, C, P, P) for patches of another side.

    A patch that is resized to the new side gives the new kernel the same token as the old one gave the patch, where
    the new side is the larger one; otherwise as nearly so as can be, in the mean square over white noise.
    """
    inverse = np.linalg.pinv(
        method.matrix(kernel.shape[-1], side)
    )  # of a product, the product of the inverses
    wide: Reals = np.einsum("ph,dcpq,qw->dchw", inverse, kernel.astype(np.float64), inverse, optimize=True)
    resized: NDArray[Any] = wide.astype(kernel.dtype)
    return resized
