"""Class names and probabilities for image files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitcli.core import registry
from vitcli.core.errors import DataError, RequestError
from vitcli.core.recipe import Precision
from vitcli.core.reporter import Reporter, Silent
from vitcli.data.decode import Geometry, decode
from vitcli.data.sources import image_files
from vitcli.jobs.model import Model, Prediction, open_weights
from vitcli.jobs.runs import newest_finished, weights_of

BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Predictions for one file, or why there are none."""

    path: Path
    predictions: list[Prediction]
    error: str | None = None


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
        weights: a run folder or a weights file; none: the newest finished run in `runs`.
        runs: the folder that holds run folders.
        top: how many classes to name.
        backend: as for `train`.
        device: as for `train`.
        precision: of the forward pass.
        reporter: is told what happens.

    Raises:
        RequestError: the weights are unusable, or a folder holds no images.
    """
    reporter = reporter or Silent()
    backend = registry.choose(backend)
    if top < 1:
        raise RequestError(f"--top {top}: name at least one class")
    path = weights_of(Path(weights) if weights is not None else newest_finished(Path(runs)))
    file, card = open_weights(path)
    files = list(_expand(paths))
    reporter.note(f"weights {path}: {len(card.classes)} classes, trained on {card.source}; {backend}")
    fitted = card.preprocess
    geometry = Geometry(fit=fitted.fit, size=fitted.size, channels=card.spec.in_channels)
    model: Model | None = None
    with ThreadPoolExecutor() as threads:
        for batch in _batches(files, BATCH):
            decoded = list(threads.map(lambda image: _attempt(image, geometry), batch))
            if model is None and any(isinstance(pixels, np.ndarray) for pixels in decoded):
                values = file.read()  # a damaged file is refused before the engine is imported
                engine = registry.load(backend).load(card.spec, values, device=device, precision=precision)
                model = Model(card, engine)
            yield from _outcomes(batch, decoded, model, top)


def _expand(paths: Iterable[str | Path]) -> Iterator[Path]:
    for given in paths:
        path = Path(given)
        if path.is_dir():
            found = image_files(path)
            if not found:
                raise DataError(f"no images in {path}")
            yield from found
        else:
            yield path


def _batches(files: Sequence[Path], size: int) -> Iterator[list[Path]]:
    rest = iter(files)
    while batch := list(islice(rest, size)):
        yield batch


def _attempt(path: Path, geometry: Geometry) -> NDArray[np.uint8] | DataError:
    try:
        return decode(path, geometry)
    except DataError as error:
        return error


def _outcomes(
    paths: Sequence[Path], decoded: Sequence[NDArray[np.uint8] | DataError], model: Model | None, top: int
) -> Iterator[Outcome]:
    images = [pixels for pixels in decoded if isinstance(pixels, np.ndarray)]
    found = iter(model.predict_images(np.stack(images), top) if model is not None and images else [])
    for path, pixels in zip(paths, decoded, strict=True):
        if isinstance(pixels, DataError):
            yield Outcome(path=path, predictions=[], error=str(pixels))
        else:
            yield Outcome(path=path, predictions=next(found))
