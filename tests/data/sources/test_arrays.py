"""Arrays in an .npz, or an error says what is wrong with them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.sources.opened import labels, opened, pixels
from vitcli.core.errors import DataError
from vitcli.data.sources import arrays

RANDOM = np.random.default_rng(0)
LABELS = np.array([2, 0, 7, 2, 0, 7])


def images(*shape: int) -> Any:
    return RANDOM.integers(0, 256, shape, np.uint8)


def saved(folder: Path, **content: Any) -> Path:
    np.savez(folder / "a.npz", **content)
    return folder / "a.npz"


@pytest.mark.parametrize("packed", [False, True])
def test_keras_names_the_parts(tmp_path: Path, packed: bool) -> None:
    train, test = images(6, 5, 4, 3), images(2, 5, 4, 3)
    save = np.savez_compressed if packed else np.savez
    save(tmp_path / "a.npz", x_train=train, y_train=LABELS, x_test=test, y_test=np.array([7, 2]))
    found = opened(tmp_path / "a.npz", validation="test")
    assert found.classes == ("0", "2", "7")
    np.testing.assert_array_equal(pixels(found, "train"), train)
    np.testing.assert_array_equal(pixels(found, "test"), test)
    assert labels(found, "train") == [1, 0, 2, 1, 0, 2]
    assert labels(found, "test") == [2, 1]


def test_arrays_may_be_named_by_part_first(tmp_path: Path) -> None:
    x = {f"{part}_images": images(4, 5, 4) for part in ("train", "val", "test")}
    y = {f"{part}_labels": np.array([[0], [1], [1], [0]], np.uint8) for part in ("train", "val", "test")}
    found = opened(saved(tmp_path, **x, **y))
    for part, name in (("train", "train"), ("validation", "val"), ("test", "test")):
        np.testing.assert_array_equal(pixels(found, part)[..., 0], x[f"{name}_images"])
        assert labels(found, part) == [0, 1, 1, 0]


def test_images_and_labels_alone_are_for_training(tmp_path: Path) -> None:
    path = saved(tmp_path, images=images(6, 5, 4), labels=LABELS, other=np.ones(3))
    path = path.rename(tmp_path / "named otherwise")
    found = opened(path, validation=0.5)
    assert pixels(found, "train").shape == (3, 5, 4, 1)
    assert set(found.parts) == {"train", "validation"}


def test_strings_name_the_classes(tmp_path: Path) -> None:
    names = np.array(["ant", "bee", "cat", "dog"])
    found = opened(saved(tmp_path, images=images(3, 4, 4), labels=np.array([3, 0, 0]), classes=names))
    assert found.classes == tuple(names)
    with pytest.raises(DataError, match="labels without a class: 4, 7; the classes have 0, 1, 2, 3"):
        opened(saved(tmp_path, images=images(3, 4, 4), labels=np.array([7, 0, 4]), classes=names))


def test_channels_may_come_first_where_that_is_clear(tmp_path: Path) -> None:
    first = images(4, 3, 5, 7)
    found = opened(saved(tmp_path, images=first, labels=[0, 1, 0, 1]), validation=0.25)
    rest = np.concatenate([pixels(found, "train"), pixels(found, "validation")])
    assert sorted(map(bytes, rest)) == sorted(map(bytes, np.moveaxis(first, 1, 3)))
    assert rest.shape == (4, 5, 7, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"pictures": images(2, 4, 4), "labels": [0, 1]},
            "holds pictures, labels; expected images and labels;",
        ),
        ({"x_test": images(2, 4, 4), "y_test": [0, 1]}, "holds x_test, y_test; expected"),
        (
            {"images": np.ones((2, 4, 4)), "labels": [0, 1]},
            "images is float64; pixels are uint8 from 0 to 255",
        ),
        ({"images": images(2, 3, 5, 3), "labels": [0, 1]}, "2 x 3 x 5 x 3: channels first or last"),
        ({"images": images(2, 5, 5, 4), "labels": [0, 1]}, r"2 x 5 x 5 x 4; expected \(n, H, W\)"),
        ({"images": images(2, 5), "labels": [0, 1]}, "is 2 x 5; expected"),
        ({"images": images(2, 5, 0), "labels": [0, 1]}, "is 2 x 5 x 0; expected"),
        ({"images": images(3, 4, 4), "labels": [0, 1]}, "3 images but 2 labels"),
        ({"images": images(2, 4, 4), "labels": [0, -1]}, "label -1 is negative"),
        (
            {"images": images(2, 4, 4), "labels": [0.0, 1.0]},
            "labels is float64 of 2; labels are whole numbers",
        ),
        ({"images": images(2, 4, 4), "labels": np.eye(2, dtype=int)}, "labels is int64 of 2 x 2"),
        ({"images": images(2, 4, 4), "labels": np.array(1)}, "labels is int64 of no axes"),
        ({"images": images(0, 4, 4), "labels": np.zeros(0, int)}, "has no training images"),
        ({"images": images(2, 4, 4), "labels": [0, 1], "classes": [1, 2]}, "classes is int64 of 2; expected"),
        ({"images": images(2, 4, 4), "labels": [0, 1], "classes": ["a", "a"]}, "of one name: a"),
        (
            {"x_train": images(2, 4, 4), "y_train": [0, 1], "x_test": images(2, 4, 5), "y_test": [0, 1]},
            "all parts must have one size",
        ),
        (
            {"x_train": images(2, 4, 4), "y_train": [0, 1], "x_test": images(2, 4, 4), "y_test": [0, 2]},
            "test: labels without a class: 2; the classes have 0, 1",
        ),
    ],
)
def test_wrong_arrays_are_refused(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(saved(tmp_path, **content))


class Trap:
    """What runs when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("sprung"),)


