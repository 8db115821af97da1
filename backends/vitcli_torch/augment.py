"""Executes an augmentation plan on the device. `vitcli_jax/augment.py` is its twin.

Images are (B, S, S, C) until the last line.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from vitcli.core.pixels import SAMPLE_BITS, Op, middle
from vitcli.core.recipe import AugmentSpec, Recipe
from vitcli_torch import pixels
from vitcli_torch.constants import constant

# What is done to whole levels between the flips and the normalisation.
_EDITS = ("policy_op", "color", "gray", "blur", "affine")


def prepare(images: Tensor, plan: Mapping[str, Tensor], recipe: Recipe, dtype: torch.dtype) -> Tensor:
    """Returns model inputs (B, C, S, S) of stored images uint8 (B, S0, S0, C).

    Without a box, the middle is cut out. Pixels are scaled to 0-1, then normalised by mean and std.
    """
    x, bits = _cut(images, plan, recipe)
    if any(name in plan for name in _EDITS):
        x, bits = pixels.rounded(x, bits) if bits else x.int(), 0
        x = _edit(x, plan, recipe.augment)
    mean, std = (constant(values, dtype, x.device) for values in (recipe.data.mean, recipe.data.std))
    x = (x.to(dtype) / (255 << bits) - mean) / std
    if "erase" in plan:
        x = torch.where(_inside(plan["erase"], x.shape[1])[..., None], 0.0, x)
    if "partner" in plan:
        x = _mix(x, plan)
    return x.permute(0, 3, 1, 2)


def targets(labels: Tensor, plan: Mapping[str, Tensor], recipe: Recipe, dtype: torch.dtype) -> Tensor:
    """Returns the label distribution (B, classes): mixed as the images are, then smoothed."""
    y = functional.one_hot(labels.long(), recipe.model.num_classes).to(dtype)
    if "partner" in plan:
        share = plan["share"].to(dtype)[:, None]
        y = share * y + (1 - share) * y[plan["partner"]]
    smoothing = recipe.train.label_smoothing
    return (1 - smoothing) * y + smoothing / recipe.model.num_classes


def _cut(images: Tensor, plan: Mapping[str, Tensor], recipe: Recipe) -> tuple[Tensor, int]:
    """Returns what is cut out of the images, flipped, and the number of its bits after the point."""
    side, clamp, bits = recipe.model.image_size, recipe.augment.crop == "resized", 0
    if "box" in plan:
        bits = SAMPLE_BITS
        x = pixels.crop(images, plan["box"], side, clamp)
    else:
        x = _middle(images, side)
    if "flip" in plan:
        x = torch.where(plan["flip"][:, None, None, None] > 0, x.flip(2), x)
    if "vertical_flip" in plan:
        x = torch.where(plan["vertical_flip"][:, None, None, None] > 0, x.flip(1), x)
    return x, bits


def _middle(x: Tensor, side: int) -> Tensor:
    top, left = middle(x.shape[1], side), middle(x.shape[2], side)
    return x[:, top : top + side, left : left + side]


def _edit(x: Tensor, plan: Mapping[str, Tensor], augment: AugmentSpec) -> Tensor:
    """Returns the levels int32 (B, S, S, C) of images after all that is done to whole levels, in order."""
    if "policy_op" in plan:
        x = _policy(x, plan, augment)
    if "color" in plan:
        x = _colors(x, plan["color"], augment)
    if "gray" in plan:
        x = torch.where(plan["gray"][:, None, None, None] > 0, pixels.gray(x), x)
    if "blur" in plan:
        x = pixels.blur(x, plan["blur"])
    if "affine" in plan:
        x = pixels.affine(x, plan["affine"], augment.border)
    return x


def _policy(x: Tensor, plan: Mapping[str, Tensor], augment: AugmentSpec) -> Tensor:
    for slot in range(plan["policy_op"].shape[-1]):
        op, amount = (plan[name][:, slot, None, None, None] for name in ("policy_op", "policy_amount"))
        if augment.policy == "three":
            x = torch.where(op == Op.GRAYSCALE, pixels.gray(x), x)
            x = torch.where(op == Op.SOLARIZE, pixels.solarize(x, amount), x)
            x = pixels.blur(x, plan["policy_kernel"][:, slot])
        else:
            x = pixels.affine(x, plan["policy_matrix"][:, slot], augment.border)
            x = pixels.operate(x, op, amount)
    return x


def _colors(x: Tensor, color: Tensor, augment: AugmentSpec) -> Tensor:
    color = color.T[..., None, None, None]  # (5, B, 1, 1, 1)
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


def _inside(box: Tensor, side: int) -> Tensor:
    """Returns (B, S, S): whether a pixel lies in the box (top, left, bottom, right)."""
    line = torch.arange(side, device=box.device)
    row, column = line[:, None], line[None, :]
    top, left, bottom, right = (edge[:, None, None] for edge in box.T)
    inside: Tensor = (row >= top) & (row < bottom) & (column >= left) & (column < right)
    return inside


def _mix(x: Tensor, plan: Mapping[str, Tensor]) -> Tensor:
    """Returns each image (B, S, S, C) blended with its partner, whose pixels stand alone in the pasted box."""
    inside = _inside(plan["paste"], x.shape[1])
    own = torch.where(inside, 0.0, plan["blend"][:, None, None]).to(x.dtype)[..., None]
    return own * x + (1 - own) * x[plan["partner"]]
