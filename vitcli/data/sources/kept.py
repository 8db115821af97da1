"""What is unpacked once and kept in the cache: archives, and images that a table holds as bytes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from vitcli.core.errors import DataError, RequestError, VitError
from vitcli.data.store import cache_root
from vitcli.fetch.whole import whole

# How the formats that are decoded begin; WebP's begins with the length of the file.
_STARTS = {
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG": ".png",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"RIFF": ".webp",
}


def identity(*paths: Path) -> list[list[object]]:
    """Returns what tells files from their later versions: path, size and time."""
    facts = []
    for path in paths:
        status = path.stat()
        facts.append([str(path.absolute()), status.st_size, status.st_mtime_ns])
    return facts


def kept(facts: object, make: Callable[[Path], None]) -> Path:
    """Returns the cache folder of these facts; where it is not there yet, `make` makes it whole or not at all.

    Raises:
        VitError: it cannot be written.
    """
    text = json.dumps(facts, sort_keys=True)
    folder = cache_root() / "unpacked" / hashlib.sha256(text.encode()).hexdigest()
    if folder.is_dir():
        return folder
    try:
        make(folder)
    except RequestError:
        if not folder.is_dir():  # else another process made the same one meanwhile
            raise
    except OSError as error:
        raise VitError(
            f"cannot write in {folder.parent}: {error.strerror or error}; set VIT_CACHE to a folder with room"
        ) from error
    return folder


def image_files_of(facts: object, source: str, images: Callable[[], Iterable[bytes | None]]) -> list[str]:
    """Returns files of the images that a source holds as bytes, in order; they are written once.

    Args:
        facts: what tells this version of the source from others.
        source: its name, for messages.
        images: gives the bytes; called where they are not in the cache yet.

    Raises:
        DataError: an image has no bytes.
        VitError: they cannot be written.
    """

    def make(folder: Path) -> None:
        with whole(folder) as temporary:
            for row, image in enumerate(images()):
                if not image:
                    raise DataError(f"{source}, row {row}: no image")
                (temporary / f"{row:08d}{_suffix(image)}").write_bytes(image)

    folder = kept([facts, "images"], make)
    return sorted(entry.path for entry in os.scandir(folder))


def _suffix(image: bytes) -> str:
    """Returns the suffix of an image by its first bytes; what is none is told when it is decoded."""
    return next((suffix for start, suffix in _STARTS.items() if image.startswith(start)), ".bin")
