"""A weights file as something that predicts: the Python API's `load`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitcli.core import registry
from vitcli.core.backend import Model as BackendModel
from vitcli.core.errors import WeightsError
from vitcli.core.pixels import middle
from vitcli.core.recipe import Precision
from vitcli.core.reporter import Reporter
from vitcli.core.spec import ModelSpec
from vitcli.data.decode import Geometry, decode
from vitcli.jobs.adapters import Adapter, complete, is_adapter, open_adapter
from vitcli.jobs.metrics import log_softmax
from vitcli.jobs.runs import weights_of
from vitcli.jobs.tensors import open_tensors
from vitcli.weights.derive import describe
from vitcli.weights.file import Weights
from vitcli.weights.header import Card, Layout
from vitcli.weights.layouts import to_native
from vitcli.weights.names import detect


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One of the most probable classes of an image."""

    name: str
    index: int
    probability: float


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """A weights file of any layout whose tensors fit its spec; `read` gives them by native names.

    Of an adapter file it gives the whole model's, with those of the base that it was trained from. `tensors` and
    `parameters` are how many of each the file holds; `read_there` gives tensors as they stand in it.
    """

    path: Path
    layout: str
    card: Card
    tensors: int
    parameters: int
    read: Callable[[], Weights]
    read_there: Callable[[], Weights]
    adapter: Adapter | None = None


class Model:
    """Weights on an engine, with what is needed to feed them."""

    def __init__(self, card: Card, engine: BackendModel) -> None:
        self._card, self._engine = card, engine

    @property
    def spec(self) -> ModelSpec:
        """The architecture."""
        return self._card.spec

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return self._card.classes

    @property
    def geometry(self) -> Geometry:
        """How an image file is fitted before the middle is cut out."""
        return geometry_of(self._card)

    def logits(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Returns logits (B, classes) of normalised pixels (B, C, S, S).

        Raises:
            ValueError: the pixels have another shape.
        """
        side, channels = self.spec.image_size, self.spec.in_channels
        if np.ndim(pixels) != 4 or np.shape(pixels)[1:] != (channels, side, side):
            raise ValueError(
                f"pixels are {np.shape(pixels)}; this model takes (B, {channels}, {side}, {side})"
            )
        return self._engine.logits(np.asarray(pixels))

    def predict(self, paths: Sequence[str | Path], top: int = 5) -> list[list[Prediction]]:
        """Returns the `top` most probable classes of each image file, the best first.

        Raises:
            DataError: a file cannot be read as an image.
        """
        return self.predict_images(np.stack([decode(Path(path), self.geometry) for path in paths]), top)

    def predict_images(self, images: NDArray[np.uint8], top: int) -> list[list[Prediction]]:
        """Returns the `top` most probable classes of each fitted image, uint8 (B, S, S, C)."""
        probabilities = np.exp(log_softmax(self.logits(model_inputs(images, self._card))))
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
        return [
            [Prediction(name=self.classes[i], index=int(i), probability=float(row[i])) for i in best]
            for row, best in zip(probabilities, order, strict=True)
        ]


def load(
    weights: str | Path,
    *,
    backend: str | None = None,
    device: str | None = None,
    precision: Precision = "float32",
) -> Model:
    """Returns a model that predicts.

    Args:
        weights: a run folder or a weights file.
        backend: `torch` or `jax`; none: the first that is installed.
        device: `cpu`, `cuda`, ...; none: the best there is.
        precision: `float32`, `tf32`, `bfloat16` or `float64`.

    Raises:
        WeightsError: the file is missing, damaged, or does not say what it is.
        BackendError: the engine is not installed.
    """
    backend = registry.choose(backend)
    file = open_weights(weights_of(Path(weights)))
    values = file.read()  # a damaged file is refused before the engine is imported
    return Model(
        file.card, registry.load(backend).load(file.card.spec, values, device=device, precision=precision)
    )


def open_weights(
    path: Path,
    overrides: Sequence[str] = (),
    *,
    layout: Layout | None = None,
    base: Path | None = None,
    reporter: Reporter | None = None,
) -> WeightsFile:
    """Returns a weights file after checking its names and shapes; of whole safetensors no values are read.

    Args:
        path: a file of any layout, or an adapter of ours or of PEFT's.
        overrides: `model.key=value` for what a file without vit's metadata does not say.
        layout: of the file; none: detected by its content.
        base: the weights that an adapter was trained from; none: where the adapter says that they are.
        reporter: is told what is assumed.

    Raises:
        RequestError: it is unreadable, or its tensors are not those of a model that vit knows.
    """
    header, read = open_tensors(path, reporter)
    held = partial(
        WeightsFile,
        path=path,
        tensors=len(header.shapes),
        parameters=sum(math.prod(shape) for shape in header.shapes.values()),
        read_there=read,
    )
    if is_adapter(header):
        adapter = open_adapter(path, base, overrides, reporter)
        whole = partial(complete, adapter, base)
        return held(layout=adapter.layout, card=adapter.card, read=whole, adapter=adapter)
    known = layout or detect(header)
    card = describe(header, known, overrides, reporter)
    return held(layout=known, card=card, read=lambda: to_native(read(), card.spec, known))


def geometry_of(card: Card) -> Geometry:
    """Returns how a model's image files are fitted before the middle is cut out."""
    seen = card.preprocess
    return Geometry(
        fit=seen.fit,
        size=seen.size,
        channels=card.spec.in_channels,
        interpolation=seen.interpolation,
        inner=card.spec.image_size,
    )


def check_classifies(card: Card, path: Path) -> None:
    """Checks that a model names classes of image files.

    Raises:
        WeightsError: it has no classifier, or takes other inputs than grey or coloured images.
    """
    if not card.classes:
        raise WeightsError(
            f"{path} has no classifier: it gives features; train one with vit train --init {path}, "
            f"or use them through vitcli.load(...).logits"
        )
    if card.spec.in_channels not in (1, 3):
        raise WeightsError(f"{path} takes {card.spec.in_channels} channels; image files have 1 or 3")


def model_inputs(images: NDArray[np.uint8], card: Card) -> NDArray[np.float32]:
    """Returns normalised pixels float32 (B, C, S, S) of fitted images uint8 (B, S0, S0, C): the middle, scaled."""
    side = card.spec.image_size
    top, left = middle(images.shape[1], side), middle(images.shape[2], side)
    levels = images[:, top : top + side, left : left + side].astype(np.float32)
    mean, std = (np.asarray(values, np.float32) for values in (card.preprocess.mean, card.preprocess.std))
    return np.ascontiguousarray(((levels / 255 - mean) / std).transpose(0, 3, 1, 2))
