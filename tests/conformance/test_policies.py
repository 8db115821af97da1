"""Policies and whole pipelines: torchvision's pictures, and the same pixels on both engines."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import vitcli_jax.augment
import vitcli_torch.augment
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from torchvision.transforms.v2 import InterpolationMode, TrivialAugmentWide

from tests.conformance.test_pixels import SIDE, images
from tests.data.test_policy import NAMES
from vitcli.core.backend import Backend
from vitcli.core.pixels import Op
from vitcli.core.recipe import AugmentSpec, Recipe
from vitcli.data.augment import Plan, draw_mixing, draw_plan
from vitcli.data.policy import OPERATIONS, draw_policy

LEVELS: dict[str, Any] = {"mean": [0.0], "std": [1 / 255]}


# One for all tests: every operation at every strength is the same program.
_jax_prepare = jax.jit(vitcli_jax.augment.prepare, static_argnums=(2, 3))


def recipe(stored: int = SIDE, channels: int = 3, data: dict[str, Any] = LEVELS, **augment: Any) -> Recipe:
    model = {
        "image_size": SIDE,
        "patch_size": SIDE,
        "in_channels": channels,
        "num_classes": 5,
        "embed_dim": 4,
    }
    return Recipe.model_validate(
        {
            "model": {**model, "depth": 1, "num_heads": 1, "mlp_dim": 4},
            "data": {**data, "cache_size": stored},
            "augment": augment,
            "train": {"epochs": 1},
        }
    )


def prepared(x: NDArray[np.uint8], plan: Plan, made: Recipe) -> tuple[NDArray[Any], NDArray[Any]]:
    """The model inputs of JAX and of PyTorch."""
    tensors = {name: torch.tensor(value) for name, value in plan.items()}
    theirs = vitcli_torch.augment.prepare(torch.tensor(x), tensors, made, torch.float32)
    return np.asarray(_jax_prepare(x, plan, made, jnp.dtype("float32"))), theirs.numpy()


def drawn(made: Recipe, count: int, stored: int, epoch: int = 0) -> Plan:
    how: Any = {"seed": 5, "side": SIDE}
    sizes = np.full((count, 2), stored, np.int64)
    plan = draw_plan(made.augment, epoch=epoch, index=np.arange(count), sizes=sizes, **how)
    return plan | (draw_mixing(made.augment, step=epoch, count=count, **how) if made.augment.mixes else {})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_operations_at_their_strengths_are_torchvisions(name: str, channels: int) -> None:
    """Levels equal those of torchvision on Pillow images with the factor in 1/256; maps are near its float maps."""
    their = TrivialAugmentWide(interpolation=InterpolationMode.BILINEAR)
    magnitudes, signed = their._AUGMENTATION_SPACE[name]
    x, op = images(channels), Op(NAMES.index(name))
    for level, sign in [(3, 1), (10, -1), (17, 1), (30, -1)]:
        u = np.tile(
            [(op + 0.5) / len(OPERATIONS), (level + 0.5) / 31, 0.25 if sign < 0 else 0.75], (len(x), 1, 1)
        )
        plan = draw_policy(AugmentSpec(policy="trivial"), u, SIDE)
        found, theirs = prepared(x, plan, recipe(channels=channels, policy="trivial"))
        np.testing.assert_array_equal(np.rint(found), np.rint(theirs))
        strengths = magnitudes(31, SIDE, SIDE)
        strength = 0.0 if strengths is None else float(strengths[level]) * (sign if signed else 1)
        if Op.BRIGHTNESS <= op <= Op.SHARPNESS:
            strength = round(256 * strength) / 256
        geometric = Op.SHEAR_X <= op <= Op.ROTATE
        for image, ours in zip(x, np.rint(found), strict=True):
            pixels: Any = (
                torch.tensor(image).permute(2, 0, 1).double()
                if geometric
                else Image.fromarray(image.squeeze())
            )
            expected = their._apply_image_or_video_transform(
                pixels, name, strength, interpolation=InterpolationMode.BILINEAR, fill={type(pixels): None}
            )
            expected = (
                np.asarray(expected).reshape(channels, SIDE, SIDE)
                if geometric
                else np.moveaxis(np.asarray(expected).reshape(SIDE, SIDE, channels), -1, 0)
            )
            # Maps: 31 rows and columns with entries rounded to 2**-17, positions to 1/512 pixel, levels to whole ones.
            # Autocontrast: Pillow's quotient is rounded (test_pixels).
            atol = 2 * 255 * (1 / 512 + 32 / 2**16) + 0.5 if geometric else float(op == Op.AUTOCONTRAST)
            np.testing.assert_allclose(ours, expected, atol=atol)


EVERYTHING: dict[str, Any] = {
    "crop": "resized", "flip": 0.5, "vertical_flip": 0.5, "policy": "rand", "brightness": 0.4, "contrast": 0.4,
    "saturation": 0.4, "hue": 0.2, "sharpness": 0.9, "grayscale": 0.3, "blur": 0.5, "rotate": 30.0, "scale": 0.3,
    "shift": 0.1, "shear": 10.0, "affine_probability": 0.7, "border": "reflect", "erase": 0.5, "mixup": 0.4,
}  # fmt: skip
PIPELINES: dict[str, dict[str, Any]] = {
    "everything": EVERYTHING,
    "trivial": {"policy": "trivial", "border": "edge"},
    "three": {"crop": "padded", "policy": "three", "brightness": 0.3, "contrast": 0.3, "saturation": 0.3},
    "linear": {"color": "linear", "brightness": 0.2, "contrast": 0.2, "color_probability": 0.5, "erase": 1.0},
    "gray everything": EVERYTHING | {"policy": "trivial", "mixup": 0.0, "cutmix": 1.0},
}


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_gives_the_same_pixels_on_both_engines(name: str) -> None:
    channels = 1 if name.startswith("gray") else 3
    augment = PIPELINES[name] | {"mixup": 0.0, "cutmix": 0.0}
    stored = 37 if "crop" in augment else SIDE
    # Normalised by 0 and 1, inputs times 255 are levels: nothing but that division is rounded.
    made = recipe(stored, channels, {"mean": [0.0], "std": [1.0]}, **augment)
    shape = (40, stored, stored, channels)
    x = np.random.default_rng(6).integers(0, 256, shape, dtype=np.uint8)
    ours, theirs = prepared(x, drawn(made, 40, stored), made)
    np.testing.assert_array_equal(np.rint(255 * ours), np.rint(255 * theirs))
    # The division by 255 may be a multiplication: two roundings of float32.
    np.testing.assert_allclose(ours, theirs, rtol=2e-7)
    assert ours.std(axis=(1, 2, 3)).max() > 0.1


@pytest.mark.parametrize("name", PIPELINES)
def test_inputs_that_training_would_see(backend: Backend, name: str) -> None:
    """The verb against the function that training calls, here of JAX for both engines, normalised and mixed."""
    channels = 1 if name.startswith("gray") else 3
    stored = 37 if "crop" in PIPELINES[name] else SIDE
    made = recipe(stored, channels, {"mean": [0.4], "std": [0.3]}, **PIPELINES[name])
    x = np.random.default_rng(7).integers(0, 256, (6, stored, stored, channels), dtype=np.uint8)
    plan = drawn(made, 6, stored, epoch=2)
    found = backend.augmented(made, x, plan)
    assert (found.shape, found.dtype.name) == ((6, channels, SIDE, SIDE), "float32")
    # Levels are equal; float32 rounds their normalisation and mixing, for values up to 2.
    np.testing.assert_allclose(found, prepared(x, plan, made)[0], atol=1e-6)
    double = made.model_copy(update={"train": made.train.model_copy(update={"precision": "float64"})})
    exact = backend.augmented(double, x, plan)
    assert exact.dtype == np.float64
    np.testing.assert_allclose(found, exact, atol=1e-6)


def test_stages_are_executed_in_their_order() -> None:
    """Solarize, then brightness, then the map: each by hand, in another order the levels would differ."""
    x = images(3)
    made = recipe(policy="trivial", brightness=0.5, grayscale=0.5, shift=0.5, erase=0.5)
    count = len(x)
    move = np.tile(np.array([[1 << 16, 0, 0], [0, 1 << 16, 2 << 16]], np.int32), (count, 1, 1))
    plan = {
        "flip": np.ones(count, np.int32),
        "policy_op": np.full((count, 1), Op.SOLARIZE, np.int32),
        "policy_amount": np.full((count, 1), 100, np.int32),
        "policy_matrix": np.tile(np.int32(2**16 * np.eye(2, 3)), (count, 1, 1, 1)),
        "color": np.tile(np.array([128, 256, 256, 0, 256], np.int32), (count, 1)),
        "gray": np.ones(count, np.int32),
        "affine": move,
        "erase": np.tile(np.array([1, 2, 5, 9], np.int32), (count, 1)),
    }
    expected = x[:, :, ::-1].astype(int)
    expected = np.where(expected < 100, expected, 255 - expected) // 2
    luma = [np.asarray(Image.fromarray(image.astype(np.uint8)).convert("L")) for image in expected]
    expected = np.repeat(np.stack(luma)[..., None], 3, axis=-1).astype(int)
    expected = np.concatenate([expected[:, :, 2:], np.zeros_like(expected[:, :, :2])], axis=2)
    expected[:, 1:5, 2:9] = 0
    for found in prepared(x, plan, made):
        np.testing.assert_array_equal(np.rint(found), expected.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("color", [(180, 300, 100, 512, 400), (330, 90, 500, 1024, 30)])
def test_colors_and_a_vertical_flip_are_pillows(color: tuple[int, ...]) -> None:
    """Brightness, contrast, saturation, hue and sharpness in this order; a third of a turn moves the channels on."""
    x = images(3)
    made = recipe(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.5, sharpness=0.5)
    factors = np.tile(np.array(color, np.int32), (len(x), 1))
    upside_down = np.arange(len(x), dtype=np.int32) % 2
    found = prepared(x, {"vertical_flip": upside_down, "color": factors}, made)
    for i, image in enumerate(x):
        expected = Image.fromarray(image[::-1] if upside_down[i] else image)
        for enhance, factor in zip(
            (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), color, strict=False
        ):
            expected = enhance(expected).enhance(factor / 256)
        expected = Image.fromarray(np.roll(np.asarray(expected), color[3] // 512, axis=-1))
        expected = ImageEnhance.Sharpness(expected).enhance(color[4] / 256)
        for engine in found:
            np.testing.assert_array_equal(np.rint(engine[i]), np.moveaxis(np.asarray(expected), -1, 0))
