"""Streams and signals, with real processes: pipes, terminals, odd names, Ctrl-C and SIGTERM."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import NoReturn

import pytest

from tests.cli.inputs import finished_run, image
from tests.cli.running import TINY, VIT, child, environment, here
from vitcli.core import registry

SECONDS = 60


INT, TERM = (signal.SIGINT, 130), (signal.SIGTERM, 143)


# Each signal once and each engine once; signals are taken around the engine, not by it.
@pytest.mark.parametrize(
    ("number", "code", "backend"),
    [
        pytest.param(*TERM, "torch", id="TERM-torch"),
        pytest.param(*INT, "jax", id="INT-jax"),
        pytest.param(*INT, "torch", id="INT-torch", marks=pytest.mark.slow),
        pytest.param(*TERM, "jax", id="TERM-jax", marks=pytest.mark.slow),
    ],
)
def test_stopped_training_keeps_its_weights(
    backend: str, number: signal.Signals, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("train", "-b", backend, "--name", "x", *TINY[1:], "train.epochs=5000")
    process = subprocess.Popen(
        [VIT, *asked],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(),
    )
    assert process.stderr is not None
    seen = ""
    while not seen.startswith("epoch   1/"):
        seen = process.stderr.readline()
        assert seen, "the run ended before its first epoch"
    process.send_signal(number)
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (code, "")
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "Traceback" not in err
    told = re.fullmatch(
        r"error: stopped after step (\d+) of 100000; the last weights are in runs/x/last\.safetensors\. "
        r"The best weights so far \(epoch \d+\) are in runs/x/model\.safetensors",
        errors[0],
    )
    assert told is not None, errors[0]
    records = [json.loads(line) for line in (tmp_path / "runs/x/metrics.jsonl").read_text().splitlines()]
    assert records[-1]["event"] == "interrupted"
    assert sum(record["event"] == "step" for record in records) == int(told[1])
    assert (tmp_path / "runs/x/curves.png").is_file()
    # Both files predict; a stopped run is not a finished one, so it is not taken by itself.
    monkeypatch.chdir(tmp_path)
    image(tmp_path / "a.png")
    for weights in ("runs/x/last.safetensors", "runs/x"):
        assert here("predict", "a.png", "-w", weights, "-b", backend).code == 0
    assert "no finished run in runs/" in here("predict", "a.png").err


def test_stop_before_training_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(name: str) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "load", interrupted)
    said = here("train", "-b", "torch")
    assert (said.code, said.out, said.err) == (130, "", "error: stopped\n")
    assert list(tmp_path.iterdir()) == []


def test_pipes_get_no_colour_and_no_carriage_returns(tmp_path: Path) -> None:
    loud = {"FORCE_COLOR": "1", "GITHUB_ACTIONS": "true", "COLUMNS": "40", "TERM": "xterm-256color"}
    for asked, code in (
        (("--help",), 0),
        (("train", "--help"), 0),
        (("recipes", "keys"), 0),
        (("recipes", "list"), 0),
        (("train", "digts"), 2),
        (("train", "-b", "torch", *TINY), 0),
    ):
        result = child(*asked, cwd=tmp_path, env=loud)
        assert result.code == code, result
        assert result.out + result.err
        assert not re.search("[\x1b\r]", result.out + result.err)


def test_narrow_screen(tmp_path: Path) -> None:
    weights = finished_run(tmp_path / "run")
    for asked in (("--help",), ("recipes", "keys"), ("summary", str(weights)), ("datasets", "list")):
        code, text = _on_a_terminal(*asked, cwd=tmp_path, COLUMNS="40")
        assert code == 0
        assert "Traceback" not in text
        boxed = [
            line for line in _plain(text).splitlines() if line[:1] in "╭│╰┏┃└"
        ]  # prose the terminal wraps
        assert boxed
        assert max(map(len, boxed)) <= 40


def test_terminal_gets_colour_unless_refused(tmp_path: Path) -> None:
    code, text = _on_a_terminal("train", "digts", cwd=tmp_path)
    assert code == 2
    assert text.startswith("\x1b[31merror: ")
    code, text = _on_a_terminal("train", "digts", cwd=tmp_path, NO_COLOR="1")
    assert code == 2
    assert "error: recipe 'digts'" in text
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", text)


def test_terminal_shows_progress(tmp_path: Path) -> None:
    code, text = _on_a_terminal(
        "train", "-b", "torch", *TINY[1:], "train.epochs=2", cwd=tmp_path, COLUMNS="100"
    )
    assert code == 0, text
    assert "training" in text
    assert "/2,514 images" in text  # two epochs of 1,257 images
    assert "images/s" in text
    assert "epoch   2/2" in text


@pytest.mark.parametrize(
    "asked",
    [("recipes", "keys"), ("recipes", "show", "digits"), ("summary", "digits", "--json")],
    ids=" ".join,
)
def test_closed_pipe_ends_quietly(asked: tuple[str, ...], tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [VIT, *asked], stdout=writer, stderr=subprocess.PIPE, cwd=tmp_path, env=environment()
    )
    os.close(writer)
    assert done.stderr == b""
    assert done.returncode in (0, 1, 128 + signal.SIGPIPE)


def test_head_takes_the_first_line(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{VIT} recipes keys | head -1", shell=True, capture_output=True, cwd=tmp_path, env=environment()
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"\n") == 1


def test_names_that_are_no_text(tmp_path: Path) -> None:
    # A byte that is no UTF-8, and a line feed: both are allowed in a file's name.
    strict = {"PYTHONIOENCODING": "utf-8:strict", "PYTHONUTF8": "1"}
    odd = os.fsdecode(b"\xff.png")
    for name in (odd, "é ñ.png", "two\nlines.png"):
        image(tmp_path / name)
    common = ("-w", str(finished_run(tmp_path / "run")), "-b", "torch")
    result = child("predict", odd, "é ñ.png", "two\nlines.png", *common, "--json", cwd=tmp_path, env=strict)
    assert result.code == 0, result.err
    assert [entry["path"] for entry in json.loads(result.out)] == [odd, "é ñ.png", "two\nlines.png"]
    result = child("predict", "-", *common, cwd=tmp_path, env=strict, stdin=f"{odd}\n")
    assert result.code == 0, result.err
    assert result.out.startswith(f"{odd}: ")
    result = child("predict", os.fsdecode(b"\xfe.png"), *common, cwd=tmp_path, env=strict)
    assert result.code == 2
    assert "cannot read image" in result.err
    assert "Traceback" not in result.err


def test_output_in_ascii(tmp_path: Path) -> None:
    result = child("recipes", "list", cwd=tmp_path, env={"PYTHONIOENCODING": "ascii:strict"})
    assert result.code == 0, result.err
    assert result.out.isascii()
    assert "digits" in result.out


def _on_a_terminal(*asked: str, cwd: Path, **changes: str) -> tuple[int, str]:
    """Runs `vit` with both streams on a terminal; returns its exit code and what was shown."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [VIT, *asked],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=cwd,
        env=environment(TERM="xterm-256color", **changes),
    )
    os.close(theirs)
    shown = b""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux: the other side is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    return process.wait(timeout=SECONDS), shown.decode()


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
