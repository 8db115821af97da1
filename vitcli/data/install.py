"""Known sets fetched, checked and unpacked: a whole folder with a completion marker, or none."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from vitcli.core.errors import RequestError, VerificationError, VitError, nearest
from vitcli.core.reporter import Reporter
from vitcli.data.catalogue import CATALOGUE, Known, data_root, lookup
from vitcli.data.installed import is_complete, mark, sizes
from vitcli.data.releases import Release, packed
from vitcli.fetch.download import download
from vitcli.fetch.lock import only_one
from vitcli.fetch.remote import Remote, check_file, read_into
from vitcli.fetch.unpack import Limits, extract, lift
from vitcli.fetch.whole import sweep, whole

# Beside the sets: archives on their way, and those that are kept.
_DOWNLOADS = ".fetch"


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A set that is there.

    Attributes:
        already: it was there before, and nothing was done.
        archives: the folder in which its archives are kept, if they are.
    """

    name: str
    place: Path
    already: bool
    archives: Path | None = None


def choose(name: str, size: str | None = None) -> Known:
    """Returns the known set of a name and, where it is said, a size.

    Raises:
        RequestError: no such set or size.
    """
    known = lookup(name)
    if known is None:
        names = ", ".join(CATALOGUE)
        raise RequestError(f"'{name}' is no known set: {names}{nearest(name, CATALOGUE)}; vit datasets list")
    if size is None:
        return known
    there = [size for size in known.entry.sizes if size]
    found = lookup(f"{known.entry.name}-{size}") if size in there else None
    if found is None:
        raise RequestError(
            f"{known.entry.name} has no size '{size}': {', '.join(there) if there else 'there is but one'}"
        )
    if known.name != known.entry.name and found.size != known.size:
        raise RequestError(f"{name} with --size {size}: say one of them")
    return found


def folder_of(known: Known, root: Path | None) -> Path:
    """Returns where a set is fetched to: below `root`, or where it is looked for by its name."""
    return (data_root() if root is None else root.expanduser()).absolute() / known.name


def install(
    known: Known,
    reporter: Reporter,
    *,
    root: Path | None = None,
    mirror: str | None = None,
    given: Sequence[Path] = (),
    keep: bool = False,
) -> Installed:
    """Makes a set's folder; at once where it has been fetched before.

    Args:
        known: which set, in which size.
        reporter: is told how far it is.
        root: the folder in which the set's folder is made, if not where the set is looked for.
        mirror: the address of a folder with the same files, or of the file itself where there is but one.
        given: archives that are here already, instead of a download.
        keep: leave downloaded archives beside the set.

    Raises:
        RequestError: a set that vit does not fetch, wrong archives, or a folder in the way.
        VerificationError: files are not those published, or too few came out of them.
        VitError: the network or the disk fails.
    """
    folder = folder_of(known, root)
    release = _release(known)
    if is_complete(folder):
        return Installed(name=known.name, place=folder, already=True)
    _check_free(folder)
    if mirror is not None and given:
        raise RequestError("--url and --from-file: say where the archives are once")
    matched = _matched(known, release, given) if given else None
    folder.parent.mkdir(parents=True, exist_ok=True)
    with only_one(folder, reporter):
        if is_complete(folder):  # by the process that we waited for
            return Installed(name=known.name, place=folder, already=True)
        _check_free(folder)
        sweep(folder)
        downloads = folder.parent / _DOWNLOADS / known.name
        remotes = [_mirrored(remote, mirror, release) for remote in release.files]
        if matched is None:
            paths = _download(remotes, release, downloads, reporter)
        else:
            paths = _check_given(matched, release, folder)
        _unpack(known, release, folder, list(zip(remotes, paths, strict=True)), reporter, given=bool(given))
        if matched is None and not keep:
            shutil.rmtree(downloads, ignore_errors=True)
            with contextlib.suppress(OSError):  # other sets' archives are in it
                downloads.parent.rmdir()
    kept = downloads if matched is None and keep else None
    return Installed(name=known.name, place=folder, already=False, archives=kept)


