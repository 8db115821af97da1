"""Data sets known by name: what they are, under which terms, and what `data.source` makes of the name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A known set.

    Attributes:
        obtain: where to get it, in one line; "built in" where it comes with vit.
        csv: the file in its folder that lists its images; empty: its images are in class folders.
        reading: keys of `data` (without `data.`) by which that file is read, where a recipe leaves them unsaid.
        steps: lines that say how its folder is made, where one line cannot.
    """

    name: str
    title: str
    images: str
    num_classes: int
    license: str
    citation: str
    obtain: str
    csv: str = ""
    reading: Mapping[str, str] = field(default_factory=dict)
    steps: str = ""

    @property
    def built_in(self) -> bool:
        """Whether it comes with vit."""
        return self.obtain == "built in"

    @property
    def place(self) -> Path:
        """What is read where the name is given: its folder, or the CSV file in it."""
        return data_root() / self.name / self.csv


_CASSAVA_STEPS = """\
The images are not fetched by vit, because Kaggle wants you to accept the competition's rules. With a Kaggle account:

1. Accept the rules at https://www.kaggle.com/competitions/cassava-leaf-disease-classification/rules
2. Press "Download All" at the address above, or, with an API token (https://www.kaggle.com/docs/api):

pip install kaggle
kaggle competitions download -c cassava-leaf-disease-classification

3. Unpack it as $VIT_DATA/cassava (VIT_DATA is ~/.local/share/vit unless you set it), or put a link of that name there:

export VIT_DATA="${VIT_DATA:-$HOME/.local/share/vit}"
mkdir -p "$VIT_DATA/cassava"
unzip cassava-leaf-disease-classification.zip -d "$VIT_DATA/cassava"

That folder must then hold train.csv, label_num_to_disease_map.json and train_images/; nothing else is read.
Kaggle keeps the labels of its test images to itself, so a tenth of these is held out (data.validation)."""

_COCO5_STEPS = """\
The set is a selection that course work makes from COCO's training images: those in which exactly one of the five
categories is annotated, resized to 64 x 64 pixels; about 1,500 to train on and 500 to test on for each class.
Each reader's own selection differs a little, and so does the accuracy on it.

1. In a folder with 40 GB of room, fetch COCO's training images and annotations:

curl -O http://images.cocodataset.org/zips/train2017.zip
curl -O http://images.cocodataset.org/annotations/annotations_trainval2017.zip
unzip -q train2017.zip
unzip -q annotations_trainval2017.zip
pip install pycocotools pillow

2. There, run this with Python; it writes coco5/train/CLASS/*.jpg and coco5/test/CLASS/*.jpg:

from pathlib import Path
from PIL import Image
from pycocotools.coco import COCO

NAMES, TRAIN, TEST = ["airplane", "bus", "cat", "dog", "pizza"], 1500, 500
coco = COCO("annotations/instances_train2017.json")
found = {name: set(coco.getImgIds(catIds=coco.getCatIds(catNms=[name]))) for name in NAMES}
for name in NAMES:
    others = set().union(*(found[other] for other in NAMES if other != name))
    for count, number in enumerate(sorted(found[name] - others)[: TRAIN + TEST]):
        source = Path("train2017", coco.loadImgs([number])[0]["file_name"])
        target = Path("coco5", "train" if count < TRAIN else "test", name, source.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(source).convert("RGB").resize((64, 64)).save(target, quality=95)

3. Move coco5 to $VIT_DATA/coco5 (VIT_DATA is ~/.local/share/vit unless you set it), or say --data coco5 here."""

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
            steps=_CASSAVA_STEPS,
        ),
        Entry(
            name="coco5",
            title="Five classes of COCO at 64 x 64 pixels",
            images="about 7,500 train and 2,500 test photographs of airplane, bus, cat, dog and pizza",
            num_classes=5,
            license="annotations CC BY 4.0; images under Flickr's terms of use",
            citation="Lin et al. 2014, Microsoft COCO: Common Objects in Context, arXiv:1405.0312",
            obtain="https://cocodataset.org, five classes of it selected as train/CLASS/*.jpg and test/CLASS/*.jpg",
            steps=_COCO5_STEPS,
        ),
    )
}


def data_root() -> Path:
    """Returns the folder in which a known set is looked for: $VIT_DATA, else ~/.local/share/vit."""
    given = os.environ.get("VIT_DATA")
    return Path(given) if given else Path.home() / ".local" / "share" / "vit"
