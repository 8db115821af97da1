"""Measures one training step against peers: images a second, and the peak memory of a process.

    python bench/step.py                                    models A and B, vit-torch vs timm, vit-jax vs flax
    python bench/step.py --models A --only jax --pairs 15 --set train.micro_batch=16
    python bench/step.py --models C --device cuda --out result.json

Each contender lives in a process of its own. Ours and a peer take turns of the same number of steps while
the other sleeps: a slow minute of the machine hits both, and their ratio is taken turn by turn. Compilation
and a first turn are left out; a turn ends when the loss of its last step is on the host.

float32, AdamW, the same sizes, one batch for all steps. Ours does a little more: it takes uint8 images
through an augmentation plan (an empty one: they are normalised) and measures the gradient norm, while a peer
gets normalised pixels that lie on the device. A library takes all cores that the process may use (fewer:
`taskset -c 0 python bench/step.py`). Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.contender import serve
from vitcli.core.draft import Draft, override, resolve
from vitcli.core.recipe import Recipe

MODELS = {
    "A": "image_size=32 patch_size=4 embed_dim=256 mlp_dim=512 depth=6 num_heads=8",
    "B": "image_size=64 patch_size=4 embed_dim=192 mlp_dim=768 depth=4 num_heads=4",
    "C": "image_size=224 variant=Ti/16",
    "D": "image_size=224 variant=S/16",
}
BATCH_SIZES = {"A": 64, "B": 64, "C": 16, "D": 8}
PEERS = {"torch": "timm", "jax": "flax"}
PACKAGES = ("vitcli", "numpy", "torch", "timm", "jax", "jaxlib", "flax", "optax")


def main() -> None:
    """Measures what the command line asks for."""
    options = _parser().parse_args()
    # JAX would take most of an accelerator's memory for one process; here two share it.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    recipes = {name: _recipe(name, options.set) for name in options.models}
    report: dict[str, Any] = {"machine": _machine(), "settings": vars(options)}
    report["recipes"] = {name: recipe.model_dump() for name, recipe in recipes.items()}
    comparisons = report["comparisons"] = []
    print(_row("model", "contender", "images/s", "min-max", "peak MB", "device MB", "ratio", "min-max"))
    for name, recipe in recipes.items():
        for engine in options.only:
            comparison = _compare(f"vit-{engine}", PEERS[engine], recipe, options)
            comparisons.append({"model": name, **comparison})
            print(_table(name, comparison), flush=True)
    if options.out is not None:
        options.out.write_text(json.dumps(report, indent=2, default=str) + "\n", encoding="utf-8")


def _compare(ours: str, peer: str, recipe: Recipe, options: argparse.Namespace) -> dict[str, Any]:
    """Returns speeds in images/s, memory in MB, and ours / peer turn by turn: above 1, ours is faster."""
    with _contender(ours, recipe, options.device) as left, _contender(peer, recipe, options.device) as right:
        first = [_ask(side, 1) for side in (left, right)]
        warm = [_ask(side, 2) / 2 for side in (left, right)]
        steps = max(1, round(options.turn_seconds / statistics.mean(warm)))
        turns = [[_ask(side, steps) for side in (left, right)] for _ in range(1 + options.pairs)][1:]
        memory = [_ask(side, None) for side in (left, right)]
    images = steps * recipe.train.batch_size
    sides = {
        name: {
            "images_per_second": _spread([images / turn[place] for turn in turns]),
            "first_step_seconds": first[place],
            "memory_mb": memory[place],
        }
        for place, name in enumerate((ours, peer))
    }
    ratio = _spread([theirs / own for own, theirs in turns])
    return {"steps_per_turn": steps, "contenders": sides, "ratio": ratio}


@contextmanager
def _contender(name: str, recipe: Recipe, device: str) -> Iterator[Connection]:
    """Starts a child process, waits until its model is built, and ends it with the block."""
    context = get_context("spawn")
    connection, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, name, recipe, device), daemon=True)
    process.start()
    theirs.close()
    try:
        connection.recv()
        yield connection
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise SystemExit("a contender ended before it was asked to; its error stands above") from None
    finally:
        connection.close()
        process.terminate()
        process.join()


def _ask(connection: Connection, steps: int | None) -> Any:
    """Returns the seconds of that many steps, or of None the memory; then lets spinning threads fall asleep."""
    connection.send(steps)
    answer = connection.recv()
    time.sleep(0.1)
    return answer


def _recipe(name: str, assignments: Sequence[str]) -> Recipe:
    """Returns the recipe of a model by name; a peer follows its sizes, its rate and its decay alone."""
    model = [f"model.{value}" for value in MODELS[name].split()]
    train = [
        "train.steps=1",
        f"train.batch_size={BATCH_SIZES[name]}",
        "train.lr=1e-4",
        "train.weight_decay=0.05",
    ]
    return resolve(override(Draft(values={"model.num_classes": 10}), [*model, *train, *assignments]))


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "turns": values}


def _table(model: str, comparison: dict[str, Any]) -> str:
    """Returns a row for each contender; the ratio stands in ours, the first."""
    rows, ratio = [], comparison["ratio"]
    last = [f"{ratio['median']:.2f}", f"{ratio['min']:.2f}-{ratio['max']:.2f}"]
    for name, side in comparison["contenders"].items():
        speed, memory = side["images_per_second"], side["memory_mb"]
        span = f"{speed['min']:.1f}-{speed['max']:.1f}"
        sizes = [f"{memory[key]:.0f}" if memory[key] is not None else "" for key in ("peak", "device")]
        rows.append(_row(model, name, f"{speed['median']:.1f}", span, *sizes, *last))
        last = ["", ""]
    return "\n".join(rows)


def _row(*cells: str) -> str:
    widths = (5, 9, 8, 15, 7, 9, 5, 9)
    return "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _machine() -> dict[str, Any]:
    """Returns the date, the processor, the cores this process may use, how busy they were, and versions."""
    processor = platform.machine()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpu": processor,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "system": platform.platform(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["A", "B"])
    parser.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS), help="which of our engines")
    parser.add_argument("--pairs", type=int, default=9, help="turns of each contender that count")
    parser.add_argument("--turn-seconds", type=float, default=2.0, help="about how long a turn is")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="overrides of the recipe")
    parser.add_argument("--out", type=Path, help="a JSON file for all figures")
    return parser


if __name__ == "__main__":
    main()
