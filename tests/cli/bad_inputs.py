"""Forty-eight kinds of bad or odd input, numbered, and what the commands make of each.

PICTURES holds those that are one image file, TREES those that are folders; SAME names the cases of `wrong.py`
that are the same input, and ALONE the tests that need more than a table.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tests.cli import bad_pictures as make
from tests.cli.inputs import folders, image

FRAMES = "1 with several frames or pages: the first is read"
FORMAT = "1 of another format than their names say: read by their content"
TINY = "1 one pixel wide or high"
FORMATS = "formats: BMP, GIF, JPEG, PNG, TIFF, WEBP"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image file among good ones, of which train, evaluate and predict make the same.

    Attributes:
        row: its number.
        name: of the file.
        data: its bytes.
        told: refused, with these parts in the message; none: accepted.
        like: accepted, as if it were this picture.
        note: what is said of it all the same; none: it passes silently.
        lossy: pixels may differ a little from those of `like`.
    """

    row: int
    name: str
    data: Callable[[], bytes]
    told: tuple[str, ...] = ()
    like: Callable[[], Image.Image] = make.noise
    note: str = ""
    lossy: bool = False


def _refused(row: int, name: str, data: Callable[[], bytes], *told: str) -> Picture:
    return Picture(row=row, name=name, data=data, told=told)


def _accepted(
    row: int,
    name: str,
    data: Callable[[], bytes],
    like: Callable[[], Image.Image] = make.noise,
    *,
    note: str = "",
    lossy: bool = False,
) -> Picture:
    return Picture(row=row, name=name, data=data, like=like, note=note, lossy=lossy)


