"""Several processes at once, and processes that are killed, stopped, or limited."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fetch.child import Told, result, start
from tests.fetch.server import PIECE, Act, Server
from vitcli.fetch.download import Remote, download

Made = Callable[[Server], Remote]


@pytest.mark.parametrize("options", [{}, {"unlocked": True}, {"unlocked": True, "unflocked": True}])
def test_four_at_once_end_with_one_good_file(
    content: bytes, remote: Made, tmp_path: Path, folder: Path, options: dict[str, Any]
) -> None:
    heard = tmp_path / "heard"
    heard.mkdir()
    asks = 4 if options else 1  # without the lock each for itself
    with Server(content) as server:
        server.gate.clear()
        children = [start(remote(server), folder, heard=str(heard), **options) for _ in range(4)]
        while len(server.requests) < asks or len(list(heard.iterdir())) < 4 - asks:
            time.sleep(0.01)
        server.gate.set()
        found = [result(child) for child in children]
        assert [each["code"] for each in found] == [0] * 4, found
        assert server.ranges == [None] * asks
        assert server.total == asks * len(content)
    assert (folder / "file.bin").read_bytes() == content
    assert list(folder.iterdir()) == [folder / "file.bin"]
    waited = [note for each in found for note in each["notes"]]
    assert len(waited) == (0 if options else 3)
    assert all("file.bin: waiting for process" in note for note in waited)


def test_killed_at_any_moment_it_goes_on(tmp_path: Path) -> None:
    moments = random.Random(7)
    # 98 pieces in about 0.35 seconds; some kills come before the first, some after the last.
    content = moments.randbytes(800_003)
    digest = hashlib.sha256(content).hexdigest()
    delays = [moments.uniform(-0.05, 0.4) for _ in range(20)]
    partly = 0

    def sequence(number: int) -> None:
        nonlocal partly
        path = f"/{number}"
        asked = Remote(name="file.bin", url=server.url(path), size=len(content), sha256=digest)
        folder = tmp_path / str(number)
        child = start(asked, folder)
        try:
            while server.sent.get(path) is None and child.poll() is None and delays[number] >= 0:
                time.sleep(0.005)
            time.sleep(abs(delays[number]))
        finally:
            child.kill()
            child.communicate()
        part = folder / ".file.bin.part"
        partly += part.exists() and part.stat().st_size > 0
        told = Told()
        assert download(asked, folder, told).read_bytes() == content
        assert len(told.notes) <= 1  # no doubt about what was kept
        # Killed between the file's name and the end of its lock, it leaves the lock file, which holds nothing.
        assert {each.name for each in folder.iterdir()} - {".file.bin.lock"} == {"file.bin"}
        assert server.sent[path] <= 1.2 * len(content)

    def has(path: str) -> int:
        part = tmp_path / path[1:] / ".file.bin.part"
        with suppress(FileNotFoundError):
            return part.stat().st_size
        return 0

    with Server(content, usual=Act(pause=0.003)) as server, ThreadPoolExecutor(4) as threads:
        server.has = has
        list(threads.map(sequence, range(20)))
    assert partly >= 10


def test_ctrl_c_keeps_what_came(content: bytes, remote: Made, folder: Path) -> None:
    with Server(content, Act(stall=50_000)) as server:
        child = start(remote(server), folder)
        while not (part := folder / ".file.bin.part").exists() or part.stat().st_size < 50_000:
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        assert result(child, 3)["code"] == 130
        assert part.read_bytes() == content[:50_000]
        download(remote(server), folder, Told())
        assert server.total <= len(content) + PIECE


def test_a_full_disk_is_told_and_what_came_is_kept(
    content: bytes, remote: Made, folder: Path, told: Told
) -> None:
    with Server(content) as server:
        found = result(start(remote(server), folder, limit=60_000))
        assert found["code"] == 1
        part = folder / ".file.bin.part"
        assert found["error"] == (
            f"cannot write {part}: File too large; make room, and the same command goes on from what has come"
        )
        assert part.read_bytes() == content[:60_000]
        assert download(remote(server), folder, told).read_bytes() == content
        assert server.ranges == [None, "bytes=60000-"]


@contextmanager
def disk(place: Path, size: int) -> Iterator[Path]:
    """A disk of its own, in memory."""
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "vit-test", place], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root of Linux mounts a disk")
def test_a_small_disk(content: bytes, remote: Made, tmp_path: Path) -> None:
    with Server(content) as server, disk(tmp_path / "disk", 64 * 1024) as place:
        found = result(start(remote(server), place / "new"))
        assert (found["code"], len(server.requests)) == (1, 0)
        assert found["error"].startswith(f"{place}/new needs 0.1 MB more, 0.1 MB are free; make room")
        # Of unsaid size and length, it is the disk that ends it.
        server.acts.append(Act(length=None))
        found = result(start(replace(remote(server), size=None), place))
        assert found["code"] == 1
        part = place / ".file.bin.part"
        assert f"cannot write {part}: No space left on device; make room" in found["error"]
        kept = part.read_bytes()
        assert len(kept) > 40_000
        assert content.startswith(kept)
        # There is room again.
        subprocess.run(["mount", "-o", "remount,size=512k", place], check=True)
        assert result(start(remote(server), place))["code"] == 0
        assert (place / "file.bin").read_bytes() == content
        assert server.ranges[1:] == [f"bytes={len(kept)}-"]
        (place / "file.bin").unlink()
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        found = result(start(remote(server), place))
        assert found["code"] == 2
        assert found["error"] == (
            f"cannot write {part}: Read-only file system; choose a folder in which files can be made"
        )


def test_no_permission(content: bytes, remote: Made, folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o555)
    with Server(content) as server:
        for place in (folder, folder / "new"):
            found = result(start(remote(server), place, ordinary=True))
            assert found["code"] == 2
            assert found["error"].startswith(f"cannot write {place}")
            assert found["error"].endswith("Permission denied; choose a folder in which files can be made")
        folder.chmod(0)
        assert result(start(remote(server), folder / "new", ordinary=True))["code"] == 2
        assert server.requests == []
    folder.chmod(0o755)


def test_a_part_that_another_user_left_is_let_be(content: bytes, remote: Made, folder: Path) -> None:
    folder.mkdir(parents=True)
    part = folder / ".file.bin.part"
    part.write_bytes(content[:50_000])
    part.chmod(0o444)
    with Server(content) as server:
        assert result(start(remote(server), folder, ordinary=True))["code"] == 0
        assert server.ranges == [None]
    assert sorted(folder.iterdir()) == [part, folder / "file.bin"]
    assert part.read_bytes() == content[:50_000]


@pytest.mark.parametrize("wanted", ["below a file", "a folder of that name", "a link"])
def test_a_place_where_no_file_can_be(content: bytes, remote: Made, folder: Path, wanted: str) -> None:
    folder.mkdir(parents=True)
    place = folder
    if wanted == "below a file":
        (folder / "plain").touch()
        place, told = folder / "plain" / "new", f"cannot write {folder}/plain/new: Not a directory"
    elif wanted == "a link":
        (folder / ".file.bin.part").symlink_to(folder / "elsewhere")
        told = f"cannot write {folder}/.file.bin.part: Too many levels of symbolic links"
    else:
        (folder / "file.bin").mkdir()
        told = f"{folder}/file.bin is a folder, where the file file.bin is to be"
    with Server(content) as server:
        found = result(start(remote(server), place))
        assert server.requests == []
    assert found["code"] == 2
    assert found["error"].startswith(told)
    assert "\n" not in found["error"]


def test_no_array_library_and_no_rich_is_loaded() -> None:
    code = "import sys; import vitcli.fetch.download; print(sorted({'httpx', 'numpy', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
