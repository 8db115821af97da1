"""`vit` run in this process (fast) or as a process of its own (as it is), with what it printed."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from unittest import mock

import typer.main

from vitcli import main

VIT = Path(sys.executable).with_name("vit")
ENGINES = {"jax", "torch", "vitcli_jax", "vitcli_torch"}
# Changes of a digits recipe that leave a model of 2,794 parameters and seconds of training.
TINY = (
    "train.epochs=1",
    "model.depth=1",
    "model.embed_dim=16",
    "model.num_heads=2",
    "model.mlp_dim=32",
)
# Its parameters by hand: patches 16 x 4 + 16, class token 16, positions 17 x 16,
# block (2 x 32) + (16 x 48 + 48) + (16 x 16 + 16) + (16 x 32 + 32) + (32 x 16 + 16), norm 32, head 170.
PARAMETERS = 80 + 16 + 272 + (64 + 816 + 272 + 544 + 528) + 32 + 170


# Typer reads the signatures of all commands for every call, which takes longer than most calls do.
_read_once = cache(typer.main.get_command)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run of `vit` left: exit code, both streams, and (of a child) which modules it had loaded."""

    code: int
    out: str
    err: str
    loaded: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def errors(self) -> list[str]:
        """The lines that tell an error."""
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


def here(*arguments: str | Path, stdin: str = "") -> Result:
    """Runs `vit` in this process, through the function that the installed script calls."""
    out, err = io.BytesIO(), io.BytesIO()
    with (
        redirect_stdout(io.TextIOWrapper(out, encoding="utf-8", write_through=True)),
        redirect_stderr(io.TextIOWrapper(err, encoding="utf-8", write_through=True)),
        mock.patch.object(sys, "argv", ["vit", *map(str, arguments)]),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")),
        mock.patch.object(typer.main, "get_command", _read_once),
        mock.patch.dict(os.environ),
    ):
        os.environ.pop("VIT_DEBUG", None)
        code = _exit_code()
        # Bytes, not text: reading text would turn a carriage return into a line feed.
        return Result(code=code, out=out.getvalue().decode(), err=err.getvalue().decode())


def child(
    *arguments: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    stdin: str = "",
    ordinary: bool = False,
) -> Result:
    """Runs `vit` as a process; `loaded` says which modules it had imported when it ended.

    `ordinary`: permissions of files hold for it, even where the tests are run by root.
    """
    with _reported(cwd) as report:
        done = subprocess.run(
            [VIT, *map(str, arguments)],
            capture_output=True,
            cwd=cwd,
            env=environment(
                VIT_TEST_LOADED=str(report), **({"VIT_TEST_ORDINARY": "1"} if ordinary else {}), **(env or {})
            ),
            input=stdin.encode(errors="surrogateescape"),
            timeout=120,
        )
        loaded = frozenset(report.read_text(encoding="utf-8").split())
    out, err = (stream.decode(errors="surrogateescape") for stream in (done.stdout, done.stderr))
    return Result(code=done.returncode, out=out, err=err, loaded=loaded)


def environment(**changes: str) -> dict[str, str]:
    """The environment of a child: ours without what changes output, and `child/sitecustomize.py` on its path."""
    kept = {key: value for key, value in os.environ.items() if key not in ("VIT_DEBUG", "FORCE_COLOR")}
    # Models this small gain nothing from threads, and lose much where another process wants the same cores.
    path = [str(Path(__file__).parent / "child"), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"}
    return {**kept, **own, **changes}


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file and folder below one, with its time and content: equal means that nothing was touched."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in [folder, *folder.rglob("*")]
    }


def _exit_code() -> int:
    try:
        main.run()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0


@contextmanager
def _reported(cwd: Path) -> Iterator[Path]:
    """A file beside the folder in which the child runs."""
    report = cwd.with_name(f"{cwd.name}.loaded")
    try:
        yield report
    finally:
        report.unlink(missing_ok=True)
