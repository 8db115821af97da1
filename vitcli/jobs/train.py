"""Training: one recipe, one engine, one run folder."""

from __future__ import annotations

import math
import signal
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import numpy as np

from vitcli.core import registry
from vitcli.core.backend import Batch, Metrics, StepInput, Trainer, by_kind
from vitcli.core.errors import DataError, DivergedError, Interrupted, VitError
from vitcli.core.parameters import parameter_table
from vitcli.core.recipe import Recipe
from vitcli.core.reporter import Advance, Reporter, Silent
from vitcli.core.schedule import Length, ema_decay, learning_rate, length
from vitcli.core.tune import plan
from vitcli.data.batches import TrainingBatches, ahead, evaluation_batches
from vitcli.data.dataset import Split
from vitcli.data.parts import Part, open_parts
from vitcli.data.store import SquareStore
from vitcli.jobs.adapters import Apart, set_apart, write_adapter
from vitcli.jobs.drafts import recipe_draft
from vitcli.jobs.keep import keeper
from vitcli.jobs.metrics import evaluate_logits
from vitcli.jobs.prepare import open_data
from vitcli.jobs.runs import ADAPTER, LAST, MODEL, RunFolder, free_path
from vitcli.jobs.start import Start, first_weights, open_start
from vitcli.weights.file import write_weights
from vitcli.weights.header import Card
from vitcli.weights.lora import merged

# Images that evaluation sends through a model at once.
EVALUATION_BATCH = 64
# Steps whose results may be outstanding: enough to keep a device busy, few enough to stop at once.
_IN_FLIGHT = 2


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """A finished run.

    Attributes:
        run: its folder.
        best: of the weights that were kept: epoch (from 1) and step (from 0) after which they were taken, and
            loss and top1 (fraction) on the validation images. With `train.keep="loss"` also train_loss, the
            mean over their window of steps; loss and top1 are then those of the run's last evaluation.
        seconds: of training, all evaluations included.
        images_per_second: over the training steps alone, compilation included.
    """

    run: Path
    backend: str
    best: dict[str, float]
    seconds: float
    images_per_second: float


def train(
    recipe: str = "digits",
    *,
    overrides: Sequence[str] = (),
    backend: str | None = None,
    data: str | None = None,
    init: str | None = None,
    device: str | None = None,
    precision: str | None = None,
    name: str | None = None,
    runs: str | Path = "runs",
    reporter: Reporter | None = None,
) -> TrainResult:
    """Trains a recipe into a new run folder and returns where it is and how good it became.

    Args:
        recipe: name of a built-in recipe, or a TOML file.
        overrides: `key=value` texts, as on the command line.
        backend: `torch` or `jax`; none: the first that is installed.
        data: replaces `data.source`: a known name, a folder, a table or an archive.
        init: replaces `init.file`: a weights file, a run folder or a published name, whose model is then trained.
        device: `cpu`, `cuda`, `cuda:1`, ...; none: the best there is.
        precision: replaces `train.precision`.
        name: of the run folder; none: the recipe's and the backend's.
        runs: the folder that holds run folders.
        reporter: is told what happens.

    Raises:
        RequestError: something in the request is wrong; nothing has been written.
        DivergedError: the loss is not finite; the best weights so far are in the run folder.
        Interrupted: Ctrl-C or SIGTERM; the last weights are in the run folder.
    """
    reporter = reporter or Silent()
    backend = registry.choose(backend)
    overrides = [*overrides, *([f"init.file={init}"] if init is not None else [])]
    draft = recipe_draft(recipe, overrides, data=data, precision=precision)
    draft, start = open_start(draft, reporter)
    resolved, dataset = open_data(draft, reporter)
    path = free_path(Path(runs), name, f"{Path(recipe).stem}-{backend}")
    weights, origin = first_weights(resolved, dataset.classes, start, reporter)
    parts = open_parts(dataset, resolved, reporter, ("train", "validation"), training=True)
    span = length(resolved.train, len(parts["train"]))
    engine = registry.load(backend)
    store = parts["train"].store
    trainer = engine.trainer(
        resolved,
        {f"param.{name}": value for name, value in weights.items()},
        device=device,
        images=store.pixels if isinstance(store, SquareStore) else None,
    )
    reporter.note(
        f"{recipe} on {backend} ({device or engine.devices()[0]}, {resolved.train.precision}): "
        f"{_trained(resolved)} parameters, {len(store):,} training images, "
        f"{span.steps:,} steps in {span.epochs} epochs"
    )
    if start is None and _frozen(resolved):
        reporter.note(
            "most of this model is frozen at random first weights; --init FILE starts from trained ones"
        )
    folder = RunFolder(path)
    folder.create(resolved, f"{recipe}, as run on {backend}")
    if origin is not None:
        folder.record("init", **origin)
    for split, part in parts.items():
        folder.record("data", split=split, images=len(part), skipped=part.faults)
        if part.faults:
            reporter.note(
                f"{len(part.faults)} unreadable {split} images are left out; metrics.jsonl lists them"
            )
    reporter.note(f"results go to {path}/")
    loop = _Loop(resolved, dataset.classes, parts, trainer, folder, span, reporter, start)
    try:
        seconds, speed = loop.run()
        folder.record("finished", seconds=seconds, images_per_second=speed, best=loop.best)
    except VitError as error:
        error.run = path
        raise
    finally:
        folder.close()
    return TrainResult(run=path, backend=backend, best=loop.best, seconds=seconds, images_per_second=speed)


