"""Which images of a batch are mixed, and how, depends on the seed, the step and the place alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vitcli.core.recipe import AugmentSpec
from vitcli.data.augment import Plan, draw_mixing


def mixing(
    fields: dict[str, Any], *, step: int = 0, count: int = 4000, side: int = 224, seed: int = 0
) -> Plan:
    return draw_mixing(AugmentSpec.model_validate(fields), seed=seed, step=step, count=count, side=side)


@pytest.fixture(scope="module")
def stats() -> Any:
    return pytest.importorskip("scipy.stats")


def test_mixing_is_small_floats() -> None:
    mixed = mixing({"mixup": 0.2}, count=7)
    assert {name: (value.dtype.name, value.shape) for name, value in mixed.items()} == {
        "partner": ("int32", (7,)),
        "blend": ("float32", (7,)),
        "paste": ("float32", (7, 4)),
        "share": ("float32", (7,)),
    }


def test_each_image_has_another_as_partner() -> None:
    partners = [mixing({"mixup": 0.5}, step=step, count=17)["partner"] for step in range(3)]
    assert all(sorted(each.tolist()) == list(range(17)) for each in partners)
    assert len({tuple(each.tolist()) for each in partners}) == 3


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixup_blends_whole_images_by_beta(stats: Any, alpha: float) -> None:
    found = mixing({"mixup": alpha})
    np.testing.assert_array_equal(found["blend"], found["share"])
    assert not found["paste"].any()
    assert stats.kstest(found["share"], stats.beta(alpha, alpha).cdf).pvalue > 0.05


def test_cutmix_shares_are_the_area_outside_the_box(stats: Any) -> None:
    found = mixing({"cutmix": 1.0}, side=31)
    top, left, bottom, right = paste = found["paste"].T
    assert (paste == np.rint(paste)).all()
    assert (paste >= 0).all()
    assert (paste <= 31).all()
    assert (top <= bottom).all()
    assert (left <= right).all()
    outside = np.ones((4000, 31, 31))
    for i, (t, le, b, r) in enumerate(found["paste"].astype(int)):
        outside[i, t:b, le:r] = 0
    # float32 shares.
    np.testing.assert_allclose(found["share"], outside.mean((1, 2)), atol=1e-7)
    assert (found["blend"] == 1).all()


def test_a_box_inside_the_image_has_the_area_that_beta_says(stats: Any) -> None:
    # The box is centred uniformly: where it is not cut, it is a square of side sqrt(1 - share), and
    # 1 - share is Beta(1, 1): uniform.
    found = mixing({"cutmix": 1.0}, side=1000, count=20_000)
    top, left, bottom, right = found["paste"].T
    inside = (top > 0) & (left > 0) & (bottom < 1000) & (right < 1000)
    assert (np.abs((bottom - top) - (right - left))[inside] <= 1).all()
    # Of a square of side x, (1 - x)^2 lie inside; x^2 is uniform, so x has density 2 x: 1/6 in all.
    assert abs(inside.mean() - 1 / 6) < 0.01  # standard error 0.0026
    density = stats.beta(2, 3)  # 2 x (1 - x)^2, normalised
    assert stats.kstest(((bottom - top) / 1000)[inside], density.cdf).pvalue > 0.02


def test_of_two_ways_of_mixing_each_batch_takes_one() -> None:
    pasted = [
        bool(mixing({"mixup": 0.8, "cutmix": 1.0}, step=step, count=3)["paste"].any()) for step in range(400)
    ]
    assert abs(np.mean(pasted) - 0.5) < 0.075  # standard error 0.025


def test_mixing_depends_on_seed_and_step_alone() -> None:
    found = mixing({"mixup": 0.8}, step=7, count=9)
    again = mixing({"mixup": 0.8}, step=7, count=9)
    assert all((found[name] == again[name]).all() for name in found)
    # A shorter batch has the same coefficients, place by place.
    np.testing.assert_array_equal(mixing({"mixup": 0.8}, step=7, count=4)["share"], found["share"][:4])
    assert (mixing({"mixup": 0.8}, step=8, count=9)["share"] != found["share"]).any()
    assert (mixing({"mixup": 0.8}, step=7, count=9, seed=1)["share"] != found["share"]).any()
