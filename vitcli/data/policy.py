"""Policies: one random operation after another, whose strengths come from a published space.

TrivialAugment Wide (Mueller & Hutter 2021, arXiv:2103.10158) draws one operation and its strength; RandAugment
(Cubuk et al. 2019, arXiv:1909.13719) several of one given strength. Operations, strengths and signs are those of
torchvision's `TrivialAugmentWide` and `RandAugment` with 31 strengths (but for one translation, where float32
makes 15 pixels of 16 there). 3-Augment (Touvron et al. 2022, arXiv:2204.07118) draws grayscale, solarize or blur.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitcli.core.pixels import Op
from vitcli.core.recipe import AugmentSpec
from vitcli.data import fixed
from vitcli.data.fixed import Whole
from vitcli.data.random import Reals

OPERATIONS = tuple(op for op in Op if op <= Op.EQUALIZE)
THREE = (Op.GRAYSCALE, Op.SOLARIZE, Op.BLUR)
# Numbers that one operation of a policy takes.
DRAWS = 3
_STRONGEST = 30
_THREE_THRESHOLD = 128
_THREE_SIGMA = (0.1, 2.0)
_ENHANCING = (Op.BRIGHTNESS, Op.SATURATION, Op.CONTRAST, Op.SHARPNESS)


@dataclass(frozen=True, kw_only=True)
class Space:
    """What the largest strength does: a slope, pixels, degrees, a change of a factor, bits that are lost."""

    shear: float
    translate: float
    degrees: float
    enhance: float
    bits: int


def space(policy: str, side: int) -> Space:
    """Returns the space of `trivial` or `rand` for images of `side` pixels."""
    if policy == "trivial":
        return Space(shear=0.99, translate=32.0, degrees=135.0, enhance=0.99, bits=6)
    return Space(shear=0.3, translate=150 / 331 * side, degrees=30.0, enhance=0.9, bits=4)


def slots(augment: AugmentSpec) -> int:
    """Returns how many operations an image goes through."""
    return augment.policy_ops if augment.policy == "rand" else 1


def draw_policy(augment: AugmentSpec, u: Reals, side: int) -> dict[str, NDArray[Any]]:
    """Returns the plan's arrays of a policy from uniform numbers (B, slots, 3)."""
    if augment.policy == "three":
        return _three(u)
    op = _chosen(OPERATIONS, u[..., 0])
    level = np.full(op.shape, augment.policy_magnitude, np.int32)
    if augment.policy == "trivial":
        level = np.floor(u[..., 1] * (_STRONGEST + 1)).astype(np.int32)
    sign = np.where(u[..., 2] < 0.5, -1, 1).astype(np.int32)
    chosen = space(augment.policy, side)
    maps = _maps(chosen, op.ravel(), level.ravel(), sign.ravel(), side)
    return {
        "policy_op": op,
        "policy_amount": _amounts(chosen, op, level, sign),
        "policy_matrix": fixed.matrices(maps).reshape(*op.shape, 2, 3),
    }


def _three(u: Reals) -> dict[str, NDArray[Any]]:
    op = _chosen(THREE, u[..., 0])
    low, high = _THREE_SIGMA
    kernel = fixed.kernels(
        (low + (high - low) * u[..., 1]).ravel(), (op == Op.BLUR).ravel(), fixed.radius(high)
    )
    return {
        "policy_op": op,
        "policy_amount": np.full(op.shape, _THREE_THRESHOLD, np.int32),
        "policy_kernel": kernel.reshape(*op.shape, -1),
    }


def _chosen(ops: tuple[Op, ...], u: Reals) -> Whole:
    chosen: Whole = np.array(ops, np.int32)[np.floor(u * len(ops)).astype(np.int32)]
    return chosen


def _amounts(space: Space, op: Whole, level: Whole, sign: Whole) -> Whole:
    """Returns what an operation takes: a factor in 1/256, the bits that stay, or the first level inverted."""
    factor = fixed.factors(1 + sign * level / _STRONGEST * space.enhance)
    bits = 8 - np.rint(level * space.bits / _STRONGEST).astype(np.int32)
    threshold = -(-255 * (_STRONGEST - level) // _STRONGEST)
    cases = [np.isin(op, _ENHANCING), op == Op.POSTERIZE, op == Op.SOLARIZE]
    return np.select(cases, [factor, bits, threshold], 0).astype(np.int32)


def _maps(space: Space, op: Whole, level: Whole, sign: Whole, side: int) -> Reals:
    """Returns (n, 2, 3), the identity where an operation moves nothing."""
    part = sign * level / _STRONGEST
    # torchvision translates by whole pixels, and shears about the upper left corner of the first pixel.
    pixels = sign * np.floor(level * space.translate / _STRONGEST)
    shears = np.stack([op == Op.SHEAR_X, op == Op.SHEAR_Y], axis=-1)
    moves = np.stack([op == Op.TRANSLATE_Y, op == Op.TRANSLATE_X], axis=-1)
    return fixed.maps(
        angle=np.deg2rad(part * space.degrees) * (op == Op.ROTATE),
        slope=(part * space.shear)[:, None] * shears,
        scale=np.ones(len(op)),
        shift=pixels[:, None] * moves,
        about=np.where(op == Op.ROTATE, (side - 1) / 2, -0.5),
    )
