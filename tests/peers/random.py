"""Peers' models with random weights, and what both sides make of the same inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from vitcli.core import registry
from vitcli.jobs.convert import convert
from vitcli.jobs.model import WeightsFile, open_weights
from vitcli.weights.header import Card


class Notes:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        """Keeps one line."""
        self.told.append(text)

    def track(self, title: str, total: int, unit: str) -> Any:
        """Tracks nothing."""
        raise NotImplementedError


def randomized(model: Any, seed: int = 0) -> Any:
    """The model with weights in which nothing is zero or one, for evaluation."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            gain = value.ndim == 1 and name.endswith("weight")
            value.copy_(torch.randn_like(value) * 0.3 + gain)
    return model.eval()


def randoms(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, torch.Tensor]:
    """Random tensors of these shapes by name."""
    torch.manual_seed(seed)
    return {name: torch.randn(shape) * 0.3 for name, shape in shapes.items()}


def outputs(model: Any, card: Card) -> Any:
    """What a peer makes in float64 of fixed inputs."""
    with torch.inference_mode():
        return model.double()(torch.tensor(inputs(card), dtype=torch.float64))


def inputs(card: Card) -> Any:
    """Fixed random inputs of a model."""
    side = card.spec.image_size
    random = np.random.default_rng(7)
    return random.normal(size=(3, card.spec.in_channels, side, side)).astype(np.float32)


def assert_same(path: Path, theirs: Any, *overrides: str, **options: Any) -> WeightsFile:
    """Compares our outputs of a file, in float64 to 1e-9, with a peer's model; returns the file."""
    file = open_weights(path, overrides, **options)
    engine = registry.load("torch").load(file.card.spec, file.read(), device="cpu", precision="float64")
    exact = outputs(theirs, file.card).numpy()
    ours = engine.logits(inputs(file.card))
    np.testing.assert_allclose(ours, exact, rtol=1e-9, atol=1e-9 * np.abs(exact).max())
    return file


def converted(source: Path, target: Path, to: str, *overrides: str, **options: Any) -> Path:
    """Converts with PyTorch's engine as the judge."""
    target.parent.mkdir(exist_ok=True)
    convert(source, target, to=to, overrides=overrides, backend="torch", device="cpu", **options)
    return target
