"""Augmentation plans: what is done to each image, as small arrays drawn on the host.

A plan is a function of (seed, epoch, image), and for mixing of (seed, step, position in the batch): it does
not depend on the order of decoding, on workers or on the engine. `augment.py` of each backend executes it on
the device. Its arrays, all int32 unless said otherwise (`vitcli.core.pixels` has the bits after the point):

    box            (B, 4)        top, left, height, width of what is cut out, in pixels of the stored image
    flip           (B,)          1 where left and right are exchanged
    vertical_flip  (B,)          1 where top and bottom are exchanged
    policy_op      (B, n)        `Op` of each of n operations, one after another
    policy_amount  (B, n)        its factor, bits or threshold
    policy_matrix  (B, n, 2, 3)  its affine map; the identity where it moves nothing
    policy_kernel  (B, n, taps)  its blur; all in the middle where it blurs nothing
    color          (B, 5)        factors of brightness, contrast and saturation, hue, factor of sharpness;
                   (B, 2)        for color="linear": factor, and what is added, as a part of 255
    gray           (B,)          1 where colors are taken away
    blur           (B, taps)     weights along one axis
    affine         (B, 2, 3)     output (row, column, 1) -> source (row, column), in pixels of the cut image
    erase          (B, 4)        top, left, bottom, right of the box that is set to the mean color
    partner        (B,)          position in the batch of the image that is mixed in
    blend          (B,)          float32, weight of the image's own pixels outside the pasted box
    paste          (B, 4)        float32, top, left, bottom, right of the box in which the partner's pixels stand
    share          (B,)          float32, weight of the image's own label
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitcli.core.bits import Purpose, stream
from vitcli.core.recipe import AugmentSpec
from vitcli.data import fixed
from vitcli.data.fixed import Whole
from vitcli.data.policy import DRAWS, draw_policy, slots
from vitcli.data.random import Reals, beta, bits, permutation, sequence, uniform

Plan = dict[str, NDArray[Any]]
_ATTEMPTS = 10
# Of the area and of the ratio of sides of an erased box (Zhong et al. 2017; torchvision's RandomErasing).
_ERASE_SCALE, _ERASE_RATIO = (0.02, 0.33), (0.3, 3.3)


def draw_plan(
    augment: AugmentSpec, *, seed: int, epoch: int, index: NDArray[Any], sizes: NDArray[np.int64], side: int
) -> Plan:
    """Returns what is done to each image by itself.

    Args:
        augment: ranges and probabilities.
        seed: of the run.
        epoch: from 0.
        index: (B,) numbers of the samples: positions in the training set, and beyond it for further copies.
        sizes: (B, 2) height and width of the stored images.
        side: of the model's input, in pixels.
    """

    def draw(purpose: Purpose, draws: int) -> Reals:
        return uniform(bits(seed, purpose, epoch, index, draws))

    plan: Plan = {}
    if augment.crop == "resized":
        plan["box"] = _resized_boxes(augment, draw(Purpose.CROP, 4 * _ATTEMPTS), sizes)
    elif augment.crop == "padded":
        plan["box"] = _padded_boxes(augment.crop_padding, draw(Purpose.CROP, 2), sizes, side)
    if augment.flip:
        plan["flip"] = draw(Purpose.FLIP, 1)[:, 0] < augment.flip
    if augment.vertical_flip:
        plan["vertical_flip"] = draw(Purpose.VERTICAL_FLIP, 1)[:, 0] < augment.vertical_flip
    if augment.policy != "none":
        u = draw(Purpose.POLICY, DRAWS * slots(augment))
        plan |= draw_policy(augment, u.reshape(len(u), -1, DRAWS), side)
    if augment.colors:
        u = draw(Purpose.COLOR, 6)
        plan["color"] = _linear_colors(augment, u) if augment.color == "linear" else _colors(augment, u)
    if augment.grayscale:
        plan["gray"] = draw(Purpose.GRAY, 1)[:, 0] < augment.grayscale
    if augment.blur:
        plan["blur"] = _blur(augment, draw(Purpose.BLUR, 2))
    if augment.affine:
        plan["affine"] = fixed.matrices(_affine(augment, draw(Purpose.AFFINE, 7), side))
    if augment.erase:
        plan["erase"] = _erased_boxes(augment.erase, draw(Purpose.ERASE, 1 + 4 * _ATTEMPTS), side)
    return {name: value.astype(np.int32) for name, value in plan.items()}


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


def _colors(augment: AugmentSpec, u: Reals) -> Whole:
    """Returns (B, 5) as torchvision's ColorJitter draws them; neutral where the image keeps its colors."""
    width = np.array(
        [augment.brightness, augment.contrast, augment.saturation, 0.0, augment.sharpness], np.float64
    )
    low = np.maximum(1 - width, 0)
    found = fixed.factors(low + (1 + width - low) * u[:, :5])
    found[:, 3] = fixed.hues(augment.hue * (2 * u[:, 3] - 1))
    neutral = fixed.factors(np.array([1.0, 1.0, 1.0, 0.0, 1.0]))
    return np.where(u[:, 5:] < augment.color_probability, found, neutral)


