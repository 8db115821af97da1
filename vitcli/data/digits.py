"""The embedded set: 1,797 real handwritten digits of 8 x 8 pixels, so that everything runs offline.

Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
doi:10.24432/C50P49, CC BY 4.0; the test part, as scikit-learn's `load_digits` carries it.
"""

from __future__ import annotations

from importlib.resources import as_file, files

import numpy as np

from vitcli.data.dataset import Dataset, Examples, hold_out

TEST, VALIDATION = 360, 180


def digits() -> Dataset:
    """Returns the digits as uint8 (n, 8, 8, 1), split 1,257 / 180 / 360, stratified, always the same way."""
    with as_file(files("vitcli.data") / "digits.npz") as path, np.load(path, allow_pickle=False) as stored:
        grey16, labels = stored["images"], stored["labels"].astype(np.int32)
    # Pixels are counts of 0 to 16 dark dots in a 4 x 4 field.
    pixels = np.rint(grey16 * (255 / 16)).astype(np.uint8)[..., None]
    rest, test = hold_out(Examples(images=pixels, labels=labels), TEST, seed=0)
    train, validation = hold_out(rest, VALIDATION, seed=0)
    parts = {"train": train, "validation": validation, "test": test}
    return Dataset(name="digits", classes=tuple("0123456789"), parts=parts)  # type: ignore[arg-type]
