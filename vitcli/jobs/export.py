"""A model as a file that other programs run: ONNX, torch.export or StableHLO, checked before the job says done."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from vitcli.core import registry
from vitcli.core.backend import Exports
from vitcli.core.errors import BackendError, RequestError, VerificationError, VitError, nearest, reason
from vitcli.core.parameters import count
from vitcli.core.reporter import Reporter, Silent
from vitcli.core.spec import ModelSpec
from vitcli.core.targets import check_other, check_place
from vitcli.data.random import normal, sequence
from vitcli.jobs.model import model_inputs, open_weights
from vitcli.jobs.pretrained import find
from vitcli.weights.file import Weights, replacing
from vitcli.weights.header import Card
from vitcli.weights.lora import merged, plain

Inputs = Literal["float32", "uint8"]
# Of the largest logit, or of one where all are smaller: float32 in another order of sums.
TOLERANCE = 2e-5
# Sizes of the batches that a written file must take, with other images in each.
BATCHES = (1, 3)


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of file: the engine that writes it, the libraries needed beside, and the most bytes of weights."""

    suffix: str
    engine: str
    needs: tuple[str, ...] = ()
    most: int | None = None


FORMATS = {
    # An ONNX file is one protobuf message, which ends at 2 GiB; what is left is for the graph.
    "onnx": Format(
        suffix=".onnx",
        engine="torch",
        needs=("onnx", "onnxscript", "onnxruntime"),
        most=(1 << 31) - (1 << 24),
    ),
    "torch-export": Format(suffix=".pt2", engine="torch"),
    "stablehlo": Format(suffix=".stablehlo", engine="jax"),
}


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """A checked export; `difference` is the largest of logits from the engine's, `allowed` what it may be."""

    source: Path
    target: Path
    format: str
    engine: str
    input: Inputs
    input_shape: tuple[str | int, ...]
    output_shape: tuple[str | int, ...]
    parameters: int
    bytes: int
    difference: float
    allowed: float


