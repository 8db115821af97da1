"""The random bits of `vitcli.core.bits` in NumPy: whole arrays at once, on the host."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitcli.core.bits import MULTIPLIER_1, MULTIPLIER_2, Key, Purpose, stream

Words = NDArray[np.uint32]
Reals = NDArray[np.float64]


def mix(x: Words) -> Words:
    """Returns `vitcli.core.bits.mix` of each word."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(MULTIPLIER_1)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(MULTIPLIER_2)
    return x ^ (x >> np.uint32(16))


def absorb(key: tuple[Words, Words], words: Words) -> tuple[Words, Words]:
    """Returns the keys of the streams `words` inside `key`; the arrays broadcast."""
    a = mix(key[0] ^ words)
    return a, mix(key[1] + a)


def draw(key: tuple[Words, Words], k: Words) -> Words:
    """Returns the k-th 32 bits of each stream."""
    return mix(mix(key[0] ^ k) + key[1])


def bits(seed: int, purpose: Purpose, step: int, index: NDArray[Any], draws: int) -> Words:
    """Returns (len(index), draws) words: 32 bits for each sample and each draw."""
    samples = absorb(_arrays(stream(seed, purpose, step)), index.astype(np.uint32)[:, None])
    return draw(samples, np.arange(draws, dtype=np.uint32)[None, :])


def sequence(key: Key, count: int) -> Words:
    """Returns the first `count` words of a stream."""
    return draw(_arrays(key), np.arange(count, dtype=np.uint32))


def uniform(words: Words) -> Reals:
    """Returns reals in the open interval (0, 1), in the middle of 2**32 equal cells."""
    return (words.astype(np.float64) + 0.5) / 2**32


def permutation(key: Key, count: int) -> NDArray[np.int64]:
    """Returns the numbers below `count` in an order that is the stable sort of the stream's words."""
    return np.argsort(sequence(key, count), kind="stable")


def normal(words: Words) -> Reals:
    """Returns standard normal values: the inverse distribution function of `uniform`.

    Wichura 1988, algorithm AS 241 (PPND16), accurate to about 1e-16; evaluated in float64.
    """
    p = uniform(words)
    q = p - 0.5
    r = np.sqrt(-np.log(np.minimum(p, 1.0 - p)))
    with np.errstate(invalid="ignore"):
        centre = q * _ratio(0.180625 - q * q, _A, _B)
        middle = np.sign(q) * _ratio(r - 1.6, _C, _D)
        tail = np.sign(q) * _ratio(r - 5.0, _E, _F)
    return np.where(np.abs(q) <= 0.425, centre, np.where(r <= 5.0, middle, tail))


def gamma(alpha: float, words: Words) -> Reals:
    """Returns one Gamma(alpha, 1) value for each row of `words` (n, 2 k + 1).

    Marsaglia & Tsang 2000: the first accepted of k candidates (at least 95 % are), and for alpha < 1 the
    power of one more uniform.
    """
    shape = alpha if alpha >= 1 else alpha + 1
    d = shape - 1 / 3
    x = normal(words[:, 1::2])
    u = uniform(words[:, 2::2])
    v = np.maximum(1 + x / np.sqrt(9 * d), 0.0) ** 3
    with np.errstate(divide="ignore"):
        accepted = (v > 0) & (np.log(u) < x * x / 2 + d - d * v + d * np.log(v))
    first = np.argmax(accepted, axis=1)
    value = d * np.take_along_axis(v, first[:, None], axis=1)[:, 0]
    return value if alpha >= 1 else value * uniform(words[:, 0]) ** (1 / alpha)


def beta(alpha: float, words: Words) -> Reals:
    """Returns one Beta(alpha, alpha) value for each row of `words` (n, 2 (2 k + 1))."""
    half = words.shape[1] // 2
    a, b = gamma(alpha, words[:, :half]), gamma(alpha, words[:, half:])
    # Where alpha is so small that both vanish, the larger uniform decides, and all but takes the whole.
    with np.errstate(invalid="ignore"):
        return np.where(a + b > 0, a / (a + b), words[:, 0] > words[:, half])


def _arrays(key: Key) -> tuple[Words, Words]:
    a, b = np.array(key, np.uint32)
    return np.atleast_1d(a), np.atleast_1d(b)


def _ratio(x: Reals, numerator: tuple[float, ...], denominator: tuple[float, ...]) -> Reals:
    ratio: Reals = np.polyval(numerator, x) / np.polyval(denominator, x)
    return ratio


# Coefficients of AS 241, highest power first.
_A = (
    2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
    13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.387132872796366608,
)  # fmt: skip
_B = (
    5226.495278852545925, 28729.085735721942674, 39307.89580009271061, 21213.794301586595867,
    5394.1960214247511077, 687.1870074920579083, 42.313330701600911252, 1.0,
)  # fmt: skip
_C = (
    7.7454501427834140764e-4, 0.0227238449892691845833, 0.24178072517745061177, 1.27045825245236838258,
    3.64784832476320460504, 5.7694972214606914055, 4.6303378461565452959, 1.42343711074968357734,
)  # fmt: skip
_D = (
    1.05075007164441684324e-9, 5.475938084995344946e-4, 0.0151986665636164571966, 0.14810397642748007459,
    0.68976733498510000455, 1.6763848301838038494, 2.05319162663775882187, 1.0,
)  # fmt: skip
_E = (
    2.01033439929228813265e-7, 2.71155556874348757815e-5, 0.0012426609473880784386, 0.026532189526576123093,
    0.29656057182850489123, 1.7848265399172913358, 5.4637849111641143699, 6.6579046435011037772,
)  # fmt: skip
_F = (
    2.04426310338993978564e-15, 1.4215117583164458887e-7, 1.8463183175100546818e-5,
    7.868691311456132591e-4, 0.0148753612908506148525, 0.13692988092273580531, 0.59983220655588793769, 1.0,
)  # fmt: skip
