"""How far a job is, where there is no terminal and where there is one."""

from __future__ import annotations

import re

import pytest
from rich.console import Console

from vitcli import render


@pytest.mark.parametrize(
    ("total", "unit", "told"),
    [
        (4_000_000, "bytes", r"x 1\.5/4\.0 MB, [\d,]+\.\d MB/s, 0 s left"),
        (0, "bytes", r"x 1\.5 MB, [\d,]+\.\d MB/s"),
        (4_000_000, "images", r"x 1,500,000/4,000,000 images, [\d,]+\.\d images/s, 0 s left"),
        (0, "images", r"x 1,500,000 images, [\d,]+\.\d images/s"),
    ],
)
def test_a_line_counts_bytes_by_the_million(
    total: int, unit: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(render, "_QUIET", -1.0)
    with render.ConsoleReporter().track("x", total, unit) as advance:
        advance(1_500_000)
    assert re.fullmatch(told, capsys.readouterr().err.strip())


def test_lines_are_few(capsys: pytest.CaptureFixture[str]) -> None:
    with render.ConsoleReporter().track("x", 100_000, "bytes") as advance:
        for _ in range(1000):
            advance(100)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("total", "told"), [(4_000_000, "1.5/4.0 MB"), (0, "1.5 MB")])
def test_a_bar_counts_bytes_by_the_million(
    total: int, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(render, "talk", lambda: Console(stderr=True, force_terminal=True, width=160))
    with render.ConsoleReporter().track("x", total, "bytes") as advance:
        advance(1_500_000)
    shown = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert f"{told} " in shown
    assert "MB/s" in shown
