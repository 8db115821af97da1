"""Right archives come out as they went in; hostile ones leave nothing, inside the folder or out of it."""

from __future__ import annotations

import errno
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.running import snapshot
from tests.fetch.archives import (
    PACKERS,
    TREE,
    entry,
    tar,
    tar_of,
    written,
    zip_of,
)
from tests.fetch.hostile import HOSTILE, LIMITS, MEGABYTE, NOISE
from vitcli.core.errors import DataError, RequestError, VitError
from vitcli.core.reporter import Advance, Silent
from vitcli.fetch.unpack import Unpacked, extract, is_archive, lift, unpack
from vitcli.fetch.whole import sweep, whole

FORMS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processes' data need not be on the disk for our tests."""
    monkeypatch.setattr(os, "sync", lambda: None)


def held(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


LIFTED = {name.removeprefix("set/"): data for name, data in TREE.items()}


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("form", FORMS)
def test_a_tar_comes_out_as_it_went_in(form: str, packer: str, tmp_path: Path) -> None:
    archive = written(tmp_path / "misnamed.zip", PACKERS[packer](tar_of(TREE, FORMS[form])))
    assert is_archive(archive)
    found = unpack(archive, tmp_path / "new" / "set", Silent(), limits=LIMITS)
    assert found == Unpacked(files=4, size=sum(map(len, TREE.values())))
    assert held(tmp_path / "new" / "set") == LIFTED
    assert os.listdir(tmp_path / "new") == ["set"]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("mode", [0, stat.S_IFREG | 0o6777])
def test_a_zip_comes_out_as_it_went_in(mode: int, method: int, tmp_path: Path) -> None:
    archive = written(tmp_path / "misnamed.tgz", zip_of(TREE, mode, method))
    assert is_archive(archive)
    assert unpack(archive, tmp_path / "set", Silent(), limits=LIMITS).files == 4
    assert held(tmp_path / "set") == LIFTED


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_long_and_foreign_names(form: str, tmp_path: Path) -> None:
    names = ["d" * 90 + "/" + "f" * 200, "größe/ß.jpg", "naïve/猫 1.jpg", "bc:d/-x", ".hidden/.x"]
    files = {name: name.encode() for name in names}
    unpack(written(tmp_path / "a", tar_of(files, FORMS[form])), tmp_path / "set", Silent())
    assert held(tmp_path / "set") == files
    unpack(written(tmp_path / "a", zip_of(files)), tmp_path / "zip", Silent())
    assert held(tmp_path / "zip") == files


def test_gnu_tar_and_several_streams(tmp_path: Path) -> None:
    """What other tools make: a folder of its own, `./` before every name, parallel gzip's many streams."""
    for name, data in TREE.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    subprocess.run(["tar", "-cf", tmp_path / "plain", "-C", tmp_path / "in" / "set", "."], check=True)
    plain = (tmp_path / "plain").read_bytes()
    pieces = [PACKERS["gz"](plain[start : start + 100_000]) for start in range(0, len(plain), 100_000)]
    archive = written(tmp_path / "many", b"".join(pieces) + bytes(700))
    unpack(archive, tmp_path / "set", Silent())
    assert held(tmp_path / "set") == LIFTED


def test_modes_come_from_the_umask_not_from_the_archive(tmp_path: Path) -> None:
    archive = written(tmp_path / "a", tar(entry("d", kind=tarfile.DIRTYPE), entry("d/x", b"1"), entry("y")))
    before = os.umask(0o027)
    try:
        unpack(archive, tmp_path / "set", Silent())
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "set").rglob("*")}
    assert modes == {"d": 0o750, "x": 0o640, "y": 0o640}
    assert stat.S_IMODE((tmp_path / "set").stat().st_mode) == 0o750


def test_what_macos_adds_is_left_out(tmp_path: Path) -> None:
    files = {"set/a.jpg": b"1", "set/._a.jpg": b"2", "__MACOSX/set/._a.jpg": b"3", "set/.DS_Store": b"4"}
    for name, data in (("tar", tar_of(files)), ("zip", zip_of(files))):
        assert unpack(written(tmp_path / "a", data), tmp_path / name, Silent()) == Unpacked(files=1, size=1)
        assert held(tmp_path / name) == {"a.jpg": b"1"}


def test_only_a_sole_folder_is_lifted_and_only_one(tmp_path: Path) -> None:
    trees = {
        "within itself": ({"x/x/x": b"1"}, {"x/x": b"1"}),
        "a file beside it": ({"x/y": b"1", "z": b"2"}, {"x/y": b"1", "z": b"2"}),
        "a sole file": ({"z": b"2"}, {"z": b"2"}),
    }
    for name, (given, expected) in trees.items():
        unpack(written(tmp_path / "a", tar_of(given)), tmp_path / name, Silent())
        assert held(tmp_path / name) == expected


