"""`vit report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitcli.commands import options


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN ...", help="Run folders, finished or not.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.png", help="Default, of one run: RUN/curves.png."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Draw the curves of a run, or of several runs in one picture: loss, and top-1 on validation.

    Examples: vit report runs/digits-jax; vit report runs/digits-jax runs/digits-torch -o both.png
    """
    from vitcli import render
    from vitcli.core.errors import RequestError

    if output is None and len(runs) > 1:
        raise RequestError(f"where to draw {len(runs)} runs? say -o FILE.png")
    picture = draw_curves(runs, output)
    if as_json:
        options.print_json({"picture": str(picture), "runs": [str(run) for run in runs]})
        return
    typer.echo(f"{picture} written")
    render.next_command(f"vit evaluate {runs[0]} --confusion confusion.png")


def draw_curves(runs: list[Path], output: Path | None = None) -> Path:
    """Draws runs over each other and returns the picture's path; of one run, curves.png in its folder.

    Raises:
        RequestError: a run is not there or has recorded no evaluation, or the picture may not be written there.
    """
    from vitcli.jobs.runs import CURVES, read_metrics
    from vitcli.report.canvas import check_target, save
    from vitcli.report.curves import curves, history

    names = [run.resolve().name for run in runs]
    if len(set(names)) < len(runs):
        names = [str(run) for run in runs]
    told = [history(name, read_metrics(run)) for name, run in zip(names, runs, strict=True)]
    target = output or runs[0] / CURVES
    check_target(target)
    save(curves(told), target)
    return target
