"""What is known of a fetched set's folder: a completion marker and a list of its files, and how both are checked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitcli.core.errors import RequestError, VerificationError
from vitcli.core.reporter import Reporter
from vitcli.data.catalogue import Known
from vitcli.fetch.lock import only_one
from vitcli.fetch.whole import discard

# Written last, into a folder that does not have its name yet: where it is, all else is.
MARKER = ".vit-complete.json"
_LIST = ".vit-files.tsv"
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A fetched set that is as it was when it was fetched."""

    place: Path
    files: int
    size: int


def state(known: Known, folder: Path) -> str:
    """Returns `built in`, `fetched`, `your own` (a folder that vit did not fetch) or `absent`."""
    if known.entry.built_in:
        return "built in"
    if is_complete(folder):
        return "fetched"
    return "your own" if (folder / known.entry.csv).exists() else "absent"


def is_complete(folder: Path) -> bool:
    """Returns whether a folder was fetched to its end."""
    return (folder / MARKER).is_file()


def mark(folder: Path, facts: Mapping[str, Any]) -> None:
    """Lists the files of a folder, then marks it as complete; both are on the disk afterwards.

    Raises:
        RequestError: the folder has files of these names, which only vit writes.
    """
    found = sizes(folder)
    lines = "".join(f"{size}\t{name}\n" for name, size in sorted(found.items()))
    whole = {**facts, "files": len(found), "bytes": sum(found.values())}
    for name, text in ((_LIST, lines), (MARKER, json.dumps(whole, indent=2) + "\n")):
        try:
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError as error:
            raise RequestError(f"the archive holds a file named {name}, which only vit writes") from error


def sizes(folder: Path) -> dict[str, int]:
    """Returns the bytes of each file below a folder; what is hidden is left out, as it is when images are read."""
    return dict(_walk(folder, ""))


def verify(known: Known, folder: Path) -> Checked:
    """Compares the files of a fetched set, by name and size, with those that were unpacked.

    Raises:
        RequestError: it is not there, or was not fetched by vit.
        VerificationError: files are missing, added or changed.
    """
    _check_fetched(known, folder)
    wanted = _listed(folder)
    found = sizes(folder)
    changes = {
        "missing": sorted(wanted.keys() - found.keys()),
        "of another size": sorted(
            name for name in wanted.keys() & found.keys() if wanted[name] != found[name]
        ),
        "added": sorted(found.keys() - wanted.keys()),
    }
    if told := [f"{len(names):,} {what} ({_some(names)})" for what, names in changes.items() if names]:
        raise VerificationError(
            f"{folder} is not as it was fetched: {'; '.join(told)}; "
            f"vit datasets remove {known.name}, then vit datasets fetch {known.name}"
        )
    return Checked(place=folder, files=len(found), size=sum(found.values()))


def remove(known: Known, folder: Path, reporter: Reporter) -> None:
    """Removes the folder of a fetched set; one that vit did not make is left alone.

    Raises:
        RequestError: it is not there, was not fetched by vit, or is a link.
    """
    check_removable(known, folder)
    with only_one(folder, reporter):
        check_removable(known, folder)
        discard(folder)


def check_removable(known: Known, folder: Path) -> None:
    """Refuses what `remove` would refuse.

    Raises:
        RequestError: as `remove`.
    """
    _check_fetched(known, folder)
    if folder.is_symlink():
        raise RequestError(f"{folder} is a link to {folder.readlink()}; remove the link yourself")


def _check_fetched(known: Known, folder: Path) -> None:
    if known.entry.built_in:
        raise RequestError(f"{known.name} comes with vit: nothing of it was fetched")
    if not os.path.lexists(folder):
        raise RequestError(f"{known.name} is not at {folder}; get it there: {known.obtain}")
    if not is_complete(folder):
        raise RequestError(
            f"{folder} was not made by vit datasets fetch (no {MARKER} in it): it is left alone"
        )


def _listed(folder: Path) -> dict[str, int]:
    wanted = {}
    try:
        for line in (folder / _LIST).read_text(encoding="utf-8").splitlines():
            size, _, name = line.partition("\t")
            wanted[name] = int(size)
    except (OSError, ValueError) as error:
        raise VerificationError(f"{folder / _LIST} cannot be read: {error}; fetch the set anew") from error
    return wanted


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            name = f"{prefix}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(folder / entry.name, f"{name}/")
            else:
                yield name, entry.stat(follow_symlinks=False).st_size


def _some(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest:,} more" if rest > 0 else "")
