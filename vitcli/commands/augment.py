"""`vit augment`."""

from __future__ import annotations

from math import ceil, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitcli.commands import options

if TYPE_CHECKING:
    from vitcli.jobs.augment import Augmented


def augment(
    source: Annotated[
        str, typer.Argument(metavar="IMAGE|NAME|DIR|FILE", help="An image, or a data set as for train.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[key=value ...]", help="As in augment.rotate=30.")
    ] = None,
    recipe: Annotated[
        str, typer.Option("--recipe", "-r", metavar="NAME|FILE", help="Whose augmentation.")
    ] = "folder",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.png", help="Default: NAME-augmented.png, here."),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, max=99, help="Draws of an image, or images of a set.")
    ] = None,
    backend: options.Backend = None,
    device: options.Device = None,
    as_json: options.Json = False,
) -> None:
    """Draw what a recipe's training augmentation makes of an image, or of some images of a data set.

    The draws are those of training's first epochs, by the engine itself. Example: vit augment cat.jpg --recipe cifar10
    """
    from vitcli import render
    from vitcli.jobs.augment import augment as job
    from vitcli.report.canvas import check_target, one_line, save
    from vitcli.report.grid import grid

    target = output or Path(f"{Path(source).resolve().stem or 'data'}-augmented.png")
    check_target(target)
    found = job(source, recipe=recipe, overrides=overrides or [], count=count, backend=backend, device=device)
    images, titles, columns = _cells(found)
    heading = f"{one_line(source, 50)} under {one_line(recipe, 30)}, on {found.backend}"
    save(grid(images, titles, columns, heading), target)
    if as_json:
        images_drawn, draws = found.draws.shape[:2]
        options.print_json(
            {"picture": str(target), "backend": found.backend, "images": images_drawn, "draws": draws}
        )
        return
    typer.echo(f"{target} written")
    render.next_command(f"vit train {recipe} --data DATA")


def _cells(found: Augmented) -> tuple[list[Any], list[str], int]:
    """Returns the cells of the picture: each image, then its draws."""
    images: list[Any] = []
    titles: list[str] = []
    for original, title, draws in zip(found.originals, found.titles, found.draws, strict=True):
        images += [original, *draws]
        titles += [title, *(f"epoch {epoch + 1}" for epoch in range(len(draws)))]
    columns = 1 + found.draws.shape[1] if len(found.titles) > 1 else ceil(sqrt(len(images)))
    return images, titles, columns
