"""Weights from one layout to another, verified before the command says done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from vitcli.core import registry
from vitcli.core.draft import validated
from vitcli.core.errors import RequestError, VerificationError, VitError, nearest
from vitcli.core.initial import InitSpec
from vitcli.core.reporter import Reporter, Silent
from vitcli.core.targets import check_other, check_place
from vitcli.jobs.adapters import Adapter, carry
from vitcli.jobs.model import WeightsFile, open_weights
from vitcli.jobs.pretrained import find
from vitcli.jobs.tensors import check_writable, open_tensors, write_tensors
from vitcli.jobs.verify import TOLERANCE, Evidence, Side, differences, logits_of, original_side
from vitcli.jobs.verify import verify as prove
from vitcli.weights.adapt import adapt, adapted_card
from vitcli.weights.beside import configuration
from vitcli.weights.file import Weights
from vitcli.weights.header import Card, Layout
from vitcli.weights.layouts import from_native, to_native
from vitcli.weights.lora import merged, plain
from vitcli.weights.names import LAYOUTS, file_shapes
from vitcli.weights.peft import MODEL, PEFT_LAYOUTS, PeftLayout

# A merged kernel is rounded once more than the kernel and the adapter that it is the sum of.
MERGED = 1e-5


@dataclass(frozen=True, kw_only=True)
class ConvertResult:
    """A verified conversion; differences are relative to the largest logit.

    An adapter without its base gives no logits: its tensors alone are compared, and there is no backend.
    `evidence` is what `verify=True` found besides.
    """

    source: Path
    target: Path
    layout_from: str
    layout_to: str
    tensors: int
    parameters: int
    classes: int
    backend: str | None = None
    difference_float64: float | None = None
    difference_float32: float | None = None
    evidence: Sequence[Evidence] = ()


@dataclass(frozen=True, kw_only=True)
class _Proof:
    """Where logits are compared; `verify` on all engines and the library too."""

    backend: str
    device: str | None
    verify: bool


def convert(
    source: str | Path,
    target: str | Path,
    *,
    layout: str | None = None,
    to: str = "native",
    overrides: Sequence[str] = (),
    adaptations: Sequence[str] = (),
    resample: str | None = None,
    verify: bool = False,
    merge: bool = False,
    base: str | Path | None = None,
    backend: str | None = None,
    device: str | None = None,
    reporter: Reporter | None = None,
) -> ConvertResult:
    """Writes `source` in another layout, reads it back, and compares logits on an engine.

    An adapter file stays one, ours or PEFT's, unless it is merged into its base.

    Args:
        source: a weights file, a run folder, or a name that `find` knows; or an adapter of ours or of PEFT's.
        target: the file to write, `.safetensors`, `.pth` or `.npz`, or for PEFT its folder; it must not be the source.
        layout: of the source; none: detected by its content.
        to: one of `LAYOUTS`; of an adapter that stays one `native` or one of `PEFT_LAYOUTS`.
        overrides: `model.key=value` for what a file without vit's metadata does not say.
        adaptations: `model.key=value` for what is to be otherwise in the target: the image size, the patch size,
            the channels.
        resample: how, one of `vitcli.core.initial.Resample`; none: as timm does.
        verify: whether to run both files on every engine that is installed, and on the library whose layout a file
            has, where that is installed.
        merge: adds low-rank adapters to the kernels that they stand beside.
        base: the weights that an adapter was trained from; none: where the adapter says that they are.
        backend: the engine that compares; none: the first that is installed.
        device: as for `train`.
        reporter: is told what happens.

    Raises:
        RequestError: a file or an override is wrong; nothing has been written.
        VerificationError: the logits of source (adapted) and target differ; no target has been written.
    """
    reporter = reporter or Silent()
    backend = registry.choose(backend)
    to_peft = next((name for name in PEFT_LAYOUTS if name == to), None)
    into = _layout("--to", "native" if to_peft else to)
    given = None if layout is None else _layout("--from", layout)
    target, base = Path(target), Path(base) if base is not None else None
    init = validated(InitSpec, {"resample": resample or "timm"}, {})
    if resample and not adaptations:
        raise RequestError(
            f"--resample {resample} says how sizes change, and none does; add --adapt model.image_size=N"
        )
    if to_peft and not target.suffix:
        target = target / MODEL
    _check_target(target)
    path = find(source, reporter)
    check_other(target, path)
    file = open_weights(path, overrides, layout=given, base=base, reporter=reporter)
    if file.adapter is not None and not merge:
        return _carried(file.adapter, target, to, to_peft)
    _check_adapters(file, to_peft, merge, base)
    card = adapted_card(file.card, adaptations)
    written = replace(card, spec=plain(card.spec), base=None) if merge else card
    file_shapes(written.spec, into)  # refused before any value is read
    _check_beside(configuration(written, into), target)
    proof = _Proof(backend=backend, device=device, verify=verify)
    return _carry(
        file, target, into, adapted=card, written=written, init=init, proof=proof, reporter=reporter
    )


def _carry(
    file: WeightsFile,
    target: Path,
    into: Layout,
    *,
    adapted: Card,
    written: Card,
    init: InitSpec,
    proof: _Proof,
    reporter: Reporter,
) -> ConvertResult:
    """Writes the weights of a file, adapted and then perhaps merged, and proves what was written."""
    native, beside, merge = file.read(), configuration(written, into), adapted.spec != written.spec
    weights, notes = adapt(native, file.card, adapted, init=init)
    for note in notes:
        reporter.note(note)
    told = f"{file.path} ({file.layout}) -> {target} ({into})"
    reporter.note(f"{told}: {len(weights)} tensors; comparing on {proof.backend}")
    engine = registry.load(proof.backend)
    before = logits_of(engine, adapted.spec, weights, proof.device)
    if merge:
        weights, _ = merged(weights, adapted.spec)
    evidence: Sequence[Evidence] = ()
    with _unverified(target) as unverified:
        write_tensors(unverified, from_native(weights, written.spec, into), written, into)
        there = open_tensors(unverified)[1]()
        again = to_native(there, written.spec, into)
        apart = differences(logits_of(engine, written.spec, again, proof.device), before)
        _judge(file.path, target, apart["float64"], MERGED if merge else TOLERANCE, weights, again)
        if proof.verify:
            copy = Side(path=target, layout=into, card=written, there=there, native=again, texts=beside)
            evidence = prove(original_side(file, native), copy, device=proof.device, reporter=reporter)
        for name, text in beside.items():
            (target.parent / name).write_text(text, encoding="utf-8")
        unverified.replace(target)
    return ConvertResult(
        source=file.path,
        target=target,
        layout_from=file.layout,
        layout_to=into,
        tensors=len(weights),
        parameters=sum(value.size for value in weights.values()),
        classes=len(written.classes),
        backend=proof.backend,
        difference_float64=apart["float64"],
        difference_float32=apart["float32"],
        evidence=evidence,
    )


@contextmanager
def _unverified(target: Path) -> Iterator[Path]:
    """Yields the name under which a file stands until it is verified; leaves nothing there, and never tells it."""
    path = target.with_name(f".{target.stem}.unverified{target.suffix}")
    try:
        yield path
    except VitError as error:
        error.args = (str(error).replace(str(path), str(target)),)
        raise
    finally:
        with suppress(OSError):  # where it could not be made, it cannot be removed
            path.unlink()


def _judge(
    source: Path, target: Path, difference: float, allowed: float, weights: Weights, again: Weights
) -> None:
    changed = [name for name, value in weights.items() if again[name].tobytes() != value.tobytes()]
    if changed or not difference <= allowed:
        raise VerificationError(
            f"logits of {source} and of its copy differ by {difference:.3g} relative in float64 "
            f"(allowed: {allowed:g}), {len(changed)} of {len(weights)} tensors; {target} has not been written"
        )


def _check_adapters(file: WeightsFile, to_peft: PeftLayout | None, merge: bool, base: Path | None) -> None:
    """Checks that what is asked of adapters is asked where there are some."""
    if merge and to_peft:
        raise RequestError(
            f"--to {to_peft} keeps adapters apart, --merge adds them to the weights: choose one"
        )
    if to_peft:
        raise RequestError(
            f"--to {to_peft}: {file.path} is a whole model; give an adapter file (adapter.safetensors)"
        )
    if merge and not file.card.spec.lora.rank:
        raise RequestError(f"--merge: {file.path} has no adapters; leave it out")
    if base is not None and file.card.base is None:
        raise RequestError(f"--base {base}: {file.path} is a whole model and needs none; leave it out")


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
        classes=len(adapter.card.classes),
    )


def _check_beside(names: Iterable[str], target: Path) -> None:
    for name in names:
        if (target.parent / name).exists():
            raise RequestError(f"{target.parent / name} exists; write {target.name} into a folder of its own")


def _layout(option: str, name: str) -> Layout:
    for layout in LAYOUTS:
        if layout == name:
            return layout
    raise RequestError(
        f"{option} {name} is not a layout{nearest(name, LAYOUTS)}; allowed: {', '.join(LAYOUTS)} "
        f"(of an adapter: {', '.join(PEFT_LAYOUTS)})"
    )


def _check_target(target: Path) -> None:
    check_writable(target)
    check_place(target)
