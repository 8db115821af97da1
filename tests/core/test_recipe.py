"""A recipe is valid once it is built."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from vitcli.core.recipe import AugmentSpec, DataSpec, Recipe, TrainSpec, duration

MODEL = {
    "image_size": 15,
    "patch_size": 5,
    "num_classes": 6,
    "embed_dim": 14,
    "depth": 1,
    "num_heads": 2,
    "mlp_dim": 22,
}


def recipe(**sections: Any) -> Recipe:
    return Recipe.model_validate({"model": MODEL, "train": {"epochs": 1}, **sections})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5 epochs", (5.0, "epochs")),
        ("1 epoch", (1.0, "epochs")),
        ("0.5 epochs", (0.5, "epochs")),
        (" 500  steps ", (500.0, "steps")),
        ("1 step", (1.0, "steps")),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, value: tuple[float, str]) -> None:
    assert duration(text) == value


@pytest.mark.parametrize(
    "text", ["5", "epochs", "five epochs", "-1 epochs", "nan steps", "inf steps", "5 days", ""]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; write '5 epochs' or '500 steps'"):
        duration(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "give one of them.*epochs=None, steps=None"),
        ({"epochs": 1, "steps": 1}, "give one of them.*epochs=1, steps=1"),
        ({"steps": 3, "betas": [0.9, 1.0]}, r"betas=\[0.9, 1.0\] must lie in"),
        ({"steps": 3, "warmup": "soon"}, "'soon' is not a duration"),
        ({"steps": 3, "step_every": "2 weeks"}, "'2 weeks' is not a duration"),
        ({"steps": 3, "milestones": ["1 epoch", "x"]}, "'x' is not a duration"),
    ],
)
def test_training_must_be_possible(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainSpec.model_validate(changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"lr": 0.0},
        {"lr": -1.0},
        {"batch_size": 0},
        {"seed": -1},
        {"seed": 2**63},
        {"gamma": 0.0},
        {"clip": 0.0},
    ],
    ids=str,
)
def test_training_numbers_have_their_range(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TrainSpec.model_validate({"steps": 3, **changes})


@pytest.mark.parametrize(
    ("optimizer", "betas"), [("adamw", (0.9, 0.999)), ("adam", (0.9, 0.999)), ("lion", (0.9, 0.99))]
)
def test_each_optimiser_has_its_published_decays(optimizer: str, betas: tuple[float, float]) -> None:
    assert TrainSpec.model_validate({"steps": 1, "optimizer": optimizer}).moment_decays == betas
    said = {"steps": 1, "optimizer": optimizer, "betas": [0.5, 0.75]}
    assert TrainSpec.model_validate(said).moment_decays == (0.5, 0.75)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_scale": [0.5, 0.2]}, "crop_scale"),
        ({"crop_scale": [0.0, 1.0]}, "crop_scale"),
        ({"crop_scale": [0.5, 1.5]}, "crop_scale"),
        ({"crop_ratio": [2.0, 1.0]}, "crop_ratio"),
        ({"crop_ratio": [0.0, 1.0]}, "crop_ratio"),
    ],
)
def test_crop_ranges_go_from_low_to_high(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=f"{message}=.* range"):
        AugmentSpec.model_validate(changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blur_sigma": [2.0, 1.0]}, r"blur_sigma=\[2.0, 1.0\] must be a range within 0 and 8 pixels"),
        ({"blur_sigma": [0.0, 1.0]}, "blur_sigma"),
        ({"blur_sigma": [1.0, 9.0]}, "blur_sigma"),
        (
            {"color": "linear", "saturation": 0.5},
            "saturation=0.5 needs color='jitter'; 'linear' is brightness",
        ),
        ({"color": "linear", "hue": 0.5}, "hue=0.5 needs color='jitter'"),
        ({"color": "linear", "sharpness": 0.5}, "sharpness=0.5 needs color='jitter'"),
        ({"hue": 0.6}, "less than or equal to 0.5"),
        ({"shear": 90.0}, "less than 90"),
        ({"brightness": 8.5}, "less than or equal to 8"),
        ({"vertical_flip": 1.5}, "less than or equal to 1"),
        ({"policy_magnitude": 31}, "less than or equal to 30"),
        ({"policy": "auto"}, "'none', 'trivial', 'rand' or 'three'"),
        ({"repeats": 0}, "greater than or equal to 1"),
    ],
)
def test_augmentation_must_be_possible(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AugmentSpec.model_validate(changes)


@pytest.mark.parametrize("augment", [{"scale": 0.9999}, {"shear": 89.0}])
def test_maps_reach_no_further_than_integers_do(augment: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="look up to .* image sides away; 32768 pixels is the limit"):
        recipe(augment=augment)
    recipe(augment={"scale": 0.9, "shear": 45.0, "rotate": 180.0, "shift": 1.0})


def test_images_are_not_divided_by_zero() -> None:
    with pytest.raises(ValidationError, match=r"std=\[0.5, 0.0, 0.5\] must be positive"):
        DataSpec(std=(0.5, 0.0, 0.5))


@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, -0.1, 1.5, True, "tset", "0.1", None, [0.1]], ids=repr)
def test_validation_is_a_part_of_train_or_the_test_images(value: Any) -> None:
    with pytest.raises(ValidationError, match='should be a number above 0 and below 1, or "test"') as caught:
        DataSpec(validation=value)
    assert caught.value.error_count() == 1
    assert [DataSpec(validation=right).validation for right in (0.25, "test")] == [0.25, "test"]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": {"mean": [0.1, 0.2]}}, "data.mean has 2 numbers; model.in_channels=3 needs 1 or 3"),
        ({"data": {"std": [0.1] * 4}}, "data.std has 4 numbers"),
        ({"data": {"cache_size": 14}}, "data.cache_size=14 is smaller than model.image_size=15"),
        ({"data": {"eval_size": 14}}, "data.eval_size=14 is smaller than model.image_size=15"),
        (
            {"data": {"cache": "ragged"}, "augment": {"crop": "padded"}},
            "is for augment.crop='resized', not 'padded'",
        ),
    ],
)
def test_sections_must_agree(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        recipe(**sections)


@pytest.mark.parametrize(
    ("sections", "size"),
    [
        ({}, 15),
        ({"augment": {"crop": "padded"}}, 15),
        ({"augment": {"crop": "resized"}}, 17),  # 1.15 x 15 = 17.25
        ({"augment": {"crop": "resized"}, "data": {"cache_size": 13}}, 13),
        ({"data": {"cache_size": 19}}, 19),
        ({"augment": {"crop": "resized"}, "model": {**MODEL, "image_size": 25}}, 29),  # 28.75
    ],
)
def test_the_cache_is_larger_where_resized_crops_are_drawn(sections: dict[str, Any], size: int) -> None:
    assert recipe(**sections).cache_size == size


@pytest.mark.parametrize(
    ("sections", "size"),
    [
        ({}, 15),
        ({"augment": {"crop": "resized"}}, 17),  # 1.15 x 15
        (
            {"augment": {"crop": "resized"}, "data": {"cache_size": 13}},
            15,
        ),  # crops may be enlarged, the middle not
        ({"data": {"cache_size": 19}}, 19),
        ({"data": {"cache_size": 19, "eval_size": 16}}, 16),
    ],
    ids=str,
)
def test_evaluation_fits_images_to_the_cached_side_unless_told(sections: dict[str, Any], size: int) -> None:
    assert recipe(**sections).eval_size == size


def test_augmentation_knows_what_is_on() -> None:
    assert not AugmentSpec().affine
    assert not AugmentSpec().mixes
    assert all(AugmentSpec.model_validate({key: 0.5}).affine for key in ("rotate", "scale", "shift", "shear"))
    keys = ("brightness", "contrast", "saturation", "hue", "sharpness")
    assert all(AugmentSpec.model_validate({key: 0.5}).colors for key in keys)
    assert all(AugmentSpec.model_validate({key: 0.5}).mixes for key in ("mixup", "cutmix"))
