"""The forward pass of both engines against the slow NumPy reference, option by option."""

from __future__ import annotations

import numpy as np
import pytest

from tests import reference
from tests.models import OPTIONS, random_pixels, random_weights, spec_of
from vitcli.core.backend import Backend
from vitcli.core.parameters import parameter_table

# The blocks of a model are alike: two of them here, and one for every other option: there is less to compile.
DEEP = ("standard", "all at once", "whole sequence, otherwise")


@pytest.mark.parametrize("option", OPTIONS)
def test_float64_logits_are_the_reference(backend: Backend, option: str) -> None:
    spec = spec_of(option, depth=2 if option in DEEP else 1)
    weights, pixels = random_weights(spec), random_pixels(spec)
    expected = reference.logits(weights, pixels, spec)
    found = backend.load(spec, weights, device="cpu", precision="float64").logits(pixels)
    assert found.dtype == np.float64
    # Sums of some hundred products in another order: 1e-14; a wrong eps or GELU moves logits by 1e-4.
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("option", ["standard", "all at once", "sincos2d"])
def test_float32_logits_are_close_to_the_reference(backend: Backend, option: str) -> None:
    spec = spec_of(option)
    weights, pixels = random_weights(spec), random_pixels(spec)
    expected = reference.logits(weights, pixels, spec)
    found = backend.load(spec, weights, device="cpu", precision="float32").logits(pixels)
    assert found.dtype == np.float32
    # Measured 2e-6 at most; 2e-5 x the largest logit is the project's float32 tolerance.
    assert np.abs(found - expected).max() <= 2e-5 * max(1.0, np.abs(expected).max())


def _same_tensors(option: str) -> bool:
    tables = [parameter_table(spec_of(name)) for name in (option, "standard")]
    return option != "standard" and [p.shape for p in tables[0].values()] == [
        p.shape for p in tables[1].values()
    ]


@pytest.mark.parametrize("option", [option for option in OPTIONS if _same_tensors(option)])
def test_each_option_changes_the_reference(option: str) -> None:
    """An option that changes nothing would be tested by nothing."""
    spec, plain = spec_of(option), spec_of("standard")
    weights, pixels = random_weights(plain), random_pixels(plain)
    renamed = dict(zip(parameter_table(spec), weights.values(), strict=True))
    difference = reference.logits(renamed, pixels, spec) - reference.logits(weights, pixels, plain)
    assert np.abs(difference).max() > 1e-4


def test_bfloat16_is_near_and_not_equal(backend: Backend) -> None:
    spec = spec_of("standard")
    weights, pixels = random_weights(spec), random_pixels(spec)
    expected = reference.logits(weights, pixels, spec)
    found = backend.load(spec, weights, device="cpu", precision="bfloat16").logits(pixels)
    # bfloat16 has 8 bits: 2**-8 a rounding, some tens of them one after the other.
    difference = np.abs(found - expected).max()
    assert 1e-4 < difference < 0.15 * np.abs(expected).max()
