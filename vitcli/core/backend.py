"""The seam: all that the project asks of an engine, on one screen.

Only plain data crosses it: specs, host arrays, maps of name to array, floats. Each backend writes its
forward pass, its optimisers and its augmentation natively; nothing is shared at the level of operations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # names for the type checker only: the core runs without an array library
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from vitcli.core.recipe import Precision, Recipe
    from vitcli.core.reporter import Reporter
    from vitcli.core.spec import ModelSpec

    Arrays = Mapping[str, NDArray[Any]]
    # The mean and the standard deviation of each channel, of values from 0 to 1.
    Levels = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One batch of images on the host, padded to the full batch size.

    Attributes:
        images: uint8 (B, S, S, C); None where the backend holds the whole set and gathers `index`.
        index: int32 (B,), positions in the training set.
        labels: int32 (B,).
        weights: float32 (B,), 1 for an image and 0 for padding.
        plan: what augmentation does to each image (`vitcli.data.augment`); empty: only the middle is cut out.
    """

    images: NDArray[np.uint8] | None
    index: NDArray[np.int32]
    labels: NDArray[np.int32]
    weights: NDArray[np.float32]
    plan: Arrays


@dataclass(frozen=True, kw_only=True)
class StepInput:
    """The numbers of one update: they change at every step, so they never enter a compiled program."""

    step: int
    lr: float
    ema_decay: float


class Metrics(Protocol):
    """What one step measured; reading it waits for the device."""

    def read(self) -> dict[str, float]:
        """Returns `loss` (mean over the batch) and `gradient_norm` (before clipping)."""
        ...


class Trainer(Protocol):
    """A model in training. Arrays that it hands out are host copies."""

    resident: bool
    """Whether the training set lives on the device, so that batches carry no images."""

    def step(self, batch: Batch, at: StepInput) -> Metrics:
        """Updates the weights once, without waiting for the result."""
        ...

    def inspect(self, batch: Batch, step: int) -> dict[str, Any]:
        """Returns `loss`, `logits` (B, classes), `gradients` by name of what is trained; changes nothing."""
        ...

    def stages(self, batch: Batch) -> dict[str, float]:
        """Returns the seconds that `copy` (of a batch to the device) and `augment` take, once compiled."""
        ...

    def logits(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """Returns (B, classes) of uint8 images (B, S, S, C) in evaluation, by averaged weights where they are on."""
        ...

    def state(self) -> dict[str, NDArray[Any]]:
        """Returns the training state by name: `param.*`; `moment1.*`, `moment2.*`, `ema.*` of what is trained."""
        ...


class Model(Protocol):
    """A model in evaluation."""

    def logits(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Returns (B, classes) of normalised pixels (B, C, S, S)."""
        ...


class Backend(Protocol):
    """An engine."""

    name: str

    def devices(self) -> list[str]:
        """Returns the names that `--device` takes here, the preferred one first."""
        ...

    def load(self, spec: ModelSpec, weights: Arrays, *, device: str | None, precision: Precision) -> Model:
        """Returns a model that gives logits."""
        ...

    def trainer(
        self, recipe: Recipe, state: Arrays, *, device: str | None, images: NDArray[np.uint8] | None
    ) -> Trainer:
        """Returns a model in training that starts from `state`; `images` is the whole training set, if in memory."""
        ...

    def augmented(
        self, recipe: Recipe, images: NDArray[np.uint8], plan: Arrays, *, device: str | None = None
    ) -> NDArray[Any]:
        """Returns the model inputs (B, C, S, S) that training sees of stored uint8 images (B, S0, S0, C)."""
        ...


class StateDicts(Protocol):
    """What PyTorch's engine alone can do: files of pickled tensors, read without running code."""

    def read_state_dict(self, path: Path, reporter: Reporter) -> dict[str, NDArray[Any]]:
        """Returns the tensors of a `.pth` file by name."""
        ...

    def write_state_dict(self, path: Path, weights: Arrays) -> None:
        """Writes tensors as a `.pth` file."""
        ...


class Exports(Protocol):
    """Models as files that give logits without vit; each engine writes those of its own family."""

    def export(
        self,
        path: Path,
        form: str,
        spec: ModelSpec,
        weights: Arrays,
        card: Mapping[str, str],
        levels: Levels | None,
    ) -> None:
        """Writes a model for batches of any size, in float32, with its weights and the texts of `card` inside.

        `form` is one of the engine's formats (`vitcli.jobs.export`). The file takes normalised `pixels`, float32
        (B, C, S, S); with `levels`, `images`, uint8 (B, S, S, C), which it normalises itself.
        """
        ...

    def run_exported(
        self, path: Path, form: str, batches: Sequence[NDArray[Any]]
    ) -> tuple[dict[str, str], list[NDArray[Any]]]:
        """Returns the texts that a file holds, and the logits (B, classes) of batches, by what runs such files."""
        ...


class Peers(Protocol):
    """Other libraries, which PyTorch's engine alone can run."""

    def peer_name(self, layout: str) -> str | None:
        """Returns the library that a layout belongs to and its version, where it is installed."""
        ...

    def peer_logits(self, layout: str, folder: Path, spec: ModelSpec, pixels: NDArray[Any]) -> NDArray[Any]:
        """Returns the float64 logits (B, classes) of a folder's `model.safetensors` by that library."""
        ...


def by_kind(state: Arrays) -> dict[str, dict[str, NDArray[Any]]]:
    """Returns a training state as kind (`param`, `moment1`, `moment2`, `ema`) -> parameter name -> array."""
    kinds: dict[str, dict[str, NDArray[Any]]] = {}
    for key, value in state.items():
        kind, _, name = key.partition(".")
        kinds.setdefault(kind, {})[name] = value
    return kinds