@pytest.mark.parametrize("name", ["images", "labels", "classes"])
def test_what_is_pickled_is_never_loaded(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"images": images(2, 4, 4), "labels": np.arange(2), "classes": np.array(["a", "b"])}
    with pytest.raises(DataError, match=f"{name} is pickled, which is never loaded"):
        opened(saved(tmp_path, **{**content, name: np.array([Trap(), Trap()], object)}))
    assert not (tmp_path / "sprung").exists()


def member(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def test_a_header_that_promises_more_than_there_is_reserves_nothing(tmp_path: Path) -> None:
    whole = member(images(20, 4, 4))
    for wrong in (whole[:-1], whole + b"\0", whole.replace(b"(20, 4, 4)", b"(9**, 4, 4)")):
        path = zipped(tmp_path / "a.npz", images=wrong, labels=member(np.arange(20)))
        with pytest.raises(DataError, match=r"cut short or too long|cannot be read as \.npz"):
            opened(path)
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        huge, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 10**3, 10**3)}
    )
    path = zipped(tmp_path / "a.npz", images=huge.getvalue(), labels=member(np.arange(2)))
    with pytest.raises(DataError, match="too long for its shape 1000000000000 x 1000 x 1000"):
        opened(path)


def test_what_unfolds_to_too_much_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, images=images(40, 50, 50), labels=np.arange(40))
    monkeypatch.setattr(arrays, "MOST", 50_000)
    monkeypatch.setattr(arrays, "_array", None)
    with pytest.raises(DataError, match=r"unfolds to 0.0 GiB; 0 GiB are the most"):
        opened(path)


def test_a_damaged_zip_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, images=images(20, 9, 9), labels=np.arange(20))
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[400] ^= 1
    for wrong in (whole[:-30], whole[: len(whole) // 2], b"", b"PK\x03\x04", bytes(flipped)):
        path.write_bytes(wrong)
        with pytest.raises(DataError, match=r"a\.npz cannot be read as \.npz"):
            opened(path)
