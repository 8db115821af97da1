"""Pixel operations: the same integers on both engines, and those of Pillow, torchvision or SciPy."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import numpy as np
import pytest
import torch
import vitcli_jax.pixels
import vitcli_torch.pixels
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps
from torchvision.transforms.v2 import functional

from vitcli.core.pixels import Op
from vitcli.core.recipe import Border
from vitcli.data import fixed

# Large enough for `equalize` to have steps: they come of 255 pixels each.
SIDE = 31
Levels = NDArray[Any]


def images(channels: int) -> Levels:
    """uint8 (7, S, S, channels): noise, ramps, waves, few levels, pale, one level, black with a white pixel."""
    random = np.random.default_rng(3)
    shape = (SIDE, SIDE, channels)
    row, column, channel = np.mgrid[:SIDE, :SIDE, :channels]
    ramp = (row * 5 + column * 3 + channel * 40) % 256
    wave = 127 + 120 * np.sin(row / 5 + channel) * np.cos(column / 7)
    dot = np.zeros(shape)
    dot[3, 4] = 255
    found = [
        random.integers(0, 256, shape), ramp, wave, 85 * random.integers(0, 4, shape),
        random.integers(101, 119, shape), np.full(shape, 77), dot,
    ]  # fmt: skip
    return np.stack(found).astype(np.uint8)


def both(operation: Callable[..., Any], x: Levels, *numbers: NDArray[np.int32]) -> Levels:
    """Runs `operation(pixels module, x, numbers)` on both engines, demands equal integers, and returns them."""
    ours = np.asarray(_compiled(operation)(x.astype(np.int32), *numbers))
    tensors = [torch.tensor(n)[:, None, None, None] if n.ndim == 1 else torch.tensor(n) for n in numbers]
    theirs = operation(vitcli_torch.pixels, torch.tensor(x.astype(np.int32)), *tensors)
    assert (ours.dtype.name, theirs.dtype) == ("int32", torch.int32)
    np.testing.assert_array_equal(ours, theirs.numpy())
    assert ours.min() >= 0
    return ours


@cache
def _compiled(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Kept by the function: what is called with many amounts is compiled once."""
    return jax.jit(jax.vmap(lambda *arguments: operation(vitcli_jax.pixels, *arguments)))


def operate(pixels: Any, *arguments: Any) -> Any:
    """Runs the operation of a number, on either engine's pixels module."""
    return pixels.operate(*arguments)


def each(oracle: Callable[[Image.Image], Image.Image], x: Levels) -> Levels:
    """Runs a function of a Pillow image on each image."""
    found = [np.asarray(oracle(Image.fromarray(image.squeeze()))) for image in x]
    return np.stack(found).reshape(x.shape)


def same(value: int, x: Levels) -> NDArray[np.int32]:
    return np.full(len(x), value, np.int32)


