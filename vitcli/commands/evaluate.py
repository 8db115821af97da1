"""`vit evaluate`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitcli.commands import options

if TYPE_CHECKING:
    from vitcli.jobs.evaluate import EvaluateResult


def evaluate(
    weights: Annotated[
        str,
        typer.Argument(
            metavar="RUN|FILE|ID", help="A run, a weights file in any layout, or a published name."
        ),
    ],
    data: options.Data = None,
    split: Annotated[str, typer.Option("--split", help="train, validation or test.")] = "validation",
    backend: options.Backend = None,
    device: options.Device = None,
    precision: options.Precision = None,
    skip_bad: options.SkipBad = None,
    confusion: Annotated[
        Path | None,
        typer.Option("--confusion", metavar="FILE.png", help="Draw which class was taken for which."),
    ] = None,
    normalise: Annotated[
        bool, typer.Option("--normalise", help="Draw parts of each true class instead of images.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Measure loss, top-1, top-5, accuracy by class and confusion on one part of a data set.

    Example: vit evaluate runs/digits-jax --split test --confusion confusion.png --normalise
    """
    from vitcli import render
    from vitcli.core.errors import RequestError
    from vitcli.jobs.evaluate import evaluate as job

    if confusion is not None:
        from vitcli.report.canvas import check_target

        check_target(confusion)
    elif normalise:
        raise RequestError("--normalise is for the picture; say --confusion FILE.png too")
    result = job(
        weights,
        data=data,
        split=split,
        backend=backend,
        device=device,
        precision=precision.value if precision else "float32",
        skip_bad=skip_bad,
        reporter=render.ConsoleReporter(),
    )
    found = result.evaluation
    if confusion is not None:
        _draw(result, confusion, normalise=normalise)
    if as_json:
        picture = {} if confusion is None else {"picture": str(confusion)}
        options.print_json(
            {"weights": str(result.weights), "data": result.data, "split": split, **asdict(found), **picture}
        )
        return
    names = list(found.per_class)
    k = min(5, len(names))
    columns = ["class", "images", "top-1", *([*names] if len(names) <= 15 else ["most confused with"])]
    rows = []
    for name, counts in zip(names, found.confusion, strict=True):
        accuracy = found.per_class[name]
        shown = [str(count or "") for count in counts] if len(names) <= 15 else [_worst(names, name, counts)]
        rows.append([name, str(sum(counts)), "-" if accuracy is None else f"{accuracy:.1%}", *shown])
    title = (
        f"{result.split} of {result.data}, {found.count:,} images: "
        f"loss {found.loss:.4f}, top-1 {found.top1:.2%}, top-{k} {found.top5:.2%}"
    )
    console = render.out()
    console.print(title, soft_wrap=True)
    console.print(
        render.table("rows: true class; columns: predicted", columns, rows, right=range(1, len(columns)))
    )
    if confusion is not None:
        typer.echo(f"{confusion} written")
    render.next_command(f"vit predict IMAGE --weights {weights}")


def _draw(result: EvaluateResult, target: Path, *, normalise: bool) -> None:
    """Draws the confusion matrix into a file."""
    from vitcli.report.canvas import one_line, save
    from vitcli.report.confusion import confusion

    found = result.evaluation
    title = f"{result.split} of {one_line(result.data, 40)}, {found.count:,} images: top-1 {found.top1:.2%}"
    save(confusion(found.confusion, list(found.per_class), title=title, normalise=normalise), target)


def _worst(names: list[str], own: str, counts: list[int]) -> str:
    """Returns the class that one class is most often taken for."""
    wrong = {name: count for name, count in zip(names, counts, strict=True) if name != own and count}
    return "" if not wrong else "{} ({})".format(*max(wrong.items(), key=lambda item: item[1]))
