"""Weights from one layout to another, verified before the command says done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitcli.core import registry
from vitcli.core.backend import Backend
from vitcli.core.errors import RequestError, VerificationError, WeightsError, nearest
from vitcli.core.recipe import Precision
from vitcli.core.reporter import Reporter, Silent
from vitcli.core.spec import ModelSpec
from vitcli.data.random import normal, sequence
from vitcli.weights.derive import describe
from vitcli.weights.file import Weights, read_weights, write_weights
from vitcli.weights.header import Layout, read_header
from vitcli.weights.layouts import from_native, to_native
from vitcli.weights.names import LAYOUTS, detect

# Two readings of the same numbers in float64 differ by nothing but the order of sums, if at all.
TOLERANCE = 1e-9
_IMAGES = 4


@dataclass(frozen=True, kw_only=True)
class ConvertResult:
    """A verified conversion; differences are relative to the largest logit."""

    source: Path
    target: Path
    layout_from: Layout
    layout_to: Layout
    tensors: int
    parameters: int
    backend: str
    difference_float64: float
    difference_float32: float


def convert(
    source: str | Path,
    target: str | Path,
    *,
    to: str = "native",
    overrides: Sequence[str] = (),
    backend: str | None = None,
    device: str | None = None,
    reporter: Reporter | None = None,
) -> ConvertResult:
    """Writes `source` in another layout, reads it back, and compares logits on an engine.

    Args:
        source: a safetensors file; its layout is detected by its content.
        target: the file to write; it must not be the source.
        to: `native`, `torch` or `jax`.
        overrides: `model.key=value` for what a file without vit's metadata does not say.
        backend: the engine that compares; none: the first that is installed.
        device: as for `train`.
        reporter: is told what happens.

    Raises:
        RequestError: a file or an override is wrong; nothing has been written.
        VerificationError: the logits of source and target differ; no target has been written.
    """
    reporter = reporter or Silent()
    backend = registry.choose(backend)
    source, target = Path(source), Path(target)
    if to not in LAYOUTS:
        raise RequestError(f"--to {to} is not a layout{nearest(to, LAYOUTS)}; allowed: {', '.join(LAYOUTS)}")
    _check_target(source, target)
    header = read_header(source)
    layout = detect(header)
    card = describe(header, layout, overrides)
    weights = to_native(read_weights(source), card.spec, layout)
    reporter.note(f"{source} ({layout}) -> {target} ({to}): {len(weights)} tensors; comparing on {backend}")
    engine = registry.load(backend)
    before = _logits(engine, card.spec, weights, device)
    unverified = target.with_name(f".{target.stem}.unverified.safetensors")
    try:
        write_weights(unverified, from_native(weights, card.spec, to), card, to)
        again = to_native(read_weights(unverified), card.spec, detect(read_header(unverified)))
        after = _logits(engine, card.spec, again, device)
        differences = {
            precision: float(np.abs(logits - after[precision]).max() / max(np.abs(logits).max(), 1e-30))
            for precision, logits in before.items()
        }
        if not differences["float64"] <= TOLERANCE:
            raise VerificationError(
                f"logits of {source} and of its copy differ by {differences['float64']:.3g} relative in float64 "
                f"(allowed: {TOLERANCE:g}); {target} has not been written"
            )
        unverified.replace(target)
    finally:
        unverified.unlink(missing_ok=True)
    return ConvertResult(
        source=source,
        target=target,
        layout_from=layout,
        layout_to=to,
        tensors=len(weights),
        parameters=sum(value.size for value in weights.values()),
        backend=backend,
        difference_float64=differences["float64"],
        difference_float32=differences["float32"],
    )


def _check_target(source: Path, target: Path) -> None:
    if target.suffix != ".safetensors":
        raise RequestError(f"{target} must end in .safetensors: that is the only format written")
    if target.exists() and source.exists() and target.samefile(source):
        raise RequestError(f"{target} is the source itself; choose another name")
    if not target.parent.is_dir():
        raise RequestError(f"no folder {target.parent} to write {target.name} into; make it first")
    if target.is_dir():
        raise WeightsError(f"{target} is a folder; give a file name")


def _logits(
    engine: Backend, spec: ModelSpec, weights: Weights, device: str | None
) -> dict[str, NDArray[Any]]:
    """Returns the logits of fixed images in float64 and in float32."""
    exact: tuple[Precision, ...] = ("float64", "float32")
    return {
        precision: engine.load(spec, weights, device=device, precision=precision).logits(_pixels(spec))
        for precision in exact
    }


def _pixels(spec: ModelSpec) -> np.ndarray:
    """Returns fixed random inputs (B, C, S, S)."""
    shape = (_IMAGES, spec.in_channels, spec.image_size, spec.image_size)
    return normal(sequence((1, 2), int(np.prod(shape)))).reshape(shape)
