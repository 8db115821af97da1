"""Augmentation plans on a device against torchvision, and against sampling written out in NumPy."""

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
from torchvision.transforms.v2 import InterpolationMode, functional

from vitcli.core.recipe import Recipe

ENGINES = ["jax", "torch"]
# With mean 0 and std 1/255 inputs are levels again; the division and the product round to 255 * 2**-23.
ATOL = 255 * 2e-7


def _recipe(size: int, **augment: Any) -> Recipe:
    model = {"image_size": size, "patch_size": size, "num_classes": 5, "embed_dim": 4, "depth": 1}
    return Recipe.model_validate(
        {
            "model": {**model, "num_heads": 1, "mlp_dim": 4},
            "data": {"mean": [0.0], "std": [1 / 255], "cache_size": 40},
            "augment": augment,
            "train": {"epochs": 1, "label_smoothing": 0.1},
        }
    )


def _prepare(engine: str, images: NDArray[np.uint8], plan: dict[str, Any], recipe: Recipe) -> NDArray[Any]:
    if engine == "jax":
        run = jax.jit(lambda x, p: vitcli_jax.augment.prepare(x, p, recipe, jnp.dtype("float32")))
        return np.asarray(run(images, plan))
    tensors = {name: torch.tensor(value) for name, value in plan.items()}
    return vitcli_torch.augment.prepare(torch.tensor(images), tensors, recipe, torch.float32).numpy()


def _images(count: int, height: int, width: int | None = None) -> NDArray[np.uint8]:
    shape = (count, height, width or height, 3)
    return np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("engine", ENGINES)
def test_resized_crop_is_torchvisions(engine: str) -> None:
    images = _images(4, 23)
    boxes = np.array([[0, 0, 23, 23], [3, 5, 7, 11], [10, 2, 13, 4], [22, 22, 1, 1]], np.int32)
    found = _prepare(engine, images, {"box": boxes}, _recipe(9, crop="resized"))
    for image, box, ours in zip(images, boxes, found, strict=True):
        top, left, height, width = (int(value) for value in box)
        pixels = torch.tensor(image).permute(2, 0, 1).float()
        theirs = functional.resized_crop(pixels, top, left, height, width, [9, 9], antialias=False)
        # Positions are rounded to 1/256 pixel on each of two axes, times the largest difference of neighbours.
        np.testing.assert_allclose(ours, theirs.numpy(), atol=2 * 255 / 512 + ATOL)


@pytest.mark.parametrize("engine", ENGINES)
def test_padded_crop_and_flip_are_torchvisions(engine: str) -> None:
    images = _images(3, 12)
    boxes = np.array([[-4, 3, 12, 12], [0, 0, 12, 12], [4, -2, 12, 12]], np.int32)
    flip = np.array([0, 1, 1], np.int32)
    found = _prepare(engine, images, {"box": boxes, "flip": flip}, _recipe(12, crop="padded"))
    for image, box, flipped, ours in zip(images, boxes, flip, found, strict=True):
        padded = functional.pad(torch.tensor(image).permute(2, 0, 1), [4, 4, 4, 4])
        theirs = functional.crop(padded, int(box[0]) + 4, int(box[1]) + 4, 12, 12)
        theirs = functional.horizontal_flip(theirs) if flipped else theirs
        # Whole pixels are moved: nothing is rounded but the normalisation.
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("angle", "scale", "shift"), [(90, 1.0, 0), (0, 1.0, 2), (30, 1.2, 1), (-71, 0.8, 3)]
)
def test_affine_is_torchvisions(engine: str, angle: float, scale: float, shift: int) -> None:
    side = 14
    image = _images(1, side)
    radians, middle = np.deg2rad(angle), (side - 1) / 2
    # torchvision turns clockwise for positive angles, shifts by (x, y), and maps output to source like we do.
    linear = np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]]) / scale
    offset = middle - linear @ np.array([middle + 1, middle + shift])
    matrix = np.rint(np.concatenate([linear, offset[:, None]], axis=1)[None] * 2**16).astype(np.int32)
    found = _prepare(engine, image, {"affine": matrix}, _recipe(side))
    pixels = torch.tensor(image[0]).permute(2, 0, 1).double()
    theirs = functional.affine(
        pixels, angle, [shift, 1], scale, [0.0, 0.0], interpolation=InterpolationMode.BILINEAR, fill=None
    )
    # Matrix entries are rounded to 2**-17, for 14 rows and columns 3e-4 pixels, positions to 1/512 pixel on each of
    # two axes, times the largest difference of neighbours; then levels are whole.
    np.testing.assert_allclose(found[0], theirs.numpy(), atol=2 * 255 * (1 / 512 + 3e-4) + 0.5)
    np.testing.assert_allclose(found[0], np.rint(found[0]), atol=ATOL)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("side", [11, 12, 13])
def test_without_a_plan_torchvisions_middle_is_cut_out_and_normalised(engine: str, side: int) -> None:
    images = _images(2, side)
    recipe = _recipe(6)
    data = recipe.data.model_copy(update={"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7)})
    found = _prepare(engine, images, {}, recipe.model_copy(update={"data": data}))
    middle = functional.center_crop(torch.from_numpy(images.transpose(0, 3, 1, 2)), [6, 6]).numpy()
    levels = middle.transpose(0, 2, 3, 1).astype(np.float64)
    expected = ((levels / 255 - [0.1, 0.2, 0.3]) / [0.5, 0.6, 0.7]).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_mixing_blends_images_and_labels(engine: str) -> None:
    images, recipe = _images(3, 8), _recipe(8)
    plan = {
        "partner": np.array([2, 0, 1], np.int32),
        "blend": np.array([0.7, 1.0, 1.0], np.float32),
        "paste": np.array([[0, 0, 0, 0], [1, 2, 5, 8], [0, 0, 8, 8]], np.float32),
        "share": np.array([0.7, 1 - 24 / 64, 0.0], np.float32),
    }
    found = _prepare(engine, images, plan, recipe)
    x = images.astype(np.float64).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found[0], 0.7 * x[0] + 0.3 * x[2], atol=1e-3)
    pasted = x[1].copy()
    pasted[:, 1:5, 2:8] = x[0][:, 1:5, 2:8]
    np.testing.assert_allclose(found[1], pasted, atol=1e-3)
    np.testing.assert_allclose(found[2], x[1], atol=1e-3)
    labels = np.array([4, 0, 3], np.int32)
    if engine == "jax":
        y = np.asarray(vitcli_jax.augment.targets(labels, plan, recipe, jnp.dtype("float32")))  # type: ignore[arg-type]
    else:
        tensors = {name: torch.tensor(value) for name, value in plan.items()}
        y = vitcli_torch.augment.targets(torch.tensor(labels), tensors, recipe, torch.float32).numpy()
    hard = np.eye(5)[labels]
    mixed = plan["share"][:, None] * hard + (1 - plan["share"][:, None]) * hard[plan["partner"]]
    np.testing.assert_allclose(y, 0.9 * mixed + 0.1 / 5, atol=1e-6)