FACTORS = [0, 13, 128, 255, 256, 257, 300, 509, 2304]
# name, amounts, our function alone, its number in a policy, Pillow's function of (image, amount).
CASES: list[tuple[str, list[int], Any, Op, Any]] = [
    (
        "brightness", FACTORS, lambda p, x, n: p.blend(0, x, n), Op.BRIGHTNESS,
        lambda image, n: ImageEnhance.Brightness(image).enhance(n / 256),
    ),
    (
        "contrast", FACTORS, lambda p, x, n: p.blend(p.average(x), x, n), Op.CONTRAST,
        lambda image, n: ImageEnhance.Contrast(image).enhance(n / 256),
    ),
    (
        "saturation", FACTORS, lambda p, x, n: p.blend(p.gray(x), x, n), Op.SATURATION,
        lambda image, n: ImageEnhance.Color(image).enhance(n / 256),
    ),
    (
        "sharpness", FACTORS, lambda p, x, n: p.blend(p.smooth(x), x, n), Op.SHARPNESS,
        lambda image, n: ImageEnhance.Sharpness(image).enhance(n / 256),
    ),
    (
        "posterize", list(range(1, 9)), lambda p, x, n: p.posterize(x, n), Op.POSTERIZE,
        lambda image, n: ImageOps.posterize(image, n),
    ),
    (
        "solarize", [0, 1, 100, 128, 255, 256], lambda p, x, n: p.solarize(x, n), Op.SOLARIZE,
        lambda image, n: ImageOps.solarize(image, n),
    ),
    ("equalize", [0], None, Op.EQUALIZE, lambda image, n: ImageOps.equalize(image)),
    ("invert", [0], None, Op.INVERT, lambda image, n: ImageOps.invert(image)),
    ("identity", [0], None, Op.IDENTITY, lambda image, n: image),
    ("rotate, a matter of the map", [0], None, Op.ROTATE, lambda image, n: image),
]  # fmt: skip


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("name", "amounts", "alone", "op", "oracle"), CASES, ids=lambda v: str(v)[:12])
def test_levels_are_pillows(
    name: str, amounts: list[int], alone: Any, op: Op, oracle: Any, channels: int
) -> None:
    x = images(channels)
    for amount in amounts:
        expected = each(lambda image, amount=amount: oracle(image, amount), x)  # type: ignore[misc]
        numbers = same(amount, x)
        chosen = both(operate, x, same(op, x), numbers)
        np.testing.assert_array_equal(chosen, expected, err_msg=f"{name} {amount} by number")
        if alone:
            np.testing.assert_array_equal(both(alone, x, numbers), expected, err_msg=f"{name} {amount}")


@pytest.mark.parametrize("channels", [1, 3])
def test_autocontrast_is_pillows_but_for_its_rounded_quotient(channels: int) -> None:
    x = images(channels)
    found = both(operate, x, same(Op.AUTOCONTRAST, x), same(0, x))
    expected = each(ImageOps.autocontrast, x)
    low, high = x.min((1, 2), keepdims=True).astype(int), x.max((1, 2), keepdims=True).astype(int)
    whole = (x - low) * 255 % np.maximum(high - low, 1) == 0
    np.testing.assert_array_equal(found[~whole], expected[~whole])
    # Pillow truncates x * (255 / span) + offset in float64: at whole numbers it may come out below them.
    assert set((found - expected)[whole].tolist()) <= {0, 1}
    assert (found[:5].min((1, 2)) == 0).all()
    assert (found[:5].max((1, 2)) == 255).all()


def test_each_image_has_its_own_operation() -> None:
    x = images(3)
    ops = np.array([Op.INVERT, Op.SHARPNESS, Op.EQUALIZE, Op.SATURATION, Op.POSTERIZE, 0, 8], np.int32)
    amounts = np.array([0, 400, 0, 30, 3, 0, 100], np.int32)
    found = both(operate, x, ops, amounts)
    for i in range(len(x)):
        alone = both(operate, x[i : i + 1], ops[i : i + 1], amounts[i : i + 1])
        np.testing.assert_array_equal(found[i], alone[0])


def test_gray_is_pillows() -> None:
    x = images(3)
    expected = [np.asarray(Image.fromarray(image).convert("L")) for image in x]
    np.testing.assert_array_equal(both(lambda p, x: p.gray(x), x)[..., 0], expected)
    x = images(1)
    np.testing.assert_array_equal(both(lambda p, x: p.gray(x), x), x)


@pytest.mark.parametrize(("factor", "offset"), [(256, 0), (300, 20), (200, -30), (0, 128), (511, -256)])
def test_linear_is_albumentations(factor: int, offset: int) -> None:
    """What `_brightness_contrast_adjust_uint` of albumentations 1.3.0 computes, with brightness by maximum."""
    table = np.arange(256, dtype=np.float32) * (factor / 256)
    table += offset / 256 * 255
    expected = np.clip(table, 0, 255).astype(np.uint8)
    x = images(3)
    found = both(lambda p, *a: p.linear(*a), x, same(factor, x), same(offset, x))
    np.testing.assert_array_equal(found, expected[x])


