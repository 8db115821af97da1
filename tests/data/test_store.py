"""Pixels are decoded once, kept on disk while the files stay as they are, and gathered by index."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.stores import every, opened, spoil
from vitcli.core.errors import DataError, VitError
from vitcli.core.reporter import Advance, Silent
from vitcli.data import cache as cache_module
from vitcli.data import store as store_module
from vitcli.data.dataset import Examples
from vitcli.data.decode import Geometry, decode, examine
from vitcli.data.places import cache_root
from vitcli.data.scan import PIECE
from vitcli.data.store import SquareStore, StreamStore


@pytest.mark.parametrize("fit", ["crop", "squash"])
def test_a_square_store_holds_the_decoded_images(examples: Examples, fit: Any) -> None:
    store = opened(examples, fit=fit, cache_size=17)
    geometry = Geometry(fit=fit, size=17, channels=3, inner=15)
    expected = np.stack([decode(Path(str(path)), geometry) for path in examples.images])
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
def test_unreadable_images_are_told_together(examples: Examples, cache: str) -> None:
    for i in (1, 3):
        spoil(Path(str(examples.images[i])))
    fault = r"^2 of 4 images cannot be read: .*1\.png is not a readable image.*3\.png is not .*--skip-bad 2$"
    with pytest.raises(DataError, match=fault):
        opened(examples, cache=cache)


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
    assert isinstance(fresh, StreamStore)
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


@pytest.mark.parametrize("cache", ["square", "ragged"])
def test_few_images_are_in_memory_while_a_cache_is_built(
    examples: Examples, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    started: list[Path] = []
    most = 0

    def counting(path: Path, geometry: Geometry) -> Any:
        started.append(path)
        return examine(path, geometry)

    monkeypatch.setattr(cache_module, "examine", counting)

    class Slow(Silent):
        """A reporter that lets the decoders run ahead as far as they may."""

        @contextmanager
        def track(self, title: str, total: int, unit: str) -> Iterator[Advance]:
            done = 0

            def advance(amount: int, detail: str = "") -> None:
                nonlocal done, most
                time.sleep(0.005)
                done += amount
                most = max(most, len(started) - done)

            yield advance

    many = Examples(images=list(examples.images) * 80, labels=np.zeros(320, np.int32))
    opened(many, Slow(), cache=cache)
    assert PIECE < most <= 4 * PIECE  # two pieces for each of two cores; all 320 if nothing held them back
    assert len(started) == 320


def test_embedded_pixels_are_used_as_they_are() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 15, 15, 3), np.uint8)
    store = opened(Examples(images=pixels, labels=np.zeros(4, np.int32)))
    np.testing.assert_array_equal(every(store), pixels)


@pytest.mark.parametrize("cache", ["square", "ragged", "none"])
@pytest.mark.parametrize("channels", [1, 3])
def test_embedded_pixels_of_another_size_are_fitted_as_files_are(
    tmp_path: Path, cache: str, channels: int
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 21, 33, channels), np.uint8)
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image.squeeze()).save(path)
    labels = np.zeros(4, np.int32)
    ours, files = (opened(Examples(images=images, labels=labels), cache=cache) for images in (pixels, paths))
    np.testing.assert_array_equal(every(ours), every(files))
    assert every(ours).shape == (4, 15, 15, 3)


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
            if done > 2:
                raise KeyboardInterrupt

        yield advance


@pytest.mark.parametrize("cache", ["square", "ragged"])
def test_a_stopped_build_leaves_nothing(examples: Examples, cache: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        opened(
            Examples(images=list(examples.images) * 80, labels=np.zeros(320, np.int32)),
            Stopping(),
            cache=cache,
        )
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


def test_other_pixels_have_a_cache_of_their_own() -> None:
    labels = np.zeros(2, np.int32)
    wide = np.random.default_rng(0).integers(0, 256, (2, 20, 40, 3), np.uint8)
    for pixels in (wide, 255 - wide, wide.reshape(2, 40, 20, 3)):
        expected = np.stack([decode(image, Geometry(fit="crop", size=15, channels=3)) for image in pixels])
        np.testing.assert_array_equal(every(opened(Examples(images=pixels, labels=labels))), expected)
    assert len(list(cache_root().iterdir())) == 3


def test_without_threads_the_caller_decodes(examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    here = threading.get_ident()
    seen: set[int] = set()

    def noting(*given: Any) -> Any:
        seen.add(threading.get_ident())
        return examine(*given)

    for threads in (0, 2):
        store = opened(examples, cache="none", threads=threads)
        with monkeypatch.context() as patch:
            patch.setattr(store_module, "examine", noting)
            store.gather(np.arange(4), None)
        assert (seen == {here}) == (threads == 0)
        seen.clear()
