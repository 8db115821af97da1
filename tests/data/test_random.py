"""The bits of the core in NumPy, and the distributions made of them."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from vitcli.core import bits as plain
from vitcli.core.bits import Purpose, stream
from vitcli.data.random import (
    Words,
    absorb,
    beta,
    bits,
    draw,
    gamma,
    mix,
    normal,
    permutation,
    sequence,
    uniform,
)

EDGES = [0, 1, 2**31 - 1, 2**31, 2**32 - 1]


@pytest.fixture(scope="module")
def stats() -> Any:
    return pytest.importorskip("scipy.stats")


def words_of(values: list[int]) -> Words:
    return np.array(values, np.uint32)


def test_the_steps_are_those_of_the_plain_arithmetic() -> None:
    values = EDGES + random.Random(0).choices(range(2**32), k=300)
    array = words_of(values)
    assert mix(array).tolist() == [plain.mix(value) for value in values]
    key, (a, b) = (0x12345678, 0x9ABCDEF0), (words_of([0x12345678]), words_of([0x9ABCDEF0]))
    left, right = absorb((a, b), array)
    assert list(zip(left.tolist(), right.tolist(), strict=True)) == [plain.absorb(key, v) for v in values]
    assert draw((a, b), array).tolist() == [plain.draw(key, value) for value in values]


@pytest.mark.parametrize("seed", [0, 5, 2**32 + 5, 2**63 - 1])
def test_words_are_those_of_the_plain_arithmetic(seed: int) -> None:
    expected = [[plain.bits(seed, Purpose.CROP, 3, index, k) for k in range(7)] for index in EDGES]
    found = bits(seed, Purpose.CROP, 3, np.array(EDGES), 7)
    assert found.dtype == np.uint32
    assert found.tolist() == expected


def test_a_sequence_is_the_first_words_of_a_stream() -> None:
    key = stream(7, Purpose.INIT, 1, 2)
    assert sequence(key, 11).tolist() == [plain.draw(key, k) for k in range(11)]
    assert sequence(key, 0).shape == (0,)


def test_uniform_lies_in_the_middle_of_its_cell_and_never_at_an_end() -> None:
    found = uniform(words_of([0, 1, 2**31, 2**32 - 1]))
    assert found.tolist() == [2**-33, 1.5 * 2**-32, 0.5 + 2**-33, 1 - 2**-33]


def test_uniform_is_uniform(stats: Any) -> None:
    values = uniform(sequence(stream(1, Purpose.CROP), 20_000))
    # The draws are fixed; 0.1 is a level that a good generator misses in one of ten tries.
    assert stats.kstest(values, "uniform").pvalue > 0.1


def test_normal_is_the_inverse_distribution_function() -> None:
    ndtri = pytest.importorskip("scipy.special").ndtri
    values = [*EDGES, 2**30, 2**28, 2**20, 2**10, 10, 3, *random.Random(2).choices(range(2**32), k=2000)]
    array = words_of(values)
    # Both algorithms are good to a few units in the last place of float64.
    np.testing.assert_allclose(normal(array), ndtri((array + 0.5) / 2**32), rtol=2e-14, atol=1e-16)


def test_normal_is_symmetric_and_finite_at_the_ends() -> None:
    array = words_of([0, 1, 1000, 2**31 - 1])
    found, mirrored = normal(array), normal(words_of([2**32 - 1 - value for value in array.tolist()]))
    # 1 - u is exact in float64 for 33 bits.
    np.testing.assert_array_equal(found, -mirrored)
    assert found[0] == pytest.approx(-6.3379, abs=1e-4)  # the normal quantile of 2**-33


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.5])
def test_gamma_and_beta_have_their_distributions(stats: Any, alpha: float) -> None:
    words = bits(4, Purpose.MIX, 0, np.arange(20_000), 34)
    assert stats.kstest(gamma(alpha, words[:, :17]), stats.gamma(alpha).cdf).pvalue > 0.05
    assert stats.kstest(beta(alpha, words), stats.beta(alpha, alpha).cdf).pvalue > 0.05


@pytest.mark.parametrize("alpha", [1e-4, 1e-3, 1e-2])
def test_a_tiny_beta_parameter_gives_nearly_zero_or_one(alpha: float) -> None:
    values = beta(alpha, bits(5, Purpose.MIX, 0, np.arange(20_000), 34))
    assert np.isfinite(values).all()
    # Variance of Beta(a, a) is 1 / (4 (2 a + 1)); of the mean of 20,000: standard deviation 0.0035.
    assert abs(values.mean() - 0.5) < 0.014
    assert values.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), abs=0.002)


@pytest.mark.parametrize("count", [0, 1, 7, 1000])
def test_a_permutation_holds_every_number_once(count: int) -> None:
    found = permutation(stream(0, Purpose.ORDER, 3), count)
    assert sorted(found.tolist()) == list(range(count))


def test_every_number_comes_to_every_place_equally_often(stats: Any) -> None:
    counts = np.zeros((5, 5))
    for epoch in range(2000):
        counts[np.arange(5), permutation(stream(1, Purpose.ORDER, epoch), 5)] += 1
    assert stats.chisquare(counts.ravel(), ddof=8).pvalue > 0.05