def _release(known: Known) -> Release:
    if known.entry.built_in:
        raise RequestError(f"{known.name} comes with vit: nothing to fetch (vit train digits)")
    if known.release is None:
        raise RequestError(
            f"{known.entry.title} is not fetched by vit; vit datasets info {known.name} tells how to get it"
        )
    return known.release


def _check_free(folder: Path) -> None:
    if folder.exists() or folder.is_symlink():
        raise RequestError(
            f"{folder} was not made by vit datasets fetch; move it away, or choose another place with --root DIR"
        )


def _mirrored(remote: Remote, mirror: str | None, release: Release) -> Remote:
    if mirror is None:
        return remote
    # What has the ending of a file is the file, where the set has but one.
    if len(release.files) == 1 and PurePosixPath(urlsplit(mirror).path).suffix in (
        ".tgz",
        ".gz",
        ".tar",
        ".zip",
    ):
        return replace(remote, url=mirror)
    return replace(remote, url=f"{mirror.rstrip('/')}/{remote.name}")


def _matched(known: Known, release: Release, given: Sequence[Path]) -> list[Path]:
    """Returns the archives given, in the order of the release's files."""
    if len(release.files) == 1 and len(given) == 1:
        return list(given)
    names = [remote.name for remote in release.files]
    found = {path.name: path for path in given}
    if sorted(found) != sorted(names) or len(given) != len(names):
        raise RequestError(
            f"--from-file {' '.join(path.name for path in given)}: {known.name} needs {', '.join(names)}, each once"
        )
    return [found[name] for name in names]


def _download(remotes: list[Remote], release: Release, folder: Path, reporter: Reporter) -> list[Path]:
    paths = []
    for position, remote in enumerate(remotes):
        before = (folder / remote.name).is_file()
        rest = sum(later.size or 0 for later in remotes[position + 1 :])
        path = download(remote, folder, reporter, needed=rest + release.unpacked)
        if before:  # of a run that was stopped, or kept: whole then, but is it now?
            check_file(path, remote)
        paths.append(path)
    return paths


def _check_given(paths: list[Path], release: Release, folder: Path) -> list[Path]:
    for path, remote in zip(paths, release.files, strict=True):
        check_file(path, remote)
    free = shutil.disk_usage(folder.parent).free
    if free < release.unpacked:
        raise VitError(
            f"{folder} needs {release.unpacked:,} bytes, {free:,} are free; make room, or choose a place with --root"
        )
    return paths


def _unpack(
    known: Known,
    release: Release,
    folder: Path,
    files: list[tuple[Remote, Path]],
    reporter: Reporter,
    *,
    given: bool,
) -> None:
    limits = Limits(files=3 * release.count + 1000, size=2 * release.unpacked)
    with whole(folder) as temporary:
        for remote, path in files:
            if packed(remote.name):
                extract(path, temporary, reporter, limits=limits)
            else:
                shutil.copyfile(path, temporary / remote.name)
        lift(temporary)
        found = sum(name.lower().endswith(release.suffix) for name in sizes(temporary))
        if found != release.count:
            raise VerificationError(
                f"{known.name}: {found:,} files of type {release.suffix} came out of its archives, where "
                f"{release.count:,} are published; nothing was kept"
            )
        facts = {
            "set": known.name,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "archives": [_facts(remote, path, given=given) for remote, path in files],
        }
        mark(temporary, facts)


def _facts(remote: Remote, path: Path, *, given: bool) -> dict[str, Any]:
    checksum = remote.checksum
    if checksum is None:
        digest = remote.new_digest()
        read_into(digest, path)
        checksum = ("sha256", digest.hexdigest())
    return {
        "name": remote.name,
        "from": str(path.absolute()) if given else remote.url,
        "bytes": path.stat().st_size,
        checksum[0]: checksum[1],
    }
