"""A part is held out class by class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vitcli.data.dataset import Examples, evenly, hold_out, stratified


def labels_of(*sizes: int) -> np.ndarray:
    """Labels in mixed order, with so many of each class."""
    labels = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    return np.random.default_rng(0).permutation(labels)


@pytest.mark.parametrize(
    ("sizes", "count", "expected"),
    [
        ((3, 5, 7), 6, [1, 2, 3]),  # 1.2, 2.0, 2.8: the last has the largest remainder
        ((10, 10), 5, [3, 2]),  # equal remainders: the first
        ((2, 0, 8), 5, [1, 0, 4]),
        ((4, 6), 10, [4, 6]),
        ((4, 6), 0, [0, 0]),
        ((1, 99), 10, [0, 10]),
    ],
)
def test_each_class_gives_its_share(sizes: tuple[int, ...], count: int, expected: list[int]) -> None:
    labels = labels_of(*sizes)
    chosen = stratified(labels, count, seed=3)
    assert np.bincount(labels[chosen], minlength=len(sizes)).tolist() == expected


@pytest.mark.parametrize("seed", range(20))
def test_shares_are_within_one_image_of_exact(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 7, random.integers(7, 200)).astype(np.int32)
    count = int(random.integers(0, len(labels) + 1))
    chosen = stratified(labels, count, seed)
    assert len(chosen) == len(set(chosen.tolist())) == count
    assert (np.diff(chosen) > 0).all()
    exact = np.bincount(labels, minlength=7) * count / len(labels)
    assert (np.abs(np.bincount(labels[chosen], minlength=7) - exact) < 1).all()


def test_the_choice_depends_on_the_seed_alone() -> None:
    labels = labels_of(30, 40)
    assert stratified(labels, 7, seed=1).tolist() == stratified(labels.copy(), 7, seed=1).tolist()
    assert stratified(labels, 7, seed=1).tolist() != stratified(labels, 7, seed=2).tolist()


def test_every_image_is_held_out_equally_often() -> None:
    labels = labels_of(6, 9)
    times = np.zeros(15)
    for seed in range(600):
        times[stratified(labels, 5, seed)] += 1
    # Each of 15 images: 200 times, standard deviation 11.5.
    assert np.abs(times - 200).max() < 45


def test_what_is_held_out_does_not_stay() -> None:
    labels = labels_of(6, 9)
    pixels = np.arange(15, dtype=np.uint8)[:, None, None, None]
    stays, held = hold_out(Examples(images=pixels, labels=labels), 5, seed=0)
    assert (len(stays), len(held)) == (10, 5)
    ids = [int(image[0, 0, 0]) for part in (stays, held) for image in np.asarray(part.images)]
    assert sorted(ids) == list(range(15))
    assert np.concatenate([stays.labels, held.labels]).tolist() == labels[ids].tolist()


def test_files_are_taken_with_their_labels() -> None:
    files = [Path(f"{i}.png") for i in range(4)]
    taken = Examples(images=files, labels=np.array([0, 1, 0, 1], np.int32)).take(np.array([3, 0]))
    assert list(taken.images) == [files[3], files[0]]
    assert taken.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("sizes", "count", "expected"),
    [
        ((3, 50, 7), 6, [2, 2, 2]),
        ((1, 50, 7), 9, [1, 4, 4]),
        ((2, 0, 8), 5, [2, 0, 3]),
        ((2, 3), 25, [2, 3]),
        ((2, 3), 0, [0, 0]),
    ],
)
def test_classes_are_shown_evenly(sizes: tuple[int, ...], count: int, expected: list[int]) -> None:
    labels = labels_of(*sizes)
    chosen = evenly(labels, count, seed=3)
    assert len(set(chosen.tolist())) == sum(expected)
    assert np.bincount(labels[chosen], minlength=len(sizes)).tolist() == expected
    assert labels[chosen].tolist() == sorted(labels[chosen])


def test_what_is_shown_is_chosen_by_the_seed_among_all() -> None:
    labels = labels_of(*[5] * 40)
    shown = [evenly(labels, 10, seed).tolist() for seed in range(60)]
    assert shown[0] == evenly(labels, 10, 0).tolist() != shown[1]
    # 600 draws of 40 classes: each is expected 15 times, and missed with probability 0.75 ** 60 = 3e-8.
    assert all(len(set(labels[chosen].tolist())) == 10 for chosen in shown)
    assert {int(label) for chosen in shown for label in labels[chosen]} == set(range(40))
