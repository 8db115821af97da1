"""What is published on the network, and whether bytes are the ones published."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vitcli.core.errors import RequestError, VerificationError

# Bytes read from the disk at a time.
_PIECE = 2**20


class Digest(Protocol):
    """A checksum that grows with the bytes it is given."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Takes further bytes."""
        ...

    def hexdigest(self) -> str:
        """Returns the checksum of all bytes so far."""
        ...


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A file published on the network.

    Args:
        name: File name on disk.
        url: Where it is read from: https, or http on this machine.
        size: Bytes, where published.
        sha256: Of the whole file, in hexadecimal digits; or its first ones, where no more are published.
        md5: Of the whole file; only where no sha256 is published.

    Raises:
        RequestError: the name is not that of a file in a folder.
    """

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None

    def __post_init__(self) -> None:
        if self.name in ("", ".", "..") or "/" in self.name or "\0" in self.name:
            raise RequestError(f"{self.name!r} is no file name: expected one without '/', as in photos.tgz")

    @property
    def checksum(self) -> tuple[str, str] | None:
        """Kind and digits of the published checksum, the stronger of two."""
        if self.sha256:
            return "sha256", self.sha256.lower()
        return ("md5", self.md5.lower()) if self.md5 else None

    def new_digest(self) -> Digest:
        """Returns a checksum of no bytes yet, of the kind that is published."""
        return hashlib.md5(usedforsecurity=False) if self._weak else hashlib.sha256()

    def mismatch(self, size: int, digest: Digest) -> str | None:
        """Returns how bytes differ from what is published, naming both values, or None where they agree."""
        if self.size is not None and size != self.size:
            return f"it has {size:,} bytes, where {self.size:,} are published"
        if self.checksum is None or digest.hexdigest().startswith(self.checksum[1]):
            return None
        kind, published = self.checksum
        sizes = f"{size:,} bytes" + ("" if self.size is None else ", as many as published")
        return f"its {kind} is {digest.hexdigest()} ({sizes}), where {published} is published"

    @property
    def _weak(self) -> bool:
        return self.checksum is not None and self.checksum[0] == "md5"


def check_file(path: Path, remote: Remote) -> None:
    """Compares a file with what is published: size, then checksum. The file is left as it is.

    Raises:
        VerificationError: they differ; both values are named.
        RequestError: the file cannot be read.
    """
    try:
        size, digest = path.stat().st_size, remote.new_digest()
        if remote.checksum is not None and remote.size in (None, size):
            read_into(digest, path)
    except OSError as error:
        raise RequestError(f"cannot read {path}: {error.strerror}; expected {remote.name}") from error
    if fault := remote.mismatch(size, digest):
        raise VerificationError(f"{path} is not the published {remote.name}: {fault}; fetch it anew")


def read_into(digest: Digest, path: Path) -> None:
    """Takes a whole file into a checksum."""
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
