"""Models as files for programs without vit: StableHLO. `vitcli_torch/export.py` is its twin.

A file is a zip archive, not compressed, that `numpy.load` opens as well:

    model.jax          what `jax.export` serialises: a function of (weights, pixels), its StableHLO inside
    weights/NAME.npy   the weights by their native names; as constants of the program they would cost five times
                       the time to compile
    vit.*              the texts of the card
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from vitcli.core.spec import ModelSpec
from vitcli_jax.model import forward

if TYPE_CHECKING:
    from vitcli.core.backend import Arrays, Levels

PROGRAM, WEIGHTS = "model.jax", "weights/"
# Whatever the machine that writes the file has.
_PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def export(
    path: Path, form: str, spec: ModelSpec, weights: Arrays, card: Mapping[str, str], levels: Levels | None
) -> None:
    """Writes a model as a `stablehlo` file."""
    values = {name: np.asarray(value, np.float32) for name, value in weights.items()}
    program = trace(spec, values, levels)
    with zipfile.ZipFile(path, "w") as archive:
        # ZipInfo by name alone: the same model gives the same bytes on every day.
        archive.writestr(zipfile.ZipInfo(PROGRAM), program)
        for name, text in card.items():
            archive.writestr(zipfile.ZipInfo(name), text)
        for name, value in values.items():
            entry = zipfile.ZipInfo(f"{WEIGHTS}{name}.npy")
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, value, allow_pickle=False)


def trace(spec: ModelSpec, weights: Arrays, levels: Levels | None) -> bytes:
    """Returns the serialised program of a model for batches of any size; nothing in it tells where it was made."""

    def logits(weights: Mapping[str, Array], images: Array) -> Array:
        pixels = images if levels is None else _normalised(images, levels)
        return jax.vmap(lambda one: forward(weights, one, spec))(pixels)

    side, channels = spec.image_size, spec.in_channels
    pixels = np.zeros((1, channels, side, side), np.float32)
    images = pixels if levels is None else np.zeros((1, side, side, channels), np.uint8)
    given = jax.export.symbolic_args_specs((dict(weights), images), (None, "batch, ..."))
    with jax.default_matmul_precision("highest"), _without_places():
        return bytes(jax.export.export(jax.jit(logits), platforms=_PLATFORMS)(*given).serialize())


def run_exported(
    path: Path, form: str, batches: Sequence[NDArray[Any]]
) -> tuple[dict[str, str], list[NDArray[Any]]]:
    """Returns the texts that a file holds, and the logits (B, classes) that it gives for batches."""
    with np.load(path, allow_pickle=False) as file:
        call: Any = jax.export.deserialize(bytearray(file[PROGRAM])).call
        weights = {name.removeprefix(WEIGHTS): file[name] for name in file.files if name.startswith(WEIGHTS)}
        texts = {name: file[name].decode() for name in file.files if name.startswith("vit.")}
    with jax.default_device(jax.devices("cpu")[0]):
        return texts, [np.asarray(call(weights, batch)) for batch in batches]


def _normalised(images: Array, levels: Levels) -> Array:
    """Returns pixels float32 (B, C, S, S) of images uint8 (B, S, S, C)."""
    mean, std = (jnp.asarray(values, jnp.float32) for values in levels)
    return ((images.astype(jnp.float32) / 255 - mean) / std).transpose(0, 3, 1, 2)


@contextmanager
def _without_places() -> Iterator[None]:
    """Keeps the names of this machine's source files out of programs."""
    config: Any = jax.config
    before = config.jax_traceback_in_locations_limit
    config.update("jax_traceback_in_locations_limit", 0)
    try:
        yield
    finally:
        config.update("jax_traceback_in_locations_limit", before)
