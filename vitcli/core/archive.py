"""What a zip archive says it holds, and how much memory a file of weights may ask for."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

from vitcli.core.errors import WeightsError

# A file may unpack to so many times its size, and to so many bytes whatever its size is: a bomb of zeros is
# a thousand times as long, weights that were trained shrink by a tenth.
_TIMES, _BYTES = 20, 64 << 20


def members(path: Path) -> Mapping[str, int]:
    """Returns the unpacked sizes of an archive's members, in bytes, by name; empty where it is no zip archive."""
    if not path.is_file():  # a pipe would be waited for
        return {}
    try:
        with zipfile.ZipFile(path) as archive:
            return {member.filename: member.file_size for member in archive.infolist()}
    except (OSError, ValueError, NotImplementedError, struct.error, zipfile.BadZipFile):
        return {}


def check_unpacked(path: Path, size: int) -> None:
    """Checks that a file does not ask for much more memory than it has bytes.

    Args:
        path: the file.
        size: what it unpacks to, in bytes.

    Raises:
        WeightsError: it does.
    """
    packed = path.stat().st_size
    if size > max(_BYTES, _TIMES * packed):
        raise WeightsError(
            f"{path} has {packed:,} bytes, and would be {size:,} unpacked: too large for weights; "
            f"where it is good, save it anew without compression"
        )
