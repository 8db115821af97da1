"""A download in a process of its own: what to do comes as JSON, and what happened is printed as JSON."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any
from unittest import mock

from vitcli.core.errors import VitError
from vitcli.fetch.download import Patience, Remote, download


class Told:
    """A reporter that keeps what it is told, and may leave a file to show that it was."""

    def __init__(self, heard: str | None = None) -> None:
        self.heard = heard
        self.notes: list[str] = []
        self.tracks: list[tuple[str, int, str]] = []
        self.advanced = 0

    def note(self, text: str) -> None:
        self.notes.append(text)
        if self.heard:
            Path(self.heard, str(os.getpid())).touch()

    def track(self, title: str, total: int, unit: str) -> Any:
        self.tracks.append((title, total, unit))

        def advance(amount: int, detail: str = "") -> None:
            self.advanced += amount

        return nullcontext(advance)


def start(remote: Remote, folder: Path, patience: Patience | None = None, **options: Any) -> Popen[str]:
    """Starts a process that downloads; options: see `_prepare`."""
    asked = {"remote": asdict(remote), "folder": str(folder), "patience": patience and asdict(patience)}
    return Popen([sys.executable, __file__, json.dumps(asked | options)], stdout=PIPE, stderr=PIPE, text=True)


def result(process: Popen[str], seconds: float = 30) -> dict[str, Any]:
    """Waits for a process and returns what it printed: code, error, notes."""
    out, err = process.communicate(timeout=seconds)
    assert not err, err
    found: dict[str, Any] = json.loads(out)
    return found


def _prepare(asked: dict[str, Any]) -> None:
    """Makes the process as asked: limit (bytes of a file), unlocked, unflocked, ordinary (root's rights end).

    heard: a folder in which it makes a file when it tells something.
    """
    if limit := asked.get("limit"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if asked.get("unlocked"):
        mock.patch("vitcli.fetch.download.only_one", lambda *_: nullcontext()).start()
    if asked.get("unflocked"):
        mock.patch("vitcli.fetch.partial.try_lock", lambda _: None).start()
    if asked.get("ordinary") and os.geteuid() == 0:
        # capset of linux/capability.h, version 3: no capability at all
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        assert ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)()) == 0


def main() -> None:
    asked = json.loads(sys.argv[1])
    _prepare(asked)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    patience = Patience(**asked["patience"]) if asked["patience"] else Patience()
    told, code, error = Told(asked.get("heard")), 0, ""
    try:
        download(Remote(**asked["remote"]), Path(asked["folder"]), told, patience=patience)
    except VitError as failure:
        code, error = failure.exit_code, str(failure)
    except KeyboardInterrupt:
        code = 130
    print(json.dumps({"code": code, "error": error, "notes": told.notes}))


if __name__ == "__main__":
    main()
