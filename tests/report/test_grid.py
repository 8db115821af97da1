"""The grid holds the very pixels, each under its title."""

from __future__ import annotations

import numpy as np
import pytest

from tests.report.looking import assert_legible, pixels
from vitcli.report.grid import grid

PIXELS = np.random.default_rng(5).integers(0, 256, (7, 12, 12, 3), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_cells_hold_the_pixels(channels: int) -> None:
    images = PIXELS[..., :channels]
    figure = grid(images, [f"image {i}" for i in range(7)], 3, "seven of them")
    cells = figure.axes
    assert len(cells) == 9
    for i, image in enumerate(images):
        (drawn,) = cells[i].images
        assert np.array_equal(np.asarray(drawn.get_array()).reshape(image.shape), image)
        assert cells[i].get_title() == f"image {i}"
        assert drawn.get_interpolation() == "nearest"
        assert drawn.get_clim() == (0, 255)
    assert not any(cell.images or cell.get_title() for cell in cells[7:])
    assert figure.get_suptitle() == "seven of them"
    assert_legible(figure)


def test_grey_is_grey_and_colours_are_colours_in_the_picture() -> None:
    grey = pixels(grid(np.full((1, 8, 8, 1), 77, np.uint8), ["a"], 1, "h"))
    assert grey[600, 540].tolist() == [77, 77, 77, 255]
    red = pixels(grid(np.full((1, 8, 8, 3), (200, 10, 30), np.uint8), ["a"], 1, "h"))
    assert red[600, 540].tolist() == [200, 10, 30, 255]


def test_sides_of_their_own_keep_their_aspect() -> None:
    images = [np.zeros((100, 50, 3), np.uint8), np.zeros((50, 100, 3), np.uint8)]
    figure = grid(images, ["tall", "wide"], 2, "two")
    pixels(figure)
    for axes, image in zip(figure.axes, images, strict=True):
        box = axes.get_window_extent()
        assert box.height / box.width == pytest.approx(image.shape[0] / image.shape[1], rel=0.01)
    # Titles are on one line, whatever the images' heights.
    assert figure.axes[0].get_window_extent().y1 == pytest.approx(
        figure.axes[1].get_window_extent().y1, abs=1
    )
    assert figure.axes[0].images[0].get_interpolation() == "antialiased"
    assert_legible(figure)


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 1), (3, 3), (25, 5), pytest.param(100, 10, marks=pytest.mark.slow)]
)
def test_long_titles_stay_in_their_column(count: int, columns: int) -> None:
    titles = ["a class with a name that is far too long to be read " * 2] * count
    figure = grid(np.repeat(PIXELS[:1], count, 0), titles, columns, "heading " * 40)
    assert pixels(figure).shape[1] == 1080
    assert all("…" in axes.get_title() for axes in figure.axes)
    assert_legible(figure)


def test_titles_and_images_must_match() -> None:
    with pytest.raises(ValueError, match="7 images and 6 titles"):
        grid(PIXELS, ["a"] * 6, 3, "")
    with pytest.raises(ValueError, match="0 images"):
        grid([], [], 3, "")
