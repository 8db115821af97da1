"""Plans are drawn within their ranges, evenly, and depend on nothing but the seed and the image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vitcli.core.recipe import AugmentSpec
from vitcli.data.augment import Plan, _affine, draw_plan

EVERYTHING: dict[str, Any] = {
    "crop": "resized", "flip": 0.3, "vertical_flip": 0.3, "brightness": 0.4, "contrast": 0.3, "saturation": 0.2,
    "hue": 0.1, "sharpness": 0.5, "grayscale": 0.2, "blur": 0.4, "rotate": 30.0, "scale": 0.2, "shift": 0.1,
    "shear": 5.0, "erase": 0.3,
}  # fmt: skip


def plan(
    fields: dict[str, Any], count: int = 5000, size: tuple[int, int] = (19, 19), side: int = 15, **how: int
) -> Plan:
    index = np.arange(count)
    sizes = np.tile(np.array(size, np.int64), (count, 1))
    return draw_plan(
        AugmentSpec.model_validate(fields),
        seed=how.get("seed", 0),
        epoch=how.get("epoch", 0),
        index=index,
        sizes=sizes,
        side=side,
    )


@pytest.fixture(scope="module")
def stats() -> Any:
    return pytest.importorskip("scipy.stats")


@pytest.fixture(scope="module")
def their_crop() -> Any:
    """torchvision's draw: (image, scale, ratio) -> top, left, height, width."""
    return pytest.importorskip("torchvision.transforms").RandomResizedCrop.get_params


def test_nothing_is_planned_where_nothing_is_asked() -> None:
    assert plan({}) == {}
    whole = {"box", "flip", "vertical_flip", "color", "gray", "blur", "affine", "erase"}
    assert set(plan(EVERYTHING)) == whole
    names = {"crop": "box", "shift": "affine", "shear": "affine", "hue": "color", "grayscale": "gray"}
    for key in ("crop", "flip", "vertical_flip", "shift", "shear", "hue", "grayscale", "blur", "erase"):
        assert set(plan({key: EVERYTHING[key]})) == {names.get(key, key)}


def test_plans_are_small_integers() -> None:
    found = plan(EVERYTHING, count=7)
    assert {name: (value.dtype.name, value.shape) for name, value in found.items()} == {
        "box": ("int32", (7, 4)),
        "flip": ("int32", (7,)),
        "vertical_flip": ("int32", (7,)),
        "color": ("int32", (7, 5)),
        "gray": ("int32", (7,)),
        "blur": ("int32", (7, 13)),
        "affine": ("int32", (7, 2, 3)),
        "erase": ("int32", (7, 4)),
    }


def test_an_images_plan_does_not_depend_on_its_batch() -> None:
    augment = AugmentSpec.model_validate(EVERYTHING)

    def draw(index: list[int], seed: int = 3, epoch: int = 5) -> Plan:
        sizes = np.array([[20 + i % 7, 30 + i % 5] for i in index])
        return draw_plan(augment, seed=seed, epoch=epoch, index=np.array(index), sizes=sizes, side=15)

    whole, other, alone = draw([4, 9, 2, 70_000]), draw([70_000, 1, 2]), draw([2])
    for name in whole:
        np.testing.assert_array_equal(whole[name][[3, 2]], other[name][[0, 2]])
        np.testing.assert_array_equal(whole[name][2], alone[name][0])
    again = [draw([2], seed=4), draw([2], epoch=6), draw([3])]
    assert all((alone["affine"] != each["affine"]).any() for each in again)


# (height, width) of an image, range of area, range of ratio.
CROPS = [
    ((37, 53), (0.08, 1.0), (0.75, 4 / 3)),
    ((53, 37), (0.3, 0.6), (0.5, 3.0)),
    ((40, 90), (0.5, 1.0), (0.75, 4 / 3)),  # often no attempt fits
]


