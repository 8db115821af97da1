"""Archives unpacked by our own check of every member: whole or not at all, and nothing outside the folder."""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from vitcli.core.errors import DataError
from vitcli.core.reporter import Advance, Reporter
from vitcli.fetch import tar
from vitcli.fetch.inflate import PIECE, SMALL, BadArchive, Inflated
from vitcli.fetch.tar import Member
from vitcli.fetch.whole import whole

# Bytes in one part of a path and in a whole one: what Linux takes, less room for the folder it goes to.
_PART, _PATH = 255, 2048


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an archive may hold.

    Attributes:
        files: regular files; folders and what macOS adds may be as many again.
        size: bytes of all files, as declared and as counted.
        ratio: bytes that one byte of the archive may become, in anything above 1 MB.
        depth: parts of a path.
    """

    files: int
    size: int
    ratio: int = 200
    depth: int = 12


# For archives of which nothing is known: more than any set that one machine trains on.
ANY = Limits(files=2_000_000, size=1_000_000_000_000)


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """How many files came out of an archive, and how many bytes they hold."""

    files: int
    size: int


def unpack(archive: Path, folder: Path, reporter: Reporter, *, limits: Limits = ANY) -> Unpacked:
    """Unpacks a tar (plain, gzip, bzip2 or xz) or a zip into a folder that does not exist yet.

    Where the archive holds one sole folder, its content becomes `folder`.

    Raises:
        DataError: no archive, a damaged one, or one with members that are not safe to write.
        RequestError: the folder exists.
        VitError: no room on the disk.
    """
    with whole(folder) as temporary:
        found = extract(archive, temporary, reporter, limits=limits)
        lift(temporary)
    return found


def is_archive(path: Path) -> bool:
    """Returns whether a file's content is a tar (plain, gzip, bzip2 or xz) or a zip."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        try:
            return _kind(file) is not None
        except BadArchive:
            return False


def extract(archive: Path, folder: Path, reporter: Reporter, *, limits: Limits = ANY) -> Unpacked:
    """Unpacks an archive into an empty folder of ours; a failure leaves there what it had written.

    Raises:
        DataError: as `unpack`.
    """
    size = archive.stat().st_size // 1_000_000
    try:
        with (
            archive.open("rb") as file,
            reporter.track(f"unpacking {archive.name}", max(1, size), "MB") as advance,
        ):
            writer = _Writer(folder, limits, _Progress(file, advance))
            for member in _members(file, limits):
                writer.write(member)
    except BadArchive as error:
        raise DataError(
            f"{archive} cannot be unpacked: {_printable(str(error))}; get it again from those who publish it"
        ) from error
    if not writer.files:
        raise DataError(f"{archive} cannot be unpacked: it holds no files; get it again or name another")
    return Unpacked(files=writer.files, size=writer.size)


def lift(folder: Path) -> None:
    """Replaces the sole folder in a folder by what is in it."""
    entries = list(folder.iterdir())
    if len(entries) == 1 and entries[0].is_dir():
        sole = entries[0].rename(folder / f".{os.getpid()}.tmp")  # a child may have its name
        for path in list(sole.iterdir()):
            path.rename(folder / path.name)
        sole.rmdir()


class _Progress:
    """Tells how much of a file has been read."""

    def __init__(self, file: BinaryIO, advance: Advance) -> None:
        self._file = file
        self._advance = advance
        self._told = 0

    def tell(self) -> None:
        """Tells the MB since the last time."""
        # Of the descriptor, not of this object: a zip is read through another one.
        now = os.lseek(self._file.fileno(), 0, os.SEEK_CUR) // 1_000_000
        if now > self._told:
            self._advance(now - self._told)
            self._told = now


class _Writer:
    """Writes members below a folder, each checked first."""

    def __init__(self, folder: Path, limits: Limits, progress: _Progress) -> None:
        self.files = self.size = 0
        self._root = folder
        self._limits = limits
        self._progress = progress
        self._others = 0
        # Names as a file system that knows no upper case has them; of folders, how they are really written.
        self._taken: set[str] = set()
        self._folders: dict[str, str] = {}

    def write(self, member: Member) -> None:
        """Writes a file, or makes a folder.

        Raises:
            BadArchive: its name is not safe, or it is one too many or too large.
        """
        parts = _parts(member.name, self._limits.depth)
        if not parts and not member.folder:
            raise BadArchive("a file without a name")
        junk = any(part in ("__MACOSX", ".DS_Store") or part.startswith("._") for part in parts)
        self._count(member, junk or member.folder)
        if junk:
            return
        for end in range(1, len(parts) + member.folder):
            self._make("/".join(parts[:end]))
        if not member.folder:
            self._copy(member, "/".join(parts))

    def _count(self, member: Member, other: bool) -> None:
        most = self._limits
        self._others += other
        self.files += not other
        self.size += 0 if other else member.size
        if self.files > most.files or self._others > most.files + 100:
            raise BadArchive(f"it holds more than {most.files:,} files")
        if self.size > most.size:
            raise BadArchive(f"its files hold more than {most.size:,} bytes")

    def _make(self, name: str) -> None:
        key = _folded(name)
        if self._folders.get(key) == name:
            return
        self._claim(name, key)
        self._folders[key] = name
        os.mkdir(os.path.join(self._root, name))

    def _copy(self, member: Member, name: str) -> None:
        self._claim(name, _folded(name))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        counted = 0
        with open(os.open(os.path.join(self._root, name), flags, 0o666), "wb", buffering=0) as out:
            for piece in member.pieces:
                counted += len(piece)
                if counted > member.size:
                    break
                out.write(piece)
                self._progress.tell()
        if counted != member.size:
            raise BadArchive(f"'{name}' does not hold the {member.size:,} bytes that it declares")

    def _claim(self, name: str, key: str) -> None:
        if key in self._taken:
            written = self._folders.get(key, name)
            raise BadArchive(
                f"'{name}' is in it twice, or differs from another name in case alone ({written})"
            )
        self._taken.add(key)


