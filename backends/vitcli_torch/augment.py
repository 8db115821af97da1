"""Executes an augmentation plan on the device. `vitcli_jax/augment.py` is its twin.

Images are (B, S, S, C) until the last line.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from vitcli.core.recipe import Recipe
from vitcli_torch.constants import constant


def prepare(images: Tensor, plan: Mapping[str, Tensor], recipe: Recipe, dtype: torch.dtype) -> Tensor:
    """Returns model inputs (B, C, S, S) of stored images uint8 (B, S0, S0, C).

    Without a box, the middle is cut out. Pixels are scaled to 0-1, then normalised by mean and std.
    """
    side, clamp = recipe.model.image_size, recipe.augment.crop == "resized"
    x = images.to(dtype)
    x = _crop(x, plan["box"].to(dtype), side, clamp) if "box" in plan else _middle(x, side)
    if "flip" in plan:
        x = torch.where(plan["flip"][:, None, None, None] > 0, x.flip(2), x)
    if "affine" in plan:
        x = _affine(x, plan["affine"].to(dtype))
    mean, std = (constant(values, dtype, x.device) for values in (recipe.data.mean, recipe.data.std))
    x = (x / 255 - mean) / std
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


def _middle(x: Tensor, side: int) -> Tensor:
    top, left = (x.shape[1] - side) // 2, (x.shape[2] - side) // 2
    return x[:, top : top + side, left : left + side]


def _crop(x: Tensor, box: Tensor, side: int, clamp: bool) -> Tensor:
    """Returns the boxes (top, left, height, width) of images, resized bilinearly to `side` pixels."""
    rows = _interpolation(box[:, 0], box[:, 2], x.shape[1], side, clamp)
    columns = _interpolation(box[:, 1], box[:, 3], x.shape[2], side, clamp)
    return torch.einsum("byh,bhwc,bxw->byxc", rows, x, columns)


def _interpolation(start: Tensor, length: Tensor, stored: int, side: int, clamp: bool) -> Tensor:
    """Returns weights (B, side, stored): tent functions about the source of each output pixel's middle.

    With `clamp` nothing outside the box is read; without it, what lies outside the image is black.
    """
    start, length = start[:, None], length[:, None]
    at = start + (torch.arange(side, device=start.device) + 0.5) * (length / side) - 0.5
    if clamp:
        at = torch.clamp(at, start, start + length - 1)
    return torch.clamp(1 - (at[..., None] - torch.arange(stored, device=start.device)).abs(), min=0)


def _affine(x: Tensor, matrix: Tensor) -> Tensor:
    """Returns images seen through `matrix` (B, 2, 3): output (row, column, 1) -> source; black outside."""
    B, side = x.shape[:2]
    line = torch.arange(side, dtype=x.dtype, device=x.device)
    row, column = line[:, None], line[None, :]
    source = (
        matrix[:, :, 0, None, None] * row + matrix[:, :, 1, None, None] * column + matrix[:, :, 2, None, None]
    )
    low = source.floor()
    part, corner = source - low, low.long()  # (B, 2, S, S)
    pixels = x.reshape(B, side * side, -1)

    def tap(down: int, right: int) -> Tensor:
        at = corner + torch.tensor([down, right], device=x.device)[:, None, None]
        inside = ((at >= 0) & (at < side)).all(dim=1)
        near = at.clamp(0, side - 1)
        weight = (part[:, 0] if down else 1 - part[:, 0]) * (part[:, 1] if right else 1 - part[:, 1])
        index = (near[:, 0] * side + near[:, 1]).reshape(B, -1, 1).expand(-1, -1, pixels.shape[-1])
        return pixels.gather(1, index).reshape(x.shape) * torch.where(inside, weight, 0.0)[..., None]

    return tap(0, 0) + tap(0, 1) + tap(1, 0) + tap(1, 1)


def _mix(x: Tensor, plan: Mapping[str, Tensor]) -> Tensor:
    """Returns each image (B, S, S, C) blended with its partner, whose pixels stand alone in the pasted box."""
    row = torch.arange(x.shape[1], device=x.device)[:, None]
    column = torch.arange(x.shape[2], device=x.device)[None, :]
    top, left, bottom, right = (edge[:, None, None] for edge in plan["paste"].T)
    inside = (row >= top) & (row < bottom) & (column >= left) & (column < right)
    own = torch.where(inside, 0.0, plan["blend"][:, None, None]).to(x.dtype)[..., None]
    return own * x + (1 - own) * x[plan["partner"]]
