"""Images side by side, each under its title."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vitcli.report.canvas import WIDTH, headline, new_figure, one_line, styled

# Inches that a title and the heading take.
_TITLE, _HEADING = 0.22, 0.4
# Images up to this side are shown as the squares that their pixels are; larger ones smoothly.
_SMALL = 64


@styled
def grid(
    images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], titles: Sequence[str], columns: int, heading: str
) -> Figure:
    """Returns a figure of images in rows of `columns`, each under its title, all under a heading.

    Args:
        images: uint8 (N, S, S, C), or N of (h, w, C) with sides of their own, whose aspect is kept; C is 1 or 3.
        titles: N texts; the middle of a long one is left out.
        columns: images a row.
        heading: stands above all.

    Raises:
        ValueError: no images, or not one title for each.
    """
    if not len(images) or len(images) != len(titles):
        raise ValueError(f"{len(images)} images and {len(titles)} titles: give one title for each image")
    rows, cell = -(-len(images) // columns), WIDTH / columns
    tallest = min(1.0, max(image.shape[0] / image.shape[1] for image in images))
    figure = new_figure(WIDTH, rows * (cell * tallest + _TITLE) + _HEADING)
    figure.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
    size = float(np.clip(56 / columns, 6.5, 8))
    # In points: a cell's width over that of a letter.
    longest = max(4, int(72 * cell / (0.64 * size)))
    cells = figure.subplots(rows, columns, squeeze=False)
    for axes in cells.flat:
        axes.axis("off")
        axes.set_anchor("N")
    for axes, image, title in zip(cells.flat, images, titles, strict=False):
        pixels = image[..., 0] if image.shape[2] == 1 else image
        smooth = "nearest" if max(pixels.shape[:2]) <= _SMALL else "antialiased"
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation=smooth)
        axes.set_title(one_line(title, longest), fontsize=size, pad=2)
    headline(figure, heading)
    return figure
