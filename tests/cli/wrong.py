"""Wrong requests of every kind, and a folder that holds what they name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from tests.cli.inputs import cut, finished_run, folders, image, tiny_recipe, weights_file
from tests.cli.wrong_pictures import PICTURES, fill_pictures
from tests.cli.wrong_tune import TUNE
from vitcli.core.draft import to_toml
from vitcli.weights.file import write_weights
from vitcli.weights.header import Card
from vitcli.weights.initial import initial_weights

# What follows `vit`, in the folder that `fill` makes; parts that the message must have.
Case = tuple[str, tuple[str, ...]]

RECIPES: dict[str, Case] = {
    "unknown key": (
        "train digits train.epohcs=3",
        ("'train.epohcs'", "command line", "'train.epochs'", "vit recipes keys"),
    ),
    "key without its section": ("train digits lr=1", ("'lr'", "'train.lr'")),
    "unknown key in a file": ("train key.toml", ("'train.epohcs'", "key.toml, line 11", "'train.epochs'")),
    "section as a key": ("train digits augment=1", ("augment is a section", "augment.flip")),
    "value out of range in a file": (
        "train value.toml",
        ("model.depth=0", "value.toml, line 5", "greater than or equal to 1"),
    ),
    "wrong type in a file": ("train type.toml", ('model.depth="four"', "type.toml, line 5", "integer")),
    "wrong type": ("train digits train.lr=fast", ('train.lr="fast"', "command line", "number")),
    "fraction of a whole number": ("train digits model.depth=1.5", ("model.depth=1.5", "integer")),
    "not a number": ("train digits train.lr=nan", ("train.lr=nan", "finite number")),
    "unknown choice": ("train digits model.pool=max", ('model.pool="max"', "'cls'", "'mean'")),
    "missing key": ("train lacking.toml", ("model.num_heads is missing", "say model.num_heads=")),
    "no such file": ("train none.toml", ("none.toml", "No such file", "vit recipes list")),
    "not TOML": ("train bad.toml", ("bad.toml", "not valid TOML", "line 2")),
    "not text": ("train bytes.toml", ("bytes.toml", "not UTF-8 text")),
    "a folder named like a file": ("train folder.toml", ("folder.toml", "Is a directory")),
    "unknown recipe": ("train digts", ("'digts'", "'digits'", ".toml")),
    "data folder as a recipe": ("train five", ("'five'", "--data five")),
    "two recipes": ("train digits five", ("'digits' and 'five'", "give one", "key=value")),
    "all of train held out": (
        "train data.validation=1",
        ("data.validation=1 (command line)", "above 0 and below 1", '"test"'),
    ),
    "misspelt part to validate on": (
        "train data.validation=tset",
        ('data.validation="tset" (command line)', '"test"'),
    ),
    "negative epochs": ("train train.epochs=-1", ("train.epochs=-1", "greater than or equal to 1")),
    "empty batch": ("train train.batch_size=0", ("train.batch_size=0", "greater than or equal to 1")),
    "no full batch": (
        "train train.drop_last=true train.batch_size=5000",
        ("1257", "5000", "train.drop_last=false"),
    ),
    "epochs and steps": ("train train.epochs=1 train.steps=5", ("epochs=1, steps=5", "give one")),
    "betas": ("train train.betas=[0.9,1.5]", ("betas=[0.9, 1.5]", "0 <= beta < 1")),
    "unknown way to keep weights": ("train train.keep=best", ('train.keep="best"', "'accuracy'", "'loss'")),
    "empty window": ("train train.loss_window=0", ("train.loss_window=0", "greater than or equal to 1")),
    "warm-up without a unit": ("train train.warmup=5", ("warmup", "'5'", "5 epochs")),
    "image size and patches": ("train model.image_size=9", ("image_size=9", "patch_size=2", "8 or 10")),
    "width and heads": ("train model.num_heads=7", ("embed_dim=64", "num_heads=7", "63 or 70")),
    "pooling without the token": (
        "train model.pool=cls model.tokens.class_token=false",
        ("pool='cls'", "class_token=false", "pool='mean'"),
    ),
    "unknown variant": ("train model.variant=XL/16", ("'XL/16'", "Ti, S, B", "S/16")),
    "numbers for other channels": ("train data.mean=[0.5,0.5]", ("data.mean has 2", "in_channels=1")),
    "classes against the data": (
        "train --data five model.num_classes=7",
        ("model.num_classes=7", "command line", "five (5 classes)", "leave model.num_classes out"),
    ),
    "classes against the digits": ("train model.num_classes=7", ("model.num_classes=7", "10")),
    "recipe to show": ("recipes show digts", ("'digts'", "'digits'")),
    "recipe to check": ("recipes validate key.toml", ("'train.epohcs'", "key.toml, line 11")),
    "copy over a file": ("recipes copy digits key.toml", ("key.toml exists", "--force")),
    "copy to another kind of file": ("recipes copy digits words.txt", ("words.txt", ".toml")),
    "precision without a tolerance": (
        "parity train.precision=bfloat16",
        ("bfloat16", "--precision float64 or float32"),
    ),
}

DATA: dict[str, Case] = {
    "no such folder": ("train --data nothing", ("'nothing'", "neither a folder", "digits, cifar10")),
    "misspelt set": ("train --data cifar11", ("'cifar11'", "'cifar10'")),
    "known set that is not here": (
        "train --data cifar10",
        ("CIFAR-10", "--data DIR", "vit datasets fetch cifar10"),
    ),
    "empty folder": ("train --data empty", ("empty has no class folders", "expected DIR/")),
    "empty class": ("train --data emptyclass", ("emptyclass/zz", "put some there")),
    "one class": ("train --data one", ("one class, 'a'", "expected DIR/")),
    "images in the root": ("train --data loose", ("3 images directly in it", "expected DIR/")),
    "class that train lacks": (
        "train --data valmore",
        ("valmore/val", "only in train/: none", "only in val/: c"),
    ),
    "class that validation lacks": (
        "train --data valless",
        ("valless/val", "only in train/: c", "data.empty_classes=keep"),
    ),
    "two validation folders": ("train --data twovals", ("valid/ and val/", "keep one")),
    "test alone": ("train --data testonly", ("test/ but no train/", "expected DIR/")),
    "truncated JPEG": ("train --data cut", ("cut/a/1.jpg", "is truncated", "replace")),
    "two bad images": ("train --data cut2", ("2 of 6 images", "cut2/a/1.jpg", "replace")),
    "truncated PNG": ("train --data cutpng", ("cutpng/b/0.png", "replace")),
    "text named .jpg": ("train --data text", ("text/a/9.jpg", "not an image", "hello there", "replace")),
    "HTML named .png": ("train --data html", ("html/b/9.png", "not an image", "<!doctype")),
    "no bytes": ("train --data zero", ("zero/a/9.jpg", "empty file", "replace")),
    "floating-point image": ("train --data tiff", ("tiff/a/9.tiff", "floating-point", "8 or 16 bits")),
    "text file": ("train --data words.txt", ("words.txt", "no column 'path'", "data.path_column", "hello")),
    "image file": ("train --data five/a/0.png", ("five/a/0.png", "cannot be read as CSV")),
    "CSV without the column": (
        "train --data columns.csv",
        ("columns.csv", "'label'", "data.label_column", "path, class"),
    ),
    "CSV with a short row": ("train --data short.csv", ("short.csv, line 3", "fewer columns")),
    "CSV without rows": ("train --data norows.csv", ("norows.csv", "no rows")),
    "CSV of missing files": ("train --data absent.csv", ("1 of 2 files", "nowhere.png", "relative")),
    "CSV with another image folder": (
        "train --data absent.csv data.image_folder=five",
        ("2 of 2 files", "five/five/a/0.png", "relative to five", "data.image_folder"),
    ),
    "CSV without its label names": (
        "train --data oneclass.csv data.label_names=none.json",
        ("data.label_names=none.json", "No such file", "beside oneclass.csv"),
    ),
    "known set of a CSV that is not here": (
        "train --data cassava",
        ("Cassava", "cassava/train.csv", "--data CSV", "https://www.kaggle.com", "vit datasets info cassava"),
    ),
    "CSV of one class": ("train --data oneclass.csv", ("one class, 'a'",)),
    "no test images to validate on": (
        "train --data five data.validation=test",
        ("five has no test images", 'data.validation="test"', "data.validation=0.1"),
    ),
    "set to describe": ("datasets info nothing", ("'nothing'", "digits")),
}

REQUESTS: dict[str, Case] = {
    "unknown command": ("trian", ("'trian'", "'train'", "vit --help")),
    "unknown sub-command": ("recipes lst", ("'lst'", "'list'", "vit recipes --help")),
    "unknown option": ("train --colour red", ("--colour", "vit train --help")),
    "missing argument": ("predict", ("IMAGE", "vit predict --help")),
    "precision that is none": ("train --precision float16", ("float16", "bfloat16")),
    "no steps": ("parity --steps 0", ("--steps", "greater than or equal to 1")),
    "no images": ("summary digits --batch 0", ("--batch", "greater than or equal to 1")),
    "summary of what": ("summary model.depth=3", ("summary of what", "S/16")),
    "variant without patches": ("summary S", ("'S'", "S/16")),
    "patches that do not fit": ("summary S/15", ("image_size=224", "patch_size=15", "210 or 225")),
    "unknown backend": ("train -b tensorflow", ("'tensorflow'", "torch, jax")),
    "misspelt backend": ("evaluate runs/taken -b trch", ("'trch'", "'torch'")),
    "runs below a file": ("train --runs words.txt/runs", ("words.txt is a file", "--runs DIR")),
    "runs is a file": ("train --runs words.txt", ("words.txt is a file", "--runs DIR")),
    "name taken": ("train --name taken", ("runs/taken exists", "--name")),
    "name with a slash": ("train --name a/b", ("'a/b'", "plain folder name")),
    "name that points up": ("train --name ..", ("'..'", "plain folder name")),
    "no name": ("train --name ''", ("''", "plain folder name")),
    "name beyond the system": (f"train --name {'n' * 300}", ("too long", "nnn")),
    "too long a path": (f"predict {'n' * 5000}", ("too long",)),
    "top 0": ("predict five/a/0.png --top 0", ("--top 0", "at least one")),
    "JSON and CSV": ("predict five/a/0.png --json --csv", ("--json and --csv", "choose one")),
    "no finished run": (
        "predict five/a/0.png --runs empty",
        ("no finished run in empty/", "vit train", "--weights"),
    ),
    "missing image": ("predict nothing.png", ("nothing.png", "No such file")),
    "missing image in JSON": ("predict nothing.png --json", ("nothing.png", "No such file")),
    "missing image in CSV": ("predict nothing.png --csv", ("nothing.png", "No such file")),
    "no image to predict": ("predict text/a/9.jpg", ("text/a/9.jpg", "not an image")),
    "folder without images": ("predict empty", ("no images in empty",)),
    "unknown split": ("evaluate runs/taken --split tset", ("--split tset", "'test'", "validation")),
    "split that the data lacks": (
        "evaluate letters.safetensors --data five --split test",
        ("five has no test", "train, validation"),
    ),
}

WEIGHTS: dict[str, Case] = {
    "no such run": ("evaluate runs/takn", ("runs/takn", "'taken'", "vit train")),
    "folder that is no run": (
        "evaluate runs",
        ("runs is a folder", "model.safetensors", "give a run folder"),
    ),
    "missing weights": ("predict five/a/0.png --weights none.safetensors", ("none.safetensors", "vit train")),
    "missing weights with CSV": (
        "predict five/a/0.png --csv --weights none.safetensors",
        ("none.safetensors",),
    ),
    "truncated": ("predict five/a/0.png -w half.safetensors", ("half.safetensors", "cut short")),
    "truncated in the header": (
        "evaluate head.safetensors",
        ("head.safetensors", "not a whole safetensors file"),
    ),
    "no bytes": ("evaluate zero.safetensors", ("zero.safetensors", "an empty file")),
    "HTML": ("evaluate page.safetensors", ("page.safetensors", "not a whole safetensors file")),
    "not finite": ("evaluate nan.safetensors", ("nan.safetensors", "head.weight", "not finite")),
    "not finite, to predict": ("predict five/a/0.png -w nan.safetensors", ("nan.safetensors", "not finite")),
    "without a description": (
        "evaluate plain.safetensors",
        ("plain.safetensors", "convert", "model.num_heads=N"),
    ),
    "other tensors than it says": (
        "evaluate other.safetensors",
        ("other.safetensors", "head.weight", "[5, 12]", "[10, 12]"),
    ),
    "10 classes on 5": ("evaluate runs/taken --data five", ("10 classes", "five has 5", "trained on")),
    "features, to predict": (
        "predict five/a/0.png -w features.safetensors",
        ("features.safetensors", "--init"),
    ),
    "features, to evaluate": ("evaluate features.safetensors", ("features.safetensors", "no classifier")),
    "five channels, to predict": ("predict five/a/0.png -w five.safetensors", ("5 channels", "1 or 3")),
    "other class names": ("evaluate letters.safetensors --data other", ("'a'", "'v'", "as in training")),
    "damaged recipe beside it": (
        "evaluate damaged",
        ("damaged/recipe.toml", "'model.dpeth'", "'model.depth'"),
    ),
    "summary of nothing": ("summary none.safetensors", ("none.safetensors", "vit train")),
    "unknown layout": (
        "convert weights letters.safetensors new.safetensors --to onnx",
        ("--to onnx", "native, torch, jax"),
    ),
    "unknown layout of the source": (
        "convert weights letters.safetensors new.safetensors --from origin-jaks",
        ("--from origin-jaks", "did you mean 'origin-jax'"),
    ),
    "a layout that cannot hold it": (
        "convert weights letters.safetensors new.safetensors --to origin-homework",
        ("origin-homework cannot hold this model", "model.pool", "mean_all"),
    ),
    "onto itself": (
        "convert weights letters.safetensors letters.safetensors",
        ("letters.safetensors", "the source itself", "another name"),
    ),
    "onto itself by a link": (
        "convert weights letters.safetensors link.safetensors",
        ("link.safetensors", "the source itself"),
    ),
    "a run onto its own weights": (
        "convert weights runs/taken runs/taken/model.safetensors --to jax",
        ("runs/taken/model.safetensors", "the source itself"),
    ),
    "to another format": ("convert weights letters.safetensors new.onnx", ("new.onnx", ".safetensors")),
    "into no folder": (
        "convert weights letters.safetensors nowhere/new.safetensors",
        ("nowhere", "make it first"),
    ),
    "onto a folder": (
        "convert weights letters.safetensors folder.safetensors",
        ("folder.safetensors", "give a file name"),
    ),
    "from nothing": ("convert weights none.safetensors new.safetensors", ("none.safetensors",)),
    "from a web page": (
        "convert weights page.safetensors new.safetensors",
        ("page.safetensors", "not a whole"),
    ),
    "heads unknown": (
        "convert weights plain.safetensors new.safetensors",
        ("plain.safetensors", "model.num_heads=N", "1, 2, 3, 4, 6, 12"),
    ),
    "heads that do not divide": (
        "convert weights plain.safetensors new.safetensors model.num_heads=5",
        ("embed_dim=12", "num_heads=5"),
    ),
    "against the tensors": (
        "convert weights plain.safetensors new.safetensors model.num_heads=3 model.depth=9",
        ("model.depth=9", "contradicts", "model.depth=1"),
    ),
    "against the description": (
        "convert weights letters.safetensors new.safetensors model.num_heads=4",
        ("model.num_heads=4", "contradicts", "model.num_heads=3"),
    ),
    "a key of training": (
        "convert weights letters.safetensors new.safetensors train.lr=1",
        ("'train.lr=1'", "model.key=value"),
    ),
    "no transformer": (
        "convert weights alien.safetensors new.safetensors model.num_heads=3",
        ("alien.safetensors", "not a Vision Transformer", "conv1.weight"),
    ),
}

CASES = {
    f"{group}: {name}": case
    for group, cases in {
        "recipe": RECIPES,
        "tune": TUNE,
        "data": DATA,
        "request": REQUESTS,
        "picture": PICTURES,
        "weights": WEIGHTS,
    }.items()
    for name, case in cases.items()
}


def fill(root: Path) -> None:
    """Makes everything that the cases name."""
    _fill_recipes(root)
    _fill_data(root)
    _fill_weights(root)
    fill_pictures(root)


def _fill_recipes(root: Path) -> None:
    good = (
        "[model]\nimage_size = 8\npatch_size = 2\nembed_dim = 12\ndepth = 2\nnum_heads = 3\nmlp_dim = 20\n"
        "in_channels = 1\n\n[train]\nepochs = 1\n"
    )
    for name, old, new in (
        ("key", "epochs", "epohcs"),
        ("value", "depth = 2", "depth = 0"),
        ("type", "depth = 2", 'depth = "four"'),
        ("lacking", "num_heads = 3\n", ""),
        ("bad", "image_size = 8", "image_size = "),
    ):
        assert old in good
        (root / f"{name}.toml").write_text(good.replace(old, new), encoding="utf-8")
    (root / "bytes.toml").write_bytes(b"\xff\xfe[\x00m\x00")
    (root / "folder.toml").mkdir()


def _fill_data(root: Path) -> None:
    folders(root / "five", "abcde")
    folders(root / "other", "vwxyz")
    (root / "empty").mkdir()
    folders(root / "emptyclass", "ab")
    (root / "emptyclass" / "zz").mkdir()
    folders(root / "one", "a")
    for number in range(3):
        image(root / "loose" / f"{number}.png")
    for name, train, val in (("valmore", "ab", "abc"), ("valless", "abc", "ab"), ("twovals", "ab", "ab")):
        folders(root / name / "train", train)
        folders(root / name / "val", val)
    folders(root / "twovals" / "valid", "ab")
    folders(root / "testonly" / "test", "ab")
    for name, broken in (("cut", ("a/1",)), ("cut2", ("a/1", "b/2"))):
        folders(root / name, "ab", suffix="jpg")
        for place in broken:
            cut(root / name / f"{place}.jpg", 500)
    folders(root / "cutpng", "ab")
    cut(root / "cutpng" / "b" / "0.png", 500)
    for name, place, content in (
        ("text", "a/9.jpg", b"hello there, this is a note"),
        ("html", "b/9.png", b"<!doctype html><html>"),
        ("zero", "a/9.jpg", b""),
    ):
        folders(root / name, "ab")
        (root / name / place).write_bytes(content)
    _float_image(folders(root / "tiff", "ab") / "a" / "9.tiff")
    for name, text in (
        ("words.txt", "hello\nworld\n"),
        ("columns.csv", "path,class\nfive/a/0.png,a\n"),
        ("short.csv", "path,label\nfive/a/0.png,a\nfive/b/0.png\n"),
        ("norows.csv", "path,label\n"),
        ("absent.csv", "path,label\nfive/a/0.png,a\nnowhere.png,b\n"),
        ("oneclass.csv", "path,label\nfive/a/0.png,a\nfive/a/1.png,a\n"),
    ):
        (root / name).write_text(text, encoding="utf-8")


def _float_image(path: Path) -> None:
    Image.fromarray(np.ones((9, 9), np.float32)).save(path)


def _fill_weights(root: Path) -> None:
    finished_run(root / "runs" / "taken")
    for name, change in (("features", {"num_classes": 0}), ("five", {"in_channels": 5})):
        spec = tiny_recipe().model.model_copy(update=change)
        classes = tuple(map(str, range(spec.num_classes)))
        card = replace(Card.of(tiny_recipe(), classes), spec=spec)
        write_weights(root / f"{name}.safetensors", initial_weights(spec, 0), card, "native")
    letters = weights_file(root / "letters.safetensors", tuple("abcde"), source="five")
    (root / "link.safetensors").symlink_to(letters)
    (root / "folder.safetensors").mkdir()
    for name, size in (("half", 4000), ("head", 100), ("zero", 0)):
        cut(weights_file(root / f"{name}.safetensors"), size)
    (root / "page.safetensors").write_text("<!doctype html><title>404</title>" * 9, encoding="utf-8")
    spec = tiny_recipe().model
    values = initial_weights(spec, seed=0)
    save_file(values, root / "plain.safetensors")
    save_file({"conv1.weight": np.ones((3, 3), np.float32)}, root / "alien.safetensors")
    weights_file(root / "other.safetensors", values={**values, "head.weight": values["head.weight"][:5]})
    spoilt = values["head.weight"].copy()
    spoilt[3, 2] = np.nan
    weights_file(root / "nan.safetensors", values={**values, "head.weight": spoilt})
    damaged = finished_run(root / "damaged")
    text = to_toml(tiny_recipe()).replace("depth", "dpeth")
    (damaged / "recipe.toml").write_text(text, encoding="utf-8")
