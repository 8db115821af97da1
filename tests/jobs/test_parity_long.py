"""A hundred steps on two engines, with everything on, on the digits and on real photographs (minutes)."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.jobs.test_parity import EVERYTHING, OPTIMIZERS
from vitcli.jobs.parity import parity

pytestmark = pytest.mark.slow
CIFAR = Path(__file__).parents[2].parent / "shared" / "data" / "cifar10.tar.gz"
# The last of each epoch's batches is partial: 1,257 images are 19 batches of 64 and one of 41.
LONG = [override for override in EVERYTHING if not override.startswith(("train.batch_size", "train.epochs"))]


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All CIFAR-10 images as class folders."""
    if not CIFAR.is_file():
        pytest.skip(f"needs the CIFAR-10 images at {CIFAR}")
    folder = tmp_path_factory.mktemp("cifar")
    with tarfile.open(CIFAR) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_hundred_steps_on_the_digits(optimizer: str, precision: str) -> None:
    overrides = [*LONG, "train.batch_size=64", "train.epochs=6", *OPTIMIZERS[optimizer]]
    result = parity("digits", overrides=overrides, steps=100, precision=precision)
    assert result.ok, result.faults
    assert len(result.steps) == 100


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_steps_on_photographs(photographs: Path, precision: str) -> None:
    """A stratified 1,000 of the images: 7 batches of 128 and one of 104 in an epoch."""
    overrides = [*LONG, "data.validation=0.98", "train.batch_size=128", "train.epochs=5"]
    overrides += ["augment.crop_padding=4"]
    result = parity("cifar10-cpu", overrides=overrides, data=str(photographs), steps=40, precision=precision)
    assert result.ok, result.faults
    assert len(result.steps) == 40
