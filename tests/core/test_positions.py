"""Fixed positions are big_vision's."""

from __future__ import annotations

import numpy as np
import pytest

from vitcli.core.positions import sincos2d


@pytest.mark.parametrize(("grid", "width"), [(1, 8), (3, 16), (5, 28)])
def test_positions_are_those_of_big_vision(grid: int, width: int) -> None:
    # big_vision/models/vit.py, posemb_sincos_2d, in NumPy.
    y, x = np.mgrid[:grid, :grid]
    omega = np.arange(width // 4) / (width // 4 - 1)
    omega = 1.0 / (10_000.0**omega)
    y = np.einsum("m,d->md", y.flatten(), omega)
    x = np.einsum("m,d->md", x.flatten(), omega)
    expected = np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], axis=1)
    # Both are float64; powers and sines may differ in the last digits.
    np.testing.assert_allclose(np.array(sincos2d(grid, width)), expected, rtol=0, atol=1e-14)
