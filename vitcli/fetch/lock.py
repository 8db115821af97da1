"""One process at a time, by a lock file beside what is made; a courtesy on which nothing depends.

File systems exist where locks fail, or succeed without effect: what is guarded must stay right without one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vitcli.core.reporter import Reporter

# Seconds between looks at a lock that is held.
_LOOK = 0.2


def try_lock(handle: int) -> bool | None:
    """Locks an open file until it is closed: True if it is now ours, False if another's, None if unknown."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks on this file system
        return None
    return True


def still_at(path: Path, handle: int) -> bool:
    """Whether an open file is the one that has this path now."""
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except OSError:
        return False


@contextmanager
def only_one(path: Path, reporter: Reporter, *, told_every: float = 10.0) -> Iterator[None]:
    """Holds `.NAME.lock` beside `path`, waiting for another process that has it.

    A lock ends with the process that holds it, however it ends. Where no lock can be had (no such thing on
    this file system, no permission), the work goes on without.

    Args:
        path: What is made meanwhile; its folder must exist.
        reporter: Is told at first, and then now and again, for whom we wait.
        told_every: Seconds between two such lines.
    """
    lock = path.with_name(f".{path.name}.lock")
    handle = _acquire(lock, path.name, reporter, told_every)
    try:
        yield
    finally:
        if handle is not None:
            # Before it is released: who waits for it sees that it is gone, and makes a new one.
            with contextlib.suppress(OSError):
                if still_at(lock, handle):
                    lock.unlink()
            os.close(handle)


def _acquire(lock: Path, name: str, reporter: Reporter, told_every: float) -> int | None:
    told: float | None = None
    suspect = ""
    while True:
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError:
            return None
        mine = try_lock(handle)
        if mine and still_at(lock, handle):
            _sign(handle)
            return handle
        holder = _read(handle)
        os.close(handle)
        if mine is None:
            return None
        if mine:
            continue  # its holder removed it while we opened it
        # Seen twice: a new holder may not have signed yet. A child of the dead one may keep the lock for ever.
        if _dead(holder) and holder == suspect:
            return None
        suspect = holder
        if told is None or time.monotonic() - told >= told_every:
            reporter.note(f"{name}: waiting for {_words(holder)}, which is at work on it")
            told = time.monotonic()
        time.sleep(_LOOK)


def _sign(handle: int) -> None:
    with contextlib.suppress(OSError):  # a full disk: the lock holds without a name
        os.truncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()} {socket.gethostname()}".encode(), 0)


def _read(handle: int) -> str:
    with contextlib.suppress(OSError):
        return os.pread(handle, 300, 0).decode(errors="replace")
    return ""


def _dead(holder: str) -> bool:
    """Whether it is certain that the process that signed a lock has ended."""
    pid, _, host = holder.partition(" ")
    if not pid.isdigit() or host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _words(holder: str) -> str:
    pid, _, host = holder.partition(" ")
    return f"process {pid} on {host}" if pid.isdigit() else "another process"
