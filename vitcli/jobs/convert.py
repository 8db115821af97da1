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
from vitcli.jobs.model import open_weights
from vitcli.jobs.pretrained import find
from vitcli.jobs.tensors import SUFFIXES, open_tensors, write_tensors
from vitcli.weights.beside import BESIDE
from vitcli.weights.file import Weights
from vitcli.weights.header import Layout
from vitcli.weights.layouts import from_native, to_native
from vitcli.weights.names import LAYOUTS, file_shapes

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
    layout: str | None = None,
    to: str = "native",
    overrides: Sequence[str] = (),
    backend: str | None = None,
    device: str | None = None,
    reporter: Reporter | None = None,
) -> ConvertResult:
    """Writes `source` in another layout, reads it back, and compares logits on an engine.

    Args:
        source: a weights file, a run folder, or a name that `find` knows.
        target: the file to write, `.safetensors` or `.pth`; it must not be the source.
        layout: of the source; none: detected by its content.
        to: one of `LAYOUTS`.
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
    into = _layout("--to", to)
    given = None if layout is None else _layout("--from", layout)
    target = Path(target)
    _check_target(Path(source), target)
    source = find(source, reporter)
    file = open_weights(source, overrides, layout=given, reporter=reporter)
    found, card = file.layout, file.card
    file_shapes(card.spec, into)  # refused before any value is read
    beside = BESIDE[into].files(card) if into in BESIDE else {}
    for name in beside:
        if (target.parent / name).exists():
            raise RequestError(f"{target.parent / name} exists; write {target.name} into a folder of its own")
    weights = file.read()
    reporter.note(f"{source} ({found}) -> {target} ({to}): {len(weights)} tensors; comparing on {backend}")
    engine = registry.load(backend)
    before = _logits(engine, card.spec, weights, device)
    unverified = target.with_name(f".{target.stem}.unverified{target.suffix}")
    try:
        write_tensors(unverified, from_native(weights, card.spec, into), card, into)
        again = to_native(open_tensors(unverified)[1](), card.spec, into)
        changed = [name for name, value in weights.items() if again[name].tobytes() != value.tobytes()]
        after = _logits(engine, card.spec, again, device)
        differences = {
            precision: float(np.abs(logits - after[precision]).max() / max(np.abs(logits).max(), 1e-30))
            for precision, logits in before.items()
        }
        if changed or not differences["float64"] <= TOLERANCE:
            raise VerificationError(
                f"logits of {source} and of its copy differ by {differences['float64']:.3g} relative in float64 "
                f"(allowed: {TOLERANCE:g}), {len(changed)} of {len(weights)} tensors; {target} has not been written"
            )
        for name, text in beside.items():
            (target.parent / name).write_text(text, encoding="utf-8")
        unverified.replace(target)
    finally:
        unverified.unlink(missing_ok=True)
    return ConvertResult(
        source=source,
        target=target,
        layout_from=found,
        layout_to=into,
        tensors=len(weights),
        parameters=sum(value.size for value in weights.values()),
        backend=backend,
        difference_float64=differences["float64"],
        difference_float32=differences["float32"],
    )


def _layout(option: str, name: str) -> Layout:
    for layout in LAYOUTS:
        if layout == name:
            return layout
    raise RequestError(
        f"{option} {name} is not a layout{nearest(name, LAYOUTS)}; allowed: {', '.join(LAYOUTS)}"
    )


def _check_target(source: Path, target: Path) -> None:
    if target.suffix not in SUFFIXES:
        raise RequestError(
            f"{target} must end in one of {', '.join(SUFFIXES)}: what is written goes by its name"
        )
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