# A zip's own list of sizes may not lie so that more comes out than was said: what comes is cut, not written on.
LESS = "a zip that says less"


@pytest.fixture
def around(tmp_path: Path) -> Iterator[Path]:
    """A folder with one beside it that hostile archives aim at; only the archive may be new afterwards."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_text("kept")
    (tmp_path / "sets").mkdir()
    yield tmp_path
    assert (tmp_path / "outside" / "kept").read_text() == "kept"


@pytest.mark.parametrize("case", [name for name in HOSTILE if name != LESS])
def test_a_hostile_archive_leaves_nothing(case: str, around: Path) -> None:
    data, reason = HOSTILE[case]
    archive = written(around / "archive", data)
    before = snapshot(around / "outside"), snapshot(archive), sorted(around.rglob("*"))
    with pytest.raises(DataError) as raised:
        unpack(archive, around / "sets" / "new", Silent(), limits=LIMITS)
    said = str(raised.value)
    assert said.startswith(f"{archive} cannot be unpacked: ")
    assert reason in said
    assert said.isprintable()
    assert (snapshot(around / "outside"), snapshot(archive), sorted(around.rglob("*"))) == before


def test_a_zip_that_says_less_gives_no_more_than_it_says(around: Path) -> None:
    archive = written(around / "archive", HOSTILE[LESS][0])
    assert unpack(archive, around / "sets" / "new", Silent(), limits=LIMITS).size == 10
    assert held(around / "sets" / "new") == {"a": NOISE[:10]}


@pytest.mark.parametrize("kind", [*PACKERS, "zip"])
def test_cut_anywhere_it_is_refused(kind: str, around: Path) -> None:
    whole_one = zip_of(TREE) if kind == "zip" else PACKERS[kind](tar_of(TREE, tarfile.GNU_FORMAT))
    # A tar ends with blocks of zeros: its last header is followed by one at least.
    end = len(whole_one) - (10_240 if kind == "tar" else 1)
    random.seed(0)
    for size in [*random.sample(range(1, end), 40), end]:
        with pytest.raises(DataError, match=r"cannot be unpacked: .*; get it again"):
            unpack(written(around / "archive", whole_one[:size]), around / "sets" / "new", Silent())
    assert os.listdir(around / "sets") == []


@pytest.mark.parametrize("kind", ["tar", "gz", "xz", "bz2", "zip"])
def test_damage_is_refused_or_harmless(kind: str, around: Path) -> None:
    """A changed byte in a compressed archive is seen; in none does it get out, or raise anything else."""
    good = zip_of(TREE) if kind == "zip" else PACKERS[kind](tar_of(TREE, tarfile.PAX_FORMAT))
    turn = random.Random(1)
    target, passed = around / "sets" / "new", 0
    for _ in range(150):
        data = bytearray(good)
        data[turn.randrange(min(len(data), 3000))] ^= 1 << turn.randrange(8)
        try:
            unpack(written(around / "archive", bytes(data)), target, Silent(), limits=LIMITS)
        except DataError:
            assert not target.exists()
        else:
            passed += 1
            assert kind in ("tar", "zip") or held(target) == LIFTED
            shutil.rmtree(target)
    assert passed < (150 if kind in ("tar", "zip") else 20)
    assert os.listdir(around / "sets") == []


MEMORY = """
import resource, sys
from pathlib import Path
from vitcli.core.reporter import Silent
from vitcli.fetch.unpack import unpack
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    unpack(Path(sys.argv[1]), Path(sys.argv[2]), Silent())
finally:
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_memory_stays_small(tmp_path: Path) -> None:
    """60 MB in one member, at a ratio that is allowed: read in pieces of 256 kB."""
    files = {"a": b"".join(NOISE[:250_000] for _ in range(240))}
    archive = written(tmp_path / "a", PACKERS["gz"](tar_of(files)))
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, archive, tmp_path / "set"], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 30
    assert (tmp_path / "set" / "a").stat().st_size == 60_000_000