@pytest.mark.parametrize(("size", "scale", "ratio"), CROPS)
def test_resized_boxes_lie_in_the_image_and_in_their_ranges(
    size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    found = plan({"crop": "resized", "crop_scale": scale, "crop_ratio": ratio}, size=size)["box"]
    top, left, height, width = found.T
    assert (found == np.rint(found)).all()
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= size[0]).all()
    assert (left + width <= size[1]).all()
    # Sides are rounded to whole pixels: each may be off by half of one.
    assert ((width + 0.5) * (height + 0.5) >= scale[0] * size[0] * size[1]).all()
    assert ((width - 0.5) * (height - 0.5) <= scale[1] * size[0] * size[1]).all()
    assert ((width + 0.5) / (height - 0.5) >= ratio[0]).all()
    assert ((width - 0.5) / (height + 0.5) <= ratio[1]).all()


@pytest.mark.parametrize(("size", "scale", "ratio"), CROPS)
def test_resized_boxes_are_distributed_as_torchvisions(
    stats: Any, their_crop: Any, size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    image = torch.zeros(1, *size)
    theirs = np.array([their_crop(image, list(scale), list(ratio)) for _ in range(3000)])
    ours = plan({"crop": "resized", "crop_scale": scale, "crop_ratio": ratio}, size=size)["box"]
    # Sides and places take whole values, for which this test is conservative. Both draws are fixed.
    for name, a, b in zip(("top", "left", "height", "width"), ours.T, theirs.T, strict=True):
        assert stats.ks_2samp(a, b).pvalue > 0.02, name
    # Standard error of the means: about 0.3 pixels of sides of 40.
    np.testing.assert_allclose(ours.mean(0), theirs.mean(0), atol=0.9)
    quantiles = [0.05, 0.25, 0.5, 0.75, 0.95]
    np.testing.assert_allclose(np.quantile(ours, quantiles, 0), np.quantile(theirs, quantiles, 0), atol=2.1)


@pytest.mark.parametrize("size", [(20, 200), (200, 20), (31, 47), (200, 21)])
def test_where_nothing_fits_the_box_in_the_middle_is_torchvisions(
    their_crop: Any, size: tuple[int, int]
) -> None:
    torch = pytest.importorskip("torch")
    # The whole area at a ratio that the image does not have never fits.
    scale, ratio = (1.0, 1.0), (0.75, 4 / 3)
    expected = their_crop(torch.zeros(1, *size), list(scale), list(ratio))
    found = plan({"crop": "resized", "crop_scale": scale, "crop_ratio": ratio}, count=3, size=size)["box"]
    assert found.tolist() == [list(map(float, expected))] * 3


@pytest.mark.parametrize(("size", "padding"), [((15, 15), 2), ((19, 23), 4), ((17, 15), 1)])
def test_padded_boxes_come_to_every_place_equally_often(
    stats: Any, size: tuple[int, int], padding: int
) -> None:
    boxes = plan({"crop": "padded", "crop_padding": padding}, size=size, count=20_000)["box"]
    assert (boxes[:, 2:] == 15).all()
    for axis in (0, 1):
        places, counts = np.unique(boxes[:, axis], return_counts=True)
        assert places.tolist() == list(range(-padding, size[axis] + padding - 15 + 1))
        assert stats.chisquare(counts).pvalue > 0.05
    assert abs(np.corrcoef(boxes[:, 0], boxes[:, 1])[0, 1]) < 0.02  # standard error 0.007


def test_flips_have_their_probability() -> None:
    flips = plan({"flip": 0.3}, count=20_000)["flip"]
    assert set(flips.tolist()) == {0.0, 1.0}
    assert abs(flips.mean() - 0.3) < 0.01  # standard error 0.0032
    assert plan({"flip": 1.0})["flip"].all()


def sources(matrix: NDArray[Any], side: int) -> NDArray[Any]:
    """Where each output pixel (row, column) is taken from."""
    places = np.stack([*np.mgrid[:side, :side], np.ones((side, side))], axis=-1)
    found: NDArray[Any] = np.einsum("ij,rcj->rci", matrix, places)
    return found


# The numbers between 0 and 1 that make a signed draw of 1/2, 0, 1 and -1.
HALF, NONE, FULL, LEAST = 0.75, 0.5, 1.0, 0.0


def signs(*draws: float) -> NDArray[Any]:
    """What `_affine` takes for one image: angle, scale, shift down and right, shear along x and y, chance."""
    return np.array([[*draws, *[NONE] * (6 - len(draws)), LEAST]])


@pytest.mark.parametrize(("draw", "turns"), [(HALF, 1), (FULL, 2), (0.25, 3), (NONE, 0)])
@pytest.mark.parametrize("side", [4, 5])
def test_a_rotation_of_quarter_turns_is_counter_clockwise(side: int, draw: float, turns: int) -> None:
    (matrix,) = _affine(AugmentSpec(rotate=180.0), signs(draw), side)
    places = sources(matrix, side)
    # Sines of float64 are off by 1e-16.
    np.testing.assert_allclose(places, np.rint(places), atol=1e-12)
    image = np.arange(side * side).reshape(side, side)
    rows, columns = np.rint(places).astype(int).transpose(2, 0, 1)
    np.testing.assert_array_equal(image[rows, columns], np.rot90(image, turns))


def test_a_shift_moves_the_picture_down_and_to_the_right() -> None:
    (matrix,) = _affine(AugmentSpec(shift=0.4), signs(NONE, NONE, FULL, HALF), 5)
    # 0.4 of 5 pixels: 2 down, 1 to the right; output (2, 1) shows source (0, 0).
    np.testing.assert_allclose(sources(matrix, 5)[2, 1], [0, 0], atol=1e-12)
    np.testing.assert_allclose(matrix, [[1, 0, -2], [0, 1, -1]], atol=1e-12)


@pytest.mark.parametrize(("draw", "factor"), [(FULL, 1.5), (LEAST, 0.5), (HALF, 1.25)])
def test_a_scale_above_one_enlarges_about_the_middle(draw: float, factor: float) -> None:
    (matrix,) = _affine(AugmentSpec(scale=0.5), signs(NONE, draw), 5)
    np.testing.assert_allclose(sources(matrix, 5)[2, 2], [2, 2], atol=1e-12)
    np.testing.assert_allclose(sources(matrix, 5)[2, 4], [2, 2 + 2 / factor], atol=1e-12)


def test_the_picture_is_turned_and_scaled_before_it_is_shifted() -> None:
    fields = AugmentSpec(rotate=180.0, scale=0.5, shift=0.4)
    (matrix,) = _affine(fields, signs(HALF, FULL, FULL, HALF), 5)
    # Source (2, 4) lies 2 to the right of the middle: turned, 2 above it; scaled by 1.5, 3; shifted by (2, 1).
    row, column = 2 - 3 + 2, 2 + 1
    np.testing.assert_allclose(matrix @ [row, column, 1], [2, 4], atol=1e-12)


def test_angles_scales_and_shifts_are_uniform_in_their_ranges(stats: Any) -> None:
    side, count = 15, 5000
    found = plan({"rotate": 30.0, "scale": 0.2, "shift": 0.1}, count=count, side=side)["affine"] / 2**16
    linear, offset = found[:, :, :2], found[:, :, 2]
    scale = 1 / np.sqrt(np.linalg.det(linear))
    angle = np.rad2deg(np.arctan2(linear[:, 0, 1], linear[:, 0, 0]))
    # The output place of the source's middle, by solving source = linear output + offset.
    middle = np.full((count, 2), (side - 1) / 2)
    moved = np.linalg.solve(linear, (middle - offset)[..., None])[..., 0] - middle
    for values, centre, reach in (
        (angle, 0, 30),
        (scale, 1, 0.2),
        (moved[:, 0], 0, 1.5),
        (moved[:, 1], 0, 1.5),
    ):
        # Entries are rounded to 2**-17: 1e-5 in a scale, 5e-4 in degrees, 15 times as much in a place.
        assert np.abs(values - centre).max() <= reach + 1e-3
        assert stats.kstest(values, "uniform", (centre - reach, 2 * reach)).pvalue > 0.02


def test_an_affine_map_has_its_probability_and_is_else_the_identity() -> None:
    fields: dict[str, Any] = {"rotate": 45.0, "scale": 0.1, "shift": 0.0625, "border": "reflect"}
    some, every = plan({**fields, "affine_probability": 0.4}, count=20_000), plan(fields, count=20_000)
    still = (some["affine"] == 2**16 * np.eye(2, 3)).all(axis=(1, 2))
    assert abs(still.mean() - 0.6) < 0.01  # standard error 0.0035
    # Those that move, move as they would at probability 1.
    np.testing.assert_array_equal(some["affine"][~still], every["affine"][~still])


@pytest.mark.parametrize(("rotate", "shear"), [(0.0, 20.0), (30.0, 20.0)])
def test_a_shear_is_torchvisions(rotate: float, shear: float) -> None:
    functional = pytest.importorskip("torchvision.transforms.functional")
    spec, side = AugmentSpec(rotate=rotate, shear=shear, scale=0.3), 15
    for draws in ((HALF, FULL, NONE, NONE, FULL, NONE), (0.6, LEAST, NONE, NONE, 0.1, 0.8)):
        (ours,) = _affine(spec, signs(*draws), side)
        turn, grow, *_, along_x, along_y = (2 * draw - 1 for draw in draws)
        # torchvision turns clockwise, and has (x, y) where we have (row, column), about the middle.
        a, b, _, c, d, _ = functional._get_inverse_affine_matrix(
            [0.0, 0.0], -rotate * turn, [0.0, 0.0], 1 + 0.3 * grow, [shear * along_x, shear * along_y]
        )
        np.testing.assert_allclose(ours[:, :2], [[d, c], [b, a]], atol=1e-12)
        np.testing.assert_allclose(sources(ours, side)[7, 7], [7, 7], atol=1e-12)


def test_shears_along_both_axes_are_uniform_and_their_own(stats: Any) -> None:
    matrix = plan({"shear": 30.0}, count=5000, side=15)["affine"] / 2**16
    # [[1, y], [x, 1 + x y]] for the slopes x and y.
    angles = np.rad2deg(np.arctan([matrix[:, 1, 0], matrix[:, 0, 1]]))
    for values in angles:
        assert stats.kstest(values, "uniform", (-30, 60)).pvalue > 0.02
    assert abs(np.corrcoef(angles)[0, 1]) < 0.05  # standard error 0.014


def test_vertical_flips_have_their_probability_and_are_their_own() -> None:
    found = plan({"flip": 0.5, "vertical_flip": 0.3}, count=20_000)
    assert abs(found["vertical_flip"].mean() - 0.3) < 0.01  # standard error 0.0032
    assert abs(np.corrcoef(found["vertical_flip"], found["flip"])[0, 1]) < 0.025  # standard error 0.007


def test_color_factors_are_uniform_about_one(stats: Any) -> None:
    widths = {"brightness": 0.4, "contrast": 1.5, "saturation": 0.2, "sharpness": 0.5}
    color = plan({**widths, "hue": 0.1})["color"]
    for column, width in zip((0, 1, 2, 4), widths.values(), strict=True):
        low = max(0.0, 1 - width)
        factor = color[:, column] / 256
        assert factor.min() >= low - 1 / 512
        assert factor.max() <= 1 + width + 1 / 512
        # Of 20,000 numbers in 1/256, no two distribution functions differ by more than a step.
        assert stats.kstest(factor, "uniform", (low, 1 + width - low)).statistic < 0.03
    turns = (color[:, 3] + 768) % 1536 / 1536 - 0.5
    assert np.abs(turns).max() <= 0.1 + 1 / 1536
    assert stats.kstest(turns, "uniform", (-0.1, 0.2)).statistic < 0.03
    assert (np.abs(np.corrcoef(color[:, [0, 1, 2, 4]].T) - np.eye(4)) < 0.07).all()  # standard error 0.014


def test_colors_have_their_probability_and_are_else_neutral() -> None:
    fields = {"brightness": 0.4, "hue": 0.1}
    some, every = (plan({**fields, "color_probability": p}, count=20_000)["color"] for p in (0.3, 1.0))
    still = (some == [256, 256, 256, 0, 256]).all(axis=1)
    assert abs(still.mean() - 0.7) < 0.01  # standard error 0.0032
    np.testing.assert_array_equal(some[~still], every[~still])


def test_linear_colors_are_a_factor_about_one_and_an_offset_about_zero(stats: Any) -> None:
    fields = {"color": "linear", "brightness": 0.2, "contrast": 0.3, "color_probability": 0.5}
    color = plan(fields, count=20_000)["color"]
    assert color.shape == (20_000, 2)
    moved = color[(color != [256, 0]).any(axis=1)] / 256
    assert abs(len(moved) / 20_000 - 0.5) < 0.012  # standard error 0.0035
    assert stats.kstest(moved[:, 0], "uniform", (0.7, 0.6)).statistic < 0.03
    assert stats.kstest(moved[:, 1], "uniform", (-0.2, 0.4)).statistic < 0.03


@pytest.mark.parametrize(("key", "name"), [("grayscale", "gray"), ("blur", "blur"), ("erase", "erase")])
def test_the_rest_has_its_probability(key: str, name: str) -> None:
    found = plan({key: 0.3}, count=20_000)[name]
    on = found[:, 6] < 2**14 - 1 if name == "blur" else found.reshape(20_000, -1).any(axis=1)
    # Blurs of a deviation below 0.22 pixels leave the image as it is: 6 % of them.
    assert abs(on.mean() - 0.3) < (0.03 if name == "blur" else 0.01)  # standard error 0.0032


def test_blurs_have_their_deviation(stats: Any) -> None:
    kernel = plan({"blur": 1.0, "blur_sigma": [0.8, 1.5]})["blur"]
    assert kernel.shape == (5000, 11)  # 5 pixels to each side: three deviations
    assert (kernel.sum(axis=1) == 2**14).all()
    assert (kernel >= 0).all()
    np.testing.assert_array_equal(kernel, kernel[:, ::-1])
    sigma = np.sqrt(-0.5 / np.log(kernel[:, 6] / kernel[:, 5]))
    assert stats.kstest(sigma, "uniform", (0.8, 0.7)).statistic < 0.03


def test_erased_boxes_are_torchvisions(stats: Any) -> None:
    torch, v2 = pytest.importorskip("torch"), pytest.importorskip("torchvision.transforms.v2")
    torch.manual_seed(0)
    side, count = 40, 4000
    draw, blank = v2.RandomErasing(p=1.0), torch.zeros(3, side, side)
    drawn = [draw.make_params([blank]) for _ in range(count)]
    theirs = np.array(
        [[each["i"], each["j"], each["h"], each["w"]] for each in drawn if each["v"] is not None]
    )
    top, left, bottom, right = found = plan({"erase": 1.0}, count=5 * count, side=side)["erase"].T
    assert (found >= 0).all()
    assert (found <= side).all()
    ours = np.stack([top, left, bottom - top, right - left], axis=-1)
    assert ours[:, 2:].max() == side - 1  # a box as high or as wide as the image is drawn again
    area = ours[:, 2] * ours[:, 3] / side**2
    assert area.min() > 0.015
    assert area.max() < 0.345  # sides are rounded
    for name, a, b in zip(("top", "left", "height", "width"), ours.T, theirs.T, strict=True):
        assert stats.ks_2samp(a, b).pvalue > 0.02, name
    assert stats.ks_2samp(area, theirs[:, 2] * theirs[:, 3] / side**2).pvalue > 0.02
