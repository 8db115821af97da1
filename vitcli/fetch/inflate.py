"""An archive's bytes in order, out of gzip, bzip2, xz or as they are: in small pieces, counted on both sides."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

PIECE = 1 << 18
# Compressed data may not ask for more memory than `xz -9` needs, 65 MiB.
_XZ_MEMORY = 1 << 27
# Below this much, nothing is a bomb.
SMALL = 1_000_000


class BadArchive(Exception):
    """Why an archive is not unpacked, in a few words."""


class Engine(Protocol):
    """A decompressor of the standard library, as far as all three agree."""

    @property
    def eof(self) -> bool:
        """Whether its stream has ended."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What followed the end of the stream."""
        ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Returns at most `max_length` bytes."""
        ...


def _gzip() -> Engine:
    return zlib.decompressobj(wbits=31)


def _xz() -> Engine:
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


ENGINES: dict[bytes, Callable[[], Engine]] = {
    b"\x1f\x8b": _gzip,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\x00": _xz,
}


class Inflated:
    """Reads what a file holds, compressed or not, from its beginning.

    Args:
        file: at its beginning.
        ratio: bytes that may come out for each byte read.

    Attributes:
        taken: bytes read from the file so far.
        given: bytes that came out of them.
    """

    def __init__(self, file: BinaryIO, ratio: int) -> None:
        self.taken = self.given = 0
        self._file = file
        self._ratio = ratio
        self._start = file.read(PIECE)
        make = next((make for magic, make in ENGINES.items() if self._start.startswith(magic)), None)
        self._pieces = self._plain() if make is None else self._inflate(make)
        self._left = b""

    def read(self, size: int) -> bytes:
        """Returns the next `size` bytes (fewer than a piece), or what is left.

        Raises:
            BadArchive: the compressed data are damaged, or unfold to more than they may.
        """
        while len(self._left) < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self.given += len(piece)
            if self.given > SMALL and self.given > self._ratio * self.taken:
                raise BadArchive(
                    f"{self.taken:,} bytes of it unfold to more than {self.given:,}, past {self._ratio} to 1"
                )
            self._left += piece
        found, self._left = self._left[:size], self._left[size:]
        return found

    def _take(self) -> bytes:
        data, self._start = self._start or self._file.read(PIECE), b""
        self.taken += len(data)
        return data

    def _plain(self) -> Iterator[bytes]:
        while data := self._take():
            yield data

    def _inflate(self, make: Callable[[], Engine]) -> Iterator[bytes]:
        data = self._take()
        while data:  # a turn for each compressed stream: several may follow one another
            engine = make()
            while not engine.eof:
                try:
                    piece = engine.decompress(data, PIECE)
                except (zlib.error, lzma.LZMAError, OSError) as error:
                    raise BadArchive(f"its compressed data are damaged ({error})") from error
                if piece:
                    yield piece
                data = getattr(engine, "unconsumed_tail", b"")
                if not data and not engine.eof and getattr(engine, "needs_input", True):
                    data = self._take()
                    if not data and not piece:
                        raise BadArchive("it is cut short: its compressed data end too early")
            data = engine.unused_data or self._take()
            while data and not data.strip(b"\0"):  # some tools fill their last block with zeros
                data = self._take()
