"""Image files with something wrong or odd about them, as bytes, and the plain pictures they are to be read as."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

SIDES = (24, 20)
# The orientations of EXIF: what a camera stores of an upright picture (CIPA DC-008: where row 0 and column 0 are).
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright.swapaxes(0, 1)[::-1],
    7: lambda upright: upright.swapaxes(0, 1)[::-1, ::-1],
    8: lambda upright: upright.swapaxes(0, 1)[:, ::-1],
}


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(7).integers(0, 256, (*SIDES, 3), np.uint8))


def greys() -> Image.Image:
    return Image.fromarray(np.random.default_rng(8).integers(0, 256, SIDES, np.uint8))


def halves(left: str, right: str) -> Image.Image:
    """A flat colour beside another, which JPEG keeps: the border lies between two of its blocks."""
    image = Image.new("RGB", (64, 32), left)
    image.paste(right, (32, 0, 64, 32))
    return image


def coded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg() -> bytes:
    return coded(noise(), "JPEG")


def png() -> bytes:
    return coded(noise(), "PNG")


def part(data: bytes, fraction: float) -> bytes:
    return data[: int(fraction * len(data))]


def flipped(data: bytes, place: int) -> bytes:
    """The data with all bits of one byte changed."""
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG, by its standard (ISO/IEC 15948, section 5.3)."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def read(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def too_much_text() -> bytes:
    return with_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * (1 << 20) + b"a"))


def with_chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG with one more chunk before its pixels."""
    place = png().index(b"IDAT") - 4
    return png()[:place] + chunk(kind, data) + png()[place:]


def promising(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels and holds next to none."""
    start = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", start) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def promising_bmp(width: int, height: int) -> bytes:
    """The same as BMP (BITMAPFILEHEADER and BITMAPINFOHEADER)."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info


def promising_jpeg(width: int, height: int) -> bytes:
    """The same as JPEG: the sides in the frame header are others than those of the pixels."""
    data = jpeg()
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


def promising_gif(width: int, height: int) -> bytes:
    """The same as GIF: both the screen and the picture on it."""
    data = coded(greys(), "GIF")
    screen, picture = data.index(b"GIF8") + 6, data.index(b"\x2c") + 5
    sides = struct.pack("<HH", width, height)
    data = data[:screen] + sides + data[screen + 4 :]
    return data[:picture] + sides + data[picture + 4 :]


PROMISES = {"png": promising, "bmp": promising_bmp, "jpg": promising_jpeg, "gif": promising_gif}


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](np.asarray(noise())))
    return coded(Image.fromarray(stored), "PNG", exif=exif)


def frames(kind: str, **options: Any) -> bytes:
    """The greys, and then black."""
    later = [Image.new("L", greys().size)] * 2
    return coded(greys(), kind, save_all=True, append_images=later, **options)


def sixteen_bits() -> bytes:
    return coded(Image.fromarray(np.asarray(greys()).astype(np.uint16) * 257), "PNG")


def one_bit() -> Image.Image:
    return greys().convert("1", dither=Image.Dither.NONE)


def palette() -> Image.Image:
    """Red, green and blue stripes."""
    image = Image.fromarray(np.arange(24, dtype=np.uint8).repeat(20).reshape(SIDES) % 3, "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    return image


def stripes(green: tuple[int, int, int]) -> Image.Image:
    """The stripes, green ones of another colour."""
    colours = np.array([[255, 0, 0], green, [0, 0, 255]], np.uint8)
    return Image.fromarray(colours[np.asarray(palette())])


def clear(mode: str) -> Image.Image:
    """Noise of which the right half is transparent, whatever its hidden colours."""
    image = noise().convert(mode.removesuffix("A"))
    alpha = Image.new("L", image.size, 255)
    alpha.paste(0, (10, 0, 20, 24))
    image.putalpha(alpha)
    return image


def on_white(image: Image.Image) -> Image.Image:
    pixels = np.asarray(image.convert("RGB")).copy()
    pixels[:, 10:] = 255
    return Image.fromarray(pixels)
