"""Executes an augmentation plan on the device, inside the compiled step. `vitcli_torch/augment.py` is its twin.

The functions with a leading underscore are for ONE image (S, S, C); `prepare` maps them over the batch.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array

from vitcli.core.recipe import Recipe


def prepare(images: Array, plan: Mapping[str, Array], recipe: Recipe, dtype: jnp.dtype) -> Array:
    """Returns model inputs (B, C, S, S) of stored images uint8 (B, S0, S0, C).

    Without a box, the middle is cut out. Pixels are scaled to 0-1, then normalised by mean and std.
    """
    side, clamp = recipe.model.image_size, recipe.augment.crop == "resized"
    x = images.astype(dtype)
    if "box" in plan:
        x = jax.vmap(lambda image, box: _crop(image, box, side, clamp))(x, plan["box"].astype(dtype))
    else:
        x = _middle(x, side)
    if "flip" in plan:
        x = jnp.where(plan["flip"][:, None, None, None] > 0, x[:, :, ::-1], x)
    if "affine" in plan:
        x = jax.vmap(_affine)(x, plan["affine"].astype(dtype))
    mean, std = (jnp.asarray(values, dtype) for values in (recipe.data.mean, recipe.data.std))
    x = (x / 255 - mean) / std
    if "partner" in plan:
        x = _mix(x, plan)
    return x.transpose(0, 3, 1, 2)


def targets(labels: Array, plan: Mapping[str, Array], recipe: Recipe, dtype: jnp.dtype) -> Array:
    """Returns the label distribution (B, classes): mixed as the images are, then smoothed."""
    y = jax.nn.one_hot(labels, recipe.model.num_classes, dtype=dtype)
    if "partner" in plan:
        share = plan["share"].astype(dtype)[:, None]
        y = share * y + (1 - share) * y[plan["partner"]]
    smoothing = recipe.train.label_smoothing
    return (1 - smoothing) * y + smoothing / recipe.model.num_classes


def _middle(x: Array, side: int) -> Array:
    top, left = (x.shape[1] - side) // 2, (x.shape[2] - side) // 2
    return x[:, top : top + side, left : left + side]


def _crop(image: Array, box: Array, side: int, clamp: bool) -> Array:
    """Returns the box (top, left, height, width) of an image, resized bilinearly to `side` pixels."""
    rows = _interpolation(box[0], box[2], image.shape[0], side, clamp)
    columns = _interpolation(box[1], box[3], image.shape[1], side, clamp)
    return jnp.einsum("yh,hwc,xw->yxc", rows, image, columns, precision="highest")


def _interpolation(start: Array, length: Array, stored: int, side: int, clamp: bool) -> Array:
    """Returns weights (side, stored): tent functions about the source of each output pixel's middle.

    With `clamp` nothing outside the box is read; without it, what lies outside the image is black.
    """
    at = start + (jnp.arange(side) + 0.5) * (length / side) - 0.5
    if clamp:
        at = jnp.clip(at, start, start + length - 1)
    return jnp.maximum(1 - jnp.abs(at[:, None] - jnp.arange(stored)), 0)


def _affine(image: Array, matrix: Array) -> Array:
    """Returns the image seen through `matrix` (2, 3): output (row, column, 1) -> source; black outside."""
    side = image.shape[0]
    row, column = jnp.mgrid[:side, :side].astype(image.dtype)
    source = matrix[:, 0, None, None] * row + matrix[:, 1, None, None] * column + matrix[:, 2, None, None]
    low = jnp.floor(source)
    part, corner = source - low, low.astype(jnp.int32)
    pixels = image.reshape(side * side, -1)

    def tap(down: int, right: int) -> Array:
        at = corner + jnp.array([down, right])[:, None, None]
        inside = ((at >= 0) & (at < side)).all(axis=0)
        near = jnp.clip(at, 0, side - 1)
        weight = (part[0] if down else 1 - part[0]) * (part[1] if right else 1 - part[1])
        return pixels[near[0] * side + near[1]] * jnp.where(inside, weight, 0)[..., None]

    return tap(0, 0) + tap(0, 1) + tap(1, 0) + tap(1, 1)


def _mix(x: Array, plan: Mapping[str, Array]) -> Array:
    """Returns each image (B, S, S, C) blended with its partner, whose pixels stand alone in the pasted box."""
    row, column = jnp.mgrid[: x.shape[1], : x.shape[2]]
    top, left, bottom, right = (edge[:, None, None] for edge in plan["paste"].T)
    inside = (row >= top) & (row < bottom) & (column >= left) & (column < right)
    own = jnp.where(inside, 0, plan["blend"][:, None, None]).astype(x.dtype)[..., None]
    return own * x + (1 - own) * x[plan["partner"]]
