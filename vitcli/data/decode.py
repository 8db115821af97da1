"""An image file becomes uint8 pixels: one function for training, evaluation and prediction."""

from __future__ import annotations

import hashlib
import io
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from vitcli.core.errors import DataError
from vitcli.core.pixels import middle
from vitcli.core.recipe import Interpolation
from vitcli.data.faults import FORMATS, MAX_PIXELS, Unusable, check_whole, not_an_image, told, too_large

MAX_BYTES = 1 << 30
Pixels = NDArray[np.uint8]
Item = Path | Pixels
Items = Sequence[Path] | Pixels
Remark = Literal["format", "frames", "tiny"]
# Phones write JPEG files with a second picture behind the first; Pillow calls them MPO.
_SUFFIXES = {
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg"),
    "MPO": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
_FILTERS: dict[Interpolation, Image.Resampling] = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
# What undoes the orientations of EXIF, and its tag; 1 is upright (CIPA DC-008, "Orientation").
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Broken ICC profiles and EXIF blocks do not change pixels. Once for all: warnings.catch_warnings around each
# image would leave every warning of the program switched off, since images are decoded by threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How an image is brought to size, by Pillow's antialiased resampling; it happens once, here.

    Attributes:
        fit: squash resizes both sides to `size`; aspect resizes the short side to `size` and keeps the shape; crop
            cuts the middle out of that.
        size: pixels.
        channels: 1 (grey) or 3 (RGB).
        fast: JPEG files are decoded at 1/2, 1/4 or 1/8 of their size as long as twice `size` remains (libjpeg's
            scaled inverse transform): other pixels by some tenths of a level, in a fraction of the time.
        interpolation: bilinear or bicubic.
        inner: pixels of the middle that will be cut out of a crop; the crop lies such that both cuts are one.
    """

    fit: Literal["squash", "crop", "aspect"]
    size: int
    channels: int
    fast: bool = False
    interpolation: Interpolation = "bilinear"
    inner: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What was noticed about an image.

    Attributes:
        sides: height and width, upright, before any resizing.
        digest: 64 bits of the BLAKE2b hash of its file.
        remarks: format: the content has another format than the name says; frames: it has several, of which
            the first is read; tiny: a side of one pixel.
    """

    sides: tuple[int, int]
    digest: int = 0
    remarks: tuple[Remark, ...] = ()


def decode(item: Item, geometry: Geometry) -> Pixels:
    """Returns an image, a file or pixels (H, W, C), as uint8 (h, w, C).

    Raises:
        DataError: the file is missing, empty, truncated, too large or not an image.
    """
    return examine(item, geometry)[0]


def examine(item: Item, geometry: Geometry) -> tuple[Pixels, Seen]:
    """Returns an image as `decode` does, and what was noticed about it.

    Raises:
        DataError: as `decode`.
    """
    if not isinstance(item, Path):
        return _array(_fit(_of_pixels(item), geometry)), Seen((item.shape[0], item.shape[1]))
    with _opened(item) as (image, seen):
        if geometry.fast:
            image.draft(None, (2 * geometry.size, 2 * geometry.size))
        return _array(_fit(_upright(image), geometry)), seen


def look(item: Item, geometry: Geometry) -> Seen:
    """Returns what there is to notice about an image, read to its end; JPEG without most of the arithmetic.

    Raises:
        DataError: `decode` would raise it.
    """
    if not isinstance(item, Path):
        return Seen((item.shape[0], item.shape[1]))
    with _opened(item) as (image, seen):
        image.draft(None, (1, 1))
        _flat(image, geometry.channels)
        if geometry.fit == "aspect":
            aspect_sides(seen.sides, geometry.size)
        return seen


def decode_within(path: Path, size: int) -> Pixels:
    """Returns the file's image as uint8 RGB (h, w, 3), aspect kept, no side longer than `size`, never enlarged.

    Raises:
        DataError: as `decode`.
    """
    with _opened(path) as (image, _):
        return _array(_shrink(_flat(_upright(image), 3), size))


def aspect_sides(sides: tuple[int, int], size: int) -> tuple[int, int]:
    """Returns the sides of an image whose short one is resized to `size`.

    Raises:
        Unusable: it would have more than `MAX_PIXELS`.
    """
    ratio = size / min(sides)
    first, second = (max(size, round(side * ratio)) for side in sides)
    if first * second > MAX_PIXELS:
        raise Unusable(f"resized to {second} x {first} it has over {MAX_PIXELS:,} pixels")
    return first, second


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Image.Image, Seen]]:
    """Opens an image file without decoding it; whatever is wrong with it in the body is a DataError."""
    data = _bytes(path)
    try:
        check_whole(data)
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{path} {too_large(f' ({image.width} x {image.height})')}")
            yield image, _seen(path, data, image)
    except (DataError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{path} {not_an_image(data)}") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path} {too_large()}") from error
    except Exception as error:  # Pillow's readers raise whatever a damaged file makes them stumble over
        raise DataError(f"{path} {told(data, error)}") from error


