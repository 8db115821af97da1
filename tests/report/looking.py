"""What a person would see in a picture."""

from __future__ import annotations

import io
from itertools import combinations
from typing import Any
from unittest import mock

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image

from vitcli.report.canvas import styled


@styled
def pixels(figure: Figure) -> NDArray[np.uint8]:
    """The picture as it is saved, (height, width, 4)."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return np.asarray(Image.open(file).convert("RGBA"))


def assert_legible(figure: Figure) -> None:
    """No words over other words, none beyond the edge; slanted words are left out, as their boxes overlap."""
    drawn: dict[int, Text] = {}
    draw = Text.draw

    def remember(text: Text, *given: Any, **named: Any) -> None:
        drawn[id(text)] = text
        draw(text, *given, **named)

    with mock.patch.object(Text, "draw", remember):
        height, width = pixels(figure).shape[:2]
    boxes = [
        (text.get_text(), text.get_window_extent())
        for text in drawn.values()
        if text.get_text() and text.get_visible() and text.get_rotation() in (0, 90)
    ]
    assert boxes
    for words, box in boxes:
        assert box.x0 >= -1, words
        assert box.y0 >= -1, words
        assert box.x1 <= width + 1, words
        assert box.y1 <= height + 1, words
    for (one, a), (other, b) in combinations(boxes, 2):
        # A pixel of touching is the rounding of the layout.
        apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
        assert apart, (one, other)
