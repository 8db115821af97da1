"""An image file becomes pixels as Pillow would show it, or an error says what is wrong with the file."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.data.stores import noise, short_side
from vitcli.core.errors import DataError
from vitcli.data.decode import Geometry, decode
from vitcli.data.faults import MAX_PIXELS

BILINEAR = Image.Resampling.BILINEAR


def plain(path: Path, channels: int = 3) -> NDArray[np.uint8]:
    """The file's pixels as they are: squares that are already of the size asked for are not resampled."""
    with Image.open(path) as image:
        size = min(image.size)
    return short_side(path, size, channels)


def test_pixels_are_those_that_were_saved(tmp_path: Path) -> None:
    pixels = noise(11, 7)
    for suffix in ("png", "bmp", "tif"):
        Image.fromarray(pixels).save(tmp_path / f"a.{suffix}")
        np.testing.assert_array_equal(plain(tmp_path / f"a.{suffix}"), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = noise(11, 7)
    # What a camera stores for an upright picture, by the EXIF standard: where row 0 and column 0 of the
    # stored picture are in the upright one (1 top-left, 2 top-right, 3 bottom-right, 4 bottom-left; 5-8 swapped).
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: upright.swapaxes(0, 1)[::-1],
        7: upright.swapaxes(0, 1)[::-1, ::-1],
        8: upright.swapaxes(0, 1)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"exif": exif, **({"lossless": True} if suffix == "webp" else {})}
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / f"a.{suffix}", **options)
    np.testing.assert_array_equal(plain(tmp_path / f"a.{suffix}"), upright)
    size = Geometry(fit="squash", size=9, channels=3)
    expected = np.asarray(Image.fromarray(upright).resize((9, 9), BILINEAR))
    np.testing.assert_array_equal(decode(tmp_path / f"a.{suffix}", size), expected)


@pytest.mark.parametrize(
    ("inks", "colour"),
    [((0, 0, 0, 0), (255, 255, 255)), ((0, 255, 255, 0), (255, 0, 0)), ((255, 0, 255, 0), (0, 255, 0))],
)
def test_inks_become_colours_and_are_not_inverted(
    tmp_path: Path, inks: tuple[int, ...], colour: tuple[int, ...]
) -> None:
    Image.new("CMYK", (16, 16), inks).save(tmp_path / "a.jpg", quality=95)
    # A flat picture loses at most a few steps in JPEG.
    np.testing.assert_allclose(plain(tmp_path / "a.jpg")[8, 8], colour, atol=3)


def test_16_bit_greys_are_scaled_and_not_cut(tmp_path: Path) -> None:
    greys = np.array([[0, 128, 129, 257], [32768, 65535, 65406, 65407]], np.uint16)
    Image.fromarray(greys).save(tmp_path / "a.png")
    # Steps of 257, rounded: 128 / 257 is below one half, 129 / 257 above.
    expected = np.array([[0, 0, 1, 1], [128, 255, 254, 255]], np.uint8)[..., None]
    np.testing.assert_array_equal(plain(tmp_path / "a.png", 1), expected)
    np.testing.assert_array_equal(plain(tmp_path / "a.png", 3), expected.repeat(3, 2))