def _parts(name: str, depth: int) -> list[str]:
    """Returns the parts of a member's path, none of which leads anywhere but down."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    reason = ""
    if not name:
        reason = "is no name"
    elif name.startswith("/") or any(re.match(r"[A-Za-z]:", part) for part in parts):
        reason = "is an absolute path"
    elif ".." in parts:
        reason = "leads out of its folder"
    elif "\\" in name or any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        reason = "has a backslash or a control character in its name"
    elif len(parts) > depth:
        reason = f"is more than {depth} folders deep"
    elif len(name.encode()) > _PATH or any(len(part.encode()) > _PART for part in parts):
        reason = "is too long a name"
    if reason:
        raise BadArchive(f"'{name}' {reason}")
    return parts


def _folded(name: str) -> str:
    """Returns a name as file systems compare it that know neither case nor ways to write an accent."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _kind(file: BinaryIO) -> Literal["tar", "zip"] | None:
    """Returns what a file holds, and leaves it at its beginning."""
    start = file.read(4)
    file.seek(0)
    if start in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    block = Inflated(file, ANY.ratio).read(tar.BLOCK)
    file.seek(0)
    return "tar" if tar.is_header(block) else None


def _members(file: BinaryIO, limits: Limits) -> Iterator[Member]:
    kind = _kind(file)
    if kind == "zip":
        yield from _zip_members(file, limits)
    elif kind == "tar":
        yield from tar.members(Inflated(file, limits.ratio))
    else:
        start = file.read(24)
        raise BadArchive(
            f"it is neither a tar nor a zip, but starts with {start!r}" if start else "it is empty"
        )


class _Directory(io.BufferedReader):
    """A zip whose list of members may not take more memory than the members allowed need."""

    def __init__(self, file: BinaryIO, limits: Limits) -> None:
        super().__init__(io.FileIO(file.fileno(), closefd=False))
        self._most = max(PIECE, min(1 << 28, 400 * (2 * limits.files + 100)))

    def read(self, size: int | None = -1, /) -> bytes:
        """Reads as any file does, but not much at once."""
        if size is not None and size > self._most:
            raise BadArchive(f"a list of members of {size:,} bytes")
        return super().read(size)


def _zip_members(file: BinaryIO, limits: Limits) -> Iterator[Member]:
    with _zip_errors():
        archive = zipfile.ZipFile(_Directory(file, limits))
    end = 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        # Members that share their bytes unfold to far more than any ratio tells.
        if info.header_offset < end:
            raise BadArchive(f"'{info.filename}' overlaps another member")
        end = info.header_offset + 30 + info.compress_size
        yield _zip_member(archive, info, limits)


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limits: Limits) -> Member:
    name = info.orig_filename  # `filename` is cut at a NUL
    folder = name.endswith("/")
    if info.flag_bits & (0x1 | 0x40 | 0x2000):
        raise BadArchive(f"'{name}' is encrypted")
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFDIR if folder else stat.S_IFREG):
        raise BadArchive(f"'{name}' is a link, a device or a pipe")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadArchive(f"'{name}' is packed by method {info.compress_type}; 0 and 8 are read")
    if folder and info.file_size:
        raise BadArchive(f"'{name}' is a folder with content")
    if info.file_size > max(SMALL, limits.ratio * info.compress_size):
        raise BadArchive(f"'{name}' unfolds past {limits.ratio} to 1")
    return Member(name=name, size=info.file_size, folder=folder, pieces=_zip_content(archive, info))


def _zip_content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    with _zip_errors(), archive.open(info) as file:
        while piece := file.read(PIECE):
            yield piece


@contextmanager
def _zip_errors() -> Iterator[None]:
    """Turns what `zipfile` raises over a damaged archive into one reason."""
    damaged = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error, ValueError)
    try:
        yield
    except damaged as error:
        raise BadArchive(f"it is damaged or cut short ({error})") from error


def _printable(text: str) -> str:
    """Returns a text without what a terminal would obey, at a length that fits a line."""
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return shown if len(shown) <= 300 else f"{shown[:150]}...{shown[-150:]}"
