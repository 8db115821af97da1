"""Weights by a path, a known name, a Hub id or an address; and what a weights file holds."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vitcli.core.errors import WeightsError, nearest
from vitcli.core.reporter import Reporter
from vitcli.hub.fetch import cached, fetch, find_wanted
from vitcli.hub.releases import RELEASES
from vitcli.jobs.runs import weights_of
from vitcli.jobs.tensors import SUFFIXES, open_tensors
from vitcli.weights.derive import describe
from vitcli.weights.header import Card, Layout
from vitcli.weights.names import detect


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a weights file holds."""

    path: Path
    layout: Layout
    tensors: int
    parameters: int
    card: Card


def find(name: str | Path, reporter: Reporter) -> Path:
    """Returns a weights file: one that is here, else a published one, which is fetched unless it has been before.

    Args:
        name: a weights file or a run folder, which wins wherever it exists; else a known name, a Hub id, or an
            https address.
        reporter: is told how far a download is.

    Raises:
        WeightsError: it is none of them.
        RequestError: there is no such model on the Hub, or no permission.
        VitError: the network or the disk fails, or is not to be used.
        VerificationError: what came is not what is published.
    """
    text = str(name)
    if os.path.exists(text):
        return weights_of(Path(text))
    wanted = find_wanted(text)
    if wanted is None or (wanted.release is None and _is_path(text)):
        close = nearest(text, RELEASES)
        try:
            return weights_of(Path(text))
        except WeightsError as error:
            raise WeightsError(
                f"{error}; nor is it a known release or a Hub id{close}: vit weights list"
            ) from error
    path = cached(wanted)
    if path is None:
        path = fetch(wanted, reporter).path
    if wanted.name != text or wanted.release is not None:
        reporter.note(f"{text}: {path}")
    return path


def inspect(path: Path, overrides: Sequence[str] = (), reporter: Reporter | None = None) -> Held:
    """Returns what a weights file holds: its layout, and the model derived from its tensors.

    Args:
        path: of the file.
        overrides: `model.key=value` for what it does not say.
        reporter: is told what is assumed.

    Raises:
        RequestError: it cannot be read, or holds no model that vit knows.
    """
    header, _ = open_tensors(path)
    layout = detect(header)
    card = describe(header, layout, overrides, reporter)
    parameters = sum(math.prod(shape) for shape in header.shapes.values())
    return Held(path=path, layout=layout, tensors=len(header.shapes), parameters=parameters, card=card)


def _is_path(text: str) -> bool:
    """Whether what could be a Hub id is rather the path of something that is missing."""
    if "://" in text:
        return False
    return text.endswith(SUFFIXES) or os.path.isdir(os.path.dirname(text))