def test_a_bomb_of_gigabytes_ends_at_once(around: Path) -> None:
    """10 GB of zeros in 10 MB: not even 1 per cent of them are unfolded."""
    engine = zlib.compressobj(9, wbits=31)
    sizes = entry("a")
    head = bytearray(sizes)
    head[124:136] = b"\x80" + (10 * 1000**3).to_bytes(11, "big")
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    data = engine.compress(bytes(head)) + b"".join(engine.compress(bytes(MEGABYTE)) for _ in range(400))
    archive = written(around / "archive", data + engine.flush())

    with pytest.raises(DataError, match="past 200 to 1") as raised:
        unpack(archive, around / "sets" / "new", Silent())
    read = re.search(r"([0-9,]+) bytes of it unfold", str(raised.value))
    assert read is not None
    assert int(read[1].replace(",", "")) < 300_000 < archive.stat().st_size
    assert os.listdir(around / "sets") == []


def test_progress_moves_within_a_file_and_ends_at_the_archives_size(tmp_path: Path) -> None:
    for data in (tar_of({"a": NOISE * 5}), PACKERS["gz"](tar_of({"a": NOISE * 5})), zip_of({"a": NOISE * 5})):
        told: list[int] = []

        class Listening(Silent):
            @contextmanager
            def track(self, title: str, total: int, unit: str) -> Iterator[Advance]:
                assert (title, total, unit) == ("unpacking a", 5, "MB")
                yield lambda amount, detail="": told.append(amount)  # noqa: B023 - used within the turn

        unpack(written(tmp_path / "a", data), tmp_path / f"set{len(data)}", Listening())
        assert sum(told) in (4, 5)
        assert len(told) >= 4


def test_the_folder_must_be_new(tmp_path: Path) -> None:
    archive = written(tmp_path / "a", tar_of(TREE))
    (tmp_path / "dir").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("none")
    for name in ("dir", "file", "link"):
        with pytest.raises(RequestError, match=f"{name} exists; move it away"):
            unpack(archive, tmp_path / name, Silent())


def test_a_folder_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="appeared meanwhile"), whole(tmp_path / "set") as temporary:
        (temporary / "new").touch()
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "theirs").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["set", "theirs"]


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def stopped(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("how", "error"), [(full, VitError), (stopped, KeyboardInterrupt)])
def test_whatever_stops_it_nothing_is_left(
    how: Callable[..., None], error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = written(tmp_path / "a", tar_of(TREE))
    monkeypatch.setattr(os, "sync", how)
    with pytest.raises(error) as raised:
        unpack(archive, tmp_path / "set", Silent())
    if error is VitError:
        assert str(raised.value).startswith(f"no room left in {tmp_path}")
        assert isinstance(raised.value, VitError) and raised.value.exit_code == 1
    assert os.listdir(tmp_path) == ["a"]


def test_a_full_disk_is_told_in_a_line(tmp_path: Path) -> None:
    """Really full for this process: no file may grow past 100 kB."""
    archive = written(tmp_path / "a", tar_of(TREE))
    code = MEMORY.replace(
        "try:", "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\ntry:"
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, archive, tmp_path / "set"], capture_output=True, text=True
    )
    assert "File too large" in done.stderr
    assert os.listdir(tmp_path) == ["a"]


def test_no_archive_to_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        unpack(tmp_path / "none", tmp_path / "set", Silent())
    with pytest.raises(IsADirectoryError):
        unpack(tmp_path, tmp_path / "set", Silent())
    assert os.listdir(tmp_path) == []


def test_is_archive_reads_content(tmp_path: Path) -> None:
    for data in (b"", b"<html>", PACKERS["gz"](b"not a tar"), PACKERS["gz"](tar_of(TREE))[:30], bytes(1024)):
        assert not is_archive(written(tmp_path / "a.tar.gz", data))
    assert not is_archive(tmp_path)
    assert not is_archive(tmp_path / "none.zip")


def test_two_archives_into_one_folder(tmp_path: Path) -> None:
    """As a set of several archives is installed: each is counted by itself, and nothing overwrites."""
    with whole(tmp_path / "set") as temporary:
        first = extract(written(tmp_path / "a", tar_of({"x/1": b"1"})), temporary, Silent())
        extract(written(tmp_path / "a", tar_of({"y/2": b"2"})), temporary, Silent())
        lift(temporary)
    assert first == Unpacked(files=1, size=1)
    assert held(tmp_path / "set") == {"x/1": b"1", "y/2": b"2"}


def test_sweep_removes_what_was_left_and_no_more(tmp_path: Path) -> None:
    for name in (".a[b].17.tmp", ".a[b].x.tmp", ".a[b].tmp", ".ab.18.tmp", ".a[b].c.19.tmp"):
        (tmp_path / name).mkdir()
    sweep(tmp_path / "a[b]")
    assert sorted(os.listdir(tmp_path)) == [".a[b].c.19.tmp", ".a[b].tmp", ".a[b].x.tmp", ".ab.18.tmp"]
