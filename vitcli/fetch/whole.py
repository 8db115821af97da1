"""Folders that appear in one step, whole, or not at all."""

from __future__ import annotations

import errno
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vitcli.core.errors import RequestError, VitError
from vitcli.fetch.lock import try_lock

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """Gives a temporary folder that becomes `folder` in one step if all goes well, and is removed if not.

    Raises:
        RequestError: the folder exists.
        VitError: no room on the disk.
    """
    if os.path.lexists(folder):
        raise RequestError(f"{folder} exists; move it away, or name another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(folder)
    _discard(temporary)  # of a process that was killed and had our number
    try:
        temporary.mkdir()
    except FileExistsError as error:
        raise RequestError(
            f"{temporary} exists; another process is at work on {folder}, wait for it"
        ) from error
    held = _hold(temporary)
    try:
        yield temporary
        os.sync()  # thousands of files: one call for all of them
        os.rename(temporary, folder)
        _flush(folder.parent)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and folder.exists():
            raise RequestError(f"{folder} appeared meanwhile; nothing was written over it") from error
        if error.errno in _NO_ROOM:
            raise VitError(
                f"no room left in {folder.parent}; nothing was kept: make room there, or choose another disk"
            ) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(held)


def discard(folder: Path) -> None:
    """Removes a folder so that it is whole or gone, whenever that is stopped; `sweep` takes the rest."""
    temporary = _temporary(folder)
    _discard(temporary)
    os.rename(folder, temporary)
    shutil.rmtree(temporary, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Removes what killed processes left of `whole(folder)`; of those at work, nothing."""
    for path in folder.parent.glob(f".{glob.escape(folder.name)}.*.tmp"):
        if path.name.removeprefix(f".{folder.name}.").removesuffix(".tmp").isdigit():
            _discard(path)


def _temporary(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.{os.getpid()}.tmp")


def _hold(folder: Path) -> int:
    """Returns an open folder that is locked, where the file system can, for as long as this process lives."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try_lock(handle)
    return handle


def _discard(temporary: Path) -> None:
    """Removes a temporary folder that nobody holds."""
    if not temporary.is_dir() or temporary.is_symlink():
        return
    handle = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if try_lock(handle):
            shutil.rmtree(temporary, ignore_errors=True)
    finally:
        os.close(handle)


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
