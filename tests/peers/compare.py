"""Logits of both engines against a peer's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitcli.core.backend import Backend
from vitcli.core.spec import ModelSpec


def assert_logits(
    backend: Backend,
    spec: ModelSpec,
    weights: Mapping[str, NDArray[Any]],
    pixels: NDArray[Any],
    *,
    exact: NDArray[Any] | None = None,
    narrow: NDArray[Any] | None = None,
) -> None:
    """Compares with a peer's float64 logits to 1e-9, and with its float32 logits where both sides round.

    In float32, 2e-6 was measured; 2e-5 x the largest logit is allowed.
    """
    if exact is not None:
        wide = backend.load(spec, weights, device="cpu", precision="float64").logits(pixels)
        np.testing.assert_allclose(wide, exact, rtol=1e-9, atol=1e-9 * np.abs(exact).max())
    if narrow is not None:
        ours = backend.load(spec, weights, device="cpu", precision="float32").logits(pixels)
        assert np.abs(ours - narrow).max() <= 2e-5 * max(1.0, np.abs(narrow).max())
