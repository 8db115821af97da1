"""Pixel operations of augmentation, exact on every device. `vitcli_jax/pixels.py` is its twin.

Images are int32 (B, S, S, C) with levels from 0 to 255; so are all other numbers (`vitcli.core.pixels` has the
bits after the point); one number for each image is (B, 1, 1, 1). Sides up to 2,048 keep every product within int32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vitcli.core.pixels import FACTOR_BITS, KERNEL_BITS, MATRIX_BITS, POSITION_BITS, SAMPLE_BITS, Op
from vitcli.core.recipe import Border

_ONE = 1 << FACTOR_BITS


def crop(x: Tensor, box: Tensor, side: int, clamp: bool) -> Tensor:
    """Returns the boxes (top, left, height, width) of images, resized bilinearly to `side`, in 1/65536 level.

    With `clamp` nothing outside the box is read; without it, what lies outside the image is black.
    """

    def weights(start: Tensor, length: Tensor, stored: int) -> Tensor:
        """Returns (B, side, stored): tents about the source of each pixel's middle, in 1/256."""
        unit, middle = 1 << POSITION_BITS, 2 * _line(side, start) + 1
        at = unit * start + (unit // 2 * middle * length + side // 2) // side - unit // 2
        if clamp:
            at = at.clamp(unit * start, unit * (start + length - 1))
        away = (at[:, :, None] - unit * _line(stored, at)).abs()
        return (unit - away).clamp(min=0).float()

    top, left, height, width = (edge[:, None] for edge in box.T)
    rows, columns = weights(top, height, x.shape[1]), weights(left, width, x.shape[2])
    # Two weights of 8 bits times a level are 24 bits: float32 holds every such product and sum exactly, TF32 not.
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        return torch.einsum("byh,bhwc,bxw->byxc", rows, x.float(), columns).int()
    finally:
        torch.set_float32_matmul_precision(before)


def affine(x: Tensor, matrix: Tensor, border: Border) -> Tensor:
    """Returns images seen through `matrix` (B, 2, 3): output (row, column, 1) -> source."""
    line = _line(x.shape[1], x)
    shift = MATRIX_BITS - POSITION_BITS
    row, column = (
        rounded(m[:, :1, None] * line[:, None] + m[:, 1:2, None] * line[None, :] + m[:, 2:, None], shift)
        for m in (matrix[:, 0], matrix[:, 1])
    )
    return rounded(_sample(x, row, column, border), SAMPLE_BITS)


def _sample(image: Tensor, row: Tensor, column: Tensor, border: Border) -> Tensor:
    """Returns images at positions in 1/256 pixel, interpolated bilinearly, in 1/65536 level."""
    _, height, width, _ = image.shape
    one = 1 << POSITION_BITS
    own = _line(len(image), image)[:, None, None]

    def tap(down: int, right: int) -> Tensor:
        y, x = (row >> POSITION_BITS) + down, (column >> POSITION_BITS) + right
        below, beyond = row & (one - 1), column & (one - 1)
        weight = (below if down else one - below) * (beyond if right else one - beyond)
        if border == "constant":
            weight = torch.where((y >= 0) & (y < height) & (x >= 0) & (x < width), weight, 0)
        level = image[own, _inside(y, height, border), _inside(x, width, border)].int()
        return level * weight[..., None]

    return tap(0, 0) + tap(0, 1) + tap(1, 0) + tap(1, 1)


def _inside(at: Tensor, side: int, border: Border) -> Tensor:
    """Returns which pixel of a line stands at a place that may lie outside."""
    if border != "reflect" or side == 1:
        return at.clamp(0, side - 1)
    return side - 1 - (side - 1 - at % (2 * side - 2)).abs()


def rounded(x: Tensor, bits: int) -> Tensor:
    """Returns numbers with `bits` after the point as whole ones, halves up."""
    return (x + (1 << (bits - 1))) >> bits


def blend(low: Tensor | int, x: Tensor, factor: Tensor) -> Tensor:
    """Returns low + factor (x - low), cut to 0-255 and truncated: Pillow's `Image.blend`; factor 256 gives x."""
    return (factor * x + (_ONE - factor) * low).clamp(0, 255 * _ONE) >> FACTOR_BITS


def gray(x: Tensor) -> Tensor:
    """Returns the luma (B, S, S, 1) of images: Pillow's conversion to L."""
    if x.shape[-1] == 1:
        return x
    return rounded(19595 * x[..., :1] + 38470 * x[..., 1:2] + 7471 * x[..., 2:], 16)


def average(x: Tensor) -> Tensor:
    """Returns the mean of the luma as a level (B, 1, 1, 1): what Pillow's ImageEnhance.Contrast blends with."""
    luma = gray(x)
    count = luma[0].numel()
    return (2 * luma.sum((1, 2, 3), keepdim=True, dtype=torch.int32) + count) // (2 * count)


def linear(x: Tensor, factor: Tensor, offset: Tensor) -> Tensor:
    """Returns factor x + 255 offset, cut to 0-255 and truncated: albumentations' RandomBrightnessContrast."""
    return (factor * x + offset * 255).clamp(0, 255 * _ONE) >> FACTOR_BITS


def smooth(x: Tensor) -> Tensor:
    """Returns Pillow's filter SMOOTH: 3 x 3 pixels, the middle one five times; pixels at the edge stay."""
    side = x.shape[1]
    total = 4 * x[:, 1:-1, 1:-1]
    for down in range(3):
        for right in range(3):
            total = total + x[:, down : side - 2 + down, right : side - 2 + right]
    found = x.clone()
    found[:, 1:-1, 1:-1] = (2 * total + 13) // 26
    return found


def hue(x: Tensor, shift: Tensor) -> Tensor:
    """Returns images with their hues turned by `shift` (1536 is one turn), value and saturation kept.

    Hue, value and saturation are those of Pillow's and torchvision's HSV, without their rounding in between.
    """
    red, green, blue = x.unbind(-1)
    least, value = x.aminmax(dim=-1)
    chroma = value - least
    sector = torch.where(
        value == red,
        green - blue,
        torch.where(value == green, 2 * chroma + blue - red, 4 * chroma + red - green),
    )
    sector = torch.where(sector < 0, sector + 6 * chroma, sector)
    turned, full = 256 * sector + shift[..., 0] * chroma, 256 * chroma
    turned = torch.where(turned >= 6 * full, turned - 6 * full, turned)
    ramps = (
        (turned - 3 * full).abs() - full,
        2 * full - (turned - 2 * full).abs(),
        2 * full - (turned - 4 * full).abs(),
    )
    return least[..., None] + rounded(torch.stack([ramp.clamp(min=0).minimum(full) for ramp in ramps], -1), 8)


def blur(x: Tensor, kernel: Tensor) -> Tensor:
    """Returns images weighted by `kernel` (B, taps) along both axes, mirrored at their border pixels."""
    side, taps = x.shape[1], kernel.shape[1]
    at = _inside(_line(side + taps - 1, x) - taps // 2, side, "reflect")
    # What is kept between the axes is 1/256 level.
    for axis, bits in ((1, KERNEL_BITS - 8), (2, KERNEL_BITS + 8)):
        line, total = x.index_select(axis, at), torch.zeros_like(x)
        for tap in range(taps):
            total += kernel[:, tap, None, None, None] * line.narrow(axis, tap, side)
        x = rounded(total, bits)
    return x


def solarize(x: Tensor, threshold: Tensor) -> Tensor:
    """Returns images with the levels from `threshold` on inverted."""
    return torch.where(x < threshold, x, 255 - x)


def posterize(x: Tensor, bits: Tensor) -> Tensor:
    """Returns images that keep the upper `bits` of 8."""
    return (x >> (8 - bits)) << (8 - bits)


def operate(x: Tensor, op: Tensor, amount: Tensor) -> Tensor:
    """Returns images after the operations `op`, where those change levels; otherwise as they are.

    All but two operations map each level to another: they share one table.
    """
    table = _table(x, op, amount)
    x = table.gather(1, x.flatten(1, 2).long()).reshape(x.shape)
    x = torch.where(op == Op.SATURATION, blend(gray(x), x, amount), x)
    return torch.where(op == Op.SHARPNESS, blend(smooth(x), x, amount), x)


def _table(x: Tensor, op: Tensor, amount: Tensor) -> Tensor:
    """Returns (B, 256, C): what becomes of each level of each channel."""
    B, channels = len(x), x.shape[-1]
    level = _line(256, x)[:, None]
    op, amount, mean = op[..., 0], amount[..., 0], average(x)[..., 0]  # (B, 1, 1)
    pixels = x.flatten(1, 2).long()
    histogram = level.new_zeros(B, 256, channels).scatter_add_(1, pixels, torch.ones_like(x).flatten(1, 2))
    low, high = pixels.aminmax(dim=1, keepdim=True)
    tables = {
        Op.BRIGHTNESS: blend(0, level, amount),
        Op.CONTRAST: blend(mean, level, amount),
        # Only here is the amount a number of bits; elsewhere it would be too large a shift.
        Op.POSTERIZE: posterize(level, torch.where(op == Op.POSTERIZE, amount, 8)),
        Op.SOLARIZE: solarize(level, amount),
        Op.AUTOCONTRAST: _stretched(level, low.int(), high.int()),
        Op.EQUALIZE: _equalized(level, histogram, high),
        Op.INVERT: 255 - level,
    }
    found = level.expand(B, 256, channels)
    for number, table in tables.items():
        found = torch.where(op == number, table, found)
    return found


def _stretched(level: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Returns tables from `low` to black and `high` to white: Pillow's `autocontrast`, its quotients exact.

    Pillow multiplies by a rounded quotient: where ours is a whole number, its level may be lower by one.
    """
    span = (high - low).clamp(min=1)
    return torch.where(high > low, ((level - low) * 255 // span).clamp(0, 255), level)


def _equalized(level: Tensor, histogram: Tensor, high: Tensor) -> Tensor:
    """Returns tables that make all levels about equally frequent: Pillow's `equalize`."""
    below = histogram.cumsum(1, dtype=torch.int32) - histogram
    # All pixels but those of the highest level, in 255 steps.
    step = below.gather(1, high) // 255
    table = ((step // 2 + below) // step.clamp(min=1)).clamp(0, 255)
    return torch.where(step > 0, table, level)


def _line(count: int, like: Tensor) -> Tensor:
    return torch.arange(count, dtype=torch.int32, device=like.device)
