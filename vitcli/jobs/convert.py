"""Weights from one layout to another, verified before the command says done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vitcli.core import registry
from vitcli.core.draft import validated
from vitcli.core.errors import RequestError, VerificationError, WeightsError, nearest
from vitcli.core.initial import InitSpec
from vitcli.core.reporter import Reporter, Silent
from vitcli.jobs.model import open_weights
from vitcli.jobs.pretrained import find
from vitcli.jobs.tensors import SUFFIXES, open_tensors, write_tensors
from vitcli.jobs.verify import TOLERANCE, Evidence, Side, differences, logits_of, original_side
from vitcli.jobs.verify import verify as prove
from vitcli.weights.adapt import adapt, adapted_card
from vitcli.weights.config import configuration
from vitcli.weights.file import Weights
from vitcli.weights.header import Layout
from vitcli.weights.layouts import from_native, to_native
from vitcli.weights.names import LAYOUTS, file_shapes


@dataclass(frozen=True, kw_only=True)
class ConvertResult:
    """A verified conversion; differences are relative to the largest logit.

    `evidence` is what `verify=True` found besides.
    """

    source: Path
    target: Path
    layout_from: Layout
    layout_to: Layout
    tensors: int
    parameters: int
    backend: str
    difference_float64: float
    difference_float32: float
    evidence: Sequence[Evidence] = ()


def convert(
    source: str | Path,
    target: str | Path,
    *,
    layout: str | None = None,
    to: str = "native",
    overrides: Sequence[str] = (),
    adaptations: Sequence[str] = (),
    resample: str = "timm",
    verify: bool = False,
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
        adaptations: `model.key=value` for what is to be otherwise in the target: the image size, the patch size,
            the channels.
        resample: how, one of `vitcli.core.initial.Resample`.
        verify: whether to run both files on every engine that is installed, and on the library whose layout a file
            has, where that is installed.
        backend: the engine that compares; none: the first that is installed.
        device: as for `train`.
        reporter: is told what happens.

    Raises:
        RequestError: a file or an override is wrong; nothing has been written.
        VerificationError: the logits of source (adapted) and target differ; no target has been written.
    """
    reporter = reporter or Silent()
    backend = registry.choose(backend)
    into = _layout("--to", to)
    given = None if layout is None else _layout("--from", layout)
    target = Path(target)
    _check_target(Path(source), target)
    source = find(source, reporter)
    file = open_weights(source, overrides, layout=given, reporter=reporter)
    found, card = file.layout, adapted_card(file.card, adaptations)
    init = validated(InitSpec, {"resample": resample}, {})
    file_shapes(card.spec, into)  # refused before any value is read
    beside = configuration(card, into)
    for name in beside:
        if (target.parent / name).exists():
            raise RequestError(f"{target.parent / name} exists; write {target.name} into a folder of its own")
    native = file.read()
    weights, notes = adapt(native, file.card, card, init=init)
    for note in notes:
        reporter.note(note)
    reporter.note(f"{source} ({found}) -> {target} ({to}): {len(weights)} tensors; comparing on {backend}")
    engine = registry.load(backend)
    before = logits_of(engine, card.spec, weights, device)
    evidence: Sequence[Evidence] = ()
    with _unverified(target) as unverified:
        write_tensors(unverified, from_native(weights, card.spec, into), card, into)
        written = open_tensors(unverified)[1]()
        again = to_native(written, card.spec, into)
        apart = differences(logits_of(engine, card.spec, again, device), before)
        _judge(source, target, apart["float64"], weights, again)
        if verify:
            original = original_side(file, native)
            copy = Side(path=target, layout=into, card=card, there=written, native=again, texts=beside)
            evidence = prove(original, copy, device=device, reporter=reporter)
        for name, text in beside.items():
            (target.parent / name).write_text(text, encoding="utf-8")
        unverified.replace(target)
    return ConvertResult(
        source=source,
        target=target,
        layout_from=found,
        layout_to=into,
        tensors=len(weights),
        parameters=sum(value.size for value in weights.values()),
        backend=backend,
        difference_float64=apart["float64"],
        difference_float32=apart["float32"],
        evidence=evidence,
    )


@contextmanager
def _unverified(target: Path) -> Iterator[Path]:
    """Yields the name under which a file stands until it is verified, and leaves nothing there."""
    path = target.with_name(f".{target.stem}.unverified{target.suffix}")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _judge(source: Path, target: Path, difference: float, weights: Weights, again: Weights) -> None:
    changed = [name for name, value in weights.items() if again[name].tobytes() != value.tobytes()]
    if changed or not difference <= TOLERANCE:
        raise VerificationError(
            f"logits of {source} and of its copy differ by {difference:.3g} relative in float64 "
            f"(allowed: {TOLERANCE:g}), {len(changed)} of {len(weights)} tensors; {target} has not been written"
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
