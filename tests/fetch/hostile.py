"""Archives that must not be unpacked, each with a part of what is said of it."""

from __future__ import annotations

import random
import stat
import tarfile
import unicodedata

from tests.fetch.archives import PACKERS, entry, pax, tar, tar_of, zip_of, zip_saying, zip_sharing
from vitcli.fetch.unpack import Limits

LIMITS = Limits(files=20, size=5_000_000, depth=6)
MEGABYTE = 1_000_000
NOISE = random.Random(0).randbytes(MEGABYTE)
LINK = entry("in", kind=tarfile.SYMTYPE, link="../outside")
HOSTILE: dict[str, tuple[bytes, str]] = {
    "upwards": (tar(entry("a"), entry("../outside/x", b"!")), "leads out of its folder"),
    "upwards within": (tar(entry("a"), entry("b/../../outside/x", b"!")), "leads out of its folder"),
    "upwards in a zip": (zip_of({"a": b"1", "../outside/x": b"!"}), "leads out of its folder"),
    "upwards by a long name": (
        tar(entry("././@LongLink", b"../outside/x\0", b"L"), entry("a", b"!")),
        "'../outside/x' leads out",
    ),
    "upwards by a pax record": (tar(pax(path="../outside/x"), entry("a", b"!")), "leads out of its folder"),
    "sole folder of dots": (tar(entry("..", kind=tarfile.DIRTYPE), entry("../x", b"!")), "leads out"),
    "absolute": (tar(entry("/tmp/x", b"!")), "absolute"),
    "absolute folder": (tar(entry("/tmp/x/", kind=tarfile.DIRTYPE)), "absolute"),
    "absolute in a zip": (zip_of({"/x": b"!"}), "absolute"),
    "a drive": (zip_of({"C:/x": b"!"}), "absolute"),
    "a backslash": (zip_of({"..\\outside\\x": b"!"}), "backslash"),
    "a NUL": (zip_of({"a\0b": b"!"}), "control character"),
    "an escape": (tar(entry("a\x1b]0;x\x07", b"!")), r"'a\x1b]0;x\x07' has a backslash or a control"),
    "no name": (tar(entry("", b"!")), "is no name"),
    "a dot": (tar(entry(".", b"!")), "a file without a name"),
    "not UTF-8": (
        tar(tarfile.TarInfo("\udcff").tobuf(tarfile.USTAR_FORMAT, errors="surrogateescape")),
        "UTF-8",
    ),
    "a long part": (tar_of({"é" * 128: b"!"}), "too long"),
    "a long path": (
        tar_of({"/".join(["d" * 200] * 6): b"", "/".join(["d" * 250] * 11): b""}),
        "folders deep",
    ),
    "too deep": (tar(entry("a/b/c/d/e/f/g", b"!")), "more than 6 folders deep"),
    "a link and a write through it": (tar(LINK, entry("in/x", b"!")), "'in' is a symbolic link"),
    "a link to a folder in a zip": (zip_of({"in": b"../outside"}, stat.S_IFLNK | 0o777), "is a link"),
    "a hard link": (tar(entry("in", kind=tarfile.LNKTYPE, link="../outside/kept")), "a hard link"),
    "a link with a long name": (tar(entry("././@LongLink", b"x" * 200, b"K"), LINK), "is a link"),
    "a pipe": (tar(entry("a", kind=tarfile.FIFOTYPE)), "a pipe"),
    "a device": (tar(entry("a", kind=tarfile.CHRTYPE)), "a device"),
    "a device in a zip": (zip_of({"a": b""}, stat.S_IFBLK | 0o600), "a device"),
    "a sparse file": (tar(entry("a", kind=tarfile.GNUTYPE_SPARSE)), "a sparse file"),
    "a sparse file of pax": (tar(pax(GNU__sparse__major="1"), entry("a", b"!")), "a sparse file"),
    "an unknown type": (tar(entry("a", b"!", b"Z")), "unknown type"),
    "a folder with content": (tar(entry("a", b"!", tarfile.DIRTYPE)), "folder with content"),
    "a folder with content in a zip": (zip_of({"a/": b"!"}), "folder with content"),
    "twice": (tar(entry("a", b"1"), entry("./a", b"2")), "'a' is in it twice"),
    "twice in a zip": (zip_of({"d/a": b"1", "d//a": b"2"}), "'d/a' is in it twice"),
    "twins of case": (tar(entry("Cat/1", b"1"), entry("cat/2", b"2")), "differs from another name in case"),
    "twins of accent": (
        tar_of({"é": b"1", unicodedata.normalize("NFD", "É"): b"2"}),
        "differs from another name in case",
    ),
    "a file as a folder": (tar(entry("a", b"1"), entry("a/b", b"2")), "twice"),
    "a folder as a file": (tar(entry("a/b", b"1"), entry("a", b"2")), "twice"),
    "too many files": (tar(*[entry(str(number)) for number in range(21)]), "more than 20 files"),
    "too many folders": (
        tar(entry("x"), *[entry(str(number), kind=tarfile.DIRTYPE) for number in range(121)]),
        "more than 20 files",
    ),
    "too many in a zip": (zip_of({str(number): b"" for number in range(21)}), "more than 20 files"),
    "too large": (tar_of({str(number): NOISE for number in range(6)}), "more than 5,000,000 bytes"),
    "too large in a zip": (zip_of({str(number): NOISE for number in range(6)}), "more than 5,000,000 bytes"),
    "a lie of 8 GB": (tar(entry("a", b"1"), entry("b")[:124] + b"77777777777\0" + bytes(376)), "damaged"),
    "a header in a header": (tar(pax(size="9" * 30), entry("a")), "a pax header in it is damaged"),
    "a size below zero": (tar(pax(size="-512"), entry("a")), "a pax header in it is damaged"),
    "a name for all": (tar(entry("g", b"10 path=x\n", b"g"), entry("a", b"!")), "for all its members"),
    "a header of a gigabyte": (tar(entry("x", bytes(70_000), b"x"), entry("a")), "a header of 70,000 bytes"),
    "a bomb": (PACKERS["gz"](tar(entry("a", bytes(4 * MEGABYTE)))), "past 200 to 1"),
    "a bomb in bzip2": (PACKERS["bz2"](tar(entry("a", bytes(4 * MEGABYTE)))), "past 200 to 1"),
    "a bomb in xz": (PACKERS["xz"](tar(entry("a", bytes(4 * MEGABYTE)))), "past 200 to 1"),
    "a bomb behind the end": (PACKERS["gz"](tar(entry("a", b"1")) + bytes(4 * MEGABYTE)), "past 200 to 1"),
    "a bomb of headers": (
        PACKERS["xz"](tar(*[entry("pax", b"", b"x")] * 4000, entry("a"))),
        "past 200 to 1",
    ),
    "a bomb in a zip": (zip_of({"a": bytes(4 * MEGABYTE)}), "past 200 to 1"),
    "a zip that says less": (zip_saying("a", NOISE, size=10), ""),
    "a zip that says more": (zip_saying("a", b"abc", size=10), ""),
    "members that share bytes": (zip_sharing(NOISE[:1000], 3), "overlaps"),
    "encrypted": (zip_saying("a", b"abc", flags=1), "encrypted"),
    "an unread method": (zip_saying("a", b"abc", method=14), "method 14"),
    "nothing": (b"", "it is empty"),
    "no files": (tar(entry("a", kind=tarfile.DIRTYPE)), "holds no files"),
    "an empty zip": (zip_of({}), "holds no files"),
    "a page": (b"<!DOCTYPE html>\n<title>Not found</title>", "starts with b'<!DOCTYPE html>"),
    "gzip of no tar": (PACKERS["gz"](NOISE[:5000]), "neither a tar nor a zip"),
}
