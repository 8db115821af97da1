"""A tar or a zip: unpacked into the cache once, then read as the folder that it holds."""

from __future__ import annotations

from pathlib import Path

from vitcli.core.reporter import Reporter
from vitcli.data.sources.kept import identity, kept
from vitcli.fetch.unpack import unpack


def unpacked(archive: Path, reporter: Reporter) -> Path:
    """Returns the folder with an archive's content; a sole folder around it is left out.

    Raises:
        DataError: the archive is damaged, or has members that are not safe to write.
        VitError: the cache cannot be written.
    """

    def make(folder: Path) -> None:
        unpack(archive, folder, reporter)

    return kept(identity(archive), make)
