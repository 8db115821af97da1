"""MNIST's files, or an error says what is wrong with them."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.sources.opened import labels, opened, pixels
from vitcli.core.errors import DataError

RANDOM = np.random.default_rng(0)
TRAIN, TEST = RANDOM.integers(0, 256, (12, 6, 5), np.uint8), RANDOM.integers(0, 256, (5, 6, 5), np.uint8)
TRAIN_LABELS, TEST_LABELS = [3, 1, 4, 1, 5, 9, 0, 2, 6, 7, 8, 1], [9, 0, 3, 3, 8]


def idx(array: Any) -> bytes:
    """The bytes of an idx file, by its description."""
    array = np.asarray(array, np.uint8)
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + bytes(array.tobytes())


FILES = {
    "train-images-idx3-ubyte": idx(TRAIN),
    "train-labels-idx1-ubyte": idx(TRAIN_LABELS),
    "t10k-images-idx3-ubyte": idx(TEST),
    "t10k-labels-idx1-ubyte": idx(TEST_LABELS),
}


def written(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("kind", ["plain", "gzip", "dots", "folders"])
def test_the_files_are_read_as_they_are_published(tmp_path: Path, kind: str) -> None:
    if kind == "gzip":
        written(tmp_path, {f"{name}.gz": gzip.compress(content) for name, content in FILES.items()})
    elif kind == "dots":
        written(tmp_path, {name.replace("-idx", ".idx"): content for name, content in FILES.items()})
    else:
        written(tmp_path / "MNIST" / "raw" if kind == "folders" else tmp_path)
    found = opened(tmp_path, validation="test")
    assert found.name == str(tmp_path)
    assert found.classes == tuple("0123456789")
    np.testing.assert_array_equal(pixels(found, "train")[..., 0], TRAIN)
    np.testing.assert_array_equal(pixels(found, "test")[..., 0], TEST)
    assert (labels(found, "train"), labels(found, "test")) == (TRAIN_LABELS, TEST_LABELS)


def test_torchvision_reads_the_same(tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    written(tmp_path / "MNIST" / "raw")
    found = opened(tmp_path, validation="test")
    for part, train in (("train", True), ("test", False)):
        theirs = torchvision.datasets.MNIST(tmp_path, train=train, download=False)
        np.testing.assert_array_equal(pixels(found, part)[..., 0], theirs.data.numpy())
        assert labels(found, part) == theirs.targets.tolist()


def test_the_test_images_may_be_absent(tmp_path: Path) -> None:
    files = {name: content for name, content in FILES.items() if name.startswith("train")}
    assert set(opened(written(tmp_path, files)).parts) == {"train", "validation"}


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
WRONG: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "cut short": (IMAGES, lambda b: b[:-1], r"holds 359 of the 360 bytes that its header says"),
    "too long": (IMAGES, lambda b: b + b"\0", "holds more than the 360 bytes"),
    "magic": (IMAGES, lambda b: b"\0\0\x0d\x03" + b[4:], "begins with 00000d03, not 00000803"),
    "labels as images": (IMAGES, lambda b: FILES[LABELS], "begins with 00000801, not 00000803"),
    "empty": (IMAGES, lambda b: b"", "begins with nothing"),
    "header": (IMAGES, lambda b: b[:9], "ends within its header"),
    "HTML": (LABELS, lambda b: b"<html>403</html>", "begins with 3c68746d, not 00000801"),
    "one too few": (LABELS, lambda b: idx(TRAIN_LABELS[:-1]), "12 images but 11 labels"),
    "promises": (
        IMAGES,
        lambda b: b[:4] + struct.pack(">3I", 2**32 - 1, 2**16, 2**16),
        "its header says 18,446",
    ),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_refused(tmp_path: Path, case: str, packed: bool) -> None:
    name, change, message = WRONG[case]
    files = {**FILES, name: change(FILES[name])}
    if packed:
        files = {f"{name}.gz": gzip.compress(content) for name, content in files.items()}
    with pytest.raises(DataError, match=message):
        opened(written(tmp_path, files))


def test_a_bomb_is_not_unfolded(tmp_path: Path) -> None:
    bomb = gzip.compress(idx(TRAIN) + bytes(300_000_000), compresslevel=1)
    written(tmp_path, {**FILES})
    (tmp_path / IMAGES).unlink()
    (tmp_path / f"{IMAGES}.gz").write_bytes(bomb)
    with pytest.raises(DataError, match="holds more than the 360 bytes"):
        opened(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "checksum", "not gzip"])
def test_damaged_gzip_is_refused(tmp_path: Path, damage: str) -> None:
    packed = gzip.compress(FILES[IMAGES])
    wrong = {"cut": packed[:-20], "checksum": packed[:-6] + b"??????", "not gzip": FILES[IMAGES]}[damage]
    written(tmp_path, FILES)
    (tmp_path / IMAGES).unlink()
    (tmp_path / f"{IMAGES}.gz").write_bytes(wrong)
    with pytest.raises(DataError, match="is damaged or cut short"):
        opened(tmp_path)


def test_half_a_pair_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="has t10k-images but no t10k-labels-idx1-ubyte"):
        opened(tmp_path)
    (tmp_path / LABELS).unlink()
    with pytest.raises(DataError, match="has train-images but no train-labels-idx1-ubyte"):
        opened(tmp_path)


def test_a_label_that_train_lacks_is_refused(tmp_path: Path) -> None:
    written(tmp_path, {**FILES, "t10k-labels-idx1-ubyte": idx([9, 0, 3, 3, 10])})
    with pytest.raises(DataError, match="test: labels without a class: 10"):
        opened(tmp_path)


def test_parts_of_two_sizes_are_refused(tmp_path: Path) -> None:
    written(tmp_path, {**FILES, "t10k-images-idx3-ubyte": idx(TEST[:, :, :4])})
    with pytest.raises(DataError, match="training and test images differ in size"):
        opened(tmp_path)


def test_a_known_set_tells_what_its_numbers_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIT_DATA", str(tmp_path))
    for name, last in (("fashion-mnist", "Ankle boot"), ("mnist", "9")):
        written(tmp_path / name)
        assert opened(Path(name)).classes[9] == last
