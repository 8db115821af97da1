"""The matrix in the picture is the matrix that was given, and its classes can be read."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tests.report.looking import assert_legible, pixels
from vitcli.report.confusion import confusion

COUNTS = [[8, 2, 0], [1, 398, 1], [0, 0, 0]]
CLASSES = ["big cat", "$dog$", "no images"]


def _shown(figure: Figure) -> NDArray[np.float64]:
    """The image's values, -1 where it has none."""
    values = np.ma.filled(np.asanyarray(figure.axes[0].images[0].get_array()), -1)
    return np.where(np.isnan(values), -1, values)


def _cells(figure: Figure) -> dict[tuple[float, float], str]:
    """Texts by (row, column)."""
    return {
        (text.get_position()[1], text.get_position()[0]): text.get_text() for text in figure.axes[0].texts
    }


def test_cells_are_the_counts() -> None:
    figure = confusion(COUNTS, CLASSES, title="validation of pets")
    assert _shown(figure).tolist() == COUNTS
    assert _cells(figure) == {(0, 0): "8", (0, 1): "2", (1, 0): "1", (1, 1): "398", (1, 2): "1"}
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == CLASSES
    assert [label.get_text() for label in axes.get_yticklabels()] == CLASSES
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first class is at the top
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert figure.get_suptitle() == "validation of pets"
    assert_legible(figure)


def test_rows_are_normalised() -> None:
    figure = confusion(COUNTS, CLASSES, title="", normalise=True)
    expected = [[0.8, 0.2, 0], [0.0025, 0.995, 0.0025], [-1, -1, -1]]
    assert _shown(figure) == pytest.approx(np.array(expected))
    assert _cells(figure) == {(0, 0): "80", (0, 1): "20", (1, 0): "<1", (1, 1): "100", (1, 2): "<1"}
    assert "percent of the true class" in figure.axes[0].get_xlabel()
    assert figure.axes[0].images[0].get_clim() == (0, 1)


def test_numbers_stand_out_from_their_cells() -> None:
    for counts in (COUNTS, np.arange(100).reshape(10, 10).tolist()):
        figure = confusion(counts, [str(i) for i in range(len(counts))], title="")
        image = figure.axes[0].images[0]
        for text in figure.axes[0].texts:
            column, row = map(int, text.get_position())
            behind = image.to_rgba(np.array([counts[row][column]]))[0]
            # Contrast ratio of WCAG 2.2, 1.4.3: at least 4.5 for text.
            low, high = sorted([_luminance(behind), _luminance(np.array(to_rgb(text.get_color())))])
            assert (high + 0.05) / (low + 0.05) >= 4.5, text.get_text()


@pytest.mark.parametrize(
    ("classes", "length"),
    [
        (2, 1),
        (2, 60),
        (5, 10),
        (6, 10),
        (10, 4),
        (10, 60),
        (20, 10),
        (21, 60),
        (40, 10),
        pytest.param(100, 60, marks=pytest.mark.slow),
        (250, 10),
    ],
)
def test_any_number_of_classes(classes: int, length: int) -> None:
    counts = np.random.default_rng(0).integers(0, 1000, (classes, classes))
    words = "the quick brown fox jumps over the lazy dog and then runs off"
    names = [f"{words[:length]}{i}" for i in range(classes)]
    figure = confusion(counts.tolist(), names, title=f"{words} " * 9)
    assert len(figure.axes[0].texts) == (np.count_nonzero(counts) if classes <= 20 else 0)
    assert len(figure.axes) == (1 if classes <= 20 else 2)  # numbers, or a bar that tells the colours
    assert len(figure.axes[0].get_xticklabels()) == (84 if classes == 250 else classes)
    assert ("one in 3 is named" in figure.axes[0].get_ylabel()) == (classes == 250)
    width = pixels(figure).shape[1]
    assert width == (1080 if classes <= 10 else round(150 * min(3.5 + 0.25 * classes, 14)))
    assert_legible(figure)


def test_nothing_was_evaluated() -> None:
    assert _cells(confusion([[0, 0], [0, 0]], ["a", "b"], title="")) == {}


def _luminance(colour: NDArray[np.float64]) -> float:
    """Relative luminance by its definition in WCAG 2.2."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear[:3] @ np.array([0.2126, 0.7152, 0.0722]))
