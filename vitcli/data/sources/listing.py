"""Folders listed fast and in one order: which images are below them, and what else is worth telling."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from vitcli.core.errors import DataError
from vitcli.data.sources.labels import some

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_Node = tuple[int, int]


def image_files(folder: Path) -> list[Path]:
    """Returns the images below a folder in sorted order; hidden files are left out.

    Raises:
        DataError: a folder cannot be read, or a link leads nowhere.
    """
    walk = Walk(folder)
    files = walk.images(str(folder))
    walk.check()
    return [Path(file) for file in files]


class Walk:
    """Lists what is below a root, and remembers faults and what a user may want to know.

    Links are followed: to a folder once, and never up to one that holds the link. Only regular files count.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        self._unreadable: list[str] = []
        self._dangling: list[str] = []
        self._others: Counter[str] = Counter()
        self._outside = 0
        self._real: dict[str, str] = {}
        self._above: dict[str, frozenset[_Node]] = {}

    def folders(self, folder: str) -> dict[str, str]:
        """Returns the folders directly in a folder by name, sorted; hidden ones are left out."""
        found: list[str] = []
        self._note_link(folder)
        self._scan(folder, [], found, found, others=Counter())
        return {os.path.basename(path): path for path in sorted(found)}

    def loose(self, folder: str) -> int:
        """Returns the number of images directly in a folder."""
        files: list[str] = []
        self._scan(folder, files, [], [], others=Counter())
        return len(files)

    def images(self, folder: str) -> list[str]:
        """Returns the images below a folder, sorted by the parts of their paths."""
        files: list[str] = []
        folders: list[str] = [folder]
        links: list[str] = []
        seen = set(self._parents(folder))
        listed = 0
        while folders or links:
            # A folder that a link reaches as well is listed where it really is.
            if not folders:
                links.sort(reverse=True)
            here = (folders or links).pop()
            node = self._node(here)
            if node is None or node in seen:
                continue
            seen.add(node)
            listed += 1
            self._note_link(here)
            self._scan(here, files, folders, links, others=self._others)
        if listed > 1:
            files.sort(key=lambda path: path.split(os.sep))
        else:
            files.sort()
        return files

    def check(self) -> None:
        """Does nothing where all could be read.

        Raises:
            DataError: folders cannot be read, or links lead nowhere.
        """
        if self._unreadable:
            faults = sorted(self._unreadable)
            count = f" ({len(faults)} such folders)" if len(faults) > 1 else ""
            raise DataError(f"cannot read folder {faults[0]}{count}")
        if self._dangling:
            faults = sorted(self._dangling)
            raise DataError(
                f"links that lead nowhere: {some(faults)}; remove them, or put back what they lead to"
            )

    def notes(self) -> tuple[str, ...]:
        """Returns what is no fault but may surprise."""
        told = []
        if count := self._others.total():
            commonest = sorted(self._others.items(), key=lambda item: (-item[1], item[0]))
            kinds = some(f"{suffix} {times}" for suffix, times in commonest)
            told.append(f"files left out, since their suffix is no image's: {count} ({kinds})")
        if self._outside:
            told.append(f"links followed that lead out of {self._root}: {self._outside}")
        return tuple(told)

    def _scan(
        self, folder: str, files: list[str], folders: list[str], links: list[str], *, others: Counter[str]
    ) -> None:
        """Sorts the entries of one folder into images, folders, links to folders, and others."""
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = entry.name
                    if name.startswith("."):
                        continue
                    if entry.is_symlink():
                        self._follow(entry.path, files, links, others)
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        suffix = os.path.splitext(name)[1].lower()
                        if suffix in SUFFIXES:
                            files.append(entry.path)
                        else:
                            others[suffix or "none"] += 1
        except OSError as error:
            self._unreadable.append(f"{folder}: {error.strerror}")

    def _follow(self, path: str, files: list[str], links: list[str], others: Counter[str]) -> None:
        try:
            mode = os.stat(path).st_mode
            target = os.path.join(os.path.dirname(path), os.readlink(path))
        except PermissionError as error:
            self._unreadable.append(f"{path}: {error.strerror}")
            return
        except OSError:
            self._dangling.append(path)
            return
        suffix = os.path.splitext(path)[1].lower()
        if S_ISDIR(mode):
            links.append(path)
        elif S_ISREG(mode) and suffix in SUFFIXES:
            files.append(path)
            self._outside += not self._inside(self._folder_of(target))
        elif S_ISREG(mode):
            others[suffix or "none"] += 1

    def _note_link(self, folder: str) -> None:
        self._outside += os.path.islink(folder) and not self._inside(os.path.realpath(folder))

    def _inside(self, real: str) -> bool:
        return real == self._root or real.startswith(self._root.rstrip(os.sep) + os.sep)

    def _folder_of(self, target: str) -> str:
        """Returns the real folder of a link's target; many links lead to few folders."""
        folder = os.path.dirname(target)
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder)
        return self._real[folder]

    def _parents(self, folder: str) -> frozenset[_Node]:
        """Returns what a folder lies in: a link to one of these leads back to the folder."""
        parent = os.path.dirname(os.path.abspath(folder))
        if parent not in self._above:
            real = Path(os.path.realpath(parent))
            nodes = {self._node(str(path)) for path in (real, *real.parents)}
            self._above[parent] = frozenset(node for node in nodes if node is not None)
        return self._above[parent]

    def _node(self, folder: str) -> _Node | None:
        try:
            status = os.stat(folder)
        except OSError as error:
            self._unreadable.append(f"{folder}: {error.strerror}")
            return None
        return status.st_dev, status.st_ino