def _bytes(path: Path) -> bytes:
    """Returns the bytes of a regular file of reasonable size."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device might never end
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
            raise DataError(f"cannot read image {path}: {kind}, not a file")
        if status.st_size > MAX_BYTES:
            raise DataError(
                f"{path} is too large ({status.st_size:,} bytes); the largest file read has {MAX_BYTES:,}"
            )
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name that holds a null character
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if isinstance(error, FileNotFoundError) and path.is_symlink():
            reason = "a link that leads nowhere"
        raise DataError(f"cannot read image {path}: {reason}") from error


def _seen(path: Path, data: bytes, image: Image.Image) -> Seen:
    turned = _orientation(image) in (5, 6, 7, 8)
    width, height = image.size
    kind = image.format or ""
    remarks: list[Remark] = []
    if path.suffix.lower() not in _SUFFIXES[kind]:
        remarks.append("format")
    if kind != "MPO" and getattr(image, "is_animated", False):
        remarks.append("frames")
    if min(width, height) == 1:
        remarks.append("tiny")
    digest = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
    return Seen((width, height) if turned else (height, width), digest, tuple(remarks))


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation; 1 where there is none, or the block cannot be read."""
    # A PNG's block may follow its pixels, whose own faults are to be told. A TIFF is turned by being read.
    if image.format in ("PNG", "TIFF"):
        image.load()
    try:
        found = image.getexif().get(_ORIENTATION)
    except Exception:  # as above; a block of metadata does not make an image unreadable
        return 1
    return found if isinstance(found, int) else 1


def _upright(image: Image.Image) -> Image.Image:
    """Returns the image turned as its EXIF block says."""
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _flat(image: Image.Image, channels: int) -> Image.Image:
    """Returns the image as 8-bit grey or RGB, transparency laid on white, 16-bit greys scaled."""
    mode = "L" if channels == 1 else "RGB"
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        values = np.asarray(image).astype(np.float64)
        if values.min() < 0 or values.max() > 65535:
            raise Unusable("32-bit integer pixels have no agreed range; save it with 8 or 16 bits")
        image = Image.fromarray(np.rint(values / 257).astype(np.uint8))
    elif image.mode == "F":
        raise Unusable("floating-point pixels have no agreed range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    image.load()
    return image if image.mode == mode else image.convert(mode)


def _fit(image: Image.Image, geometry: Geometry) -> Image.Image:
    image, size = _flat(image, geometry.channels), geometry.size
    how = _FILTERS[geometry.interpolation]
    if geometry.fit == "aspect":
        height, width = aspect_sides((image.height, image.width), size)
        return _resized(image, (width, height), how)
    if geometry.fit == "squash":
        return _resized(image, (size, size), how)
    left, right = _middle(image.width, min(image.size), geometry)
    top, bottom = _middle(image.height, min(image.size), geometry)
    return _resized(image, (size, size), how, (left, top, right, bottom))


def _middle(side: int, short: int, geometry: Geometry) -> tuple[float, float]:
    """Returns the part of a side that would be cut out after the short one was resized, in whole pixels.

    As torchvision resizes and cuts (`Resize`, `CenterCrop`; timm's transforms are these): half a pixel matters.
    """
    size, inner = geometry.size, geometry.inner or geometry.size
    resized = side * size // short
    first = middle(resized, inner) - middle(size, inner)
    return first * side / resized, (first + size) * side / resized


def _resized(
    image: Image.Image,
    sides: tuple[int, int],
    how: Image.Resampling = Image.Resampling.BILINEAR,
    box: tuple[float, float, float, float] | None = None,
) -> Image.Image:
    return image if image.size == sides else image.resize(sides, how, box=box)


def _shrink(image: Image.Image, size: int) -> Image.Image:
    ratio = min(1.0, size / max(image.size))
    width, height = (max(1, round(side * ratio)) for side in image.size)
    return _resized(image, (width, height))


def _of_pixels(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _array(image: Image.Image) -> Pixels:
    pixels: Pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]
