"""One contender in a process of its own: it makes training steps when it is asked to, and else sleeps.

Ours are here; a peer stands in `peer_<name>.py`, which alone imports its library, so that no process
holds a library that it does not use.
"""

from __future__ import annotations

import importlib
import itertools
import math
import resource
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitcli.core import registry
from vitcli.core.backend import Batch, StepInput
from vitcli.core.parameters import count
from vitcli.core.recipe import Recipe
from vitcli.weights.initial import initial_weights

# Makes that many updates, waits for the last of them, and returns its loss.
Run = Callable[[int], float]


def serve(connection: Connection, name: str, recipe: Recipe, device: str) -> None:
    """Says when it is ready, then answers numbers of steps with their seconds; None ends it: memory in MB."""
    if name.startswith("vit-"):
        run = _ours(name.removeprefix("vit-"), recipe, device)
    else:
        run = importlib.import_module(f"bench.peer_{name}").build(recipe, device)
    before = _resident_mb()
    connection.send("ready")
    while (steps := connection.recv()) is not None:
        begin = time.perf_counter()
        loss = run(steps)
        seconds = time.perf_counter() - begin
        if not math.isfinite(loss):
            raise ValueError(f"{name}: the loss is {loss}")
        connection.send(seconds)
    connection.send({"before": before, "peak": _resident_mb(), "device": _device_mb(device)})


def draw_batch(recipe: Recipe) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int32]]:
    """Returns random images (B, S, S, C) as ours takes them, normalised as a peer does, and labels (B,)."""
    generator, side = np.random.default_rng(0), recipe.model.image_size
    shape = (recipe.train.batch_size, side, side, recipe.model.in_channels)
    images = generator.integers(0, 256, shape, dtype=np.uint8)
    pixels = (images / 255 - np.array(recipe.data.mean)) / np.array(recipe.data.std)
    labels = generator.integers(0, recipe.model.num_classes, len(images), dtype=np.int32)
    return images, pixels.astype(np.float32), labels


def check_size(recipe: Recipe, parameters: int) -> None:
    """Raises ValueError where a peer's model has not as many parameters as ours."""
    if parameters != count(recipe.model):
        raise ValueError(f"the peer has {parameters:,} parameters; the recipe says {count(recipe.model):,}")


def _ours(backend: str, recipe: Recipe, device: str) -> Run:
    images, _, labels = draw_batch(recipe)
    weights = initial_weights(recipe.model, recipe.train.seed, recipe.init)
    state = {f"param.{name}": value for name, value in weights.items()}
    trainer = registry.load(backend).trainer(recipe, state, device=device, images=None)
    index, ones = np.arange(len(images), dtype=np.int32), np.ones(len(images), np.float32)
    batch = Batch(images=images, index=index, labels=labels, weights=ones, plan={})
    numbers = itertools.count()

    def run(steps: int) -> float:
        for _ in range(steps):
            at = StepInput(step=next(numbers), lr=recipe.train.lr, ema_decay=recipe.train.ema or 0.0)
            metrics = trainer.step(batch, at)
        return metrics.read()["loss"]

    return run


def _resident_mb() -> float:
    """Returns the largest resident size that this process has had, in 10^6 bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _device_mb(device: str) -> float | None:
    """Returns the most memory that arrays took on an accelerator, in 10^6 bytes; None for the CPU."""
    platform, _, index = device.partition(":")
    if platform == "cpu":
        return None
    library: Any
    if (library := sys.modules.get("jax")) is not None:
        peak = library.devices(platform)[int(index or 0)].memory_stats()["peak_bytes_in_use"]
    else:
        peak = importlib.import_module("torch").cuda.max_memory_allocated(device)
    return float(peak) / 1e6
