"""Evaluation of weights on one part of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vitcli.core import registry
from vitcli.core.errors import DataError, RequestError, WeightsError, nearest
from vitcli.core.recipe import DataSpec, Precision, Recipe, TrainSpec
from vitcli.core.reporter import Reporter, Silent
from vitcli.data.batches import evaluation_batches
from vitcli.data.dataset import SPLITS, Dataset
from vitcli.data.parts import open_parts
from vitcli.data.sources import open_source
from vitcli.jobs.metrics import Evaluation, evaluate_logits
from vitcli.jobs.model import check_classifies, model_inputs, open_weights
from vitcli.jobs.pretrained import find
from vitcli.jobs.runs import recipe_of, weights_of
from vitcli.weights.header import Card, read_header

BATCH = 64


@dataclass(frozen=True, kw_only=True)
class EvaluateResult:
    """How good which weights are on which images."""

    weights: Path
    data: str
    split: str
    evaluation: Evaluation


def evaluate(
    weights: str | Path,
    *,
    data: str | None = None,
    split: str = "validation",
    backend: str | None = None,
    device: str | None = None,
    precision: Precision = "float32",
    skip_bad: str | None = None,
    reporter: Reporter | None = None,
) -> EvaluateResult:
    """Returns loss, accuracy and confusion of a run's (or a file's) weights.

    Args:
        weights: a run folder, a weights file or a name that `find` knows.
        data: a known name, a folder, a table or an archive; none: what the run was trained on.
        split: `train`, `validation` or `test`.
        backend: as for `train`.
        device: as for `train`.
        precision: of the forward pass.
        skip_bad: how many images may be unreadable: a number, or a part as in `1%`; none: as in training.
        reporter: is told what happens.

    Raises:
        RequestError: weights, data or split are not there, or their classes differ.
    """
    reporter = reporter or Silent()
    backend = registry.choose(backend)
    if split not in SPLITS:
        raise RequestError(
            f"--split {split} is not known{nearest(split, SPLITS)}; allowed: {', '.join(SPLITS)}"
        )
    path = find(weights, reporter)
    file = open_weights(path, reporter=reporter)
    card = file.card
    check_classifies(card, path)
    recipe = _recipe(path, card, data)
    if skip_bad is not None:
        recipe = recipe.model_copy(update={"data": _skipping(recipe.data, skip_bad)})
    dataset = open_source(recipe.data, seed=recipe.train.seed, reporter=reporter)
    _check_classes(card, dataset, path)
    if split not in dataset.parts:
        raise DataError(f"{dataset.name} has no {split} images; it has {', '.join(dataset.parts)}")
    values = file.read()
    part = open_parts(dataset, recipe, reporter, (split,))[split]
    without = f" ({len(part.faults)} unreadable ones left out)" if part.faults else ""
    reporter.note(
        f"{path} on {len(part):,} {split} images{without} of {dataset.name}, {backend}, {precision}"
    )
    model = registry.load(backend).load(card.spec, values, device=device, precision=precision)
    logits = []
    with reporter.track("evaluating", len(part), "images") as advance:
        for images, count in evaluation_batches(part.store, BATCH, recipe.data.loaders):
            logits.append(model.logits(model_inputs(images, card))[:count])
            advance(count)
    evaluation = evaluate_logits(np.concatenate(logits), part.labels, dataset.classes)
    return EvaluateResult(weights=path, data=dataset.name, split=split, evaluation=evaluation)


def says_its_data(weights: str | None) -> bool:
    """Whether weights that are at hand say what they were trained on, as runs (none: the newest) do."""
    if weights is None:
        return True
    try:
        card = read_header(weights_of(Path(weights))).card
    except WeightsError:  # a published name, or a file that holds tensors alone
        return False
    return card is not None and bool(card.source)


def _recipe(path: Path, card: Card, data: str | None) -> Recipe:
    """Returns the run's recipe, or one made from what the weights file says."""
    recipe = recipe_of(path)
    if recipe is None:
        if not (data or card.source):
            raise DataError(f"{path} does not say what it was trained on; add --data NAME|DIR|FILE")
        fitted = card.preprocess
        described = DataSpec(
            source=data or card.source,
            fit=fitted.fit,
            cache_size=fitted.size,
            mean=fitted.mean,
            std=fitted.std,
            interpolation=fitted.interpolation,
        )
        return Recipe(model=card.spec, data=described, train=TrainSpec(epochs=1))
    if data is None:
        return recipe
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"source": data})})


def _skipping(data: DataSpec, skip_bad: str) -> DataSpec:
    try:
        return DataSpec.model_validate({**data.model_dump(), "skip_bad": skip_bad})
    except ValueError as error:
        raise RequestError(f"--skip-bad {skip_bad}: give a number of images, or a part as in 1%") from error


def _check_classes(card: Card, dataset: Dataset, path: Path) -> None:
    if card.classes == dataset.classes:
        return
    if len(card.classes) != len(dataset.classes):
        raise WeightsError(
            f"{path} tells {len(card.classes)} classes apart, {dataset.name} has {len(dataset.classes)}; "
            f"evaluate it on the classes that it was trained on"
        )
    pairs = [
        (ours, theirs) for ours, theirs in zip(card.classes, dataset.classes, strict=True) if ours != theirs
    ]
    raise WeightsError(
        f"{path} and {dataset.name} name their classes differently, first '{pairs[0][0]}' and '{pairs[0][1]}'; "
        f"name the folders or labels as in training"
    )
