"""How the folders of sets are made that vit does not fetch, to be read by a person."""

from __future__ import annotations

CASSAVA = """\
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

COCO5 = """\
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
