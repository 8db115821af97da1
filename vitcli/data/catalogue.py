"""Data sets known by name: what they are, under which terms, and what `data.source` makes of the name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A known set."""

    name: str
    title: str
    images: str
    num_classes: int
    license: str
    citation: str
    obtain: str


CATALOGUE = {
    entry.name: entry
    for entry in (
        Entry(
            name="digits",
            title="Optical Recognition of Handwritten Digits",
            images="1,797 grey images of 8 x 8 pixels; 1,257 train, 180 validation, 360 test",
            num_classes=10,
            license="CC BY 4.0",
            citation="Alpaydin & Kaynak 1998, UCI Machine Learning Repository, doi:10.24432/C50P49",
            obtain="built in",
        ),
        Entry(
            name="cifar10",
            title="CIFAR-10",
            images="60,000 colour images of 32 x 32 pixels; 50,000 train, 10,000 test",
            num_classes=10,
            license="not stated by its authors; used for research",
            citation="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
            obtain="https://www.cs.toronto.edu/~kriz/cifar.html, unpacked as train/CLASS/*.png and test/CLASS/*.png",
        ),
        Entry(
            name="imagenette",
            title="Imagenette",
            images="13,394 photographs of 10 ImageNet classes; 9,469 train, 3,925 validation",
            num_classes=10,
            license="images under ImageNet's terms: research, not commercial",
            citation="Howard 2019, https://github.com/fastai/imagenette",
            obtain="https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-320.tgz, unpacked (train/ and val/)",
        ),
    )
}


def data_root() -> Path:
    """Returns the folder in which a known set is looked for: $VIT_DATA, else ~/.local/share/vit."""
    given = os.environ.get("VIT_DATA")
    return Path(given) if given else Path.home() / ".local" / "share" / "vit"
