"""Archives for the tests: right ones by the standard library, hostile ones by hand."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

PACKERS: Mapping[str, Callable[[bytes], bytes]] = {
    "tar": lambda data: data,
    "gz": lambda data: gzip.compress(data, 1, mtime=0),
    "bz2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=0),
}
# Two folders and four files, one of them empty and one longer than a piece that is read at once.
TREE = {
    "set/train/a/1.jpg": b"one",
    "set/train/b/2.jpg": random.Random(3).randbytes(400_000),
    "set/val/a/3.jpg": b"",
    "set/labels.csv": b"path,label\n",
}


def entry(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    """A member of a tar, whatever its name."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, link
    info.mode = 0o6777
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


def tar(*entries: bytes) -> bytes:
    """A tar of members."""
    return b"".join(entries) + bytes(1024)


def tar_of(files: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar as the standard library writes it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zip_of(files: Mapping[str, bytes], mode: int = 0, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip as the standard library writes it; `mode`: what Unix says of each member."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo("x" * len(name))
            info.orig_filename = info.filename = name
            info.compress_type, info.external_attr = method, mode << 16
            archive.writestr(info, data)
    return out.getvalue()


def zip_saying(name: str, data: bytes, *, size: int | None = None, flags: int = 0, method: int = 8) -> bytes:
    """A zip of one member that says of itself what it likes: its size, its flags, how it is packed."""
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = engine.compress(data) + engine.flush()
    size = len(data) if size is None else size
    told = name.encode()
    facts = struct.pack(
        "<HHHHHIIIHH", 20, flags, method, 0, 33, zlib.crc32(data[:size]), len(packed), size, len(told), 0
    )
    local = b"PK\x03\x04" + facts + told + packed
    central = b"PK\x01\x02" + struct.pack("<H", 20) + facts + struct.pack("<HHHII", 0, 0, 0, 0, 0) + told
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    return local + central + end


def zip_sharing(data: bytes, times: int) -> bytes:
    """A zip whose members all stand on the same bytes."""
    one = zip_saying("a", data)
    start = one.index(b"PK\x01\x02")
    central = one[start : one.index(b"PK\x05\x06")] * times
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, times, times, len(central), start, 0)
    return one[:start] + central + end


def pax(**records: str) -> bytes:
    """A header of records before a member."""
    text = b""
    for key, value in records.items():
        body = f" {key.replace('__', '.')}={value}\n".encode()
        length = len(body) + len(str(len(body) + 2))
        text += str(length).encode() + body
    return entry("pax", text, tarfile.XHDTYPE)


def written(path: Path, data: bytes) -> Path:
    """A file."""
    path.write_bytes(data)
    return path
