"""Wrong requests for pictures, and what they name; part of `tests.cli.wrong`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.inputs import folders, image

PICTURES: dict[str, tuple[str, tuple[str, ...]]] = {
    "report of no run": ("report runs/takn", ("no run at runs/takn", "'taken'", "metrics.jsonl")),
    "report of a file": ("report letters.safetensors", ("no run at letters.safetensors",)),
    "report without records": ("report runs/taken", ("taken has no evaluation",)),
    "report of damaged records": ("report scrawl", ("scrawl/metrics.jsonl, line 2", "not a record")),
    "report of other records": ("report strange", ("strange are damaged", "'validation'")),
    "one of two runs": ("report recorded runs/takn -o new.png", ("no run at runs/takn",)),
    "two runs without a name": ("report recorded recorded", ("2 runs", "-o FILE.png")),
    "too many runs": (f"report {'recorded ' * 8} -o new.png", ("8 runs", "at most 7")),
    "report as JPEG": ("report recorded -o new.jpg", ("new.jpg", ".png")),
    "report onto a photo": ("report recorded -o five/a/0.png", ("five/a/0.png exists", "another name")),
    "report onto a folder": ("report recorded -o folder.png", ("folder.png is a folder",)),
    "report into no folder": ("report recorded -o nowhere/new.png", ("nowhere", "make it first")),
    "confusion as SVG": ("evaluate runs/taken --confusion new.svg", ("new.svg", ".png")),
    "confusion onto a photo": ("evaluate runs/taken --confusion five/a/0.png", ("five/a/0.png exists",)),
    "parts of no picture": ("evaluate runs/taken --normalise", ("--normalise", "--confusion FILE.png")),
    "show nothing": ("datasets show nothing", ("'nothing'", "digits, cifar10")),
    "show a set that is not here": ("datasets show cifar10", ("CIFAR-10", "vit datasets fetch cifar10")),
    "show a part that is not there": ("datasets show five --split test", ("five has no test", "train")),
    "show an unknown part": ("datasets show five --split tset", ("--split tset", "'test'")),
    "show none": ("datasets show five --count 0", ("--count", "greater than or equal to 1")),
    "show too many": ("datasets show five --count 101", ("--count", "less than or equal to 100")),
    "seed below zero": ("datasets show five --seed -1", ("--seed",)),
    "show onto a photo": ("datasets show five -o five/a/0.png", ("five/a/0.png exists", "another name")),
    "show onto a photo by default": ("datasets show photo", ("photo.png exists", "another name")),
    "show a broken image": ("datasets show cut", ("cut/a/1.jpg",)),
    "show with an unknown key": ("datasets show five data.colour=red", ("'data.colour'",)),
    "augment an image that is not there": ("augment none.png", ("no image at none.png",)),
    "augment a set that is not there": ("augment nothing", ("'nothing'", "digits, cifar10")),
    "augment a broken image": ("augment cut", ("cut/a/1.jpg",)),
    "augment under no recipe": ("augment five --recipe fodler", ("'fodler'", "'folder'")),
    "augment as SVG": ("augment five -o new.svg", ("new.svg", ".png")),
    "augment with an unknown key": ("augment five augment.flop=1", ("'augment.flop'", "'augment.flip'")),
    "augment onto a photo": ("augment five -o five/a/0.png", ("five/a/0.png exists",)),
    "show two sets": ("datasets show five other", ("'other'", "key=value")),
}


def fill_pictures(root: Path) -> None:
    """Makes what the cases name and the other tables do not."""
    (root / "folder.png").mkdir()
    image(root / "photo.png")
    folders(root / "photo", "ab")
    step, epoch = (
        {"event": "step", "step": 0, "loss": 2.0},
        {"event": "epoch", "epoch": 1, "step": 0, "loss": 2.0},
    )
    whole = {**epoch, "validation": {"loss": 1.0, "top1": 0.5}}
    for name, lines in (
        ("recorded", [json.dumps(step), json.dumps(whole)]),
        ("strange", [json.dumps(step), json.dumps(epoch)]),
        ("scrawl", [json.dumps(step), "{", json.dumps(whole)]),
    ):
        (root / name).mkdir()
        (root / name / "metrics.jsonl").write_text("\n".join([*lines, ""]), encoding="utf-8")