PICTURES: dict[str, Picture] = {
    "no bytes": _refused(1, "z.jpg", lambda: b"", "is an empty file"),
    "half a JPEG": _refused(2, "z.jpg", lambda: make.part(make.jpeg(), 0.5), "is truncated", "JPEG"),
    "half a progressive JPEG": _refused(
        2,
        "z.jpg",
        lambda: make.part(make.coded(make.noise(), "JPEG", progressive=True), 0.5),
        "is truncated",
    ),
    "JPEG without its end": _refused(3, "z.jpg", lambda: make.jpeg()[:-2], "is truncated"),
    "beginning of a JPEG": _refused(4, "z.jpg", lambda: make.jpeg()[:20], "is not a readable image", "JPEG"),
    "half a PNG": _refused(5, "z.png", lambda: make.part(make.png(), 0.5), "is truncated", "PNG"),
    "PNG without its end": _refused(5, "z.png", lambda: make.png()[:-12], "is truncated"),
    "half a GIF": _refused(5, "z.gif", lambda: make.part(make.frames("GIF"), 0.6), "is truncated"),
    "half a WebP": _refused(
        5, "z.webp", lambda: make.part(make.coded(make.noise(), "WEBP"), 0.5), "is truncated"
    ),
    "half a BMP": _refused(
        5, "z.bmp", lambda: make.part(make.coded(make.noise(), "BMP"), 0.5), "is truncated"
    ),
    "half a TIFF": _refused(
        5, "z.tif", lambda: make.part(make.coded(make.noise(), "TIFF"), 0.5), "is truncated"
    ),
    "half a packed TIFF": _refused(
        5,
        "z.tif",
        lambda: make.part(make.coded(make.noise(), "TIFF", compression="tiff_lzw"), 0.5),
        "is not a readable image",
        "truncated",
    ),
    "PNG with altered pixels": _refused(
        6, "z.png", lambda: make.flipped(make.png(), len(make.png()) // 2), "is corrupt", "bad CRC", "IDAT"
    ),
    "PNG with another checksum": _refused(
        6, "z.png", lambda: make.flipped(make.png(), len(make.png()) - 13), "is corrupt", "bad CRC", "IDAT"
    ),
    "PNG with an altered header": _refused(
        6, "z.png", lambda: make.flipped(make.png(), 24), "is corrupt", "bad CRC", "IHDR"
    ),
    "HTML": _refused(
        7, "z.jpg", lambda: b"<html><body>404</body></html>", "is not an image: it starts with '<html>"
    ),
    "text": _refused(7, "z.jpg", lambda: b"not found\n", "is not an image: it starts with 'not found"),
    "text with a mark": _refused(
        7, "z.png", lambda: b"\xef\xbb\xbfGr\xc3\xb6\xc3\x9fe", "is not an image: it starts with 'Größe"
    ),
    "PNG named .jpg": _accepted(8, "z.jpg", make.png, note=FORMAT),
    "JPEG named .png": _accepted(
        8,
        "z.png",
        lambda: make.coded(make.halves("red", "blue"), "JPEG"),
        lambda: make.halves("red", "blue"),
        note=FORMAT,
        lossy=True,
    ),
    "CMYK": _accepted(
        9,
        "z.jpg",
        lambda: make.coded(make.halves("red", "lime").convert("CMYK"), "JPEG", quality=95),
        lambda: make.halves("red", "lime"),
        lossy=True,
    ),
    "greys": _accepted(
        10, "z.png", lambda: make.coded(make.greys(), "PNG"), lambda: make.greys().convert("RGB")
    ),
    "grey JPEG": _accepted(
        10,
        "z.jpg",
        lambda: make.coded(make.halves("black", "gray").convert("L"), "JPEG"),
        lambda: make.halves("black", "gray"),
        lossy=True,
    ),
    "16-bit greys": _accepted(11, "z.png", make.sixteen_bits, make.greys),
    "16-bit greys in a TIFF": _accepted(
        11, "z.tif", lambda: make.coded(make.read(make.sixteen_bits()), "TIFF"), make.greys
    ),
    "floating point": _refused(
        12,
        "z.tiff",
        lambda: make.coded(make.greys().convert("F"), "TIFF"),
        "floating-point pixels",
        "8 or 16 bits",
    ),
    "one bit": _accepted(
        13, "z.png", lambda: make.coded(make.one_bit(), "PNG"), lambda: make.one_bit().convert("L")
    ),
    "palette": _accepted(
        13, "z.png", lambda: make.coded(make.palette(), "PNG"), lambda: make.stripes((0, 255, 0))
    ),
    "palette with a transparent colour": _accepted(
        14,
        "z.png",
        lambda: make.coded(make.palette(), "PNG", transparency=1),
        lambda: make.stripes((255, 255, 255)),
    ),
    "GIF with a transparent colour": _accepted(
        14,
        "z.gif",
        lambda: make.coded(make.palette(), "GIF", transparency=1),
        lambda: make.stripes((255, 255, 255)),
    ),
    "transparent half": _accepted(
        14, "z.png", lambda: make.coded(make.clear("RGBA"), "PNG"), lambda: make.on_white(make.noise())
    ),
    "transparent half of greys": _accepted(
        14,
        "z.png",
        lambda: make.coded(make.clear("LA"), "PNG"),
        lambda: make.on_white(make.noise().convert("L")),
    ),
    **{
        f"orientation {number}": _accepted(15, "z.png", lambda number=number: make.turned(number))  # type: ignore[misc]
        for number in range(1, 9)
    },
    "animated GIF": _accepted(16, "z.gif", lambda: make.frames("GIF"), make.greys, note=FRAMES),
    "animated PNG": _accepted(16, "z.png", lambda: make.frames("PNG"), make.greys, note=FRAMES),
    "animated WebP": _accepted(
        16, "z.webp", lambda: make.frames("WEBP", lossless=True), make.greys, note=FRAMES
    ),
    "TIFF of three pages": _accepted(17, "z.tif", lambda: make.frames("TIFF"), make.greys, note=FRAMES),
    "promise of 225 megapixels": _refused(
        18, "z.png", lambda: make.promising(15_000, 15_000), "is too large", "89,478,485", "smaller"
    ),
    "100 megapixels": _refused(
        19,
        "z.png",
        lambda: make.coded(Image.new("1", (10_000, 10_000)), "PNG"),
        "is too large (10000 x 10000)",
        "89,478,485",
    ),
    "one pixel": _accepted(
        20,
        "z.png",
        lambda: make.coded(Image.new("RGB", (1, 1), "red"), "PNG"),
        lambda: Image.new("RGB", (9, 9), "red"),
        note=TINY,
    ),
    "strip of 1 x 30,000": _accepted(
        21,
        "z.png",
        lambda: make.coded(Image.new("RGB", (1, 30_000), "blue"), "PNG"),
        lambda: Image.new("RGB", (9, 9), "blue"),
        note=TINY,
    ),
    "strip of 30,000 x 1": _accepted(
        21,
        "z.png",
        lambda: make.coded(Image.new("RGB", (30_000, 1), "blue"), "PNG"),
        lambda: Image.new("RGB", (9, 9), "blue"),
        note=TINY,
    ),
    "too much text": _refused(22, "z.png", make.too_much_text, "is corrupt", "text of over 1 MB"),
    # Metadata that cannot be read change no pixel, and are passed over in silence.
    "broken colour profile": _accepted(
        23, "z.png", lambda: make.coded(make.noise(), "PNG", icc_profile=b"rubbish")
    ),
    "broken colour profile in a JPEG": _accepted(
        23,
        "z.jpg",
        lambda: make.coded(make.halves("red", "blue"), "JPEG", icc_profile=b"rubbish"),
        lambda: make.halves("red", "blue"),
        lossy=True,
    ),
    "broken EXIF": _accepted(23, "z.png", lambda: make.with_chunk(b"eXIf", b"rubbish")),
    "EXIF that points nowhere": _accepted(
        23, "z.png", lambda: make.with_chunk(b"eXIf", b"II*\0\xff\xff\xff\xff")
    ),
    "SVG": _refused(
        24, "z.png", lambda: b'<?xml version="1.0"?>\n<svg xmlns="http://"/>', "an SVG drawing", FORMATS
    ),
    "PDF": _refused(24, "z.jpg", lambda: make.coded(make.noise(), "PDF"), "a PDF document", FORMATS),
    "EPS": _refused(24, "z.tif", lambda: make.coded(make.noise(), "EPS"), "(EPS)", FORMATS),
    "AVIF": _refused(24, "z.jpg", lambda: b"\0\0\0\x20ftypavif\0\0\0\0avifmif1", "an AVIF file", FORMATS),
}
# Files whose suffix keeps them out of folders, given to predict by name.
NAMED: dict[str, Picture] = {
    "SVG by name": _refused(24, "z.svg", lambda: b"<svg/>", "an SVG drawing", FORMATS),
    "PDF by name": _refused(24, "z.pdf", lambda: make.coded(make.noise(), "PDF"), "a PDF document", FORMATS),
    "EPS by name": _refused(24, "z.eps", lambda: make.coded(make.noise(), "EPS"), "(EPS)", FORMATS),
}


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A folder of class folders with something odd in it.

    Attributes:
        row: its number.
        fill: makes what is odd in a folder where a/0.png to b/2.png are.
        told: train refuses it, with these parts in the message; none: it is accepted.
        images: accepted: so many are found.
        note: what train says of it.
        overrides: of the recipe.
    """

    row: int
    fill: Callable[[Path], object]
    told: tuple[str, ...] = ()
    images: int = 6
    note: str = ""
    overrides: tuple[str, ...] = ()


def _clutter(root: Path) -> None:
    for name in (".DS_Store", "._0.png", ".hidden.png", "Thumbs.db", "README"):
        (root / "a" / name).write_bytes(b"no image")
    (root / "README.md").write_bytes(b"words")


def _loop(root: Path) -> None:
    (root / "a" / "up").symlink_to("..", target_is_directory=True)
    (root / "b" / "self").symlink_to(".", target_is_directory=True)


def _outside(root: Path) -> None:
    elsewhere = folders(root.parent / "elsewhere", ["more"], images=2) / "more"
    (root / "a" / "more").symlink_to(elsewhere, target_is_directory=True)
    (root / "b" / "one.png").symlink_to(elsewhere / "0.png")


def _words(root: Path) -> None:
    # The same letter as one code point and as two, a space, a line feed, an emoji.
    for name in ("\u00e9.png", "e\u0301.png", "a b.png", "two\nlines.png", "\U0001f980.png"):
        image(root / "b" / name)


def _special(root: Path) -> None:
    os.mkfifo(root / "a" / "pipe.png")
    (root / "b" / "zero.jpg").symlink_to("/dev/zero")


TREES: dict[str, Tree] = {
    "what systems leave in folders": Tree(
        row=25, fill=_clutter, note="files left out, since their suffix is no image's: 2 (.db 1, none 1)"
    ),
    "class without images that is to be one": Tree(
        row=26, fill=lambda root: (root / "zz").mkdir(), overrides=("data.empty_classes=keep",)
    ),
    "folders in a class": Tree(
        row=30, fill=lambda root: image(root / "a" / "deep" / "er" / "x.png"), images=7
    ),
    "links that lead back": Tree(row=32, fill=_loop),
    "link that leads nowhere": Tree(
        row=32,
        fill=lambda root: (root / "a" / "gone.png").symlink_to("nowhere.png"),
        told=("links that lead nowhere", "odd/a/gone.png"),
    ),
    "links that lead out": Tree(row=33, fill=_outside, images=9, note="links followed that lead out of"),
    "classes whose accents are written in two ways": Tree(
        row=34,
        fill=lambda root: folders(root, ("\u00e9", "e\u0301")),
        images=12,
        note=r"classes 'e\u0301' and '\xe9' differ in case or encoding alone",
    ),
    "names of many letters": Tree(row=34, fill=_words, images=11),
    "name that is no text": Tree(
        row=35, fill=lambda root: image(root / "a" / os.fsdecode(b"\xff.png")), images=7
    ),
    "classes that differ in case": Tree(
        row=36,
        fill=lambda root: folders(root, ("Cat", "cat")),
        images=12,
        note="classes 'Cat' and 'cat' differ in case or encoding alone",
    ),
    "classes that look like options": Tree(
        row=37, fill=lambda root: folders(root, ("-x", "--data")), images=12
    ),
    "pipe and device among images": Tree(row=38, fill=_special),
}
# The same input in another table: its case there.
SAME: dict[int, tuple[str, ...]] = {
    26: ("data: empty class",),
    27: ("data: class that train lacks", "data: class that validation lacks"),
    28: ("data: one class",),
    29: ("data: empty folder", "data: images in the root", "request: folder without images"),
    41: ("recipe: no full batch",),
    42: ("weights: 10 classes on 5",),
    43: ("weights: other class names",),
    44: ("recipe: image size and patches",),
    45: ("weights: truncated", "weights: no bytes", "weights: HTML", "weights: truncated in the header"),
}
# What a table cannot hold: the tests of it.
ALONE: dict[int, tuple[str, ...]] = {
    18: ("test_bad_runs.py::test_promises_take_no_memory",),
    31: (
        "test_bad_runs.py::test_an_image_that_may_not_be_read",
        "test_refusals.py::test_reading_without_permission",
    ),
    38: ("test_bad_runs.py::test_a_pipe_or_a_device_is_no_image",),
    39: ("test_bad_runs.py::test_an_image_that_changes_during_training",),
    40: ("test_bad_runs.py::test_images_of_training_among_those_of_validation",),
    41: ("test_bad_runs.py::test_fewer_images_than_a_batch",),
    46: ("test_refusals.py::test_diverged_run_says_what_to_try",),
    47: (
        "test_bad_runs.py::test_a_list_with_missing_images",
        "test_bad_runs.py::test_a_list_that_is_not_there",
    ),
    48: ("test_bad_runs.py::test_predictions_without_room",),
}
