"""What tests of stores share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.stores import SIZES
from vitcli.data.dataset import Examples


@pytest.fixture
def examples(tmp_path: Path) -> Examples:
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(len(SIZES))]
    for path, (height, width) in zip(paths, SIZES, strict=True):
        Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(path)
    return Examples(images=paths, labels=np.arange(len(SIZES), dtype=np.int32))
