"""Images with their aspect kept: for training alone, packed on disk, cut out by boxes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.data.stores import every, opened, recipe, short_side
from vitcli.core.errors import VitError
from vitcli.data.augment import draw_plan
from vitcli.data.dataset import Examples
from vitcli.data.decode import decode
from vitcli.data.parts import geometry
from vitcli.data.places import cache_root
from vitcli.weights.header import Card


def short_sides(examples: Examples) -> list[NDArray[np.uint8]]:
    return [short_side(path, 15, 3) for path in examples.images]


def test_a_ragged_store_knows_each_images_size(examples: Examples) -> None:
    store = opened(examples, cache="ragged")
    # The short side is 15; 33 x 23 becomes 22 x 15, and so on.
    np.testing.assert_array_equal(store.sizes(np.arange(4)), [[22, 15], [15, 27], [15, 16], [39, 15]])
    assert [image.shape[:2] for image in short_sides(examples)] == [(22, 15), (15, 27), (15, 16), (39, 15)]


def test_evaluation_never_sees_ragged_images(examples: Examples) -> None:
    """The best weights are chosen on the pixels that prediction sees."""
    evaluated = opened(examples, cache="ragged", training=False)
    np.testing.assert_array_equal(every(evaluated), every(opened(examples)))


def test_ragged_crops_keep_the_aspect_whatever_evaluation_does(examples: Examples) -> None:
    squashing: dict[str, Any] = {"cache": "ragged", "fit": "squash"}
    trained = opened(examples, **squashing)
    np.testing.assert_array_equal(trained.sizes(np.arange(4)), [[22, 15], [15, 27], [15, 16], [39, 15]])
    whole = trained.gather(np.array([1]), np.array([[0, 0, 15, 19]], np.int32))[0]
    np.testing.assert_array_equal(whole[0, :15, :19], short_sides(examples)[1][:, :19])
    # The fit does not matter to these pixels, so both share a cache.
    np.testing.assert_array_equal(every(opened(examples, cache="ragged")), every(trained))
    assert len(list(cache_root().iterdir())) == 1
    evaluated = opened(examples, training=False, **squashing)
    fitted = Card.of(recipe(**squashing), tuple("abcd")).preprocess
    assert (fitted.fit, fitted.size) == ("squash", 15)
    shape = geometry(recipe(**squashing), training=False)
    predicted = [decode(Path(str(path)), shape) for path in examples.images]
    np.testing.assert_array_equal(every(evaluated), np.stack(predicted))
    assert (every(evaluated) != every(opened(examples, fit="crop"))).any(axis=(1, 2, 3)).all()


def test_evaluation_may_fit_images_to_a_side_of_its_own(examples: Examples) -> None:
    sides: dict[str, Any] = {"cache": "ragged", "cache_size": 20, "eval_size": 16}
    assert opened(examples, **sides).sizes(np.arange(1))[0].min() == 20
    assert opened(examples, training=False, **sides).gather(np.arange(2), None)[0].shape == (2, 16, 16, 3)
    assert Card.of(recipe(**sides), tuple("abcd")).preprocess.size == 16


@pytest.mark.parametrize("channels", [1, 3])
def test_ragged_bytes_are_those_of_all_images_in_order(examples: Examples, channels: int) -> None:
    order = [3, 1, 0, 2, 1] * 9
    many = Examples(images=[examples.images[i] for i in order], labels=np.zeros(45, np.int32))
    opened(many, cache="ragged", channels=channels)
    (folder,) = cache_root().iterdir()
    images = [short_side(path, 15, channels) for path in many.images]
    assert (folder / "pixels.bin").read_bytes() == b"".join(image.tobytes() for image in images)
    np.testing.assert_array_equal(np.load(folder / "shapes.npy"), [image.shape for image in images])


@pytest.mark.parametrize("damage", ["bytes", "shapes", "images"])
def test_a_ragged_cache_that_does_not_add_up_is_refused(examples: Examples, damage: str) -> None:
    opened(examples, cache="ragged")
    (folder,) = cache_root().iterdir()
    shapes = np.load(folder / "shapes.npy")
    if damage == "bytes":
        (folder / "pixels.bin").write_bytes((folder / "pixels.bin").read_bytes()[:-1])
    elif damage == "shapes":
        np.save(folder / "shapes.npy", np.add(shapes, [1, 0, 0]))
    else:  # one image less, of as many bytes as the last two
        last = [shapes[2:].prod(axis=1).sum() // 3, 1, 3]
        np.save(folder / "shapes.npy", np.vstack([shapes[:2], last]))
    with pytest.raises(VitError, match=r"the pixel cache .* is damaged: .* remove that folder") as caught:
        opened(examples, cache="ragged")
    assert str(folder) in str(caught.value)
    assert caught.value.exit_code == 1
    shutil.rmtree(folder)
    assert len(opened(examples, cache="ragged")) == 4


def test_a_ragged_store_gives_boxes_in_a_corner_and_says_where_they_are(examples: Examples) -> None:
    store = opened(examples, cache="ragged")
    index = np.array([3, 1, 0])
    boxes = np.array([[20, 2, 13, 11], [1, 9, 14, 18], [0, 0, 15, 15]], np.int32)
    images, moved = store.gather(index, boxes)
    np.testing.assert_array_equal(moved, [[0, 0, 13, 11], [0, 0, 14, 18], [0, 0, 15, 15]])
    full = short_sides(examples)
    for image, i, (top, left, height, width) in zip(images, index, boxes, strict=True):
        np.testing.assert_array_equal(
            image[:height, :width], full[i][top : top + height, left : left + width]
        )
        assert not image[height:].any()
        assert not image[:, width:].any()
    assert boxes[0, 0] == 20  # the caller's boxes are untouched


@pytest.mark.parametrize(
    ("ratio", "scale"),
    [
        ((0.75, 4 / 3), (0.02, 1.0)),
        ((0.1, 10.0), (0.02, 1.0)),
        ((1.0, 1.0), (0.02, 1.0)),
        ((9.5, 10.0), (0.36, 0.4)),  # short sides between 15 and 15.5, which are rounded down
        ((0.1, 0.105), (0.36, 0.4)),
    ],
)
def test_the_canvas_holds_every_box_that_is_drawn(
    tmp_path: Path, ratio: tuple[float, float], scale: tuple[float, float]
) -> None:
    # Short sides are 15 already, so the stored images are these.
    random = np.random.default_rng(1)
    images = [random.integers(0, 256, (*size, 3), np.uint8) for size in ((15, 400), (400, 15), (15, 21))]
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    augment = {"crop": "resized", "crop_scale": scale, "crop_ratio": ratio}
    made = recipe(augment=augment, cache="ragged", cache_size=15)
    store = opened(
        Examples(images=paths, labels=np.zeros(3, np.int32)), augment=augment, cache="ragged", cache_size=15
    )
    index, drawn = np.repeat(np.arange(3), 400), np.arange(1200)
    boxes = draw_plan(made.augment, seed=0, epoch=0, index=drawn, sizes=store.sizes(index), side=15)["box"]
    gathered, _ = store.gather(index, boxes)
    for row, canvas, (top, left, height, width) in zip(index, gathered, boxes, strict=True):
        assert min(canvas.shape[:2]) >= max(height, width)
        expected = images[row][top : top + height, left : left + width]
        np.testing.assert_array_equal(canvas[:height, :width], expected)
