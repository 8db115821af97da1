"""The main job, end to end: one recipe on both engines, real images, weights that travel. Run by `make demo`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from vitcli.data.digits import digits
from vitcli.weights.file import read_weights

ENGINES = ("torch", "jax")
# What the digits recipe must reach on the test images.
WANTED = 0.97


def vit(*arguments: str) -> str:
    """Runs one command, shows it, and returns what it printed to stdout."""
    print(f"\n$ vit {' '.join(arguments)}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "vitcli", *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def losses(run: Path) -> list[float]:
    """Returns the loss of every step of a run."""
    records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [record["loss"] for record in records if record["event"] == "step"]


def write_digit(path: Path) -> str:
    """Writes the first test image as a PNG and returns its true class."""
    dataset = digits()
    test = dataset.parts["test"]
    Image.fromarray(np.asarray(test.images[0])[..., 0]).save(path)
    return dataset.classes[int(test.labels[0])]


def round_trip(folder: Path, native: Path) -> bool:
    """Converts native -> jax -> torch -> native; returns whether every tensor came back bit for bit."""
    path = native
    for layout in ("jax", "torch", "native"):
        target = folder / f"{layout}.safetensors"
        print(vit("convert", "weights", str(path), str(target), "--to", layout), end="")
        path = target
    before, after = read_weights(native), read_weights(path)
    return before.keys() == after.keys() and all(
        before[name].tobytes() == after[name].tobytes() for name in before
    )


def main() -> int:
    """Runs everything; returns 0 where every promise was kept."""
    folder = Path(tempfile.mkdtemp(prefix="vit-demo-"))
    runs = folder / "runs"
    trained, tested = {}, {}
    for engine in ENGINES:
        run = runs / f"digits-{engine}"
        place = ("--backend", engine, "--json")
        trained[engine] = json.loads(vit("train", "digits", "--runs", str(runs), "--name", run.name, *place))
        tested[engine] = json.loads(vit("evaluate", str(run), "--split", "test", *place))
    image = folder / "digit.png"
    truth = write_digit(image)
    guess = json.loads(vit("predict", str(image), "--runs", str(runs), "--top", "3", "--json"))[0][
        "predictions"
    ][0]
    equal = round_trip(folder, runs / "digits-torch" / "model.safetensors")
    curves = {engine: losses(runs / f"digits-{engine}") for engine in ENGINES}
    apart = np.abs(np.subtract(curves["torch"], curves["jax"]))

    table = Table(
        "engine", "training", "first loss", "last loss", "test top-1", title="digits on both engines"
    )
    for engine in ENGINES:
        seconds, curve, top1 = trained[engine]["seconds"], curves[engine], tested[engine]["top1"]
        table.add_row(engine, f"{seconds:.1f} s", f"{curve[0]:.6f}", f"{curve[-1]:.6f}", f"{top1:.2%}")
    console = Console(width=100)
    console.print(table)
    console.print(
        f"loss curves: largest difference {apart[:10].max():.1e} over the first 10 steps, "
        f"{apart.max():.1e} over all {len(apart):,}\n"
        f"a {truth} written to {image} is read as {guess['class']} ({guess['probability']:.1%})\n"
        f"native -> jax -> torch -> native: {'bit-equal' if equal else 'DIFFERENT'}\n"
        f"everything is in {folder}"
    )
    kept = equal and guess["class"] == truth and all(tested[engine]["top1"] >= WANTED for engine in ENGINES)
    return 0 if kept and apart[:10].max() < 2e-5 else 1


if __name__ == "__main__":
    sys.exit(main())
