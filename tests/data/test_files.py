"""Files behave as the list of their paths does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vitcli.data.dataset import Examples
from vitcli.data.files import Files

NAMES = ["a/1.png", "b/2.png", "c/3.png", "d/4.png"]
PATHS = [Path(name) for name in NAMES]


def test_they_are_a_sequence_of_paths() -> None:
    files = Files(NAMES)
    assert len(files) == 4
    assert list(files) == PATHS
    assert [files[i] for i in (0, -1, 2)] == [PATHS[0], PATHS[3], PATHS[2]]
    assert files[1:3] == PATHS[1:3]
    assert Path("b/2.png") in files
    assert files != PATHS[:3]
    assert files != 3
    with pytest.raises(IndexError):
        files[4]
    with pytest.raises(TypeError):
        hash(files)


def test_an_array_picks_several() -> None:
    examples = Examples(images=Files(NAMES), labels=np.arange(4, dtype=np.int32))
    taken = examples.take(np.array([3, 1, 1]))
    assert isinstance(taken.images, Files)
    assert list(taken.images) == [PATHS[3], PATHS[1], PATHS[1]]
    assert taken.labels.tolist() == [3, 1, 1]
    listed = Examples(images=PATHS, labels=examples.labels).take(np.array([2, 0]))
    assert listed.images == [PATHS[2], PATHS[0]]
