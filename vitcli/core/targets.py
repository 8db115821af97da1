"""Where a job may write the file that it is asked for."""

from __future__ import annotations

from pathlib import Path

from vitcli.core.errors import RequestError


def check_place(target: Path) -> None:
    """Checks, before any work, that a file can stand here.

    Raises:
        RequestError: it is a folder, or is to be in one that is not there.
    """
    if target.is_dir():
        raise RequestError(f"{target} is a folder; give a file name")
    if not target.parent.is_dir():
        raise RequestError(f"no folder {target.parent} to write {target.name} into; make it first")


def check_other(target: Path, source: Path) -> None:
    """Checks that a file is not written over the one that it is made from.

    Raises:
        RequestError: it would be.
    """
    if target.exists() and target.samefile(source):
        raise RequestError(f"{target} is the source itself; choose another name")
