"""One at a time where locks work, and on with the work where they do not."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.fetch.child import Told
from vitcli.fetch.lock import only_one, try_lock


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "set"


@pytest.fixture
def held(target: Path) -> Path:
    return target.with_name(".set.lock")


def take(held: Path, text: str) -> int:
    """Locks the file as another process would, and signs it."""
    handle = os.open(held, os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    os.write(handle, text.encode())
    return handle


def dead() -> int:
    """A process number that no process has."""
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def test_a_lock_is_signed_and_leaves_nothing(target: Path, held: Path, told: Told) -> None:
    with only_one(target, told):
        assert held.read_text() == f"{os.getpid()} {socket.gethostname()}"
    assert list(target.parent.iterdir()) == []
    with pytest.raises(KeyError), only_one(target, told):
        raise KeyError
    assert list(target.parent.iterdir()) == []
    assert told.notes == []


def test_one_waits_and_says_for_whom(target: Path, held: Path, told: Told) -> None:
    handle = take(held, f"{os.getpid()} {socket.gethostname()}")
    timer = threading.Timer(1.1, os.close, [handle])
    timer.start()
    begin = time.monotonic()
    with only_one(target, told, told_every=0.5):
        assert 1 < time.monotonic() - begin < 1.8
    assert len(told.notes) in (2, 3)
    words = f"process {os.getpid()} on {socket.gethostname()}"
    assert set(told.notes) == {f"set: waiting for {words}, which is at work on it"}


@pytest.mark.parametrize("text", ["", "?", "1 elsewhere", "99999999999999999999 here"])
def test_whoever_signed_is_waited_for(target: Path, held: Path, told: Told, text: str) -> None:
    handle = take(held, text)
    timer = threading.Timer(0.6, os.close, [handle])
    timer.start()
    begin = time.monotonic()
    with only_one(target, told):
        assert time.monotonic() - begin > 0.5


def test_the_lock_of_a_dead_process_is_no_lock(target: Path, held: Path, told: Told) -> None:
    held.write_text(f"{dead()} {socket.gethostname()} and more")
    with only_one(target, told):
        assert held.read_text() == f"{os.getpid()} {socket.gethostname()}"
    # A child of the dead one still has it open.
    handle = take(held, f"{dead()} {socket.gethostname()}")
    begin = time.monotonic()
    with only_one(target, told):
        assert time.monotonic() - begin < 1
    assert held.exists()  # it is not ours to remove
    os.close(handle)


def test_a_new_holder_may_not_have_signed_yet(target: Path, held: Path, told: Told) -> None:
    handle = take(held, f"{dead()} {socket.gethostname()}")
    for seconds, action in (
        (0.1, lambda: os.pwrite(handle, f"{os.getpid()} {socket.gethostname()}".encode(), 0)),
        (0.8, lambda: os.close(handle)),
    ):
        threading.Timer(seconds, action).start()
    begin = time.monotonic()
    with only_one(target, told):
        assert time.monotonic() - begin > 0.7


def test_a_number_used_again_on_another_machine_is_alive(target: Path, held: Path, told: Told) -> None:
    handle = take(held, f"{dead()} elsewhere")
    timer = threading.Timer(0.7, os.close, [handle])
    timer.start()
    begin = time.monotonic()
    with only_one(target, told):
        assert time.monotonic() - begin > 0.6


@pytest.mark.parametrize("obstacle", ["no flock", "no folder", "a folder of that name"])
def test_where_locks_fail_the_work_goes_on(
    target: Path, held: Path, told: Told, obstacle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(handle: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    if obstacle == "no flock":
        monkeypatch.setattr(fcntl, "flock", refused)
    elif obstacle == "no folder":
        target = target.parent / "absent" / "set"
    else:
        held.mkdir()
    with only_one(target, told):
        pass
    assert told.notes == []


def test_a_lock_that_was_removed_while_it_was_opened_is_none(
    target: Path, held: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[int] = []

    def removing(handle: int) -> bool | None:
        if not removed:
            removed.append(os.fstat(handle).st_ino)
            held.unlink()
        return try_lock(handle)

    monkeypatch.setattr("vitcli.fetch.lock.try_lock", removing)
    with only_one(target, told):
        assert held.exists()


def test_many_never_hold_it_together(target: Path, told: Told) -> None:
    inside, worst, entered = 0, 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, worst, entered
        for _ in range(3):
            with only_one(target, told):
                with guard:
                    inside, entered = inside + 1, entered + 1
                    worst = max(worst, inside)
                time.sleep(0.002)
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (worst, entered) == (1, 18)
