"""Randomness is a function, not a state: every random choice is a hash of what it is for.

    bits(seed, purpose, step, index, k) -> 32 bits

An engine's own generator differs between libraries and between versions of one library. This function is
defined by its arithmetic alone, so a crop, a first weight or a dropout mask is the same number in plain
Python (here), in NumPy (`vitcli.data.random`) and on a device (`bits.py` of each backend).

    mix(x)          x ^= x >> 16;  x *= 0x7feb352d;  x ^= x >> 15;  x *= 0x846ca68b;  x ^= x >> 16
    absorb((a, b), w)   a' = mix(a ^ w);   b' = mix(b + a')
    draw((a, b), k)     mix(mix(a ^ k) + b)

All arithmetic is modulo 2**32. `mix` is the finaliser `lowbias32` found by exhaustive search by C. Wellons
(Hash Function Prospector, 2018). A key of two words makes it unlikely (2**-64 a pair) that two streams meet.
"""

from __future__ import annotations

from enum import IntEnum

Key = tuple[int, int]

MASK = 0xFFFFFFFF
MULTIPLIER_1 = 0x7FEB352D
MULTIPLIER_2 = 0x846CA68B
# A mask is drawn from the upper 24 bits: a rate is then exact in float32 on every engine.
RATE_BITS = 24


class Purpose(IntEnum):
    """What a stream of bits is for. The numbers are part of the format: never reuse one."""

    INIT = 1
    SPLIT = 2
    ORDER = 3
    CROP = 4
    FLIP = 5
    AFFINE = 6
    MIX = 7
    NOISE = 8
    PERTURB = 9
    PARTNER = 10
    SHOW = 11
    VERTICAL_FLIP = 20
    COLOR = 21
    POLICY = 22
    ERASE = 23
    GRAY = 24
    BLUR = 25


class Place(IntEnum):
    """Where in a block a mask is drawn; `site` numbers them over the whole model."""

    EMBEDDING = 0
    ATTENTION = 1
    PROJECTION = 2
    MLP_HIDDEN = 3
    MLP_OUTPUT = 4
    PATH_ATTENTION = 5
    PATH_MLP = 6


def mix(x: int) -> int:
    """Returns 32 bits in which each bit of `x` changes each output bit with probability near one half."""
    x = ((x ^ (x >> 16)) * MULTIPLIER_1) & MASK
    x = ((x ^ (x >> 15)) * MULTIPLIER_2) & MASK
    return x ^ (x >> 16)


def absorb(key: Key, word: int) -> Key:
    """Returns the key of the stream `word` inside the stream `key`."""
    a = mix(key[0] ^ (word & MASK))
    return a, mix((key[1] + a) & MASK)


def stream(seed: int, purpose: Purpose, *words: int) -> Key:
    """Returns the key of a stream: the seed (64 bits), its purpose, then a step, a site, an index ..."""
    key = absorb((0x9E3779B9, 0x85EBCA6B), seed)
    for word in (seed >> 32, int(purpose), *words):
        key = absorb(key, word)
    return key


def draw(key: Key, k: int) -> int:
    """Returns the k-th 32 bits of a stream."""
    return mix((mix(key[0] ^ k) + key[1]) & MASK)


def bits(seed: int, purpose: Purpose, step: int, index: int, k: int) -> int:
    """Returns the k-th 32 bits drawn for sample `index` at `step` (or epoch) for `purpose`."""
    return draw(absorb(stream(seed, purpose, step), index), k)


def threshold(rate: float) -> int:
    """Returns t such that the upper 24 bits of a draw are below t with probability `rate`."""
    return round(rate * (1 << RATE_BITS))


def site(block: int, place: Place) -> int:
    """Returns the number of a mask's place in the model; blocks count from 0."""
    return 8 * block + int(place)


def text_words(text: str) -> tuple[int, ...]:
    """Returns a text as words of four UTF-8 bytes, so that a name can key a stream."""
    data = text.encode()
    return tuple(int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4))
