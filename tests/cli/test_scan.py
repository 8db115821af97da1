"""`vit datasets scan`: every image read to its end, and told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.running import here


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name, count in (("cat", 6), ("dog", 3)):
        (tmp_path / "photos" / "train" / name).mkdir(parents=True)
        (tmp_path / "photos" / "val" / name).mkdir(parents=True)
        Image.new("RGB", (9, 7)).save(tmp_path / "photos" / "val" / name / "a.png")
        for i in range(count):
            Image.new("RGB", (20 + i, 10 + i)).save(tmp_path / "photos" / "train" / name / f"{i}.png")
    train = tmp_path / "photos" / "train"
    (train / "cat" / "0.png").write_bytes(b"")
    (train / "cat" / "1.png").write_bytes((train / "cat" / "5.png").read_bytes()[:45])
    Image.new("RGB", (1, 50)).save(train / "dog" / "strip.png")
    Image.new("RGB", (12, 30)).save(train / "dog" / "really a png.jpg", format="PNG")
    frames = [Image.new("L", (16, 16), level) for level in (0, 255)]
    frames[0].save(train / "dog" / "moves.gif", save_all=True, append_images=frames[1:])
    return tmp_path / "photos"


def test_a_scan_tells_counts_sides_remarks_and_faults(photos: Path) -> None:
    said = here("datasets", "scan", photos, "--json")
    assert said.code == 1
    found = json.loads(said.out)
    assert list(found) == ["train", "validation"]
    train = found["train"]
    assert (train["images"], train["by_class"]) == (12, {"cat": 6, "dog": 6})
    # cat: 2 to 5; dog: 0 to 2, and 1 x 50, 12 x 30, 16 x 16.
    assert train["short_side"] == [1, 12, 16]
    assert train["long_side"] == [16, 22, 50]  # the median of 22 and 23, rounded down
    assert train["remarks"] == {"format": 1, "frames": 1, "tiny": 1}
    empty, cut = train["faults"]
    assert empty == f"{photos}/train/cat/0.png is an empty file"
    assert cut.startswith(f"cannot read image {photos}/train/cat/1.png: ") or "truncated" in cut
    assert found["validation"] == {
        "images": 2,
        "by_class": {"cat": 1, "dog": 1},
        "short_side": [7, 7, 7],
        "long_side": [9, 9, 9],
        "remarks": {},
        "faults": [],
    }


def test_a_table_lists_each_fault_on_a_line(photos: Path) -> None:
    said = here("datasets", "scan", photos)
    assert said.code == 1
    lines = said.out.splitlines()
    assert sum("photos/train/cat/" in line for line in lines) == 2
    assert all(word in said.out for word in ("format 1", "frames 1", "tiny 1"))


def test_a_set_without_faults_is_a_success(photos: Path) -> None:
    for name in ("0.png", "1.png"):
        (photos / "train" / "cat" / name).unlink()
    assert here("datasets", "scan", photos).code == 0
    assert here("datasets", "scan", "digits").code == 0
