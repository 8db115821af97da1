"""What the host and the devices agree on about pixels: numbers of operations, and bits after the point.

Between the crop and the normalisation pixels are levels, integers from 0 to 255, as they are in Pillow, and
all arithmetic is that of int32: it has no order of summation, no fused product and no library's exponential,
so every engine and device finds the same levels. Real numbers of a plan are rounded once, on the host.
"""

from __future__ import annotations

from enum import IntEnum

# A source position is (row, column, 1) times a matrix with 16 bits after the point, kept to 1/256 pixel.
MATRIX_BITS = 16
POSITION_BITS = 8
# A bilinear sample: a level times two weights of 1/256.
SAMPLE_BITS = 2 * POSITION_BITS
# Factors of brightness and its like; 1 is 256.
FACTOR_BITS = 8
# Weights of a blur along one axis; they sum to 2**14.
KERNEL_BITS = 14
# Hues in one turn: six sextants of 256.
HUE_TURN = 1536
# Positions and matrix entries are int32, so no source may lie further away, in pixels.
FARTHEST = 2 ** (31 - MATRIX_BITS)


def middle(side: int, inner: int) -> int:
    """Returns where the middle `inner` of `side` pixels begins: halves go to even, as in torchvision's CenterCrop."""
    return round((side - inner) / 2)


class Op(IntEnum):
    """What a policy does to an image. The numbers are part of the format: never reuse one."""

    IDENTITY = 0
    SHEAR_X = 1
    SHEAR_Y = 2
    TRANSLATE_X = 3
    TRANSLATE_Y = 4
    ROTATE = 5
    BRIGHTNESS = 6
    SATURATION = 7
    CONTRAST = 8
    SHARPNESS = 9
    POSTERIZE = 10
    SOLARIZE = 11
    AUTOCONTRAST = 12
    EQUALIZE = 13
    INVERT = 14
    GRAYSCALE = 15
    BLUR = 16
