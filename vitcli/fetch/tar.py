"""The members of a tar archive, read in order with bounded memory.

The standard library's reader takes a header's own word for how much memory it needs; this one reads what data
sets are packed with (POSIX ustar and pax, GNU's long names) and refuses the rest. Source of the format: POSIX
1003.1-2017, `pax`, section EXTENDED DESCRIPTION; GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from vitcli.fetch.inflate import PIECE, BadArchive, Inflated

BLOCK = 512
# A name, or the pax records of one member; real ones stay below a few hundred bytes.
_LONGEST = 1 << 16
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a pipe",
    b"K": "a link",
    b"M": "a part of a file",
    b"S": "a sparse file",
}


@dataclass(frozen=True, kw_only=True)
class Member:
    """A regular file or a folder in an archive.

    Attributes:
        name: as the archive has it.
        size: as the archive declares it; a folder's is 0.
        pieces: the content, to be read before the next member.
    """

    name: str
    size: int
    folder: bool
    pieces: Iterator[bytes] = field(repr=False)


def is_header(block: bytes) -> bool:
    """Returns whether a block is a tar header: whether its sum is right."""
    if len(block) != BLOCK or not block.strip(b"\0"):
        return False
    try:
        given = _number(block[148:156])
    except BadArchive:
        return False
    blank = block[:148] + b" " * 8 + block[156:]
    # Old tools summed signed bytes.
    return given in (sum(blank), sum(blank) - 256 * sum(byte > 127 for byte in blank))


def members(stream: Inflated) -> Iterator[Member]:
    """Yields regular files and folders.

    Raises:
        BadArchive: it is cut short or damaged, or holds anything else.
    """
    said: dict[str, str] = {}  # by the headers that stand before a member's own
    while (block := _exactly(stream, BLOCK)).strip(b"\0"):
        if not is_header(block):
            raise BadArchive("a header in it is damaged")
        size, kind = _number(block[124:136]), block[156:157]
        if kind in (b"L", b"x"):
            said |= _long_name(stream, size) if kind == b"L" else _records(stream, size)
            continue
        if kind == b"g":
            if _records(stream, size):
                raise BadArchive("it says one name or size for all its members")
            continue
        name = said.get("path") or _name(block)
        if "size" in said:
            size = _decimal(said["size"])
        said = {}
        member = _member(stream, name, kind, size)
        yield member
        for _ in member.pieces:  # what its reader left
            pass
    # What follows the end is filling, but a compressed archive's checksum comes after it.
    while stream.read(PIECE):
        pass


def _member(stream: Inflated, name: str, kind: bytes, size: int) -> Member:
    if kind not in (b"0", b"\0", b"7", b"5"):
        raise BadArchive(f"'{name}' is {_KINDS.get(kind, f'of the unknown type {kind!r}')}")
    # Before POSIX, a slash at the end was all that told a folder.
    folder = kind == b"5" or name.endswith("/")
    if folder and size:
        raise BadArchive(f"'{name}' is a folder with content")
    return Member(name=name, size=size, folder=folder, pieces=_content(stream, size))


def _content(stream: Inflated, size: int) -> Iterator[bytes]:
    left = size
    while left:
        piece = _exactly(stream, min(left, PIECE))
        left -= len(piece)
        yield piece
    _exactly(stream, -size % BLOCK)


def _exactly(stream: Inflated, size: int) -> bytes:
    found = stream.read(size)
    if len(found) < size:
        raise BadArchive("it is cut short")
    return found


def _header_text(stream: Inflated, size: int) -> bytes:
    if size > _LONGEST:
        raise BadArchive(f"a header of {size:,} bytes; at most {_LONGEST:,} are read")
    return _exactly(stream, size + -size % BLOCK)[:size]


def _long_name(stream: Inflated, size: int) -> dict[str, str]:
    return {"path": _text(_header_text(stream, size).removesuffix(b"\0"))}


def _records(stream: Inflated, size: int) -> dict[str, str]:
    """Returns what a pax header says: records of `LENGTH KEY=VALUE\\n`."""
    text, found = _header_text(stream, size), {}
    while text:
        length, _, rest = text.partition(b" ")
        end = _decimal(length.decode("latin-1"))
        record = text[len(length) + 1 : end]
        key, equals, value = record.removesuffix(b"\n").partition(b"=")
        if not equals or not record.endswith(b"\n") or not rest:
            raise BadArchive("a pax header in it is damaged")
        if key.startswith(b"GNU.sparse."):
            raise BadArchive("it holds a sparse file")
        if key in (b"path", b"size"):
            found[key.decode()] = _text(value)
        text = text[end:]
    return found


def _name(block: bytes) -> str:
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return _text(prefix + b"/" + name if prefix else name)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadArchive(f"the name {data!r} is not UTF-8") from error


def _decimal(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise BadArchive("a pax header in it is damaged")
    return int(text)


def _number(data: bytes) -> int:
    """Returns a number of a header: octal digits, or, where they do not suffice, GNU's bytes after 0x80."""
    if data[0] == 0x80:
        return int.from_bytes(data[1:], "big")
    digits = data.strip(b" \0")
    if not re.fullmatch(rb"[0-7]*", digits):
        raise BadArchive("a header in it is damaged")
    return int(digits or b"0", 8)
