"""What is wrong with a file that should be an image, in words."""

from __future__ import annotations

import zlib

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
MAX_PIXELS = 89_478_485
_PNG = b"\x89PNG\r\n\x1a\n"
# How files of the formats that are read begin.
_BEGINNINGS = (
    (b"\xff\xd8\xff", "JPEG"),
    (_PNG[:4], "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"RIFF", "WEBP"),
)
# How files begin that are often taken for images that can be read: where, what, and its name.
_OTHERS = (
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript drawing (EPS)"),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript drawing (EPS)"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"\0\0\1\0", "an icon (ICO)"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 file"),
    (0, b"\xffO\xffQ", "a JPEG 2000 file"),
    (4, b"ftypavi", "an AVIF file"),
    (4, b"ftyphei", "an HEIC file"),
    (4, b"ftypmif1", "an HEIC file"),
    (4, b"ftyp", "a video"),
)


class Unusable(ValueError):
    """An image can be read, but what it holds cannot be used; the message says why."""


def check_whole(data: bytes) -> None:
    """Does nothing where a file is whole, as far as its format tells: PNG by its checksums, WebP by its length.

    Pillow takes a PNG whose pixels have another checksum than is written down, or whose end is missing.

    Raises:
        OSError: the file is truncated or corrupt.
    """
    if data.startswith(_PNG):
        _check_chunks(data)
    elif (
        data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) < int.from_bytes(data[4:8], "little") + 8
    ):
        raise OSError("truncated")


def told(data: bytes, error: Exception) -> str:
    """Returns what is wrong with the bytes of a file of a known format; `error` was raised while it was read."""
    if isinstance(error, Unusable):
        return f"cannot be used: {error}"
    reason = f"{error}"
    if "MAX_TEXT" in reason:
        return "is corrupt: it holds compressed text of over 1 MB; save the image without it"
    if "truncated" in reason.lower() or isinstance(error, EOFError):
        return f"is truncated: its {_kind(data)} data end too early"
    return f"is corrupt: {reason or type(error).__name__}"


def not_an_image(data: bytes) -> str:
    """Returns what is wrong with bytes in which no image was found."""
    formats = f"formats: {', '.join(FORMATS)}"
    if not data:
        return "is an empty file"
    if kind := _kind(data):
        return f"is not a readable image: it begins as {kind}, but is truncated or corrupt"
    for place, beginning, name in _OTHERS:
        if data.startswith(beginning, place):
            return f"is not a readable image but {name}; {formats}"
    text = _text(data[:512])
    if text is None:
        return f"is not a readable image; {formats}"
    if "<svg" in text.lower():
        return f"is not a readable image but an SVG drawing; {formats}"
    return f"is not an image: it starts with {text[:12]!r}; {formats}"


def too_large(sides: str = "") -> str:
    """Returns that an image has too many pixels."""
    return f"is too large{sides}; the largest image read has {MAX_PIXELS:,} pixels: make it smaller"


def _check_chunks(data: bytes) -> None:
    """Goes through the chunks of a PNG: length, name, content, checksum of name and content."""
    view, start, end = memoryview(data), len(_PNG), b""
    while end != b"IEND":
        length = int.from_bytes(view[start : start + 4], "big")
        body, end = view[start + 4 : start + 8 + length], bytes(view[start + 4 : start + 8])
        start += length + 12
        if start > len(data):
            raise OSError("truncated")
        if zlib.crc32(body) != int.from_bytes(view[start - 4 : start], "big"):
            raise OSError(f"bad CRC in chunk {end.decode('ascii', 'replace')}")


def _kind(data: bytes) -> str:
    return next((kind for beginning, kind in _BEGINNINGS if data.startswith(beginning)), "")


def _text(data: bytes) -> str | None:
    """Returns the text that bytes are the beginning of, or None where they are none."""
    if b"\0" in data:
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(data) - 3:  # the last character may have been cut
            return None
        text = data[: error.start].decode("utf-8-sig")
    return text if text and all(letter.isprintable() or letter.isspace() for letter in text) else None
