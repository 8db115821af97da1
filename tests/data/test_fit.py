"""How images are brought to size: what Pillow resizes, and what torchvision would cut out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

from tests.data.stores import noise, short_side
from vitcli.data.decode import Geometry, decode, decode_within

BILINEAR = Image.Resampling.BILINEAR


@pytest.mark.parametrize(("height", "width"), [(33, 23), (23, 33), (8, 9), (15, 40)])
def test_squash_resizes_both_sides(tmp_path: Path, height: int, width: int) -> None:
    image = Image.fromarray(noise(height, width))
    image.save(tmp_path / "a.png")
    found = decode(tmp_path / "a.png", Geometry(fit="squash", size=15, channels=3))
    np.testing.assert_array_equal(found, np.asarray(image.resize((15, 15), BILINEAR)))


@pytest.mark.parametrize(
    ("height", "width"), [(33, 23), (23, 33), (8, 9), (9, 8), (40, 23), (23, 25), (100, 61), (61, 101)]
)
def test_crop_resizes_and_cuts_as_torchvision_does(tmp_path: Path, height: int, width: int) -> None:
    image = Image.fromarray(noise(height, width))
    image.save(tmp_path / "a.png")
    found = decode(tmp_path / "a.png", Geometry(fit="crop", size=15, channels=3))
    expected = np.asarray(CenterCrop(15)(Resize(15, InterpolationMode.BILINEAR)(image)))
    assert np.abs(found.astype(int) - expected).max() <= 1  # boxes are float32 numbers


@pytest.mark.parametrize("size", range(15, 22))
@pytest.mark.parametrize(("height", "width"), [(33, 23), (23, 34), (8, 9), (40, 23), (61, 100)])
def test_two_cuts_are_torchvisions_one(tmp_path: Path, height: int, width: int, size: int) -> None:
    image = Image.fromarray(noise(height, width))
    image.save(tmp_path / "a.png")
    found = decode(tmp_path / "a.png", Geometry(fit="crop", size=size, channels=3, inner=15))
    expected = np.asarray(CenterCrop(15)(Resize(size, InterpolationMode.BILINEAR)(image)))
    seen = np.asarray(CenterCrop(15)(Image.fromarray(found)))
    assert np.abs(seen.astype(int) - expected).max() <= 1  # boxes are float32 numbers


@pytest.mark.parametrize(
    ("height", "width", "shape"), [(33, 23, (22, 15)), (23, 33, (15, 22)), (8, 9, (15, 17))]
)
def test_the_short_side_is_resized_with_the_aspect_kept(
    tmp_path: Path, height: int, width: int, shape: tuple[int, int]
) -> None:
    image = Image.fromarray(noise(height, width))
    image.save(tmp_path / "a.png")
    found = short_side(tmp_path / "a.png", 15, 3)
    np.testing.assert_array_equal(found, np.asarray(image.resize(shape[::-1], BILINEAR)))


def test_images_are_resized_bicubically_where_that_is_said(tmp_path: Path) -> None:
    image, how = Image.fromarray(noise(33, 23)), Image.Resampling.BICUBIC
    image.save(tmp_path / "a.png")
    for fit, expected in (
        ("squash", image.resize((15, 15), how)),
        ("crop", image.resize((15, 15), how, box=(0, 3 * 33 / 21, 23, 18 * 33 / 21))),
        ("aspect", image.resize((15, 22), how)),
    ):
        wanted: Any = fit
        geometry = Geometry(fit=wanted, size=15, channels=3, interpolation="bicubic")
        np.testing.assert_array_equal(decode(tmp_path / "a.png", geometry), np.asarray(expected))


@pytest.mark.parametrize("fit", ["squash", "crop"])
def test_an_image_of_the_right_size_is_not_resampled(tmp_path: Path, fit: Any) -> None:
    Image.fromarray(noise(15, 15)).save(tmp_path / "a.png")
    found = decode(tmp_path / "a.png", Geometry(fit=fit, size=15, channels=3))
    np.testing.assert_array_equal(found, noise(15, 15))


@pytest.mark.parametrize(
    ("height", "width", "shape"), [(40, 30, (16, 12)), (9, 80, (2, 16)), (1, 99, (1, 16))]
)
def test_what_is_shown_keeps_its_aspect_within_a_square(
    tmp_path: Path, height: int, width: int, shape: tuple[int, int]
) -> None:
    pixels = noise(height, width)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = Image.fromarray(pixels).resize((shape[1], shape[0]), BILINEAR)
    np.testing.assert_array_equal(decode_within(tmp_path / "a.png", 16), np.asarray(expected))
    np.testing.assert_array_equal(decode_within(tmp_path / "a.png", 99), pixels)  # never enlarged
