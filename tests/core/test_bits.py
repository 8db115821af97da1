"""The random bits are a file format: their numbers never change."""

from __future__ import annotations

import random

import pytest

from vitcli.core.bits import (
    Place,
    Purpose,
    absorb,
    bits,
    draw,
    mix,
    site,
    stream,
    text_words,
    threshold,
)

MASK = 0xFFFFFFFF


def unmix(x: int) -> int:
    """The inverse of lowbias32, as its author publishes it (github.com/skeeto/hash-prospector, README)."""
    x ^= x >> 16
    x = (x * 0x43021123) & MASK
    x ^= (x >> 15) ^ (x >> 30)
    x = (x * 0x1D69E2A5) & MASK
    return x ^ (x >> 16)


def test_mix_is_undone_by_the_published_inverse() -> None:
    words = [0, 1, MASK, 0x80000000, *random.Random(0).choices(range(2**32), k=1000)]
    assert [unmix(mix(word)) for word in words] == words
    assert all(0 <= mix(word) <= MASK for word in words)


def test_each_bit_of_a_word_changes_half_of_the_mixed_bits() -> None:
    words = random.Random(1).choices(range(2**32), k=300)
    for bit in range(32):
        changed = sum((mix(word) ^ mix(word ^ (1 << bit))).bit_count() for word in words)
        # 9,600 coins: standard deviation 0.005, and 32 bits are looked at.
        assert abs(changed / (32 * len(words)) - 0.5) < 0.025


# Frozen when the format was fixed: a change here breaks the reproduction of every earlier run.
@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((0, Purpose.INIT, 0, 0, 0), 0x51A5C587),
        ((0, Purpose.INIT, 0, 0, 1), 0xB19A4088),
        ((1, Purpose.SPLIT, 2, 3, 4), 0x3025F085),
        ((MASK, Purpose.ORDER, 0, MASK, 7), 0xD00F9F67),
        ((2**32, Purpose.CROP, 5, 17, 39), 0xE76F40BC),
        ((2**63 - 1, Purpose.MIX, MASK, 2**31, 35), 0xC71A8A11),
    ],
)
def test_words_are_frozen(arguments: tuple[int, Purpose, int, int, int], word: int) -> None:
    assert bits(*arguments) == word


def test_keys_are_frozen() -> None:
    assert stream(0, Purpose.ORDER) == (0x1ECE84A6, 0x9D1256CC)
    assert stream(2**40 + 7, Purpose.NOISE, 3) == (0x6814038E, 0x1668E92F)
    assert stream(5, Purpose.INIT, *text_words("head.weight")) == (0xE3E22183, 0x7CE739EA)


def test_a_word_is_drawn_from_the_stream_of_its_sample() -> None:
    key = absorb(absorb(stream(3, Purpose.FLIP), 11), 13)
    assert [bits(3, Purpose.FLIP, 11, 13, k) for k in range(5)] == [draw(key, k) for k in range(5)]


def test_every_argument_matters() -> None:
    seeds = (0, 1, 2**32, 2**32 + 1, 2**62)
    words = {
        bits(seed, purpose, step, index, k)
        for seed in seeds
        for purpose in Purpose
        for step in range(5)
        for index in range(5)
        for k in range(5)
    }
    # Of 6,250 words of 32 bits, 0.005 pairs are equal by chance.
    assert len(words) == len(seeds) * len(Purpose) * 125


def test_purposes_and_places_keep_their_numbers() -> None:
    purposes = {
        "INIT": 1,
        "SPLIT": 2,
        "ORDER": 3,
        "CROP": 4,
        "FLIP": 5,
        "AFFINE": 6,
        "MIX": 7,
        "NOISE": 8,
        "PERTURB": 9,
        "PARTNER": 10,
    }
    places = {
        "EMBEDDING": 0,
        "ATTENTION": 1,
        "PROJECTION": 2,
        "MLP_HIDDEN": 3,
        "MLP_OUTPUT": 4,
        "PATH_ATTENTION": 5,
        "PATH_MLP": 6,
    }
    # New ones may follow; the old ones stay.
    assert {name: int(Purpose[name]) for name in purposes} == purposes
    assert {name: int(Place[name]) for name in places} == places
    assert len({int(purpose) for purpose in Purpose}) == len(Purpose)


def test_sites_of_different_blocks_and_places_differ() -> None:
    assert site(0, Place.EMBEDDING) == 0
    assert site(2, Place.MLP_HIDDEN) == 19
    assert len({site(block, place) for block in range(50) for place in Place}) == 50 * len(Place)


def test_a_threshold_is_the_rate_in_24_bits() -> None:
    assert [threshold(rate) for rate in (0.0, 0.25, 0.5, 1.0)] == [0, 1 << 22, 1 << 23, 1 << 24]
    assert threshold(0.1) == 1_677_722


@pytest.mark.parametrize(
    ("text", "words"),
    [("", ()), ("a", (0x61,)), ("abcd", (0x64636261,)), ("abcde", (0x64636261, 0x65)), ("é", (0xA9C3,))],
)
def test_a_name_is_words_of_four_bytes(text: str, words: tuple[int, ...]) -> None:
    assert text_words(text) == words
