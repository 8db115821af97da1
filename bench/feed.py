"""Measures what feeding costs: training from the cache against stepping on one batch that waits.

    python bench/feed.py DIR              cifar10-cpu on both engines (DIR as for vit train --data)

Three ways take turns of the same number of steps: one fixed batch without augmentation; batches from the cache
without augmentation; batches from the cache with the recipe's augmentation. A turn ends when the loss of its
last step is on the host.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import deque
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

from vitcli.core import registry
from vitcli.core.backend import Batch, StepInput, Trainer
from vitcli.core.recipe import AugmentSpec, Recipe
from vitcli.core.reporter import Silent
from vitcli.core.schedule import length
from vitcli.data.batches import TrainingBatches, ahead
from vitcli.data.parts import open_parts
from vitcli.jobs.drafts import recipe_draft
from vitcli.jobs.prepare import open_data
from vitcli.weights.initial import initial_weights


def main() -> None:
    """Measures what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--recipe", default="cifar10-cpu")
    parser.add_argument("--engines", nargs="+", default=["torch", "jax"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    report = {name: measure(name, options) for name in options.engines}
    print(json.dumps(report, indent=2))
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


def measure(name: str, options: Any) -> dict[str, Any]:
    """Returns milliseconds a step of each way on one engine, and the ratios turn by turn."""
    begin = time.perf_counter()
    recipe, dataset = open_data(recipe_draft(options.recipe, ["train.epochs=1000"], data=options.data))
    plain = recipe.model_copy(update={"augment": AugmentSpec()})
    opened = time.perf_counter()
    engine = registry.load(name)
    imported = time.perf_counter()
    part = open_parts(dataset, recipe, Silent(), ("train",), training=True)["train"]
    span = length(recipe.train, len(part))

    def batches(made: Recipe) -> Iterator[Batch]:
        make = TrainingBatches(part.store, part.labels, made, span)
        return (batch for _, batch in ahead(make, range(span.steps), recipe.data.loaders))

    first = next(batches(plain))
    start = {"list": opened - begin, "first_batch_after_import": time.perf_counter() - imported}
    ways: dict[str, tuple[Trainer, Iterator[Batch]]] = {
        "fixed": (_trainer(engine, plain), repeat(first)),
        "cache": (_trainer(engine, plain), batches(plain)),
        "cache, augmented": (_trainer(engine, recipe), batches(recipe)),
    }
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(options.turns + 1):
        for way, (trainer, source) in ways.items():
            seconds = _turn(trainer, source, options.steps)
            if turn:  # the first compiles
                taken[way].append(1000 * seconds / options.steps)
    ratios = {
        way: [mine / fixed for mine, fixed in zip(taken[way], taken["fixed"], strict=True)]
        for way in ways
        if way != "fixed"
    }
    return {
        "seconds_to_start": {key: round(value, 3) for key, value in start.items()},
        "milliseconds_a_step": {way: round(statistics.median(each), 2) for way, each in taken.items()},
        "ratio_to_fixed": {way: round(statistics.median(each), 4) for way, each in ratios.items()},
        "spread": {way: [round(min(each), 3), round(max(each), 3)] for way, each in ratios.items()},
    }


def _turn(trainer: Trainer, source: Iterator[Batch], steps: int) -> float:
    begin = time.perf_counter()
    pending: deque[Any] = deque()
    for step in range(steps):
        pending.append(trainer.step(next(source), StepInput(step=step, lr=1e-4, ema_decay=0.0)))
        if len(pending) > 2:
            pending.popleft().read()
    for metrics in pending:
        metrics.read()
    return time.perf_counter() - begin


def _trainer(engine: Any, recipe: Recipe) -> Trainer:
    weights = initial_weights(recipe.model, 0, recipe.init)
    state = {f"param.{name}": value for name, value in weights.items()}
    trainer: Trainer = engine.trainer(recipe, state, device=None, images=None)
    return trainer


if __name__ == "__main__":
    main()
