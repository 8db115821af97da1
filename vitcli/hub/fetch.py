"""Weights by a known name, a Hub id or an address, brought here once and found again without the network.

Models of the Hub are kept in Hugging Face's own cache, where timm and transformers find them too; files of other
places below `weights` in the cache of vit, in a folder for each address.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from vitcli.core.errors import RequestError
from vitcli.core.reporter import Reporter
from vitcli.data.places import cache_root
from vitcli.fetch.download import download
from vitcli.fetch.remote import Remote
from vitcli.hub import huggingface
from vitcli.hub.releases import Release, lookup, similar

# As torch.hub reads names: the first digits of the file's sha256 stand before its suffix.
_DIGITS = re.compile(r".*-([0-9a-f]{8,64})\.[a-z]+")
_ELSEWHERE = "give the path of a copy where a name is asked for"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Weights that are published.

    Attributes:
        name: as it was asked for.
        source: a Hub id or an address.
        release: what is known of it, if anything is.
    """

    name: str
    source: str
    release: Release | None = None

    @property
    def on_hub(self) -> bool:
        """Whether it is a model of the Hub."""
        return "://" not in self.source


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """Weights that are here."""

    name: str
    source: str
    path: Path
    size: int


def find_wanted(text: str) -> Wanted | None:
    """Returns what a known name, a Hub id or an address stands for; None where it is none of them."""
    if (release := lookup(text)) is not None:
        return Wanted(name=release.name, source=release.source, release=release)
    if "://" in text or huggingface.is_id(text):
        return Wanted(name=text, source=text)
    return None


def choose(text: str) -> Wanted:
    """Returns what `find_wanted` finds.

    Raises:
        RequestError: it finds nothing.
    """
    wanted = find_wanted(text)
    if wanted is None:
        raise RequestError(
            f"'{text}' is no known release{similar(text)}, no Hub id (owner/name) and no https address; "
            f"vit weights list"
        )
    return wanted


def cached(wanted: Wanted, *, root: Path | None = None, revision: str | None = None) -> Path | None:
    """Returns the weights file of what has been fetched before, without asking anyone."""
    if wanted.on_hub:
        return huggingface.cached(wanted.source, revision=revision, root=root)
    path = _folder(wanted.source, root) / _remote(wanted.source).name
    return path if path.is_file() else None


def fetch(
    wanted: Wanted, reporter: Reporter, *, root: Path | None = None, revision: str | None = None
) -> Fetched:
    """Brings weights here, checked against what is published; asks for no more than is missing.

    Args:
        wanted: which.
        reporter: is told how far it is.
        root: the folder to keep them in, if not the caches.
        revision: of a model of the Hub: a branch, a tag or a commit.

    Raises:
        RequestError: there is no such thing, or no permission.
        VitError: the network or the disk fails, or is not to be used.
        VerificationError: what came is not what is published.
    """
    root = None if root is None else root.expanduser().absolute()
    if wanted.on_hub:
        path = huggingface.fetch(wanted.source, reporter, revision=revision, root=root)
    elif revision is not None:
        raise RequestError(
            f"--revision {revision}: {wanted.name} is a file of which there is one; leave it out"
        )
    else:
        remote = _remote(wanted.source)
        path = download(remote, _folder(wanted.source, root), reporter, elsewhere=_ELSEWHERE)
    return Fetched(name=wanted.name, source=wanted.source, path=path, size=path.stat().st_size)


def _remote(url: str) -> Remote:
    """Returns the file at an address, with as much of its sha256 as its name says."""
    name = unquote(PurePosixPath(urlsplit(url).path).name)
    digits = _DIGITS.fullmatch(name)
    return Remote(name=name, url=url, sha256=digits[1] if digits else None)


def _folder(url: str, root: Path | None) -> Path:
    """Returns the folder of an address: other addresses may have files of the same name."""
    host = re.sub(r"[^\w.-]", "_", urlsplit(url).hostname or "")
    mark = hashlib.sha256(url.encode()).hexdigest()[:8]
    return (cache_root() / "weights" if root is None else root) / f"{host}-{mark}"