def _frozen(recipe: Recipe) -> bool:
    """Whether most of a model is left as it is."""
    table = parameter_table(recipe.model)
    trained = sum(table[name].size for name in plan(recipe))
    return 2 * trained < sum(parameter.size for parameter in table.values())


def _trained(recipe: Recipe) -> str:
    """Returns how many parameters are trained, in words."""
    table, moves = parameter_table(recipe.model), plan(recipe)
    total, trained = (sum(table[name].size for name in names) for names in (table, moves))
    return f"{total:,}" if trained == total else f"trains {trained:,} of {total:,}"


class _Loop:
    """The training loop: steps, evaluations, the best weights. It never touches an array library."""

    def __init__(
        self,
        recipe: Recipe,
        classes: tuple[str, ...],
        parts: dict[Split, Part],
        trainer: Trainer,
        folder: RunFolder,
        span: Length,
        reporter: Reporter,
        start: Start | None,
    ) -> None:
        self._recipe, self._classes, self._parts, self._trainer = recipe, classes, parts, trainer
        self._folder, self._span, self._reporter = folder, span, reporter
        self._keeper = keeper(recipe.train, span.steps)
        self._start = start
        self._apart: Apart | None = None
        self._losses: list[float] = []
        self._aside_seconds = 0.0

    @property
    def best(self) -> dict[str, float]:
        """Facts about the weights that were kept; empty while there are none."""
        return self._keeper.best

    def run(self) -> tuple[float, float]:
        """Trains to the end; returns seconds and images per second."""
        begin = time.perf_counter()
        images = sum(self._real_images(step) for step in range(self._span.steps))
        with (
            _stop_signal() as stopped,
            self._reporter.track("training", images, "images") as advance,
        ):
            if self._recipe.train.evaluate_first:
                self._evaluate(0, -1)
            self._steps(stopped, advance)
        seconds = time.perf_counter() - begin
        return seconds, images / max(seconds - self._aside_seconds, 1e-9)

    def _steps(self, stopped: list[int], advance: Advance) -> None:
        train, per_epoch = self._recipe.train, self._span.steps_per_epoch
        pending: deque[tuple[StepInput, Metrics]] = deque()
        for step, batch in self._batches():
            at = StepInput(
                step=step, lr=learning_rate(train, self._span, step), ema_decay=ema_decay(train, step)
            )
            pending.append((at, self._trainer.step(batch, at)))
            last = step + 1 == self._span.steps
            epoch, ends_epoch = step // per_epoch + 1, (step + 1) % per_epoch == 0 or last
            # What is kept are the weights after the very step that decides.
            settles = ends_epoch or self._keeper.closes(step)
            while len(pending) > (0 if settles or stopped else _IN_FLIGHT):
                self._log(*pending.popleft(), advance)
            if stopped:
                self._stop(step, stopped[0])
            if ends_epoch and (epoch % train.evaluate_every == 0 or last):
                self._evaluate(epoch, step)

    def _batches(self) -> Iterator[tuple[int, Batch]]:
        """Yields every step's batch."""
        part, step = self._parts["train"], -1
        resident = self._trainer.resident
        make = TrainingBatches(part.store, part.labels, self._recipe, self._span, resident=resident)
        batches = ahead(make, range(self._span.steps), self._recipe.data.loaders)
        try:
            for step, batch in batches:
                yield step, batch
        except DataError as error:
            raise self._lost(step + 1, error) from error

    def _lost(self, step: int, error: DataError) -> VitError:
        """Writes the last weights and returns what to raise: an image cannot be had any more."""
        self._save(LAST)
        return VitError(
            f"step {step}: {error}; the last weights are in {self._folder.path / LAST}. {self._kept()}"
        )

    def _log(self, at: StepInput, metrics: Metrics, advance: Advance) -> None:
        measured = metrics.read()
        if not all(map(math.isfinite, measured.values())):
            raise DivergedError(
                f"step {at.step}: loss {measured['loss']}, gradient norm {measured['gradient_norm']} at learning rate "
                f"{at.lr:.3g}; try a smaller train.lr, a longer train.warmup or train.clip=1.0. {self._kept()}"
            )
        self._losses.append(measured["loss"])
        self._folder.record("step", step=at.step, lr=at.lr, **measured)
        advance(self._real_images(at.step), f"loss {measured['loss']:.4f}")
        if self._keeper.stepped(at.step // self._span.steps_per_epoch + 1, at.step, measured["loss"]):
            with self._aside():
                self._save(MODEL)

    def _evaluate(self, epoch: int, step: int) -> None:
        """Records figures of the validation images; epoch 0 is before training: no loss, nothing to keep."""
        with self._aside():
            try:
                validation = self._validation()
            except DataError as error:
                raise self._lost(step, error) from error
            trained = {"step": step, "loss": float(np.mean(self._losses))} if epoch else {}
            self._losses = []
            self._folder.record("epoch", epoch=epoch, **trained, validation=validation)
            told = f"loss {trained['loss']:.4f}  " if trained else ""
            self._reporter.note(
                f"epoch {epoch:>3}/{self._span.epochs}  {told}"
                f"validation loss {validation['loss']:.4f}  top-1 {validation['top1']:.2%}"
            )
            if epoch and self._keeper.evaluated(epoch, step, validation):
                self._save(MODEL)

    def _validation(self) -> dict[str, float]:
        part = self._parts["validation"]
        batches = evaluation_batches(part.store, EVALUATION_BATCH)
        logits = np.concatenate([self._trainer.logits(images)[:count] for images, count in batches])
        evaluation = evaluate_logits(logits, part.labels, self._classes)
        return {"loss": evaluation.loss, "top1": evaluation.top1}

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """Keeps what is done inside out of the time that the training steps take."""
        begin = time.perf_counter()
        yield
        self._aside_seconds += time.perf_counter() - begin

    def _stop(self, step: int, number: int) -> None:
        """Writes the last weights and ends the run."""
        self._save(LAST)
        if not self.best:
            self._save(MODEL)
        self._folder.record("interrupted", step=step)
        raise Interrupted(
            f"stopped after step {step + 1} of {self._span.steps}; the last weights are in "
            f"{self._folder.path / LAST}. {self._kept()}",
            128 + number,
        )

    def _save(self, name: str) -> None:
        kinds = by_kind(self._trainer.state())
        weights, card = {**kinds["param"], **kinds.get("ema", {})}, Card.of(self._recipe, self._classes)
        if card.spec.lora.rank:
            if self._start is not None and name == MODEL:
                path = self._folder.path / ADAPTER
                if self._apart is None:  # which reads and digests the base
                    base, trained = self._start.read(), plan(self._recipe)
                    self._apart = set_apart(weights, trained, card, base, self._start.path)
                write_adapter(path, weights, card, self._apart)
            weights, spec = merged(weights, card.spec)
            card = replace(card, spec=spec)
        write_weights(self._folder.path / name, weights, card, "native")

    def _kept(self) -> str:
        if not self.best:
            return "No best weights had been chosen yet"
        return f"The best weights so far (epoch {self.best['epoch']:.0f}) are in {self._folder.path / MODEL}"

    def _real_images(self, step: int) -> int:
        size, samples = self._recipe.train.batch_size, len(self._parts["train"])
        return min(size, samples - step % self._span.steps_per_epoch * size)


@contextmanager
def _stop_signal() -> Iterator[list[int]]:
    """Yields a list that receives the number of the first SIGINT or SIGTERM; a second one ends at once."""
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    try:
        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals go elsewhere
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
