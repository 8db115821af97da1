"""Weights by a path, a known name, a Hub id or an address; and what a weights file holds."""

from __future__ import annotations

import os
from pathlib import Path

from vitcli.core.errors import WeightsError
from vitcli.core.reporter import Reporter
from vitcli.hub.fetch import cached, fetch, find_wanted
from vitcli.hub.releases import similar
from vitcli.jobs.runs import weights_of
from vitcli.jobs.tensors import SUFFIXES


def find(name: str | Path, reporter: Reporter) -> Path:
    """Returns a weights file: one that is here, else a published one, which is fetched unless it has been before.

    Args:
        name: a weights file, a run, or a folder of another library's model or adapter, which wins wherever it
            exists; else a known name, a Hub id, or an https address.
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
        close = similar(text)
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


def _is_path(text: str) -> bool:
    """Whether what could be a Hub id is rather the path of something that is missing."""
    if "://" in text:
        return False
    return text.endswith(SUFFIXES) or os.path.isdir(os.path.dirname(text))
