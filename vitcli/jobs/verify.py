"""What `vit convert weights --verify` proves: the same logits of every engine, and of the library whose file it is."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from vitcli.core import registry
from vitcli.core.backend import Backend, Peers
from vitcli.core.errors import VerificationError
from vitcli.core.recipe import Precision
from vitcli.core.reporter import Reporter
from vitcli.core.spec import ModelSpec
from vitcli.data.random import normal, sequence
from vitcli.jobs.model import WeightsFile
from vitcli.weights.beside import configuration
from vitcli.weights.config import CONFIG, read_json
from vitcli.weights.file import Weights, write_weights
from vitcli.weights.header import Card
from vitcli.weights.names import CODES, code_for

# Relative to the largest logit. Two readings of the same numbers in float64 differ by nothing but the order of sums.
TOLERANCE = 1e-9
# As many images as have no more pixels than four of the usual side, and one at least.
_IMAGES, _SIDE = 4, 224
# What the configuration of a library has; without them it is another program's, which its library would not take.
_ITS_OWN = {"architecture", "model_type"}
_PRECISIONS: tuple[Precision, ...] = ("float64", "float32")

Logits = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Side:
    """A weights file, the source or the target: its tensors as they stand in it, and as native ones.

    `texts` are the configuration files of its library, by name.
    """

    path: Path
    layout: str
    card: Card
    there: Weights
    native: Weights
    texts: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Largest difference of an engine's logits of a file from something else's, relative to the largest logit."""

    file: str
    engine: str
    against: str
    float64: float
    float32: float


def original_side(file: WeightsFile, native: Weights) -> Side:
    """Returns the file that weights come from, with the configuration beside it, or one like its library's."""
    texts = configuration(file.card, file.layout)
    for name in texts:
        beside = file.path.parent / name
        said = read_json(beside)
        if said and (name != CONFIG or _ITS_OWN & said.keys()):
            texts[name] = json.dumps(said)
    return Side(
        path=file.path,
        layout=file.layout,
        card=file.card,
        there=file.read_there(),
        native=native,
        texts=texts,
    )


def logits_of(
    engine: Backend, spec: ModelSpec, weights: Weights, device: str | None
) -> dict[str, NDArray[Any]]:
    """Returns the logits of fixed images by precision."""
    return {
        precision: engine.load(spec, weights, device=device, precision=precision).logits(pixels(spec))
        for precision in _PRECISIONS
    }


def differences(found: Logits, expected: Logits) -> dict[str, float]:
    """Returns the largest difference of logits by precision, relative to the largest logit."""
    return {
        precision: float(np.abs(logits - found[precision]).max() / max(np.abs(logits).max(), 1e-30))
        for precision, logits in expected.items()
    }


def pixels(spec: ModelSpec) -> NDArray[np.float64]:
    """Returns fixed random inputs (B, C, S, S)."""
    images = min(_IMAGES, max(1, _IMAGES * _SIDE**2 // spec.image_size**2))
    shape = (images, spec.in_channels, spec.image_size, spec.image_size)
    return normal(sequence((1, 2), int(np.prod(shape)))).reshape(shape)


def verify(source: Side, target: Side, *, device: str | None, reporter: Reporter) -> list[Evidence]:
    """Returns how far logits differ: between engines, and between each engine and the library itself.

    Every engine that is installed runs both files, once where their tensors are the same to the bit; a library runs
    the file that is in its layout.

    Raises:
        VerificationError: a difference in float64 is larger than `TOLERANCE`.
        WeightsError: the library does not take its file.
    """
    engines = {name: registry.load(name) for name in registry.names() if registry.installed(name)}
    found: list[Evidence] = []
    logits: dict[str, Logits] = {}
    for side in (source, target):
        if not logits or not _same(source, target):
            logits = {
                name: logits_of(engine, side.card.spec, side.native, device)
                for name, engine in engines.items()
            }
        first, *others = logits
        found += [_evidence(side, name, first, logits[name], logits[first]) for name in others]
        library = _peer(engines, side, reporter)
        if library is not None:
            name, exact = library
            theirs: Logits = {"float64": exact, "float32": exact}
            found += [_evidence(side, engine, name, logits[engine], theirs) for engine in logits]
    _judge(found)
    return found


def _same(one: Side, other: Side) -> bool:
    return one.card.spec == other.card.spec and all(
        value.tobytes() == other.native[name].tobytes() for name, value in one.native.items()
    )


def _evidence(side: Side, engine: str, against: str, found: Logits, expected: Logits) -> Evidence:
    return Evidence(file=str(side.path), engine=engine, against=against, **differences(found, expected))


def _judge(found: Sequence[Evidence]) -> None:
    # A difference that is no number is none that is small.
    wrong = [evidence for evidence in found if not evidence.float64 <= TOLERANCE]
    if wrong:
        worst = wrong[0]
        raise VerificationError(
            f"{worst.file}: logits of {worst.engine} and of {worst.against} differ by {worst.float64:.3g} relative in "
            f"float64 (allowed: {TOLERANCE:g})"
        )


def _peer(engines: Mapping[str, Backend], side: Side, reporter: Reporter) -> tuple[str, NDArray[Any]] | None:
    """Returns the library that a file belongs to, and its logits; none where it cannot be asked."""
    if "torch" not in engines:
        if side.layout in CODES:
            reporter.note(
                f"the library of {side.path} ({side.layout}) would run on PyTorch, which is not installed: the engines "
                f"alone run it"
            )
        return None
    peers = cast(Peers, engines["torch"])
    name = peers.peer_name(side.layout)
    if name is None:
        if side.layout in CODES:  # the others are vit's own
            reporter.note(
                f"no library is here that runs {side.path} ({side.layout}): the engines alone run it"
            )
        return None
    code = code_for(side.card.spec, side.layout)
    spare = code.spare(side.card.spec) if code else {}  # what reading leaves out
    there = {**{tensor: np.zeros(shape, np.float32) for tensor, shape in spare.items()}, **side.there}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_weights(place / "model.safetensors", there, side.card, "torch")
        for file, text in side.texts.items():
            (place / file).write_text(text, encoding="utf-8")
        return name, peers.peer_logits(side.layout, place, side.card.spec, pixels(side.card.spec))
