"""Executes an augmentation plan on the device, inside the compiled step. `vitcli_torch/augment.py` is its twin.

Images are (B, S, S, C) until the last line; `_edit` is for ONE image, `prepare` maps it over the batch.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array

from vitcli.core.pixels import SAMPLE_BITS, Op, middle
from vitcli.core.recipe import AugmentSpec, Recipe
from vitcli_jax import pixels

# What is done to whole levels between the flips and the normalisation.
_EDITS = ("policy_op", "color", "gray", "blur", "affine")


def prepare(images: Array, plan: Mapping[str, Array], recipe: Recipe, dtype: jnp.dtype) -> Array:
    """Returns model inputs (B, C, S, S) of stored images uint8 (B, S0, S0, C).

    Without a box, the middle is cut out. Pixels are scaled to 0-1, then normalised by mean and std.
    """
    x, bits = _cut(images, plan, recipe)
    if any(name in plan for name in _EDITS):
        x, bits = pixels.rounded(x, bits) if bits else x.astype(jnp.int32), 0
        x = jax.vmap(lambda image, own: _edit(image, own, recipe.augment))(x, dict(plan))
    mean, std = (jnp.asarray(values, dtype) for values in (recipe.data.mean, recipe.data.std))
    x = (x.astype(dtype) / (255 << bits) - mean) / std
    if "erase" in plan:
        x = jnp.where(_inside(plan["erase"], x.shape[1])[..., None], 0, x)
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


def _cut(images: Array, plan: Mapping[str, Array], recipe: Recipe) -> tuple[Array, int]:
    """Returns what is cut out of the images, flipped, and the number of its bits after the point."""
    side, clamp, bits = recipe.model.image_size, recipe.augment.crop == "resized", 0
    if "box" in plan:
        bits = SAMPLE_BITS
        x = jax.vmap(lambda image, box: pixels.crop(image, box, side, clamp))(images, plan["box"])
    else:
        x = _middle(images, side)
    if "flip" in plan:
        x = jnp.where(plan["flip"][:, None, None, None] > 0, x[:, :, ::-1], x)
    if "vertical_flip" in plan:
        x = jnp.where(plan["vertical_flip"][:, None, None, None] > 0, x[:, ::-1], x)
    return x, bits


def _middle(x: Array, side: int) -> Array:
    top, left = middle(x.shape[1], side), middle(x.shape[2], side)
    return x[:, top : top + side, left : left + side]


def _edit(x: Array, plan: Mapping[str, Array], augment: AugmentSpec) -> Array:
    """Returns the levels int32 (S, S, C) of an image after all that is done to whole levels, in order."""
    if "policy_op" in plan:
        x = _policy(x, plan, augment)
    if "color" in plan:
        x = _colors(x, plan["color"], augment)
    if "gray" in plan:
        x = jnp.where(plan["gray"] > 0, pixels.gray(x), x)
    if "blur" in plan:
        x = pixels.blur(x, plan["blur"])
    if "affine" in plan:
        x = pixels.affine(x, plan["affine"], augment.border)
    return x


def _policy(x: Array, plan: Mapping[str, Array], augment: AugmentSpec) -> Array:
    for slot in range(plan["policy_op"].shape[-1]):
        op, amount = plan["policy_op"][slot], plan["policy_amount"][slot]
        if augment.policy == "three":
            x = jnp.where(op == Op.GRAYSCALE, pixels.gray(x), x)
            x = jnp.where(op == Op.SOLARIZE, pixels.solarize(x, amount), x)
            x = pixels.blur(x, plan["policy_kernel"][slot])
        else:
            x = pixels.affine(x, plan["policy_matrix"][slot], augment.border)
            x = pixels.operate(x, op, amount)
    return x


def _colors(x: Array, color: Array, augment: AugmentSpec) -> Array:
    if augment.color == "linear":
        return pixels.linear(x, color[0], color[1])
    if augment.brightness:
        x = pixels.blend(0, x, color[0])
    if augment.contrast:
        x = pixels.blend(pixels.average(x), x, color[1])
    if augment.saturation:
        x = pixels.blend(pixels.gray(x), x, color[2])
    if augment.hue and x.shape[-1] == 3:
        x = pixels.hue(x, color[3])
    if augment.sharpness:
        x = pixels.blend(pixels.smooth(x), x, color[4])
    return x


def _inside(box: Array, side: int) -> Array:
    """Returns (B, S, S): whether a pixel lies in the box (top, left, bottom, right)."""
    row, column = jnp.mgrid[:side, :side]
    top, left, bottom, right = (edge[:, None, None] for edge in box.T)
    inside: Array = (row >= top) & (row < bottom) & (column >= left) & (column < right)
    return inside


def _mix(x: Array, plan: Mapping[str, Array]) -> Array:
    """Returns each image (B, S, S, C) blended with its partner, whose pixels stand alone in the pasted box."""
    inside = _inside(plan["paste"], x.shape[1])
    own = jnp.where(inside, 0, plan["blend"][:, None, None]).astype(x.dtype)[..., None]
    return own * x + (1 - own) * x[plan["partner"]]
