"""`vit predict`."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitcli.commands import options

if TYPE_CHECKING:
    from vitcli.jobs.predict import Outcome


def predict(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE|DIR ...", help="Images and folders; '-' reads paths from stdin."),
    ],
    weights: Annotated[
        str | None,
        typer.Option("--weights", "-w", metavar="RUN|FILE|ID", help="Default: the newest finished run."),
    ] = None,
    runs: options.Runs = Path("runs"),
    backend: options.Backend = None,
    device: options.Device = None,
    precision: options.Precision = None,
    top: Annotated[int, typer.Option("--top", help="How many classes to name.")] = 5,
    as_json: options.Json = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV to stdout: path,rank,class,index,probability.")
    ] = False,
) -> None:
    """Name the most probable classes of images."""
    from vitcli import render
    from vitcli.core.errors import RequestError
    from vitcli.jobs.predict import predict as job

    if as_json and as_csv:
        raise RequestError("--json and --csv: choose one")
    given = [path for named in paths for path in (_listed() if named == "-" else [named])]
    outcomes = job(
        given,
        weights=weights,
        runs=runs,
        top=top,
        backend=backend,
        device=device,
        precision=precision.value if precision else "float32",
        reporter=render.ConsoleReporter(),
    )
    found: list[Outcome] = []
    show = _csv if as_csv else _nothing if as_json else _lines
    for outcome in show(outcomes):
        found.append(outcome)
        if outcome.error is not None:
            render.error_line(outcome.error)
    failed = sum(outcome.error is not None for outcome in found)
    if as_json and failed < len(found):
        options.print_json([_record(outcome) for outcome in found])
    if failed < len(found):
        render.next_command(_evaluation(weights))
    if failed:
        raise typer.Exit(2 if failed == len(found) else 1)


def _evaluation(weights: str | None) -> str:
    """Returns the command that measures weights; another program's do not say on which images."""
    from vitcli.jobs.evaluate import says_its_data

    return f"vit evaluate {weights or 'RUN'}" + ("" if says_its_data(weights) else " --data DIR")


def _listed() -> list[str]:
    """Returns the paths that stdin lists, one a line, whatever their bytes."""
    from vitcli.core.errors import RequestError

    if sys.stdin is None:  # so Python starts where the system has closed it
        raise RequestError(
            "'-' reads paths from stdin, which is closed; list them, or name images and folders"
        )
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")
    listed = [line.rstrip("\n") for line in sys.stdin if line.strip()]
    if not listed:
        raise RequestError("'-' reads paths from stdin, which lists none; one a line, as find prints them")
    return listed


def _record(outcome: Outcome) -> dict[str, Any]:
    if outcome.error is not None:
        return {"path": str(outcome.path), "error": outcome.error}
    predictions = [
        {"class": p.name, "index": p.index, "probability": p.probability} for p in outcome.predictions
    ]
    return {"path": str(outcome.path), "predictions": predictions}


def _nothing(outcomes: Iterable[Outcome]) -> Iterable[Outcome]:
    return outcomes


def _lines(outcomes: Iterable[Outcome]) -> Iterable[Outcome]:
    """Prints a line an image."""
    for outcome in outcomes:
        if outcome.error is None:
            named = "  ".join(f"{p.name} {p.probability:.1%}" for p in outcome.predictions)
            typer.echo(f"{outcome.path}: {named}")
        yield outcome


def _csv(outcomes: Iterable[Outcome]) -> Iterable[Outcome]:
    """Prints a row for each named class; the header goes before the first, so that a refusal prints nothing."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    header = [("path", "rank", "class", "index", "probability")]
    for outcome in outcomes:
        rows = [
            (outcome.path, rank, p.name, p.index, f"{p.probability:.6f}")
            for rank, p in enumerate(outcome.predictions, 1)
        ]
        if rows:
            writer.writerows([*header, *rows])
            header = []
        yield outcome
