"""What a person sees: the only importer of rich. Tables go to stdout, talk and progress to stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from vitcli.core.reporter import Advance

# Seconds between lines of progress where there is no terminal.
_QUIET = 10.0
# Characters of a line of talk; messages quote values of files, which may be of any length.
_LONGEST = 1200


def out() -> Console:
    """Returns the console for results; colour on a terminal only."""
    return _console(stderr=False)


def talk() -> Console:
    """Returns the console for everything else."""
    return _console(stderr=True)


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()
) -> Table:
    """Returns a table; columns whose numbers are in `right` are aligned to the right."""
    made = Table(title=title or None, title_justify="left", header_style="bold")
    for position, column in enumerate(columns):
        made.add_column(column, justify="right" if position in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


class ConsoleReporter:
    """Notes as lines, and progress as a bar on a terminal or a line now and then elsewhere."""

    def __init__(self) -> None:
        self._console = talk()

    def note(self, text: str) -> None:
        """Tells one line."""
        self._console.print(_cut(text), soft_wrap=True)

    @contextmanager
    def track(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        """Shows `total` units of work being done."""
        if self._console.is_terminal:
            yield from self._bar(title, total, unit)
        else:
            yield from self._lines(title, total, unit)

    def _bar(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[reached]}"),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}"),
        )
        begin = time.perf_counter()
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(
                title, total=total or None, detail="", speed="", reached=_reached(0, total, unit)
            )

            def advance(amount: int, detail: str = "") -> None:
                done = progress.tasks[task].completed + amount
                speed = _speed(done / (time.perf_counter() - begin), unit)
                reached = _reached(done, total, unit)
                progress.update(task, advance=amount, detail=detail, speed=speed, reached=reached)

            yield advance

    def _lines(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        begin = last = time.perf_counter()
        done = 0

        def advance(amount: int, detail: str = "") -> None:
            nonlocal done, last
            done += amount
            now = time.perf_counter()
            if now - last > _QUIET and (done < total or not total):
                last = now
                left = f", {(now - begin) / done * (total - done):,.0f} s left" if total else ""
                told = f"{title} {_reached(done, total, unit)}, {_speed(done / (now - begin), unit)}{left}"
                self.note(f"{told} {detail}".rstrip())

        yield advance


def _reached(done: float, total: int, unit: str) -> str:
    """Returns how much of the work is done; bytes by the million."""
    if unit == "bytes":
        return f"{done / 1e6:,.1f}" + (f"/{total / 1e6:,.1f} MB" if total else " MB")
    return f"{done:,.0f}/{total:,} {unit}" if total else f"{done:,.0f} {unit}"


def _speed(rate: float, unit: str) -> str:
    return f"{rate / 1e6:,.1f} MB/s" if unit == "bytes" else f"{rate:,.1f} {unit}/s"


def next_command(text: str) -> None:
    """Names the natural next command, on stderr."""
    talk().print(f"next: {text}", soft_wrap=True)


def error_line(message: str) -> None:
    """Prints an error: one line on stderr."""
    talk().print(f"error: {_cut(' '.join(message.split()))}", soft_wrap=True, style="red")


def _cut(text: str) -> str:
    """Returns a text that quotes a whole file of somebody's without the middle."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 300]} ... {text[-295:]}"


def _console(*, stderr: bool) -> Console:
    # Rich would colour a pipe where FORCE_COLOR or a CI system's variable is set; we ask the stream alone.
    stream = sys.stderr if stderr else sys.stdout
    terminal = stream.isatty()
    return Console(
        stderr=stderr, force_terminal=terminal, width=None if terminal else 160, highlight=False, markup=False
    )
