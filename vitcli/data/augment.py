"""Augmentation plans: what is done to each image, as small arrays drawn on the host.

A plan is a function of (seed, epoch, image), and for mixing of (seed, step, position in the batch): it does
not depend on the order of decoding, on workers or on the engine. `augment.py` of each backend executes it on
the device. Its arrays, all float32 unless said otherwise:

    box      (B, 4)     top, left, height, width of what is cut out, in pixels of the stored image
    flip     (B,)       1 where left and right are exchanged
    affine   (B, 2, 3)  output (row, column, 1) -> source (row, column), in pixels of the cut image
    partner  (B,)       int32, position in the batch of the image that is mixed in
    blend    (B,)       weight of the image's own pixels outside the pasted box
    paste    (B, 4)     top, left, bottom, right of the box in which the partner's pixels stand
    share    (B,)       weight of the image's own label
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitcli.core.bits import Purpose, stream
from vitcli.core.recipe import AugmentSpec
from vitcli.data.random import Reals, beta, bits, permutation, sequence, uniform

Plan = dict[str, NDArray[Any]]
_ATTEMPTS = 10


def draw_plan(
    augment: AugmentSpec, *, seed: int, epoch: int, index: NDArray[Any], sizes: NDArray[np.int64], side: int
) -> Plan:
    """Returns what is done to each image by itself.

    Args:
        augment: ranges and probabilities.
        seed: of the run.
        epoch: from 0.
        index: (B,) positions in the training set.
        sizes: (B, 2) height and width of the stored images.
        side: of the model's input, in pixels.
    """
    plan: Plan = {}
    if augment.crop == "resized":
        plan["box"] = _resized_boxes(
            augment, uniform(bits(seed, Purpose.CROP, epoch, index, 4 * _ATTEMPTS)), sizes
        )
    elif augment.crop == "padded":
        plan["box"] = _padded_boxes(
            augment.crop_padding, uniform(bits(seed, Purpose.CROP, epoch, index, 2)), sizes, side
        )
    if augment.flip:
        plan["flip"] = uniform(bits(seed, Purpose.FLIP, epoch, index, 1))[:, 0] < augment.flip
    if augment.affine:
        plan["affine"] = _affine(augment, uniform(bits(seed, Purpose.AFFINE, epoch, index, 4)), side)
    return {name: value.astype(np.float32) for name, value in plan.items()}


def draw_mixing(augment: AugmentSpec, *, seed: int, step: int, count: int, side: int) -> Plan:
    """Returns which images of a batch of `count` are mixed, and how.

    mixup (Zhang et al. 2018, arXiv:1710.09412) blends whole images; cutmix (Yun et al. 2019,
    arXiv:1905.04899) pastes a box. Each image has its own Beta value; with both on, a batch takes one of
    them with equal chance.
    """
    words = bits(seed, Purpose.MIX, step, np.arange(count), 36)
    coin = uniform(sequence(stream(seed, Purpose.MIX, step), 1))[0]
    pasting = bool(augment.cutmix) and (not augment.mixup or coin < 0.5)
    share = beta(augment.cutmix if pasting else augment.mixup, words[:, :34])
    paste = np.zeros((count, 4))
    if pasting:
        paste = _pasted_boxes(share, uniform(words[:, 34:]), side)
        share = 1 - (paste[:, 2] - paste[:, 0]) * (paste[:, 3] - paste[:, 1]) / side**2
    plan: Plan = {
        "blend": np.ones(count) if pasting else share,
        "paste": paste,
        "share": share,
    }
    plan = {name: value.astype(np.float32) for name, value in plan.items()}
    return {"partner": permutation(stream(seed, Purpose.PARTNER, step), count).astype(np.int32), **plan}


def _resized_boxes(augment: AugmentSpec, u: Reals, sizes: NDArray[np.int64]) -> Reals:
    """Returns integer boxes as torchvision's RandomResizedCrop draws them.

    Of ten attempts (area uniform, ratio log-uniform) the first that fits; otherwise the largest box in the
    middle whose ratio is allowed.
    """
    height, width = sizes[:, :1].astype(np.float64), sizes[:, 1:].astype(np.float64)
    u = u.reshape(len(u), _ATTEMPTS, 4)
    low, high = augment.crop_scale
    area = height * width * (low + (high - low) * u[..., 0])
    log_low, log_high = np.log(augment.crop_ratio)
    ratio = np.exp(log_low + (log_high - log_low) * u[..., 1])
    w, h = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    top, left = np.floor(u[..., 2] * (height - h + 1)), np.floor(u[..., 3] * (width - w + 1))
    first = np.argmax(fits, axis=1)
    chosen: Reals = np.stack([top, left, h, w], axis=-1)[np.arange(len(u)), first]
    return np.where(
        fits.any(axis=1)[:, None], chosen, _middle_boxes(height[:, 0], width[:, 0], augment.crop_ratio)
    )


def _middle_boxes(height: Reals, width: Reals, ratios: tuple[float, float]) -> Reals:
    ratio = np.clip(width / height, *ratios)
    w, h = np.minimum(width, np.rint(height * ratio)), np.minimum(height, np.rint(width / ratio))
    return np.stack([(height - h) // 2, (width - w) // 2, h, w], axis=-1)


def _padded_boxes(padding: int, u: Reals, sizes: NDArray[np.int64], side: int) -> Reals:
    """Returns squares of `side` pixels, anywhere in the image with `padding` pixels around it."""
    corners = np.floor(u * (sizes + 2 * padding - side + 1)) - padding
    return np.concatenate([corners, np.full((len(u), 2), float(side))], axis=1)


def _affine(augment: AugmentSpec, u: Reals, side: int) -> Reals:
    """Returns maps from output to source: rotation and scale about the middle, then a shift, undone."""
    signed = 2 * u - 1
    angle = np.deg2rad(augment.rotate * signed[:, 0])
    scale = 1 + augment.scale * signed[:, 1]
    shift = augment.shift * side * signed[:, 2:]
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    linear = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], axis=1)
    middle = (side - 1) / 2
    offset = middle - np.einsum("bij,bj->bi", linear, middle + shift)
    return np.concatenate([linear, offset[..., None]], axis=-1)


def _pasted_boxes(share: Reals, u: Reals, side: int) -> Reals:
    """Returns boxes of area (1 - share) about a uniform middle, cut at the image's edge, in whole pixels."""
    half = side * np.sqrt(1 - share)[:, None] / 2
    middle = side * u
    return np.concatenate(
        [np.rint(np.maximum(middle - half, 0)), np.rint(np.minimum(middle + half, side))], axis=1
    )
