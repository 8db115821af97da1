"""How fast images come to the model, stage by stage, and which stage holds training up."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vitcli.core import registry
from vitcli.core.backend import Batch, StepInput, Trainer
from vitcli.core.draft import resolve
from vitcli.core.errors import DataError
from vitcli.core.recipe import Recipe
from vitcli.core.reporter import Reporter, Silent
from vitcli.core.schedule import length
from vitcli.data.batches import TrainingBatches
from vitcli.data.cache import build, opened
from vitcli.data.dataset import Dataset, Examples, evenly
from vitcli.data.decode import examine
from vitcli.data.parts import fits, geometry
from vitcli.data.scan import attempts
from vitcli.data.sources import open_source
from vitcli.data.store import SquareStore, Store, canvas
from vitcli.jobs.drafts import provisional, recipe_draft
from vitcli.weights.initial import initial_weights

# Seconds that a stage is repeated for, and the least repetitions whose median is taken.
_PATIENCE, _LEAST = 1.0, 5


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """Images a second of each stage, alone.

    Attributes:
        data: name of the data set.
        recipe: whose model and augmentation were measured.
        backend: the engine.
        images: how many training images were taken.
        batch_size: images of a batch.
        stages: by name: `decode` (files to fitted pixels, all cores), `cache` (the same, written to disk), `plan`
            (what augmentation draws), `gather` (a batch out of the cache with its plan), `copy` (of a batch to the
            device), `augment` (there), `step` (a training step on one batch that waits, augmentation included).
            Stages that the set does not have are absent.
        limit: the stage that training from the cache waits for.
        stream_limit: the same where images are decoded each time; none: they are no files.
    """

    data: str
    recipe: str
    backend: str
    images: int
    batch_size: int
    stages: dict[str, float]
    limit: str
    stream_limit: str | None


def bench(
    source: str,
    *,
    recipe: str = "folder",
    overrides: Sequence[str] = (),
    count: int = 1024,
    backend: str | None = None,
    device: str | None = None,
    reporter: Reporter | None = None,
) -> BenchResult:
    """Measures every stage between the files of a data set and a training step, each alone.

    Args:
        source: a known name, a folder, a table or an archive, as for training.
        recipe: name or file; its model, batch size and augmentation are measured.
        overrides: `key=value` texts.
        count: training images to take, evenly by class.
        backend: as for `train`.
        device: as for `train`.
        reporter: is told what is being measured.

    Raises:
        RequestError: something in the request is wrong, or an image cannot be read.
    """
    reporter = reporter or Silent()
    backend = registry.choose(backend)
    draft = recipe_draft(recipe, overrides, data=source)
    dataset = open_source(provisional(draft).data, seed=0, reporter=reporter)
    classes = len(dataset.classes)
    made = resolve(draft.derived({"model.num_classes": classes}, f"{dataset.name} ({classes} classes)"))
    train = dataset.parts["train"]
    examples = train.take(np.sort(evenly(train.labels, count, 0)))
    stages, store = _store(examples, made, dataset, reporter)
    # One epoch that is long enough, whatever the recipe says of its length.
    endless = made.model_copy(update={"train": made.train.model_copy(update={"drop_last": False})})
    span = length(endless.train, len(store))
    batches = TrainingBatches(store, examples.labels, endless, span)
    batch, size = batches(0), min(made.train.batch_size, len(store))
    bare = TrainingBatches(store, examples.labels, endless, span, resident=True)
    stages["plan"] = size / _seconds(lambda: bare(0))
    stages["gather"] = size / _seconds(lambda: batches(0))
    engine = registry.load(backend)
    weights = {f"param.{name}": value for name, value in initial_weights(made.model, 0, made.init).items()}
    trainer = engine.trainer(endless, weights, device=device, images=None)
    reporter.note(f"measuring {recipe} on {backend} ({device or engine.devices()[0]})")
    stages |= _device_stages(trainer, batch, size)
    fed = {name: stages[name] for name in ("gather", "copy", "step")}
    streamed = {name: stages[name] for name in ("decode", "copy", "step") if name in stages}
    return BenchResult(
        data=dataset.name,
        recipe=recipe,
        backend=backend,
        images=len(store),
        batch_size=made.train.batch_size,
        stages=stages,
        limit=min(fed, key=fed.__getitem__),
        stream_limit=min(streamed, key=streamed.__getitem__) if "decode" in stages else None,
    )


def _store(
    examples: Examples, recipe: Recipe, dataset: Dataset, reporter: Reporter
) -> tuple[dict[str, float], Store]:
    """Returns what decoding and the cache make a second, and the images as the cache holds them."""
    items, shape = examples.images, geometry(recipe, training=True)
    if fits(items, shape):
        return {}, SquareStore(items)
    begin = time.perf_counter()
    for found in attempts(items, lambda item: examine(item, shape), reporter, "decoding"):
        if isinstance(found, DataError):
            raise found
    decoded = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="vit-bench-") as folder:
        build(Path(folder), items, shape, reporter, "caching")
        built = time.perf_counter()
        # What is mapped stays, though its name is gone.
        store, _ = opened(Path(folder), shape, canvas(recipe))
    speeds = {"decode": len(items) / (decoded - begin), "cache": len(items) / (built - decoded)}
    return speeds, store


def _device_stages(trainer: Trainer, batch: Batch, size: int) -> dict[str, float]:
    taken = [trainer.stages(batch) for _ in range(_LEAST)]
    speeds = {name: size / statistics.median(stage[name] for stage in taken) for name in ("copy", "augment")}
    at = StepInput(step=0, lr=0.0, ema_decay=0.0)
    speeds["step"] = size / _seconds(lambda: trainer.step(batch, at).read())
    return speeds


def _seconds(work: Callable[[], object]) -> float:
    """Returns the median seconds of some repetitions, the first left out: it compiles, and warms the caches."""
    work()
    taken: list[float] = []
    while len(taken) < _LEAST or (sum(taken) < _PATIENCE and len(taken) < 1000):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return max(statistics.median(taken), math.ulp(1.0))
