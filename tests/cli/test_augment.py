"""`vit augment`: the picture shows what training sees."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.inputs import folders, image
from tests.cli.running import here
from vitcli.jobs.augment import augment

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = (
    "model.image_size=16",
    "model.patch_size=8",
    "model.embed_dim=8",
    "model.depth=1",
    "model.num_heads=1",
)
PLAIN = (
    *SMALL,
    "augment.crop=none",
    "augment.flip=0.0",
    "data.cache_size=16",
    "augment.mixup=0",
    "augment.cutmix=0",
)


def test_without_augmentation_every_draw_is_the_image(tmp_path: Path) -> None:
    found = augment(str(image(tmp_path / "a.png")), overrides=PLAIN, count=2, backend="jax")
    assert found.draws.shape == (1, 2, 16, 16, 3)
    np.testing.assert_array_equal(found.draws[0, 0], found.originals[0])
    np.testing.assert_array_equal(found.draws[0, 1], found.originals[0])
    assert found.titles == ["a.png"]


def test_draws_are_the_recipes_and_their_own(tmp_path: Path) -> None:
    path = str(image(tmp_path / "a.png"))
    flipped = augment(path, overrides=(*PLAIN, "augment.flip=1.0"), count=1, backend="torch")
    np.testing.assert_array_equal(flipped.draws[0, 0], flipped.originals[0][:, ::-1])
    crops = augment(
        path, recipe="cifar10", overrides=(*SMALL, "data.cache_size=16"), count=6, backend="torch"
    )
    assert len({draw.tobytes() for draw in crops.draws[0]}) > 1


@pytest.mark.parametrize("cache", ["square", "ragged"])
def test_both_engines_draw_the_same_pixels(tmp_path: Path, cache: str) -> None:
    source = str(folders(tmp_path / "photos", ("ant", "bee", "cat")))
    given = (
        *SMALL,
        f"data.cache={cache}",
        "augment.crop=resized",
        "augment.policy=trivial",
        "augment.rotate=20.0",
    )
    drawn = [augment(source, overrides=given, count=3, backend=name) for name in ("jax", "torch")]
    assert drawn[0].draws.shape == (3, 5, 16, 16, 3)
    assert drawn[0].titles == ["ant", "bee", "cat"]
    np.testing.assert_array_equal(drawn[0].draws, drawn[1].draws)


def test_the_picture_is_written_and_named(tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    said = here(
        "augment", image(tmp_path / "a.png"), *PLAIN, "--count", "3", "-o", target, "-b", "jax", "--json"
    )
    assert (said.code, said.errors) == (0, [])
    assert json.loads(said.out) == {"picture": str(target), "backend": "jax", "images": 1, "draws": 3}
    with Image.open(target) as picture:
        assert np.asarray(picture.convert("L")).std() > 10
    digits = here("augment", "digits", "--recipe", "digits", "--count", "2", "-o", tmp_path / "d.png")
    assert (digits.code, digits.errors) == (0, [])
