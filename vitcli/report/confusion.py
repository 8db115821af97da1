"""Which class is taken for which: a confusion matrix as a picture, true classes down, predicted across."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from vitcli.report.canvas import PALE, WIDTH, headline, new_figure, one_line, styled

# Numbers are written into the cells of matrices up to this many classes; above, a bar tells the colours.
NUMBERED = 20
# At most so many classes are named on an axis, evenly spread.
_NAMED = 100
_LONGEST = 24


@styled
def confusion(
    counts: Sequence[Sequence[int]], classes: Sequence[str], *, title: str, normalise: bool = False
) -> Figure:
    """Returns the figure of `counts` (K, K): `counts[i][j]` images of class i were predicted as j.

    Args:
        counts: images.
        classes: K names.
        title: stands above.
        normalise: cells are fractions of their row (shown in percent); a row without images stays grey.
    """
    matrix = np.asarray(counts, np.float64)
    if normalise:
        totals = matrix.sum(axis=1, keepdims=True)
        matrix = np.divide(matrix, totals, out=np.full_like(matrix, np.nan), where=totals > 0)
    width = float(np.clip(3.5 + 0.25 * len(classes), WIDTH, 14.0))
    figure = new_figure(width, min(2.4 + 0.7 * len(classes), 0.92 * width))
    axes = figure.subplots()
    # Mistakes are few beside what is right: the root lets them be seen.
    norm = PowerNorm(0.5, vmin=0, vmax=1 if normalise else max(1, matrix.max()))
    palette = matplotlib.colormaps["Blues"].with_extremes(bad=PALE)
    image = axes.imshow(matrix, cmap=palette, norm=norm, aspect="auto", interpolation="nearest")
    if len(classes) <= NUMBERED:
        _write_numbers(axes, image, matrix, normalise=normalise)
    else:
        bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, pad=0.01)
        bar.set_label("part of the true class" if normalise else "images")
        if normalise:
            bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    _name_classes(axes, classes)
    if normalise and len(classes) <= NUMBERED:
        axes.set_xlabel(f"{axes.get_xlabel()}; in the cells: percent of the true class")
    axes.spines[:].set_visible(False)
    headline(figure, title)
    return figure


def _write_numbers(axes: Axes, image: AxesImage, matrix: NDArray[np.float64], *, normalise: bool) -> None:
    """Writes each cell's number on it, black on light and white on dark; nothing on a zero."""
    texts = {
        (i, j): _percent(value) if normalise else f"{value:.0f}"
        for (i, j), value in np.ndenumerate(matrix)
        if value > 0
    }
    # A digit is about 0.64 of the size wide, and a cell about 380 points over the number of classes.
    size = min(12.0, 340 / len(matrix) / (0.64 * max(map(len, texts.values()), default=1)))
    for (i, j), text in texts.items():
        # Relative luminance, about as WCAG 2.2 has it: above 0.18, black stands out more than white.
        luminance = float(np.array(image.to_rgba(matrix[i, j]))[:3] ** 2.2 @ (0.2126, 0.7152, 0.0722))
        colour = "black" if luminance > 0.18 else "white"
        axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=size)


def _percent(fraction: float) -> str:
    rounded = f"{100 * fraction:.0f}"
    return "<1" if rounded == "0" else rounded


def _name_classes(axes: Axes, classes: Sequence[str]) -> None:
    every = -(-len(classes) // _NAMED)
    places = range(0, len(classes), every)
    names = [one_line(classes[place], _LONGEST) for place in places]
    size = float(np.clip(300 / len(names), 5.5, 9.0))
    longest = max(map(len, names))
    # Level where names stand side by side without touching; where not slanted, and in the end upright.
    level = longest * len(names) <= 60
    axes.set_xticks(places, names, fontsize=size)
    for label in () if level else axes.get_xticklabels():
        if len(names) <= NUMBERED:
            label.set(rotation=45, ha="right", rotation_mode="anchor")
        else:
            label.set(rotation=90)
    axes.set_yticks(places, names, fontsize=size)
    axes.tick_params(length=2)
    named = "" if every == 1 else f" (one in {every} is named)"
    axes.set_xlabel(f"predicted class{named}")
    axes.set_ylabel(f"true class{named}")
