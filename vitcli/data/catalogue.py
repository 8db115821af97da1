"""Data sets known by name: what they are, under which terms, and what `data.source` makes of the name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vitcli.data import releases, steps
from vitcli.data.releases import Release

_IMAGENET = "images under ImageNet's terms: research, not commercial"
_CIFAR = "not stated by its authors; used for research"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A known set.

    Attributes:
        obtain: where to get it, in one line; "built in" where it comes with vit; empty where vit fetches it.
        csv: the file in its folder that lists its images; empty: its folder is read as a whole.
        reading: keys of `data` (without `data.`) by which that file is read, where a recipe leaves them unsaid.
        steps: lines that say how its folder is made, where one line cannot.
        classes: names of its classes where its files hold numbers alone.
        sizes: what is published of it, the default first; the key is empty where there is one size.
    """

    name: str
    title: str
    images: str
    num_classes: int
    license: str
    citation: str
    obtain: str = ""
    csv: str = ""
    reading: Mapping[str, str] = field(default_factory=dict)
    steps: str = ""
    classes: tuple[str, ...] = ()
    sizes: Mapping[str, Release] = field(default_factory=dict)

    @property
    def built_in(self) -> bool:
        """Whether it comes with vit."""
        return self.obtain == "built in"


@dataclass(frozen=True, kw_only=True)
class Known:
    """A known set in one of its sizes.

    Attributes:
        size: empty where there is but one.
        release: what is published of it; none: vit does not fetch it.
    """

    entry: Entry
    size: str = ""
    release: Release | None = None

    @property
    def name(self) -> str:
        """The name of its folder, by which `data.source` knows it: `imagenette`, `imagenette-160`."""
        default = self.size == next(iter(self.entry.sizes), "")
        return self.entry.name if default else f"{self.entry.name}-{self.size}"

    @property
    def folder(self) -> Path:
        """Where it is looked for, and fetched to."""
        return data_root() / self.name

    @property
    def place(self) -> Path:
        """What is read: its folder, or the CSV file in it."""
        return self.folder / self.entry.csv

    @property
    def obtain(self) -> str:
        """How to get it, in one line."""
        return self.entry.obtain or f"vit datasets fetch {self.name}"


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
            license=_CIFAR,
            citation="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
            sizes={"": releases.CIFAR10},
        ),
        Entry(
            name="cifar100",
            title="CIFAR-100",
            images="60,000 colour images of 32 x 32 pixels; 50,000 train, 10,000 test",
            num_classes=100,
            license=_CIFAR,
            citation="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
            sizes={"": releases.CIFAR100},
        ),
        Entry(
            name="imagenette",
            title="Imagenette",
            images="13,394 photographs of 10 ImageNet classes; 9,469 train, 3,925 validation",
            num_classes=10,
            license=_IMAGENET,
            citation="Howard 2019, https://github.com/fastai/imagenette",
            sizes=releases.IMAGENETTE,
        ),
        Entry(
            name="imagewoof",
            title="Imagewoof",
            images="12,954 photographs of 10 breeds of dogs in ImageNet; 9,025 train, 3,929 validation",
            num_classes=10,
            license=_IMAGENET,
            citation="Howard 2019, https://github.com/fastai/imagenette",
            sizes=releases.IMAGEWOOF,
        ),
        Entry(
            name="mnist",
            title="MNIST",
            images="70,000 grey images of 28 x 28 pixels; 60,000 train, 10,000 test",
            num_classes=10,
            license="CC BY-SA 3.0, as widely told; not stated with the files",
            citation="LeCun, Bottou, Bengio & Haffner 1998, Gradient-Based Learning Applied to Document Recognition",
            sizes={"": releases.MNIST},
        ),
        Entry(
            name="fashion-mnist",
            title="Fashion-MNIST",
            images="70,000 grey images of 28 x 28 pixels; 60,000 train, 10,000 test",
            num_classes=10,
            license="MIT",
            citation="Xiao, Rasul & Vollgraf 2017, Fashion-MNIST, arXiv:1708.07747",
            sizes={"": releases.FASHION_MNIST},
            classes=(
                "T-shirt/top",
                "Trouser",
                "Pullover",
                "Dress",
                "Coat",
                "Sandal",
                "Shirt",
                "Sneaker",
                "Bag",
                "Ankle boot",
            ),
        ),
        Entry(
            name="pets",
            title="Oxford-IIIT Pet",
            images="7,349 photographs of cats and dogs; 3,680 train, 3,669 test",
            num_classes=37,
            license="CC BY-SA 4.0; the photographs remain their owners'",
            citation="Parkhi, Vedaldi, Zisserman & Jawahar 2012, Cats and Dogs, CVPR",
            sizes={"": releases.PETS},
        ),
        Entry(
            name="flowers102",
            title="Oxford 102 Flowers",
            images="8,189 photographs of flowers; 1,020 train, 1,020 validation, 6,149 test",
            num_classes=102,
            license="not stated by its authors; used for research",
            citation="Nilsback & Zisserman 2008, Automated Flower Classification, ICVGIP, doi:10.1109/ICVGIP.2008.47",
            sizes={"": releases.FLOWERS102},
        ),
        Entry(
            name="food101",
            title="Food-101",
            images="101,000 photographs of dishes; 75,750 train, 25,250 test",
            num_classes=101,
            license="images of Foodspotting, not its authors': research within fair use",
            citation="Bossard, Guillaumin & Van Gool 2014, Food-101: Mining Discriminative Components, ECCV",
            sizes={"": releases.FOOD101},
        ),
        Entry(
            name="stl10",
            title="STL-10",
            images="13,000 colour images of 96 x 96 pixels; 5,000 train, 8,000 test (and 100,000 without labels)",
            num_classes=10,
            license=_IMAGENET,
            citation="Coates, Lee & Ng 2011, Single-Layer Networks in Unsupervised Feature Learning, AISTATS",
            sizes={"": releases.STL10},
        ),
        Entry(
            name="tiny-imagenet",
            title="Tiny ImageNet",
            images="110,000 colour images of 64 x 64 pixels; 100,000 train, 10,000 validation",
            num_classes=200,
            license=_IMAGENET,
            citation="Le & Yang 2015, Tiny ImageNet Visual Recognition Challenge, Stanford CS 231N",
            sizes={"": releases.TINY_IMAGENET},
        ),
        Entry(
            name="cassava",
            title="Cassava Leaf Disease Classification",
            images=(
                "21,397 leaf photographs, JPEG of 800 x 600 pixels: Cassava Bacterial Blight (CBB), Brown Streak "
                "Disease (CBSD), Green Mottle (CGM), Mosaic Disease (CMD), Healthy"
            ),
            num_classes=5,
            license="the competition's rules, which you accept on Kaggle",
            citation="Mwebaze, Mostipak, Joyce, Elliott & Dane 2020, Cassava Leaf Disease Classification, Kaggle",
            obtain="https://www.kaggle.com/competitions/cassava-leaf-disease-classification/data (account needed)",
            csv="train.csv",
            reading={
                "path_column": "image_id",
                "label_column": "label",
                "image_folder": "train_images",
                "label_names": "label_num_to_disease_map.json",
            },
            steps=steps.CASSAVA,
        ),
        Entry(
            name="coco5",
            title="Five classes of COCO at 64 x 64 pixels",
            images="about 7,500 train and 2,500 test photographs of airplane, bus, cat, dog and pizza",
            num_classes=5,
            license="annotations CC BY 4.0; images under Flickr's terms of use",
            citation="Lin et al. 2014, Microsoft COCO: Common Objects in Context, arXiv:1405.0312",
            obtain="https://cocodataset.org, five classes of it selected as train/CLASS/*.jpg and test/CLASS/*.jpg",
            steps=steps.COCO5,
        ),
    )
}


def lookup(source: str) -> Known | None:
    """Returns the known set of a name: `imagenette` in its default size, `imagenette-160` in another."""
    if entry := CATALOGUE.get(source):
        size = next(iter(entry.sizes), "")
        return Known(entry=entry, size=size, release=entry.sizes.get(size))
    name, _, size = source.rpartition("-")
    entry = CATALOGUE.get(name)
    if entry is None or not size or size not in entry.sizes:
        return None
    return Known(entry=entry, size=size, release=entry.sizes[size])


def data_root() -> Path:
    """Returns the folder in which a known set is looked for: $VIT_DATA, else ~/.local/share/vit."""
    given = os.environ.get("VIT_DATA")
    return Path(given) if given else Path.home() / ".local" / "share" / "vit"
