"""The part of a file that is here already: `.NAME.part`, kept over runs, written by one process at a time.

Beside it, `.NAME.part.json` says what it is a part of. Who finds the file in use writes one of its own, so
that two processes never write one file.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from vitcli.core.errors import RequestError, VitError
from vitcli.fetch.lock import still_at, try_lock
from vitcli.fetch.remote import Remote, read_into

# A file written to so lately may have a writer on another machine, even where its lock looks free.
_FRESH = 120.0
# A process's own partial is left behind only by a kill; nobody pauses for so long.
_ABANDONED = 3600.0
_REFUSED = frozenset(
    getattr(errno, name) for name in ("EACCES", "EISDIR", "ELOOP", "ENAMETOOLONG", "ENOENT", "ENOTDIR")
) | {errno.EPERM, errno.EROFS}
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a partial file is a part of.

    Args:
        url: Where it was asked for.
        size: Bytes of the whole, where known.
        etag: Of the whole.
        last_modified: Of the whole.
        host: Machine whose process wrote it.
    """

    url: str
    size: int | None = None
    etag: str | None = None
    last_modified: str | None = None
    host: str = ""

    @property
    def validator(self) -> str | None:
        """What `If-Range` may compare: a strong entity tag, else a time (RFC 9110, section 13.1.5)."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified


class Partial:
    """The first bytes of a file, on disk and in its checksum.

    Args:
        path: Of the partial file.
        handle: The open file, written by this process alone.
        remote: What it is to become.
        shared: Whether a later run may go on with it.
    """

    def __init__(self, path: Path, handle: int, remote: Remote, *, shared: bool) -> None:
        self.path, self.remote, self.shared = path, remote, shared
        self.origin = _read_origin(path) if shared else None
        self._handle = handle
        self.size, self.digest = 0, remote.new_digest()
        kept = os.fstat(handle).st_size
        if kept and self._worth_keeping(kept):
            read_into(self.digest, path)
            self.size = kept
        elif kept:
            self.restart()

    @property
    def total(self) -> int | None:
        """Bytes of the whole, where known."""
        if self.remote.size is not None:
            return self.remote.size
        return self.origin.size if self.origin else None

    @property
    def validator(self) -> str | None:
        """What the server may compare to tell whether its file is still the one begun here."""
        return self.origin.validator if self.origin and self.origin.url == self.remote.url else None

    def begin(self, origin: Origin) -> None:
        """Empties the file and notes what it will be a part of."""
        self.restart()
        self.origin = origin
        if self.shared:
            note = _note(self.path)
            draft = note.with_name(f"{note.name}.tmp")
            with writing(note):
                draft.write_text(json.dumps(asdict(origin)), encoding="utf-8")
                draft.replace(note)

    def restart(self) -> None:
        """Empties the file."""
        with writing(self.path):
            os.ftruncate(self._handle, 0)
        self.size, self.digest, self.origin = 0, self.remote.new_digest(), None

    def append(self, data: bytes) -> None:
        """Writes further bytes; what fits on a full disk is kept."""
        rest = memoryview(data)
        while rest:
            with writing(self.path):
                count = os.pwrite(self._handle, rest, self.size)
            self.digest.update(rest[:count])
            self.size += count
            rest = rest[count:]

    def finish(self, target: Path) -> None:
        """Gives the whole file its name, durably."""
        with writing(target):
            os.fsync(self._handle)
            if self.shared:
                _note(self.path).unlink(missing_ok=True)
            self.path.replace(target)
        with contextlib.suppress(OSError):  # some file systems cannot flush a folder
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def close(self) -> None:
        """Lets go of the file; the next run may go on with a shared one."""
        if not self.shared and still_at(self.path, self._handle):
            self.path.unlink(missing_ok=True)
        os.close(self._handle)

    def _worth_keeping(self, kept: int) -> bool:
        if self.total is not None and kept > self.total:
            return False
        # The checksum decides in the end, whoever sent the beginning; without one, the server has to.
        return self.remote.checksum is not None or self.validator is not None


@contextmanager
def claim(target: Path, remote: Remote) -> Iterator[Partial]:
    """Yields the partial file of `target`, or a private one where another process writes it."""
    path = partial_path(target)
    with writing(path):
        handle = _claim_shared(path)
        if shared := handle is not None:
            _sweep(target)
        else:
            path = path.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        partial = Partial(path, handle, remote, shared=shared)
    with contextlib.closing(partial):
        yield partial


def partial_path(target: Path) -> Path:
    """Returns where the part of a file is kept between runs."""
    return target.with_name(f".{target.name}.part")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the system refuses into one line.

    Raises:
        RequestError: `path` is at a place where nothing can be written.
        VitError: the disk is full, or fails.
    """
    try:
        yield
    except OSError as error:
        told = f"cannot write {path}: {error.strerror or error}"
        if error.errno in _REFUSED:
            raise RequestError(f"{told}; choose a folder in which files can be made") from error
        if error.errno in _FULL:
            raise VitError(f"{told}; make room, and the same command goes on from what has come") from error
        raise VitError(told) from error


def _claim_shared(path: Path) -> int | None:
    """Returns the open partial file, locked, or None where it may have another writer."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        mine = try_lock(handle)
        if mine and not still_at(path, handle):  # its writer finished, and it has another name now
            os.close(handle)
            continue
        if mine and not _fresh_elsewhere(path, handle):
            return handle
        os.close(handle)
        return None


def _fresh_elsewhere(path: Path, handle: int) -> bool:
    """Whether a process on another machine has written lately: locks may hold on one machine alone."""
    origin = _read_origin(path)
    return (
        origin is not None
        and origin.host != socket.gethostname()
        and time.time() - os.fstat(handle).st_mtime < _FRESH
    )


def _sweep(target: Path) -> None:
    """Removes private partial files that killed processes have left."""
    with contextlib.suppress(OSError):
        for entry in target.parent.iterdir():
            name = entry.name.removeprefix(f".{target.name}.").removesuffix(".part")
            ours = entry.name == f".{target.name}.{name}.part" and len(name) == 16
            if ours and time.time() - entry.lstat().st_mtime > _ABANDONED:
                entry.unlink()


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _read_origin(path: Path) -> Origin | None:
    """Returns what the note beside a partial file says; None where there is none that can be read."""
    try:
        found = json.loads(_note(path).read_text(encoding="utf-8"))
        origin = Origin(**found)
    except (OSError, ValueError, TypeError):
        return None
    texts = (origin.etag, origin.last_modified)
    sound = (
        isinstance(origin.url, str)
        and isinstance(origin.host, str)
        and (origin.size is None or type(origin.size) is int)
        and all(text is None or isinstance(text, str) for text in texts)
    )
    return origin if sound else None
