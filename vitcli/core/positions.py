"""Fixed positions, computed once in plain Python so that both engines add the same numbers."""

from __future__ import annotations

import math
from functools import cache


@cache
def sincos2d(grid: int, width: int) -> tuple[tuple[float, ...], ...]:
    """Returns positions (G G, D) of a square grid, row by row: sin x, cos x, sin y, cos y, D / 4 of each.

    Frequencies 10000^(-i / (D/4 - 1)), as big_vision's posemb_sincos_2d.
    """
    omega = [10_000.0 ** (-i / (width // 4 - 1)) for i in range(width // 4)]
    waves = [
        [wave(place * frequency) for wave in (math.sin, math.cos) for frequency in omega]
        for place in range(grid)
    ]
    return tuple((*waves[x], *waves[y]) for y in range(grid) for x in range(grid))
