"""Weights from one layout to another, verified before the command says done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
from vitcli.jobs.adapters import Adapter, carry, complete, file_of, is_adapter, open_adapter
from vitcli.jobs.tensors import SUFFIXES, open_tensors, write_tensors
from vitcli.weights.config import files
from vitcli.weights.derive import describe
from vitcli.weights.file import Weights
from vitcli.weights.header import Card, Layout
from vitcli.weights.layouts import from_native, to_native
from vitcli.weights.lora import merged, plain
from vitcli.weights.names import LAYOUTS, detect, file_shapes
from vitcli.weights.peft import PEFT_LAYOUTS, PeftLayout

# Two readings of the same numbers in float64 differ by nothing but the order of sums, if at all.
TOLERANCE = 1e-9
# A merged kernel is rounded once more than the kernel and the adapter that it is the sum of.
MERGED = 1e-5
_IMAGES = 4


@dataclass(frozen=True, kw_only=True)
class ConvertResult:
    """A verified conversion; differences are relative to the largest logit.

    An adapter without its base gives no logits: its tensors alone are compared, and there is no backend.
    """

    source: Path
    target: Path
    layout_from: str
    layout_to: str
    tensors: int
    parameters: int
    backend: str | None = None
    difference_float64: float | None = None
    difference_float32: float | None = None


def convert(
    source: str | Path,
    target: str | Path,
    *,
    layout: str | None = None,
    to: str = "native",
    overrides: Sequence[str] = (),
    merge: bool = False,
    base: str | Path | None = None,
    backend: str | None = None,
    device: str | None = None,
    reporter: Reporter | None = None,
) -> ConvertResult:
    """Writes `source` in another layout, reads it back, and compares logits on an engine.

    An adapter file stays one, ours or PEFT's, unless it is merged into its base.

    Args:
        source: a safetensors file, or a PyTorch state dict, or an adapter of ours or of PEFT's.
        target: the file to write, `.safetensors` or `.pth`; it must not be the source.
        layout: of the source; none: detected by its content.
        to: one of `LAYOUTS`; of an adapter that stays one `native` or one of `PEFT_LAYOUTS`.
        overrides: `model.key=value` for what a file without vit's metadata does not say.
        merge: adds low-rank adapters to the kernels that they stand beside.
        base: the weights that an adapter was trained from; none: where the adapter says that they are.
        backend: the engine that compares; none: the first that is installed.
        device: as for `train`.
        reporter: is told what happens.

    Raises:
        RequestError: a file or an override is wrong; nothing has been written.
        VerificationError: the logits of source and target differ; no target has been written.
    """
    reporter = reporter or Silent()
    backend = registry.choose(backend)
    source, target, base = file_of(Path(source)), Path(target), Path(base) if base is not None else None
    to_peft = next((name for name in PEFT_LAYOUTS if name == to), None)
    into = _layout("--to", "native" if to_peft else to)
    _check_target(source, target)
    if is_adapter(open_tensors(source)[0]) and not merge:
        return _carried(open_adapter(source, base, overrides, reporter), target, to, to_peft)
    found, card, read = _opened(source, layout, base, overrides, reporter)
    _check_adapters(source, card, to_peft, merge, base)
    written = replace(card, spec=plain(card.spec), base=None) if merge else card
    file_shapes(written.spec, into)  # refused before any value is read
    beside = files(written) if into == "huggingface" else {}
    for name in beside:
        if (target.parent / name).exists():
            raise RequestError(f"{target.parent / name} exists; write {target.name} into a folder of its own")
    weights = read()
    reporter.note(f"{source} ({found}) -> {target} ({to}): {len(weights)} tensors; comparing on {backend}")
    engine = registry.load(backend)
    before = _logits(engine, card.spec, weights, device)
    if merge:
        weights, _ = merged(weights, card.spec)
    card, allowed = written, MERGED if merge else TOLERANCE
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
        if changed or not differences["float64"] <= allowed:
            raise VerificationError(
                f"logits of {source} and of its copy differ by {differences['float64']:.3g} relative in float64 "
                f"(allowed: {allowed:g}), {len(changed)} of {len(weights)} tensors; {target} has not been written"
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


def _opened(
    source: Path, layout: str | None, base: Path | None, overrides: Sequence[str], reporter: Reporter
) -> tuple[str, Card, Callable[[], Weights]]:
    """Returns the layout of a file, its card, and a function that reads its tensors, native."""
    header, read = open_tensors(source)
    if is_adapter(header):
        adapter = open_adapter(source, base, overrides, reporter)
        return adapter.layout, adapter.card, partial(complete, adapter, base)
    found = detect(header) if layout is None else _layout("--from", layout)
    card = describe(header, found, overrides, reporter)
    return found, card, lambda: to_native(read(), card.spec, found)


def _check_adapters(
    source: Path, card: Card, to_peft: PeftLayout | None, merge: bool, base: Path | None
) -> None:
    """Checks that what is asked of adapters is asked where there are some."""
    if merge and to_peft:
        raise RequestError(
            f"--to {to_peft} keeps adapters apart, --merge adds them to the weights: choose one"
        )
    if to_peft:
        raise RequestError(
            f"--to {to_peft}: {source} is a whole model; give an adapter file (adapter.safetensors)"
        )
    if merge and not card.spec.lora.rank:
        raise RequestError(f"--merge: {source} has no adapters; leave it out")
    if base is not None and card.base is None:
        raise RequestError(f"--base {base}: {source} is a whole model and needs none; leave it out")


def _carried(adapter: Adapter, target: Path, to: str, to_peft: PeftLayout | None) -> ConvertResult:
    """Carries an adapter that stays one."""
    if to != "native" and to_peft is None:
        raise RequestError(
            f"--to {to}: {adapter.path} is an adapter, which native and {', '.join(PEFT_LAYOUTS)} hold; "
            f"add --merge to write the whole model in {to}"
        )
    carry(adapter, target, to_peft)
    return ConvertResult(
        source=adapter.path,
        target=target,
        layout_from=adapter.layout,
        layout_to=to_peft or "adapter",
        tensors=len(adapter.tensors),
        parameters=sum(value.size for value in adapter.tensors.values()),
    )


def _layout(option: str, name: str) -> Layout:
    for layout in LAYOUTS:
        if layout == name:
            return layout
    raise RequestError(
        f"{option} {name} is not a layout{nearest(name, LAYOUTS)}; allowed: {', '.join(LAYOUTS)} "
        f"(of an adapter: {', '.join(PEFT_LAYOUTS)})"
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
