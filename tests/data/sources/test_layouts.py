"""Published sets in their own layouts, or an error says what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.data.sources.opened import content, opened, touch
from vitcli.core.errors import DataError
from vitcli.data.dataset import Dataset
from vitcli.data.sources.names import FLOWERS, WNIDS


def pets(root: Path) -> Path:
    """Three of the 37 breeds: cats have upper case, and numbers go by the alphabet without case."""
    breeds = [("Abyssinian", 1, 1), ("american_bulldog", 2, 2), ("Bengal", 3, 1)]
    for part, numbers in (("trainval", (1, 20, 3)), ("test", (4, 100))):
        rows = [f"{name}_{i} {label} {kind} 1" for i in numbers for name, label, kind in breeds]
        (root / "annotations").mkdir(parents=True, exist_ok=True)
        (root / "annotations" / f"{part}.txt").write_text("\n".join(rows) + "\n")
        touch(root, *(f"images/{row.split()[0]}.jpg" for row in rows))
    (root / "annotations" / "list.txt").write_text("#Image CLASS-ID SPECIES BREED ID\n")
    touch(root, "images/Abyssinian_34.mat", "annotations/xmls/Abyssinian_1.xml")
    return root


def test_pets(tmp_path: Path) -> None:
    found = opened(pets(tmp_path), validation="test")
    assert found.classes == ("Abyssinian", "american_bulldog", "Bengal")
    assert content(found, "train")[:4] == [
        ("Abyssinian_1.jpg", "Abyssinian"),
        ("american_bulldog_1.jpg", "american_bulldog"),
        ("Bengal_1.jpg", "Bengal"),
        ("Abyssinian_20.jpg", "Abyssinian"),
    ]
    assert [name for name, _ in content(found, "test")][-1] == "Bengal_100.jpg"
    assert (len(found.parts["train"]), len(found.parts["test"])) == (9, 6)


def same(found: Dataset, part: str, files: object, theirs: object) -> None:
    assert list(found.parts[part].images) == list(map(Path, files))  # type: ignore[index,call-overload]
    assert found.parts[part].labels.tolist() == list(theirs)  # type: ignore[index,call-overload]


def test_torchvision_reads_the_same_of_pets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    found = opened(pets(tmp_path / "oxford-iiit-pet"), validation="test")
    for part, split in (("train", "trainval"), ("test", "test")):
        peer = datasets.OxfordIIITPet(tmp_path, split=split, download=False)
        same(found, part, peer._images, peer._labels)
    assert [name.lower().replace("_", " ") for name in found.classes] == [c.lower() for c in peer.classes]


def food(root: Path) -> Path:
    lists: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
    for part, numbers in (("train", (1005649, 7)), ("test", (8,))):
        for label in ("baby_back_ribs", "apple_pie", "waffles"):
            lists[part][label] = [f"{label}/{number}" for number in numbers]
            touch(root, *(f"images/{image}.jpg" for image in lists[part][label]))
        (root / "meta").mkdir(exist_ok=True)
        (root / "meta" / f"{part}.txt").write_text(
            "".join(f"{image}\n" for images in lists[part].values() for image in images)
        )
        (root / "meta" / f"{part}.json").write_text(json.dumps(lists[part]))
    return root


def test_food(tmp_path: Path) -> None:
    found = opened(food(tmp_path), validation="test")
    assert found.classes == ("apple_pie", "baby_back_ribs", "waffles")
    assert content(found, "test") == [
        ("8.jpg", "baby_back_ribs"),
        ("8.jpg", "apple_pie"),
        ("8.jpg", "waffles"),
    ]
    assert len(found.parts["train"]) == 6


def test_torchvision_reads_the_same_of_food(tmp_path: Path) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    found = opened(food(tmp_path / "food-101"), validation="test")
    for part in ("train", "test"):
        peer = datasets.Food101(tmp_path, split=part, download=False)
        same(found, part, peer._image_files, peer._labels)
    assert list(found.classes) == peer.classes


LABELS = [77, 1, 102, 77, 1, 5, 102, 1]
SETS = {"trnid": [3, 1, 2], "valid": [4, 5], "tstid": [8, 7]}


def flowers(root: Path, labels: object = LABELS, sets: object = SETS) -> Path:
    io = pytest.importorskip("scipy.io")
    touch(root, *(f"jpg/image_{i:05d}.jpg" for i in range(1, 9)))
    io.savemat(root / "imagelabels.mat", {"labels": np.array([labels], np.uint8)})
    io.savemat(root / "setid.mat", {key: np.array([ids], np.uint16) for key, ids in sets.items()})  # type: ignore[attr-defined]
    return root


def test_flowers(tmp_path: Path) -> None:
    found = opened(flowers(tmp_path))
    assert found.classes == FLOWERS
    assert content(found, "train") == [
        ("image_00003.jpg", "blackberry lily"),
        ("image_00001.jpg", "passion flower"),
        ("image_00002.jpg", "pink primrose"),
    ]
    assert content(found, "validation")[0] == ("image_00004.jpg", "passion flower")
    assert content(found, "test")[1] == ("image_00007.jpg", "blackberry lily")


def test_torchvision_reads_the_same_of_flowers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    found = opened(flowers(tmp_path / "flowers-102"))
    monkeypatch.setattr("torchvision.datasets.flowers102.check_integrity", lambda *_: True)
    for part, split in (("train", "train"), ("validation", "val"), ("test", "test")):
        peer = datasets.Flowers102(tmp_path, split=split, download=False)
        same(found, part, peer._image_files, peer._labels)
    assert [name.rstrip("?") for name in peer.classes] == list(found.classes)


def tiny_imagenet(root: Path) -> Path:
    wnids = ["n02124075", "n01443537", "n04067472", "n03000000"]
    for wnid in wnids:
        touch(root, *(f"train/{wnid}/images/{wnid}_{i}.JPEG" for i in (0, 10, 2)), f"train/{wnid}/boxes.txt")
    rows = [(f"val_{i}.JPEG", wnids[-1 - i]) for i in range(4)]
    touch(root, *(f"val/images/{name}" for name, _ in rows), "test/images/test_0.JPEG")
    text = "".join(f"{name}\t{wnid}\t0\t32\t44\t62\n" for name, wnid in rows)
    (root / "val" / "val_annotations.txt").write_text(text)
    (root / "wnids.txt").write_text("\n".join(wnids) + "\n")
    words = {
        "n00000001": "entity",
        "n02124075": "Egyptian cat",
        "n01443537": "goldfish, Carassius auratus",
        "n04067472": "reel",
        "n03000000": "reel, spool",
    }
    (root / "words.txt").write_text("".join(f"{wnid}\t{text}\n" for wnid, text in words.items()))
    return root


@pytest.mark.parametrize("folder", ["", "tiny-imagenet-200"])
def test_tiny_imagenet(tmp_path: Path, folder: str) -> None:
    tiny_imagenet(tmp_path / folder)
    found = opened(tmp_path)
    assert found.classes == ("goldfish", "Egyptian cat", "reel, spool", "reel")
    assert content(found, "train")[:4] == [
        ("n01443537_0.JPEG", "goldfish"),
        ("n01443537_10.JPEG", "goldfish"),
        ("n01443537_2.JPEG", "goldfish"),
        ("n02124075_0.JPEG", "Egyptian cat"),
    ]
    assert content(found, "validation") == [
        ("val_0.JPEG", "reel, spool"),
        ("val_1.JPEG", "reel"),
        ("val_2.JPEG", "goldfish"),
        ("val_3.JPEG", "Egyptian cat"),
    ]
    assert set(found.parts) == {"train", "validation"}


def test_tiny_imagenet_without_words_has_numbers(tmp_path: Path) -> None:
    (tiny_imagenet(tmp_path) / "words.txt").unlink()
    assert opened(tmp_path).classes == ("n01443537", "n02124075", "n03000000", "n04067472")


@pytest.mark.parametrize("wnids", [sorted(WNIDS)[:10], sorted(WNIDS)[5:15]], ids=["first", "middle"])
def test_imagenette_has_names_in_the_order_of_its_folders(tmp_path: Path, wnids: list[str]) -> None:
    root = tmp_path / "imagenette2-160"
    touch(root, *(f"{part}/{wnid}/{wnid}_1.JPEG" for part in ("train", "val") for wnid in wnids))
    touch(root, "noisy_imagenette.csv")
    found = opened(tmp_path)
    assert found.classes == tuple(WNIDS[wnid] for wnid in wnids)
    assert content(found, "validation") == [(f"{wnid}_1.JPEG", WNIDS[wnid]) for wnid in wnids]
    touch(root, "train/n09999999/1.JPEG", "val/n09999999/1.JPEG")
    assert opened(tmp_path).classes == (*wnids, "n09999999")


def replaced(path: str, old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        text = (root / path).read_text()
        assert old in text
        (root / path).write_text(text.replace(old, new, 1))

    return change


def damaged(path: str, raw: bytes) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / path).write_bytes(raw)

    return change


WRONG: dict[str, tuple[Callable[[Path], Path], Callable[[Path], None], str]] = {
    "pets: a missing image": (
        pets,
        lambda root: (root / "images" / "Bengal_20.jpg").unlink(),
        r"1 of 15 files of .* do not exist, first .*/images/Bengal_20.jpg; unpack the set again",
    ),
    "pets: two breeds of one number": (
        pets,
        replaced("annotations/trainval.txt", "Bengal_20 3", "Bengal_20 2"),
        "has class 2 for american_bulldog and for Bengal_20",
    ),
    "pets: no breed": (
        pets,
        replaced("annotations/trainval.txt", "Abyssinian_1 ", "Abyssinian1 "),
        "names 'Abyssinian1', which is no breed and number",
    ),
    "pets: a class that train lacks": (
        pets,
        replaced("annotations/test.txt", "Bengal_100 3", "Birman_100 4"),
        "no name for label 4 of .*, test",
    ),
    "pets: a short line": (
        pets,
        replaced("annotations/trainval.txt", "Bengal_20 3 1 1", "Bengal_20 3"),
        "entry 6 has 2 fields, not 4",
    ),
    "pets: a path that leads up": (
        pets,
        replaced("annotations/trainval.txt", "Bengal_20", "../Bengal_20"),
        "for ../Bengal",
    ),
    "food: a path that leads up": (
        food,
        replaced("meta/train.txt", "apple_pie/7", "apple_pie/../7"),
        "names '../7', which is no plain file name",
    ),
    "food: no class": (food, replaced("meta/train.txt", "apple_pie/7", "7"), "names '', which is no plain"),
    "food: no text": (
        food,
        damaged("meta/train.txt", b"\xff"),
        "no text",
    ),
    "flowers: a label that is none": (
        lambda root: flowers(root, labels=[*LABELS[:-1], 103]),
        lambda root: None,
        "labels other than 1 to 102",
    ),
    "flowers: an image that is none": (
        lambda root: flowers(root, sets={**SETS, "valid": [4, 9]}),
        lambda root: None,
        "names images other than 1 to 8",
    ),
    "flowers: a part is absent": (
        lambda root: flowers(root, sets={"trnid": [1, 2]}),
        lambda root: None,
        "setid.mat cannot be read as MATLAB's: KeyError",
    ),
    "flowers: damaged": (
        flowers,
        damaged("setid.mat", b"MATLAB 5.0 MAT-file" * 20),
        "setid.mat cannot be read as MATLAB's",
    ),
    "tiny: a class that is none": (
        tiny_imagenet,
        replaced("val/val_annotations.txt", "n02124075", "n05555555"),
        "no name for label n05555555 of .*, validation",
    ),
    "tiny: a missing image": (
        tiny_imagenet,
        lambda root: (root / "val" / "images" / "val_2.JPEG").unlink(),
        "1 of 16 files of .*first .*val_2.JPEG",
    ),
    "tiny: a missing class": (
        tiny_imagenet,
        replaced("wnids.txt", "n02124075", "n02124076"),
        "cannot read folder .*train/n02124076/images: No such file",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_refused(tmp_path: Path, case: str) -> None:
    make, change, message = WRONG[case]
    change(make(tmp_path))
    with pytest.raises(DataError, match=message):
        opened(tmp_path)
