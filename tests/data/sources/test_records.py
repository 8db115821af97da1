"""The binaries of CIFAR and STL, or an error says what is wrong with them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.data.sources.opened import labels, opened, pixels
from vitcli.core.errors import DataError

RANDOM = np.random.default_rng(0)
NAMES = [f"name {i}" for i in range(10)]
FINE = [f"fine {i}" for i in range(100)]


def images(count: int, side: int) -> NDArray[np.uint8]:
    return RANDOM.integers(0, 256, (count, side, side, 3), np.uint8)


def planes(image: NDArray[np.uint8]) -> bytes:
    """Red, green, blue, each row by row."""
    return b"".join(image[:, :, channel].tobytes() for channel in range(3))


def cifar10(folder: Path) -> tuple[NDArray[np.uint8], list[int], NDArray[np.uint8], list[int]]:
    """Five batches of 4 images and a test batch of 3, as the set's page describes them."""
    folder.mkdir(parents=True, exist_ok=True)
    train, test = images(20, 32), images(3, 32)
    given, asked = [i * 7 % 10 for i in range(20)], [9, 0, 4]
    for batch in range(5):
        members = range(4 * batch, 4 * batch + 4)
        content = b"".join(bytes([given[i]]) + planes(train[i]) for i in members)
        (folder / f"data_batch_{batch + 1}.bin").write_bytes(content)
    content = b"".join(bytes([label]) + planes(image) for label, image in zip(asked, test, strict=True))
    (folder / "test_batch.bin").write_bytes(content)
    (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    return train, given, test, asked


def test_cifar10(tmp_path: Path) -> None:
    train, given, test, asked = cifar10(tmp_path / "cifar-10-batches-bin")
    found = opened(tmp_path, validation="test")
    assert found.classes == tuple(NAMES)
    np.testing.assert_array_equal(pixels(found, "train"), train)
    np.testing.assert_array_equal(pixels(found, "test"), test)
    assert (labels(found, "train"), labels(found, "test")) == (given, asked)


def test_torchvision_reads_the_same_of_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    train, given, test, asked = cifar10(tmp_path / "ours")
    theirs = tmp_path / datasets.CIFAR10.base_folder
    theirs.mkdir()
    flat = [np.frombuffer(planes(image), np.uint8) for image in train]
    for batch in range(5):
        here = slice(4 * batch, 4 * batch + 4)
        content = {"data": np.stack(flat[here]), "labels": given[here]}
        (theirs / f"data_batch_{batch + 1}").write_bytes(pickle.dumps(content))
    content = {"data": np.stack([np.frombuffer(planes(image), np.uint8) for image in test]), "labels": asked}
    (theirs / "test_batch").write_bytes(pickle.dumps(content))
    (theirs / "batches.meta").write_bytes(pickle.dumps({"label_names": NAMES}))
    for module in ("cifar", "utils"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.check_integrity", lambda *_: True)
    found = opened(tmp_path / "ours", validation="test")
    for part, train_part in (("train", True), ("test", False)):
        peer = datasets.CIFAR10(tmp_path, train=train_part, download=False)
        np.testing.assert_array_equal(pixels(found, part), peer.data)
        assert labels(found, part) == peer.targets
        assert list(found.classes) == peer.classes
    with pytest.raises(DataError, match="Python pickles, which are never loaded; get the binary version"):
        opened(theirs)


def cifar100(folder: Path) -> tuple[NDArray[np.uint8], list[int]]:
    train, fine = images(6, 32), [99, 0, 42, 7, 99, 13]
    records = [bytes([i, fine[i]]) + planes(train[i]) for i in range(6)]
    (folder / "train.bin").write_bytes(b"".join(records))
    (folder / "test.bin").write_bytes(b"".join(records[3:]))
    (folder / "fine_label_names.txt").write_text("\n".join(FINE) + "\n")
    (folder / "coarse_label_names.txt").write_text("\n".join(FINE[:20]) + "\n")
    return train, fine


def test_cifar100_has_its_fine_classes(tmp_path: Path) -> None:
    train, fine = cifar100(tmp_path)
    found = opened(tmp_path, validation="test")
    assert found.classes == tuple(FINE)
    np.testing.assert_array_equal(pixels(found, "train"), train)
    np.testing.assert_array_equal(pixels(found, "test"), train[3:])
    assert (labels(found, "train"), labels(found, "test")) == (fine, fine[3:])


def stl10(folder: Path) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    made: dict[str, Any] = {}
    for part, given in (("train", [1, 10, 3, 4]), ("test", [10, 2])):
        made[part] = images(len(given), 96)
        # Column by column: each plane is the transposed image.
        content = b"".join(planes(image.swapaxes(0, 1)) for image in made[part])
        (folder / f"{part}_X.bin").write_bytes(content)
        (folder / f"{part}_y.bin").write_bytes(bytes(given))
        made[f"{part} labels"] = [label - 1 for label in given]
    (folder / "class_names.txt").write_text("\n".join(NAMES) + "\n")
    return made


def test_stl10(tmp_path: Path) -> None:
    made = stl10(tmp_path)
    found = opened(tmp_path, validation="test")
    assert found.classes == tuple(NAMES)
    for part in ("train", "test"):
        np.testing.assert_array_equal(pixels(found, part), made[part])
        assert labels(found, part) == made[f"{part} labels"]


def test_torchvision_reads_the_same_of_stl10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    stl10(tmp_path / datasets.STL10.base_folder)
    monkeypatch.setattr("torchvision.datasets.stl10.check_integrity", lambda *_: True)
    found = opened(tmp_path, validation="test")
    for part in ("train", "test"):
        peer = datasets.STL10(tmp_path, split=part, download=False)
        np.testing.assert_array_equal(pixels(found, part), peer.data.transpose(0, 2, 3, 1))
        np.testing.assert_array_equal(labels(found, part), peer.labels)


WRONG = {
    "a batch is absent": ("data_batch_3.bin", None, "data_batch_3.bin is not there, although other files"),
    "a cut batch": ("data_batch_2.bin", bytes(3072), "has 3,072 bytes, no whole number of 3,073"),
    "an empty batch": ("test_batch.bin", b"", "test_batch.bin has 0 bytes, no whole number"),
    "a label that is none": ("test_batch.bin", bytes([10]) + bytes(3072), "test: labels without a class: 10"),
    "too few names": ("batches.meta.txt", b"a\nb\n", "has 2 names; 10 were expected"),
    "no names": ("batches.meta.txt", None, "cannot read the class names in .*batches.meta.txt"),
    "no text": ("batches.meta.txt", b"\xff\xfe", "cannot read the class names"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_of_cifar10_are_refused(tmp_path: Path, case: str) -> None:
    name, content, message = WRONG[case]
    cifar10(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        opened(tmp_path)


def test_wrong_files_of_cifar100_are_refused(tmp_path: Path) -> None:
    cifar100(tmp_path)
    (tmp_path / "test.bin").write_bytes(bytes([0, 100]) + bytes(3072))
    with pytest.raises(DataError, match="test: labels without a class: 100"):
        opened(tmp_path)
    (tmp_path / "test.bin").write_bytes(bytes(3073))
    with pytest.raises(DataError, match="no whole number of 3,074"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train_X.bin", bytes(27_647), "no whole number of 27,648"),
        ("train_y.bin", bytes([1, 2, 3]), "train: 4 images but 3 labels"),
        ("train_y.bin", bytes([1, 2, 3, 0]), "label 0; STL-10's are 1 to 10"),
        ("train_y.bin", bytes([1, 2, 3, 11]), "label 11; STL-10's are 1 to 10"),
        ("test_y.bin", None, "test_y.bin is not there"),
    ],
)
def test_wrong_files_of_stl10_are_refused(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    stl10(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        opened(tmp_path)
