"""Pixel operations of augmentation, for ONE image, exact on every device. `vitcli_torch/pixels.py` is its twin.

Images are int32 (S, S, C) with levels from 0 to 255; so are all other numbers (`vitcli.core.pixels` has the bits
after the point). Sides up to 2,048 keep every product within int32.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from vitcli.core.pixels import FACTOR_BITS, KERNEL_BITS, MATRIX_BITS, POSITION_BITS, SAMPLE_BITS, Op
from vitcli.core.recipe import Border

_ONE = 1 << FACTOR_BITS


def crop(image: Array, box: Array, side: int, clamp: bool) -> Array:
    """Returns the box (top, left, height, width) of an image, resized bilinearly to `side`, in 1/65536 level.

    With `clamp` nothing outside the box is read; without it, what lies outside the image is black.
    """

    def weights(start: Array, length: Array, stored: int) -> Array:
        """Returns (side, stored): tents about the source of each pixel's middle, in 1/256."""
        unit, middle = 1 << POSITION_BITS, 2 * jnp.arange(side, dtype=jnp.int32) + 1
        at = unit * start + (unit // 2 * middle * length + side // 2) // side - unit // 2
        if clamp:
            at = jnp.clip(at, unit * start, unit * (start + length - 1))
        away = jnp.abs(at[:, None] - unit * jnp.arange(stored, dtype=jnp.int32))
        return jnp.maximum(unit - away, 0).astype(jnp.float32)

    rows, columns = weights(box[0], box[2], image.shape[0]), weights(box[1], box[3], image.shape[1])
    # Two weights of 8 bits times a level are 24 bits: float32 holds every such product and sum exactly.
    found = jnp.einsum("yh,hwc,xw->yxc", rows, image.astype(jnp.float32), columns, precision="highest")
    return found.astype(jnp.int32)


def affine(image: Array, matrix: Array, border: Border) -> Array:
    """Returns the image seen through `matrix` (2, 3): output (row, column, 1) -> source."""
    line = jnp.arange(len(image), dtype=jnp.int32)
    shift = MATRIX_BITS - POSITION_BITS
    row, column = (
        rounded(m[0] * line[:, None] + m[1] * line[None, :] + m[2], shift) for m in (matrix[0], matrix[1])
    )
    return rounded(_sample(image, row, column, border), SAMPLE_BITS)


def _sample(image: Array, row: Array, column: Array, border: Border) -> Array:
    """Returns the image at positions in 1/256 pixel, interpolated bilinearly, in 1/65536 level."""
    height, width, _ = image.shape
    one = 1 << POSITION_BITS

    def tap(down: int, right: int) -> Array:
        y, x = (row >> POSITION_BITS) + down, (column >> POSITION_BITS) + right
        below, beyond = row & (one - 1), column & (one - 1)
        weight = (below if down else one - below) * (beyond if right else one - beyond)
        if border == "constant":
            weight = jnp.where((y >= 0) & (y < height) & (x >= 0) & (x < width), weight, 0)
        level = image[_inside(y, height, border), _inside(x, width, border)].astype(jnp.int32)
        return level * weight[..., None]

    return tap(0, 0) + tap(0, 1) + tap(1, 0) + tap(1, 1)


def _inside(at: Array, side: int, border: Border) -> Array:
    """Returns which pixel of a line stands at a place that may lie outside."""
    if border != "reflect" or side == 1:
        return jnp.clip(at, 0, side - 1)
    return side - 1 - jnp.abs(side - 1 - at % (2 * side - 2))


def rounded(x: Array, bits: int) -> Array:
    """Returns numbers with `bits` after the point as whole ones, halves up."""
    return (x + (1 << (bits - 1))) >> bits


def blend(low: Array | int, x: Array, factor: Array) -> Array:
    """Returns low + factor (x - low), cut to 0-255 and truncated: Pillow's `Image.blend`; factor 256 gives x."""
    return jnp.clip(factor * x + (_ONE - factor) * low, 0, 255 * _ONE) >> FACTOR_BITS


def gray(x: Array) -> Array:
    """Returns the luma (S, S, 1) of an image: Pillow's conversion to L."""
    if x.shape[-1] == 1:
        return x
    return rounded(19595 * x[..., :1] + 38470 * x[..., 1:2] + 7471 * x[..., 2:], 16)


def average(x: Array) -> Array:
    """Returns the mean of the luma as a level: what Pillow's ImageEnhance.Contrast blends with."""
    luma = gray(x)
    return (2 * luma.sum(dtype=jnp.int32) + luma.size) // (2 * luma.size)


def linear(x: Array, factor: Array, offset: Array) -> Array:
    """Returns factor x + 255 offset, cut to 0-255 and truncated: albumentations' RandomBrightnessContrast."""
    return jnp.clip(factor * x + offset * 255, 0, 255 * _ONE) >> FACTOR_BITS


def smooth(x: Array) -> Array:
    """Returns Pillow's filter SMOOTH: 3 x 3 pixels, the middle one five times; pixels at the edge stay."""
    side = len(x)
    total = 4 * x[1:-1, 1:-1]
    for down in range(3):
        for right in range(3):
            total = total + x[down : side - 2 + down, right : side - 2 + right]
    return x.at[1:-1, 1:-1].set((2 * total + 13) // 26)


def hue(x: Array, shift: Array) -> Array:
    """Returns an image with its hues turned by `shift` (1536 is one turn), value and saturation kept.

    Hue, value and saturation are those of Pillow's and torchvision's HSV, without their rounding in between.
    """
    red, green, blue = x[..., 0], x[..., 1], x[..., 2]
    least, value = x.min(axis=-1), x.max(axis=-1)
    chroma = value - least
    sector = jnp.where(
        value == red,
        green - blue,
        jnp.where(value == green, 2 * chroma + blue - red, 4 * chroma + red - green),
    )
    sector = jnp.where(sector < 0, sector + 6 * chroma, sector)
    turned, full = 256 * sector + shift * chroma, 256 * chroma
    turned = jnp.where(turned >= 6 * full, turned - 6 * full, turned)
    ramps = (
        jnp.abs(turned - 3 * full) - full,
        2 * full - jnp.abs(turned - 2 * full),
        2 * full - jnp.abs(turned - 4 * full),
    )
    return least[..., None] + rounded(jnp.stack([jnp.clip(ramp, 0, full) for ramp in ramps], axis=-1), 8)


def blur(x: Array, kernel: Array) -> Array:
    """Returns the image weighted by `kernel` (taps,) along both axes, mirrored at its border pixels."""
    side, taps = len(x), len(kernel)
    at = _inside(jnp.arange(side + taps - 1) - taps // 2, side, "reflect")
    # What is kept between the axes is 1/256 level.
    for axis, bits in ((0, KERNEL_BITS - 8), (1, KERNEL_BITS + 8)):
        line = x.take(at, axis=axis)

        # A loop for the compiler too: on a CPU the sum written out is twenty times as slow.
        def weighed(tap: Array, total: Array, line: Array = line, axis: int = axis) -> Array:
            return total + kernel[tap] * jax.lax.dynamic_slice_in_dim(line, tap, side, axis=axis)

        x = rounded(jax.lax.fori_loop(0, taps, weighed, jnp.zeros_like(x)), bits)
    return x


def solarize(x: Array, threshold: Array) -> Array:
    """Returns an image with the levels from `threshold` on inverted."""
    return jnp.where(x < threshold, x, 255 - x)


def posterize(x: Array, bits: Array) -> Array:
    """Returns an image that keeps the upper `bits` of 8."""
    return (x >> (8 - bits)) << (8 - bits)


def operate(x: Array, op: Array, amount: Array) -> Array:
    """Returns an image after the operation number `op`, where that changes levels; otherwise as it is.

    All but two operations map each level to another: they share one table.
    """
    table = _table(x, op, amount)
    x = jnp.take_along_axis(table, x.reshape(-1, x.shape[-1]), axis=0).reshape(x.shape)
    x = jnp.where(op == Op.SATURATION, blend(gray(x), x, amount), x)
    return jnp.where(op == Op.SHARPNESS, blend(smooth(x), x, amount), x)


def _table(x: Array, op: Array, amount: Array) -> Array:
    """Returns (256, C): what becomes of each level of each channel."""
    channels = x.shape[-1]
    level = jnp.arange(256, dtype=jnp.int32)[:, None]
    pixels = x.reshape(-1, channels)
    histogram = jnp.zeros((256, channels), jnp.int32).at[pixels, jnp.arange(channels)].add(1)
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    tables = {
        Op.BRIGHTNESS: blend(0, level, amount),
        Op.CONTRAST: blend(average(x), level, amount),
        # Only here is the amount a number of bits; elsewhere it would be too large a shift.
        Op.POSTERIZE: posterize(level, jnp.where(op == Op.POSTERIZE, amount, 8)),
        Op.SOLARIZE: solarize(level, amount),
        Op.AUTOCONTRAST: _stretched(level, low, high),
        Op.EQUALIZE: _equalized(level, histogram, high),
        Op.INVERT: 255 - level,
    }
    found = jnp.broadcast_to(level, (256, channels))
    for number, table in tables.items():
        found = jnp.where(op == number, table, found)
    return found


def _stretched(level: Array, low: Array, high: Array) -> Array:
    """Returns a table from `low` to black and `high` to white: Pillow's `autocontrast`, its quotients exact.

    Pillow multiplies by a rounded quotient: where ours is a whole number, its level may be lower by one.
    """
    span = jnp.maximum(high - low, 1)
    return jnp.where(high > low, jnp.clip((level - low) * 255 // span, 0, 255), level)


def _equalized(level: Array, histogram: Array, high: Array) -> Array:
    """Returns a table that makes all levels about equally frequent: Pillow's `equalize`."""
    below = jnp.cumsum(histogram, axis=0, dtype=jnp.int32) - histogram
    # All pixels but those of the highest level, in 255 steps.
    step = jnp.take_along_axis(below, high[None], axis=0) // 255
    table = jnp.clip((step // 2 + below) // jnp.maximum(step, 1), 0, 255)
    return jnp.where(step > 0, table, level)