def _linear_colors(augment: AugmentSpec, u: Reals) -> Whole:
    """Returns (B, 2), a factor about 1 and what is added about 0; neutral where the image keeps its colors."""
    width = np.array([augment.contrast, augment.brightness])
    found = np.array([1.0, 0.0]) + width * (2 * u[:, 1::-1] - 1)
    return fixed.factors(np.where(u[:, 5:] < augment.color_probability, found, [1.0, 0.0]))


def _blur(augment: AugmentSpec, u: Reals) -> Whole:
    low, high = augment.blur_sigma
    return fixed.kernels(low + (high - low) * u[:, 1], u[:, 0] < augment.blur, fixed.radius(high))


def _affine(augment: AugmentSpec, u: Reals, side: int) -> Reals:
    """Returns maps from output to source; the identity for images that stay as they are."""
    signed = np.where(u[:, 6:] < augment.affine_probability, 2 * u[:, :6] - 1, 0.0)
    return fixed.maps(
        angle=np.deg2rad(augment.rotate * signed[:, 0]),
        slope=np.tan(np.deg2rad(augment.shear * signed[:, 4:])),
        scale=1 + augment.scale * signed[:, 1],
        shift=augment.shift * side * signed[:, 2:4],
        about=np.full(len(u), (side - 1) / 2),
    )


def _erased_boxes(chance: float, u: Reals, side: int) -> Reals:
    """Returns corners of boxes as torchvision's RandomErasing draws them; empty where nothing is erased.

    Of ten attempts (area uniform, ratio log-uniform) the first that is smaller than the image in both directions.
    """
    area, ratio, down, right = u[:, 1:].reshape(len(u), _ATTEMPTS, 4).transpose(2, 0, 1)
    low, high = _ERASE_SCALE
    area = side**2 * (low + (high - low) * area)
    log_low, log_high = np.log(_ERASE_RATIO)
    ratio = np.exp(log_low + (log_high - log_low) * ratio)
    h, w = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
    fits = (h < side) & (w < side)
    top, left = np.floor(down * (side - h + 1)), np.floor(right * (side - w + 1))
    first = np.argmax(fits, axis=1)
    chosen: Reals = np.stack([top, left, top + h, left + w], axis=-1)[np.arange(len(u)), first]
    return np.where((fits.any(axis=1) & (u[:, 0] < chance))[:, None], chosen, 0.0)


def _pasted_boxes(share: Reals, u: Reals, side: int) -> Reals:
    """Returns boxes of area (1 - share) about a uniform middle, cut at the image's edge, in whole pixels."""
    half = side * np.sqrt(1 - share)[:, None] / 2
    middle = side * u
    return np.concatenate(
        [np.rint(np.maximum(middle - half, 0)), np.rint(np.minimum(middle + half, side))], axis=1
    )