@pytest.mark.parametrize("shift", [0, 1, 100, 256, 700, 768, 1000, 1535])
def test_hue_is_torchvisions(shift: int) -> None:
    x = images(3)
    found = both(lambda p, *a: p.hue(*a), x, same(shift, x))
    turns = shift / 1536
    theirs = functional.adjust_hue(
        torch.tensor(x).permute(0, 3, 1, 2).double() / 255, turns - 1 if turns > 0.5 else turns
    )
    # Ours is rounded to whole levels; torchvision's float is exact to 1e-12 but in float64.
    np.testing.assert_allclose(found, 255 * theirs.permute(0, 2, 3, 1).numpy(), atol=0.5 + 1e-4)
    if shift == 0:
        np.testing.assert_array_equal(found, x)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.3, 2.0])
def test_blur_is_torchvisions(sigma: float) -> None:
    x = images(3)
    radius = fixed.radius(2.0)
    kernel = fixed.kernels(np.full(len(x), sigma), np.ones(len(x), bool), radius)
    found = both(lambda p, *a: p.blur(*a), x, kernel)
    pixels = torch.tensor(x).permute(0, 3, 1, 2).double()
    theirs = functional.gaussian_blur(pixels, [2 * radius + 1] * 2, [sigma] * 2)
    # 13 weights a line are rounded to 2**-15 (0.1 level an axis), what is kept between the axes to 1/512 level,
    # the result to whole levels.
    tolerance = 2 * 13 * 255 / 2**15 + 0.002 + 0.5
    np.testing.assert_allclose(found, theirs.permute(0, 2, 3, 1).numpy(), atol=tolerance)
    off = fixed.kernels(np.full(len(x), sigma), np.zeros(len(x), bool), radius)
    np.testing.assert_array_equal(both(lambda p, *a: p.blur(*a), x, off), x)


BORDERS: list[tuple[Border, str]] = [
    ("constant", "grid-constant"),
    ("edge", "nearest"),
    ("reflect", "mirror"),
]


@pytest.mark.parametrize(("border", "mode"), BORDERS)
@pytest.mark.parametrize("far", [1, 9])
def test_affine_samples_as_scipy_does(border: Border, mode: str, far: int) -> None:
    """`far` makes sources lie several sides away: the mirror image is mirrored again."""
    ndimage = pytest.importorskip("scipy.ndimage")
    x = images(3)
    real = np.random.default_rng(5).normal(0, 1, (len(x), 2, 3)) * [1, 1, 20 * far]
    matrix = fixed.matrices(real)
    found = both(lambda p, x, m: p.affine(x, m, border), x, matrix)
    places = np.stack([*np.mgrid[:SIDE, :SIDE], np.ones((SIDE, SIDE), int)])
    # Positions as integers of 1/256 pixel, 16 bits rounded to 8: then bilinear sampling in float64 is exact.
    source = (np.einsum("bij,jrc->birc", matrix.astype(np.int64), places) + 128) // 256 / 256
    for image, at, ours in zip(x, source, found, strict=True):
        for channel in range(3):
            levels = ndimage.map_coordinates(image[..., channel].astype(float), at, order=1, mode=mode)
            np.testing.assert_array_equal(ours[..., channel], np.floor(levels + 0.5))


@pytest.mark.parametrize("border", ["constant", "edge", "reflect"])
def test_the_identity_map_changes_nothing(border: Border) -> None:
    x = images(1)
    identity = fixed.matrices(np.tile(np.eye(2, 3), (len(x), 1, 1)))
    np.testing.assert_array_equal(both(lambda p, x, m: p.affine(x, m, border), x, identity), x)


@pytest.mark.parametrize("side", [9, 31, 64])
@pytest.mark.parametrize("clamp", [True, False])
def test_crops_are_the_same_integers(side: int, clamp: bool) -> None:
    x = images(3)
    boxes = np.array(
        [
            [0, 0, 31, 31],
            [3, 5, 7, 11],
            [10, 2, 13, 4],
            [30, 30, 1, 1],
            [-4, 3, 31, 31],
            [0, 0, 1, 31],
            [9] * 4,
        ],
        np.int32,
    )
    found = both(lambda p, x, box: p.crop(x, box, side, clamp), x, boxes)
    assert found.max() <= 255 << 16
    if side == 31:
        np.testing.assert_array_equal(found[0], x[0].astype(int) << 16)
