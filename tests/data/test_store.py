"""Pixels are decoded once, kept on disk while the files stay as they are, and gathered by index."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vitcli.core.errors import DataError, VitError
from vitcli.core.recipe import Recipe
from vitcli.core.reporter import Advance, Silent
from vitcli.data.augment import draw_plan
from vitcli.data.dataset import Examples
from vitcli.data.decode import Geometry, decode_short_side, decode_square
from vitcli.data.store import FileStore, RaggedStore, SquareStore, Store, cache_root, open_store

# (height, width) of the pictures: none is square, none is of the size asked for.
SIZES = [(33, 23), (23, 41), (29, 31), (50, 19)]


@pytest.fixture
def examples(tmp_path: Path) -> Examples:
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(len(SIZES))]
    for path, (height, width) in zip(paths, SIZES, strict=True):
        Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(path)
    return Examples(images=paths, labels=np.arange(len(SIZES), dtype=np.int32))


def recipe(*, channels: int = 3, augment: dict[str, Any] | None = None, **data: Any) -> Recipe:
    model = {
        "image_size": 15,
        "patch_size": 5,
        "in_channels": channels,
        "num_classes": 4,
        "embed_dim": 14,
        "depth": 1,
        "num_heads": 2,
        "mlp_dim": 22,
    }
    if data.get("cache") == "ragged":
        # Of the images, boxes are cut: the short side is that of the square store all the same.
        augment, data = {"crop": "resized", **(augment or {})}, {"cache_size": model["image_size"], **data}
    sections = {"model": model, "data": data, "augment": augment or {}, "train": {"epochs": 1}}
    return Recipe.model_validate(sections)


def opened(examples: Examples, **options: Any) -> Store:
    training = options.pop("training", options.get("cache") == "ragged")
    return open_store(examples, recipe(**options), Silent(), "decoding", training=training)


def every(store: Store) -> NDArray[np.uint8]:
    """All images; of ragged ones the upper left corner that all of them have."""
    index = np.arange(len(store))
    if not isinstance(store, RaggedStore):
        return store.gather(index, None)[0]
    corner = np.tile(np.array([0, 0, 15, 15], np.int32), (len(store), 1))
    return store.gather(index, corner)[0][:, :15, :15]


def spoil(path: Path) -> None:
    """Makes a file unreadable, but leaves its size and its time as they are."""
    status = path.stat()
    path.write_bytes(b"\0" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("fit", ["crop", "squash"])
def test_a_square_store_holds_the_decoded_images(examples: Examples, fit: Any) -> None:
    store = opened(examples, fit=fit, cache_size=17)
    geometry = Geometry(fit=fit, size=17, channels=3)
    expected = np.stack([decode_square(Path(str(path)), geometry) for path in examples.images])
    assert len(store) == 4
    np.testing.assert_array_equal(every(store), expected)
    index = np.array([2, 0, 2])
    np.testing.assert_array_equal(store.sizes(index), [[17, 17]] * 3)
    boxes = np.array([[0, 1, 5, 6], [2, 3, 7, 8], [4, 4, 9, 9]], np.int32)
    images, same = store.gather(index, boxes)
    np.testing.assert_array_equal(images, expected[index])
    np.testing.assert_array_equal(same, boxes)


@pytest.mark.parametrize("cache", ["square", "ragged"])
def test_a_second_open_decodes_nothing(examples: Examples, cache: str) -> None:
    first = every(opened(examples, cache=cache))
    for path in examples.images:
        spoil(Path(str(path)))
    np.testing.assert_array_equal(every(opened(examples, cache=cache)), first)


def test_a_cache_is_mapped_and_not_read(examples: Examples) -> None:
    store = opened(examples)
    assert isinstance(store, SquareStore)
    assert isinstance(store.pixels, np.memmap)
    assert not store.pixels.flags.writeable


@pytest.mark.parametrize("cache", ["square", "ragged"])
def test_a_changed_file_is_decoded_again(examples: Examples, cache: str) -> None:
    before = every(opened(examples, cache=cache))
    path = Path(str(examples.images[1]))
    Image.new("RGB", (40, 20), (10, 20, 30)).save(path)
    after = every(opened(examples, cache=cache))
    assert (after[1] == [10, 20, 30]).all()
    np.testing.assert_array_equal(np.delete(after, 1, 0), np.delete(before, 1, 0))


def test_another_size_alone_is_a_change(examples: Examples) -> None:
    opened(examples)
    path = Path(str(examples.images[0]))
    status = path.stat()
    path.write_bytes(path.read_bytes()[:-30])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DataError, match=r"0.png"):
        opened(examples)


def test_a_later_time_alone_is_a_change(examples: Examples) -> None:
    opened(examples)
    path = Path(str(examples.images[0]))
    spoil(path)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    with pytest.raises(DataError, match=r"0.png"):
        opened(examples)


def test_each_geometry_has_a_cache_of_its_own(examples: Examples) -> None:
    options: list[dict[str, Any]] = [
        {},
        {"fit": "squash"},
        {"cache_size": 16},
        {"channels": 1},
        {"cache": "ragged"},
    ]
    shapes = [every(opened(examples, **each)).shape for each in options]
    assert shapes == [(4, 15, 15, 3), (4, 15, 15, 3), (4, 16, 16, 3), (4, 15, 15, 1), (4, 15, 15, 3)]
    assert len(list(cache_root().iterdir())) == 5
    # What does not change the pixels shares a cache.
    opened(examples, mean=[0.1], augment={"flip": 0.5})
    assert len(list(cache_root().iterdir())) == 5


@pytest.mark.parametrize("cache", ["square", "ragged"])
def test_unreadable_images_are_told_together_and_leave_no_cache(examples: Examples, cache: str) -> None:
    for i in (1, 3):
        spoil(Path(str(examples.images[i])))
    with pytest.raises(
        DataError, match=r"^2 of 4 images cannot be read; first: .*1\.png is not a readable image"
    ):
        opened(examples, cache=cache)
    assert list(cache_root().iterdir()) == []


def test_one_unreadable_image_is_told_by_itself(examples: Examples) -> None:
    spoil(Path(str(examples.images[2])))
    with pytest.raises(DataError, match=r"^[^ ]*2\.png is not a readable image"):
        opened(examples)


def test_an_absent_image_is_told(examples: Examples) -> None:
    Path(str(examples.images[2])).unlink()
    with pytest.raises(DataError, match=r"cannot read image .*2\.png: No such file"):
        opened(examples)


@pytest.mark.parametrize("fit", ["crop", "squash"])
def test_without_a_cache_the_images_are_the_same(examples: Examples, fit: Any) -> None:
    cached, fresh = opened(examples, fit=fit), opened(examples, fit=fit, cache="none")
    assert isinstance(fresh, FileStore)
    index = np.array([3, 0, 2, 0])
    np.testing.assert_array_equal(fresh.gather(index, None)[0], cached.gather(index, None)[0])
    np.testing.assert_array_equal(fresh.sizes(index), cached.sizes(index))
    assert len(fresh) == len(cached)


def test_decoding_by_threads_leaves_the_programs_warnings_as_they_are(examples: Examples) -> None:
    store, before, interval = opened(examples, cache="none"), list(warnings.filters), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns inside every image
    try:
        store.gather(np.arange(4).repeat(300), None)
    finally:
        sys.setswitchinterval(interval)
    assert list(warnings.filters) == before


def short_sides(examples: Examples) -> list[NDArray[np.uint8]]:
    return [decode_short_side(Path(str(path)), 15, 3) for path in examples.images]


def test_a_ragged_store_knows_each_images_size(examples: Examples) -> None:
    store = opened(examples, cache="ragged")
    # The short side is 15; 33 x 23 becomes 22 x 15, and so on.
    np.testing.assert_array_equal(store.sizes(np.arange(4)), [[22, 15], [15, 27], [15, 16], [39, 15]])
    assert [image.shape[:2] for image in short_sides(examples)] == [(22, 15), (15, 27), (15, 16), (39, 15)]


def test_evaluation_never_sees_ragged_images(examples: Examples) -> None:
    """The best weights are chosen on the pixels that prediction sees."""
    evaluated = opened(examples, cache="ragged", training=False)
    np.testing.assert_array_equal(every(evaluated), every(opened(examples)))


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
    store = open_store(
        Examples(images=paths, labels=np.zeros(3, np.int32)), made, Silent(), "decoding", training=True
    )
    index, drawn = np.repeat(np.arange(3), 400), np.arange(1200)
    boxes = draw_plan(made.augment, seed=0, epoch=0, index=drawn, sizes=store.sizes(index), side=15)["box"]
    gathered, _ = store.gather(index, boxes)
    for row, canvas, (top, left, height, width) in zip(index, gathered, boxes, strict=True):
        assert min(canvas.shape[:2]) >= max(height, width)
        expected = images[row][top : top + height, left : left + width]
        np.testing.assert_array_equal(canvas[:height, :width], expected)


def test_embedded_pixels_are_used_as_they_are() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 15, 15, 3), np.uint8)
    store = opened(Examples(images=pixels, labels=np.zeros(4, np.int32)))
    np.testing.assert_array_equal(every(store), pixels)


def test_embedded_pixels_must_fit_the_recipe() -> None:
    examples = Examples(images=np.zeros((4, 8, 8, 1), np.uint8), labels=np.zeros(4, np.int32))
    with pytest.raises(
        DataError, match=r"images are 8 x 8 x 1, but the recipe wants 15 x 15 x 3 \(data.cache_size"
    ):
        opened(examples)


def test_a_cache_that_cannot_be_written_is_told(
    examples: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        VitError, match=r"cannot write the pixel cache in .*file: .*; set VIT_CACHE"
    ) as caught:
        opened(examples)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("cache", ["square", "ragged"])
def test_a_disk_without_room_is_told_before_it_is_full(
    examples: Examples, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=100))
    with pytest.raises(
        VitError, match=r"needs 0.0 GB in .*, 0.0 GB are free; set VIT_CACHE .* data.cache=none"
    ):
        opened(examples, cache=cache)
    assert list(cache_root().iterdir()) == []


class Stopping(Silent):
    """A reporter under which Ctrl-C is pressed after some images."""

    @contextmanager
    def track(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        done = 0

        def advance(amount: int, detail: str = "") -> None:
            nonlocal done
            done += amount
            if done == 2:
                raise KeyboardInterrupt

        yield advance


@pytest.mark.parametrize("cache", ["square", "ragged"])
def test_a_stopped_build_leaves_nothing(examples: Examples, cache: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        open_store(examples, recipe(cache=cache), Stopping(), "decoding", training=True)
    assert list(cache_root().iterdir()) == []


def test_what_a_killed_run_of_the_same_process_id_left_is_replaced(examples: Examples) -> None:
    opened(examples)
    (folder,) = cache_root().iterdir()
    folder.rename(folder.with_name(f".{folder.name}.{os.getpid()}.tmp"))
    (cache_root() / f".{folder.name}.{os.getpid()}.tmp" / "pixels.npy").write_bytes(b"half")
    assert every(opened(examples)).shape == (4, 15, 15, 3)
    assert [path.name for path in cache_root().iterdir()] == [folder.name]


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("VIT_CACHE", "/own")
    assert cache_root() == Path("/own")
    monkeypatch.delenv("VIT_CACHE")
    assert cache_root() == Path("/xdg/vit")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path.home() / ".cache" / "vit"
