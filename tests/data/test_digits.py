"""The embedded digits are scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest

from vitcli.data.dataset import SPLITS
from vitcli.data.digits import digits


def test_the_parts_are_split_once_and_for_all() -> None:
    parts = digits().parts
    assert [len(parts[split]) for split in SPLITS] == [1257, 180, 360]
    whole = np.bincount(np.concatenate([parts[split].labels for split in SPLITS])) / 1797
    for split in SPLITS:
        # Each of the two cuts is exact to less than one image of a class.
        count = len(parts[split])
        assert np.abs(np.bincount(parts[split].labels) - whole * count).max() < 2
    # Frozen: results are compared across versions.
    assert parts["test"].labels[:10].tolist() == [0, 7, 1, 2, 5, 7, 5, 7, 8, 0]
    assert parts["validation"].labels[:10].tolist() == [1, 5, 6, 8, 1, 3, 3, 6, 6, 0]


def test_pixels_are_bytes() -> None:
    found = digits()
    assert found.classes == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    for part in found.parts.values():
        images = np.asarray(part.images)
        assert (images.dtype.name, images.shape[1:]) == ("uint8", (8, 8, 1))
        assert part.labels.dtype.name == "int32"
        assert (images.min(), images.max()) == (0, 255)


def test_images_and_labels_are_those_of_scikit_learn() -> None:
    theirs = pytest.importorskip("sklearn.datasets").load_digits()
    # 16 dots become 255; 8 dots, half way between two bytes, the even one.
    pixels = np.rint(theirs.images * 255 / 16).astype(np.uint8)
    expected = {image.tobytes(): int(label) for image, label in zip(pixels, theirs.target, strict=True)}
    assert len(expected) == 1797  # no image stands there twice, so no image can be in two parts
    found: dict[bytes, int] = {}
    for part in digits().parts.values():
        for image, label in zip(np.asarray(part.images), part.labels, strict=True):
            assert found.setdefault(image.tobytes(), int(label)) == label
    assert found == expected