def test_16_bit_greys_obey_their_orientation(tmp_path: Path) -> None:
    greys = (np.arange(6, dtype=np.uint16) * 257).reshape(2, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # row 0 is on the right
    Image.fromarray(greys).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(plain(tmp_path / "a.png", 1)[..., 0], [[3, 0], [4, 1], [5, 2]])


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_without_an_agreed_range_are_refused(tmp_path: Path, dtype: type) -> None:
    Image.fromarray(np.array([[-1, 70_000], [3, 4]], dtype)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match="no agreed range; save it with 8 or 16 bits"):
        plain(tmp_path / "a.tif")


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    # Hidden red, half black, opaque blue.
    rgba = np.array([[[255, 0, 0, 0], [0, 0, 0, 128], [0, 0, 255, 255]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    np.testing.assert_array_equal(plain(tmp_path / "a.png"), [[[255] * 3, [127] * 3, [0, 0, 255]]])
    Image.fromarray(np.array([[[9, 0], [0, 128], [77, 255]]], np.uint8), "LA").save(tmp_path / "b.png")
    np.testing.assert_array_equal(plain(tmp_path / "b.png", 1), [[[255], [127], [77]]])


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_a_palette_becomes_colours_and_its_transparent_entry_white(tmp_path: Path, suffix: str) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(plain(tmp_path / f"a.{suffix}"), [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]])
    image.save(tmp_path / f"b.{suffix}", transparency=1)
    np.testing.assert_array_equal(plain(tmp_path / f"b.{suffix}"), [[[255, 0, 0], [255] * 3, [0, 0, 255]]])


def test_a_transparent_colour_is_laid_on_white(tmp_path: Path) -> None:
    pixels = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", transparency=(4, 5, 6))
    np.testing.assert_array_equal(plain(tmp_path / "a.png"), [[[1, 2, 3], [255, 255, 255]]])


def test_one_channel_is_the_luminance_and_three_repeat_a_grey(tmp_path: Path) -> None:
    Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)).save(tmp_path / "a.png")
    # ITU-R 601: 0.299, 0.587, 0.114.
    np.testing.assert_array_equal(plain(tmp_path / "a.png", 1)[0, :, 0], [76, 150, 29])
    Image.fromarray(noise(5, 6, 1)[..., 0]).save(tmp_path / "b.png")
    np.testing.assert_array_equal(plain(tmp_path / "b.png", 3), noise(5, 6, 1).repeat(3, 2))
    Image.fromarray(np.array([[False, True]])).save(tmp_path / "c.png")
    np.testing.assert_array_equal(plain(tmp_path / "c.png", 1)[0, :, 0], [0, 255])


def test_the_first_frame_of_an_animation_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for suffix in ("gif", "png", "tif"):
        frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
        assert plain(tmp_path / f"a.{suffix}")[0, 0].tolist() == [255, 0, 0]


def test_the_content_counts_and_not_the_suffix(tmp_path: Path) -> None:
    Image.fromarray(noise(5, 6)).save(tmp_path / "a.jpg", "PNG")
    np.testing.assert_array_equal(plain(tmp_path / "a.jpg"), noise(5, 6))


def test_images_of_one_pixel_and_thin_strips_are_read(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (10, 20, 30)).save(tmp_path / "dot.png")
    Image.new("RGB", (1, 30_000), (10, 20, 30)).save(tmp_path / "strip.png")
    for name in ("dot.png", "strip.png"):
        for fit in ("squash", "crop"):
            found = decode(tmp_path / name, Geometry(fit=fit, size=5, channels=3))
            assert (found == [10, 20, 30]).all()


def test_a_strip_that_would_grow_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    Image.new("L", (30_000, 1)).save(tmp_path / "strip.png")
    with pytest.raises(DataError, match="resized to 1680000 x 56 it has over 89,478,485 pixels"):
        short_side(tmp_path / "strip.png", 56, 1)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    Image.fromarray(noise(40, 30)).save(tmp_path / "a.jpg")
    Image.fromarray(noise(40, 30)).save(tmp_path / "a.png")
    return {suffix: (tmp_path / f"a.{suffix}").read_bytes() for suffix in ("jpg", "png")}


@pytest.mark.parametrize(
    ("suffix", "keep", "message"),
    [
        ("jpg", 0.5, "a.jpg is truncated: its JPEG data end too early"),
        ("jpg", 0.98, "a.jpg is truncated: its JPEG data end too early"),
        ("png", 0.5, "a.png is truncated: its PNG data end too early"),
        ("png", 0.9, "a.png is truncated: its PNG data end too early"),
        ("jpg", 0.0, "a.jpg is an empty file"),
    ],
)
def test_a_file_that_was_cut_is_refused(
    tmp_path: Path, files: dict[str, bytes], suffix: str, keep: float, message: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(files[suffix][: int(keep * len(files[suffix]))])
    with pytest.raises(DataError, match=message):
        decoded(path)


def decoded(path: Path) -> NDArray[np.uint8]:
    return decode(path, Geometry(fit="crop", size=5, channels=3))


def test_a_jpeg_header_alone_is_no_image(tmp_path: Path, files: dict[str, bytes]) -> None:
    (tmp_path / "a.jpg").write_bytes(files["jpg"][:20])
    with pytest.raises(DataError, match="a.jpg is not a readable image: it begins as JPEG, but is truncated"):
        decoded(tmp_path / "a.jpg")


def test_a_damaged_png_is_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    damaged = bytearray(files["png"])
    damaged[len(damaged) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(damaged)
    with pytest.raises(DataError, match="a.png is corrupt: bad CRC in chunk IDAT"):
        decoded(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"<html><body>not found</body>", "is not an image: it starts with '<html><body>'"),
        (b"  <!DOCTYPE html>", "is not an image: it starts with '  <!DOCTYPE '"),
        (b'{"error": 404}', "is not an image: it starts with '{\"error\": 40'"),
        (b"just text", "is not an image: it starts with 'just text'"),
        (b"\x00\x01\x02", "is not a readable image; formats"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a"),
        (b"P6 1 1 255\nabc", "is not a"),
    ],
)
def test_what_is_no_image_is_told_by_its_beginning(tmp_path: Path, raw: bytes, message: str) -> None:
    (tmp_path / "a.jpg").write_bytes(raw)
    with pytest.raises(DataError, match=f"a.jpg {message}"):
        decoded(tmp_path / "a.jpg")


def test_an_absent_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read image .*a.jpg: No such file"):
        decoded(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="a folder, not a file"):
        decoded(tmp_path)


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    start = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", start)
        + chunk(b"IDAT", zlib.compress(b"0"))
        + chunk(b"IEND", b"")
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("width", "height"), [(15_000, 15_000), (9460, 9460), (60_000, 60_000), (2**31 - 1, 2**31 - 1)]
)
def test_a_header_that_promises_too_much_is_refused_before_decoding(
    tmp_path: Path, width: int, height: int
) -> None:
    assert width * height > MAX_PIXELS
    (tmp_path / "a.png").write_bytes(png_header(width, height))
    with pytest.raises(DataError, match="a.png is too large.*89,478,485 pixels: make it smaller"):
        decoded(tmp_path / "a.png")


def test_pillows_warnings_are_not_shown(tmp_path: Path) -> None:
    # In a process of its own, since pytest collects warnings. Pillow warns of this size.
    (tmp_path / "a.png").write_bytes(png_header(9460, 9460))
    code = (
        "import pathlib, sys; from vitcli.data.decode import *\n"
        "try: decode_within(pathlib.Path(sys.argv[1]), 5)\n"
        "except DataError as error: print(error)"
    )
    command = [sys.executable, "-W", "default", "-c", code, str(tmp_path / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "is too large" in done.stdout
    assert done.stderr == ""


def test_an_image_at_the_limit_is_not_too_large(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_header(MAX_PIXELS // 4, 4))
    with pytest.raises(DataError, match="is truncated"):  # it is cut, but its size is allowed
        decoded(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_damaged_bytes_give_pixels_or_one_kind_of_error(
    tmp_path: Path, files: dict[str, bytes], suffix: str
) -> None:
    random = np.random.default_rng(3)
    path = tmp_path / f"a.{suffix}"
    refused = 0
    for _ in range(150):
        damaged = bytearray(files[suffix])
        for place in random.integers(0, len(damaged), 4):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        try:
            assert decoded(path).shape == (5, 5, 3)
        except DataError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused


def photo(path: Path, height: int, width: int) -> None:
    """A smooth picture, as photographs are: noise would tell decoders apart as no photograph does."""
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    levels = [np.sin(9 * rows * k + 7 * columns) * 127 + 128 for k in (1, 2, 3)]
    Image.fromarray(np.stack(levels, -1).astype(np.uint8)).save(path, quality=95)


@pytest.mark.parametrize("fit", ["squash", "crop", "aspect"])
@pytest.mark.parametrize(("height", "width"), [(400, 560), (560, 400)])
def test_fast_decoding_differs_little_and_only_where_there_is_much_to_throw_away(
    tmp_path: Path, fit: Any, height: int, width: int
) -> None:
    photo(tmp_path / "a.jpg", height, width)
    exact, fast = (Geometry(fit=fit, size=40, channels=3, fast=choice) for choice in (False, True))
    ours, theirs = (decode(tmp_path / "a.jpg", way).astype(int) for way in (fast, exact))
    assert ours.shape == theirs.shape
    assert (ours != theirs).any()
    assert np.abs(ours - theirs).mean() < 1
    # Half of it would be less than twice 120: every pixel counts.
    exact, fast = (Geometry(fit=fit, size=120, channels=3, fast=choice) for choice in (False, True))
    np.testing.assert_array_equal(decode(tmp_path / "a.jpg", fast), decode(tmp_path / "a.jpg", exact))
    with Image.open(tmp_path / "a.jpg") as image:
        image.save(tmp_path / "a.png")
    exact, fast = (Geometry(fit=fit, size=40, channels=3, fast=choice) for choice in (False, True))
    np.testing.assert_array_equal(decode(tmp_path / "a.png", fast), decode(tmp_path / "a.png", exact))
