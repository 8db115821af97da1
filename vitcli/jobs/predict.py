"""Class names and probabilities for image files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from vitcli.core import registry
from vitcli.core.errors import DataError, RequestError
from vitcli.core.recipe import Precision
from vitcli.core.reporter import Reporter, Silent
from vitcli.data.decode import Geometry, Pixels, Seen, examine
from vitcli.data.scan import tell
from vitcli.data.sources import image_files
from vitcli.jobs.model import Model, Prediction, check_classifies, geometry_of, open_weights
from vitcli.jobs.pretrained import find
from vitcli.jobs.runs import newest_finished, weights_of

BATCH = 64
# A file, its pixels, and what was noticed about it.
_Image = tuple[Path, Pixels, Seen]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Predictions for one file, or why there are none."""

    path: Path
    predictions: list[Prediction]
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Fault:
    """A file or a folder of which nothing can be read."""

    path: Path
    error: str


def predict(
    paths: Iterable[str | Path],
    *,
    weights: str | Path | None = None,
    runs: str | Path = "runs",
    top: int = 5,
    backend: str | None = None,
    device: str | None = None,
    precision: Precision = "float32",
    reporter: Reporter | None = None,
) -> Iterator[Outcome]:
    """Yields an outcome for each image, in order; folders are searched for images.

    Args:
        paths: image files and folders.
        weights: a run folder, a weights file or a name that `find` knows; none: the newest finished run in `runs`.
        runs: the folder that holds run folders.
        top: how many classes to name.
        backend: as for `train`.
        device: as for `train`.
        precision: of the forward pass.
        reporter: is told what happens.

    Raises:
        RequestError: the weights are unusable.
    """
    reporter = reporter or Silent()
    backend = registry.choose(backend)
    if top < 1:
        raise RequestError(f"--top {top}: name at least one class")
    path = weights_of(newest_finished(Path(runs))) if weights is None else find(weights, reporter)
    file = open_weights(path, reporter=reporter)
    card = file.card
    check_classifies(card, path)
    files = list(_expand(paths))  # folders that change meanwhile do not matter
    remarks: Counter[str] = Counter()
    trained = f", trained on {card.source}" if card.source else ""
    reporter.note(f"weights {path}: {len(card.classes)} classes{trained}; {backend}")
    geometry = geometry_of(card)
    model: Model | None = None
    with ThreadPoolExecutor() as threads:
        for batch in _batches(files, BATCH):
            read = list(threads.map(lambda given: _attempt(given, geometry), batch))
            images = [image for image in read if not isinstance(image, _Fault)]
            remarks.update(remark for _, _, seen in images for remark in seen.remarks)
            if model is None and images:
                values = file.read()  # a damaged file is refused before the engine is imported
                engine = registry.load(backend).load(card.spec, values, device=device, precision=precision)
                model = Model(card, engine)
            yield from _outcomes(read, images, model, top)
    tell(remarks, "images", reporter)


def _expand(paths: Iterable[str | Path]) -> Iterator[Path | _Fault]:
    """Yields each file, those of a folder one by one, and a fault for a folder that gives none."""
    for given in paths:
        path = Path(given)
        if not os.path.isdir(path):  # Path.is_dir would raise where the folder above is closed
            yield path
            continue
        try:
            found = image_files(path)
        except DataError as error:
            yield _Fault(path=path, error=str(error))
            continue
        yield from found
        if not found:
            yield _Fault(path=path, error=f"no images in {path}")


def _batches(files: Sequence[Path | _Fault], size: int) -> Iterator[list[Path | _Fault]]:
    rest = iter(files)
    while batch := list(islice(rest, size)):
        yield batch


def _attempt(file: Path | _Fault, geometry: Geometry) -> _Image | _Fault:
    if isinstance(file, _Fault):
        return file
    try:
        return file, *examine(file, geometry)
    except DataError as error:
        return _Fault(path=file, error=str(error))


def _outcomes(
    read: Sequence[_Image | _Fault], images: Sequence[_Image], model: Model | None, top: int
) -> Iterator[Outcome]:
    found = iter(
        model.predict_images(np.stack([pixels for _, pixels, _ in images]), top) if model and images else []
    )
    for image in read:
        if isinstance(image, _Fault):
            yield Outcome(path=image.path, predictions=[], error=image.error)
        else:
            yield Outcome(path=image[0], predictions=next(found))