def export(
    source: str | Path,
    target: str | Path | None = None,
    *,
    form: str | None = None,
    inputs: Inputs = "float32",
    overrides: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> ExportResult:
    """Writes a model with its weights, class names and preprocessing as one file for batches of any size.

    Args:
        source: a run folder, a weights file in any layout, an adapter, which is merged, or a name that `find` knows.
        target: the file to write; none: beside the source, under its name.
        form: one of `FORMATS`; none: that of the target's suffix.
        inputs: `float32`, normalised pixels (B, C, S, S), or `uint8`, images (B, S, S, C).
        overrides: `model.key=value` for what a file without vit's metadata does not say.
        reporter: is told what happens.

    Raises:
        RequestError: a file, a format or an override is wrong; nothing has been written.
        BackendError: an engine or a library that the format needs is not installed.
        VerificationError: the file gives other logits than the engine; it has been removed.
    """
    reporter = reporter or Silent()
    path = find(source, reporter)
    form = _form(form, target)
    kind = FORMATS[form]
    if target is None and not Path(source).exists():
        raise RequestError(f"{source} is kept in a cache; add the file to write, as model{kind.suffix}")
    target = path.with_suffix(kind.suffix) if target is None else Path(target)
    _check_target(path, target, form)
    _check_installed(form)
    file = open_weights(path, overrides, reporter=reporter)
    card = file.card if file.adapter is None else replace(file.card, spec=plain(file.card.spec), base=None)
    size = 4 * count(card.spec)
    if kind.most is not None and size > kind.most:
        raise RequestError(
            f"{path} holds {size / 1e9:.2f} GB of weights, and a file of --format {form} holds "
            f"{kind.most / 1e9:.2f} GB at most; take --format torch-export or stablehlo"
        )
    weights = file.read()
    if file.adapter is not None:
        weights, _ = merged(weights, file.card.spec)
    told = f"{path} ({file.layout}) -> {target} ({form})"
    reporter.note(f"{told}: {len(weights)} tensors; checking what is written")
    with replacing(target, weights) as temporary:
        difference, allowed = _write(temporary, target, form, card, weights, inputs)
        written = temporary.stat().st_size
    side, channels = card.spec.image_size, card.spec.in_channels
    return ExportResult(
        source=path,
        target=target,
        format=form,
        engine=kind.engine,
        input=inputs,
        input_shape=("batch", channels, side, side)
        if inputs == "float32"
        else ("batch", side, side, channels),
        output_shape=("batch", card.spec.output_dim),
        parameters=sum(value.size for value in weights.values()),
        bytes=written,
        difference=difference,
        allowed=allowed,
    )


def _form(form: str | None, target: str | Path | None) -> str:
    """Returns the format that is asked for by name or by the target's suffix."""
    if form is None:
        suffix = "" if target is None else Path(target).suffix
        for name, kind in FORMATS.items():
            if kind.suffix == suffix:
                return name
        raise RequestError(f"export as what? add --format {'|'.join(FORMATS)}")
    if form not in FORMATS:
        raise RequestError(
            f"--format {form} is not known{nearest(form, FORMATS)}; allowed: {', '.join(FORMATS)}"
        )
    return form


def _check_target(source: Path, target: Path, form: str) -> None:
    if target.suffix != FORMATS[form].suffix:
        raise RequestError(f"{target} must end in {FORMATS[form].suffix}, as files of --format {form} do")
    check_place(target)
    check_other(target, source)


def _check_installed(form: str) -> None:
    kind = FORMATS[form]
    registry.choose(kind.engine)
    absent = [name for name in kind.needs if importlib.util.find_spec(name) is None]
    if absent:
        raise BackendError(
            f"--format {form} needs {', '.join(absent)}, not installed; run: pip install 'vitcli[export]'"
        )


def _write(
    path: Path, target: Path, form: str, card: Card, weights: Weights, inputs: Inputs
) -> tuple[float, float]:
    """Writes an unchecked file, and returns how far its logits are from the engine's, and how far they may be."""
    engine = registry.load(FORMATS[form].engine)
    exports = cast(Exports, engine)
    levels = (card.preprocess.mean, card.preprocess.std) if inputs == "uint8" else None
    texts = card.texts() | {"vit.input": inputs}
    exports.export(path, form, card.spec, weights, texts, levels)
    batches = _batches(card.spec, inputs)
    try:
        found, logits = exports.run_exported(path, form, batches)
    except (VitError, MemoryError):
        raise
    except Exception as error:  # each library has errors of its own
        raise VerificationError(
            f"the exported model does not run ({reason(error)}); {target} has not been written"
        ) from error
    wrong = [name for name, text in texts.items() if found.get(name) != text]
    if wrong:
        raise VerificationError(f"{wrong[0]} came back changed; {target} has not been written")
    model = engine.load(card.spec, weights, device="cpu", precision="float32")
    images = np.concatenate(batches)
    ours = model.logits(images if levels is None else model_inputs(images, card))
    theirs = np.concatenate(logits)
    if theirs.shape != ours.shape:
        raise VerificationError(
            f"the exported model gives logits {theirs.shape}, not {ours.shape}; {target} has not been written"
        )
    difference = float(np.abs(ours - theirs).max())
    allowed = TOLERANCE * max(1.0, float(np.abs(ours).max()))
    if not difference <= allowed:
        raise VerificationError(
            f"logits of the exported model and of the {engine.name} engine differ by {difference:.3g} "
            f"(allowed: {allowed:.3g}); {target} has not been written"
        )
    return difference, allowed


def _batches(spec: ModelSpec, inputs: Inputs) -> list[NDArray[Any]]:
    """Returns fixed random batches of what a file takes."""
    side, channels = spec.image_size, spec.in_channels
    words = sequence((1, 3), sum(BATCHES) * channels * side * side)
    values: NDArray[Any]
    if inputs == "uint8":
        values = (words & 255).astype(np.uint8).reshape(-1, side, side, channels)
    else:
        values = normal(words).astype(np.float32).reshape(-1, channels, side, side)
    return np.split(values, np.cumsum(BATCHES)[:-1])
