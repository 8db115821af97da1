"""An image file becomes a square of uint8 pixels: one function for training, evaluation and prediction."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from vitcli.core.errors import DataError

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
MAX_PIXELS = 89_478_485
Pixels = NDArray[np.uint8]
# Broken ICC profiles and EXIF blocks do not change pixels. Once for all: warnings.catch_warnings around each
# image would leave every warning of the program switched off, since images are decoded by threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How an image is brought to `size` x `size` pixels of `channels` channels.

    squash resizes both sides; crop resizes the largest square in the middle. Resampling is bilinear and
    antialiased (Pillow's BILINEAR); it happens once, here.
    """

    fit: Literal["squash", "crop"]
    size: int
    channels: int


def decode_square(path: Path, geometry: Geometry) -> Pixels:
    """Returns the file's image as uint8 (S, S, C).

    Raises:
        DataError: the file is missing, empty, truncated, too large or not an image.
    """
    return _decoded(path, lambda image: _fit(image, geometry))


def decode_short_side(path: Path, size: int, channels: int) -> Pixels:
    """Returns the file's image as uint8 (h, w, C) with its short side resized to `size`, aspect kept.

    Raises:
        DataError: as `decode_square`.
    """
    return _decoded(path, lambda image: _resize_short(_flat(image, channels), size))


def decode_within(path: Path, size: int) -> Pixels:
    """Returns the file's image as uint8 RGB (h, w, 3), aspect kept, no side longer than `size`, never enlarged.

    Raises:
        DataError: as `decode_square`.
    """
    return _decoded(path, lambda image: _shrink(_flat(image, 3), size))


def _decoded(path: Path, fit: Callable[[Image.Image], Image.Image]) -> Pixels:
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(_too_large(path, f" ({image.width} x {image.height})"))
            pixels = np.asarray(fit(ImageOps.exif_transpose(image)))
    except UnidentifiedImageError as error:
        raise DataError(f"{path} {_wrong_kind(path)}") from error
    except Image.DecompressionBombError as error:
        raise DataError(_too_large(path, "")) from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(f"cannot read image {path}: {reason}") from error
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _flat(image: Image.Image, channels: int) -> Image.Image:
    """Returns the image as 8-bit grey or RGB, transparency laid on white, 16-bit greys scaled."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        values = np.asarray(image).astype(np.float64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("32-bit integer pixels have no agreed range; save it with 8 or 16 bits")
        image = Image.fromarray(np.rint(values / 257).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert("L" if channels == 1 else "RGB")


def _fit(image: Image.Image, geometry: Geometry) -> Image.Image:
    image, size = _flat(image, geometry.channels), geometry.size
    if image.size == (size, size):
        return image
    if geometry.fit == "squash":
        return image.resize((size, size), Image.Resampling.BILINEAR)
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))


def _resize_short(image: Image.Image, size: int) -> Image.Image:
    ratio = size / min(image.size)
    sides = [max(size, round(side * ratio)) for side in image.size]
    if math.prod(sides) > MAX_PIXELS:
        raise ValueError(f"resized to {sides[0]} x {sides[1]} it has over {MAX_PIXELS:,} pixels")
    return image.resize((sides[0], sides[1]), Image.Resampling.BILINEAR)


def _shrink(image: Image.Image, size: int) -> Image.Image:
    ratio = min(1.0, size / max(image.size))
    width, height = (max(1, round(side * ratio)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _too_large(path: Path, sides: str) -> str:
    return f"{path} is too large{sides}; the largest image read has {MAX_PIXELS:,} pixels: make it smaller"


def _wrong_kind(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(32)
    if not start:
        return "is an empty file"
    if start.lstrip().lower().startswith((b"<", b"{")) or (start.isascii() and start.decode().isprintable()):
        return f"is not an image: it starts with {start[:12].decode('ascii', 'replace')!r}"
    return f"is not a readable image; formats: {', '.join(FORMATS)}"
