"""Policies draw torchvision's operations at torchvision's strengths, evenly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vitcli.core.pixels import Op
from vitcli.core.recipe import AugmentSpec
from vitcli.data.augment import Plan, draw_plan
from vitcli.data.policy import OPERATIONS, draw_policy

SIDE = 45
# torchvision's names in torchvision's order; the numbers in plans are these places.
NAMES = [
    "Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast",
    "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize",
]  # fmt: skip


def plan(count: int = 20_000, **fields: Any) -> Plan:
    augment, sizes = AugmentSpec.model_validate(fields), np.full((count, 2), SIDE, np.int64)
    return draw_plan(augment, seed=0, epoch=0, index=np.arange(count), sizes=sizes, side=SIDE)


def strengths(policy: str, op: int, sign: int) -> Plan:
    """The plan of one operation at each of 31 strengths."""
    u = np.stack(
        [
            np.full(31, (op + 0.5) / len(OPERATIONS)),
            (np.arange(31) + 0.5) / 31,
            np.full(31, 0.25 if sign < 0 else 0.75),
        ],
        axis=-1,
    )[:, None]
    if policy == "trivial":
        return draw_policy(AugmentSpec(policy="trivial"), u, SIDE)
    specs = [AugmentSpec(policy="rand", policy_magnitude=level) for level in range(31)]
    found = [draw_policy(spec, u[:1], SIDE) for spec in specs]
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}


def strength(op: int, found: Plan, sign: int) -> NDArray[Any]:
    """What torchvision calls the magnitude, read off a plan's numbers."""
    amount, matrix = found["policy_amount"][:, 0], found["policy_matrix"][:, 0] / 2**16
    by_op = {
        Op.SHEAR_X: matrix[:, 1, 0],
        Op.SHEAR_Y: matrix[:, 0, 1],
        Op.TRANSLATE_X: -matrix[:, 1, 2],
        Op.TRANSLATE_Y: -matrix[:, 0, 2],
        Op.ROTATE: np.rad2deg(np.arctan2(matrix[:, 0, 1], matrix[:, 0, 0])),
        Op.POSTERIZE: amount * sign,
        Op.SOLARIZE: amount / 255 * sign,
    }
    return sign * np.asarray(by_op.get(Op(op), amount / 256 - 1))


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("policy", "name"), [("trivial", "TrivialAugmentWide"), ("rand", "RandAugment")])
def test_strengths_are_torchvisions(policy: str, name: str, sign: int) -> None:
    space = getattr(pytest.importorskip("torchvision.transforms.v2"), name)._AUGMENTATION_SPACE
    assert list(space) == NAMES
    for op, (magnitudes, signed) in enumerate(space.values()):
        found, theirs = strengths(policy, op, sign), magnitudes(31, SIDE, SIDE)
        assert (found["policy_op"] == op).all()
        if op < Op.SHEAR_X or op > Op.ROTATE:
            np.testing.assert_array_equal(
                found["policy_matrix"], np.tile(2**16 * np.eye(2, 3), (31, 1, 1, 1))
            )
        if theirs is None:
            assert not found["policy_amount"].any()
            continue
        theirs, ours = theirs.numpy(), strength(op, found, sign)
        if op in (Op.TRANSLATE_X, Op.TRANSLATE_Y):
            # int() is taken when it is applied; of 15.9999990, torch's float32 for 32 x 15 / 30, it makes 15.
            theirs = np.trunc(np.float64(theirs) + 1e-5)
        # Solarize compares whole levels: its threshold is the next one.
        ahead = 1 / 255 if op == Op.SOLARIZE else 0
        assert (ours - theirs >= -1 / 512).all()
        assert (ours - theirs <= 1 / 512 + ahead).all()
        # Only signed ones have a sign.
        assert signed or (strength(op, strengths(policy, op, -sign), -sign) == ours).all()


@pytest.mark.parametrize("policy", ["trivial", "rand"])
def test_operations_are_drawn_evenly_and_with_both_signs(policy: str) -> None:
    stats = pytest.importorskip("scipy.stats")
    found = plan(policy=policy, policy_ops=3)
    assert found["policy_op"].shape == (20_000, 3 if policy == "rand" else 1)
    for slot in found["policy_op"].T:
        numbers, counts = np.unique(slot, return_counts=True)
        assert numbers.tolist() == list(range(14))
        assert stats.chisquare(counts).pvalue > 0.02
    if policy == "rand":
        assert abs(np.corrcoef(found["policy_op"].T)[0, 1]) < 0.025  # standard error 0.007
    bright = found["policy_amount"][found["policy_op"] == Op.BRIGHTNESS]
    assert abs((bright < 256).mean() - 0.5) < 0.06  # standard error 0.013; strength 0 is neutral


def test_strengths_of_trivial_are_drawn_evenly() -> None:
    stats = pytest.importorskip("scipy.stats")
    found = plan(policy="trivial")
    factors = found["policy_amount"][found["policy_op"] == Op.CONTRAST]
    values, counts = np.unique(np.abs(factors - 256), return_counts=True)
    assert len(values) == 31
    assert stats.chisquare(counts).pvalue > 0.02


def test_rand_has_one_strength() -> None:
    found = plan(policy="rand", policy_magnitude=20)
    factors = found["policy_amount"][found["policy_op"] == Op.SHARPNESS]
    assert set(factors.tolist()) == {round(256 * 0.4), round(256 * 1.6)}  # 0.9 x 20 / 30


def test_three_is_grayscale_solarize_or_blur() -> None:
    stats = pytest.importorskip("scipy.stats")
    found = plan(policy="three")
    assert set(found) == {"policy_op", "policy_amount", "policy_kernel"}
    ops, kernel = found["policy_op"][:, 0], found["policy_kernel"][:, 0]
    numbers, counts = np.unique(ops, return_counts=True)
    assert numbers.tolist() == [Op.SOLARIZE, Op.GRAYSCALE, Op.BLUR]
    assert stats.chisquare(counts).pvalue > 0.02
    assert (found["policy_amount"] == 128).all()
    assert (kernel.sum(1) == 2**14).all()
    assert (kernel[ops != Op.BLUR, 6] == 2**14).all()
    # The deviation from the ratio of two neighbouring weights: exp(-1 / 2 sigma^2); small ones have no second.
    middle, beside = kernel[ops == Op.BLUR, 6].astype(float), kernel[ops == Op.BLUR, 7].astype(float)
    wide = beside > 1000
    sigma = np.sqrt(-0.5 / np.log(beside[wide] / middle[wide]))
    # Weights of about 3000 are rounded to whole ones.
    assert sigma.max() <= 2.0 + 1e-2
    assert stats.kstest(sigma[sigma > 0.6], "uniform", (0.6, 1.4)).pvalue > 0.02
    assert abs((sigma > 0.6).sum() / len(middle) - 1.4 / 1.9) < 0.02  # standard error 0.005


def test_an_images_policy_is_its_own() -> None:
    augment = AugmentSpec(policy="rand", policy_ops=2)

    def draw(index: list[int], seed: int = 3, epoch: int = 5) -> Plan:
        sizes = np.full((len(index), 2), SIDE, np.int64)
        return draw_plan(augment, seed=seed, epoch=epoch, index=np.array(index), sizes=sizes, side=SIDE)

    whole, other = draw([4, 9, 2, 70_000]), draw([70_000, 2])
    for name in whole:
        np.testing.assert_array_equal(whole[name][[3, 2]], other[name])
    many = list(range(50))
    drawn = [draw(many), draw(many, seed=4), draw(many, epoch=6)]
    assert len({each["policy_op"].tobytes() for each in drawn}) == 3
