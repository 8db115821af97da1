"""`vit datasets`."""

from __future__ import annotations

from dataclasses import asdict
from math import ceil, sqrt
from pathlib import Path
from typing import Annotated

import typer

from vitcli.commands import options
from vitcli.commands.bench import bench
from vitcli.commands.scan import scan

app = typer.Typer(help="Data sets known by name.", no_args_is_help=True)
app.command("scan")(scan)
app.command("bench")(bench)


@app.command("list")
def list_datasets(as_json: options.Json = False) -> None:
    """List the data sets known by name and where each would be read from."""
    from vitcli import render
    from vitcli.data.catalogue import CATALOGUE

    rows = []
    for entry in CATALOGUE.values():
        place = "built in" if entry.built_in else str(entry.place) if entry.place.exists() else "absent"
        rows.append([entry.name, entry.images, place])
    if as_json:
        options.print_json([{"name": name, "images": images, "place": place} for name, images, place in rows])
        return
    render.out().print(render.table("", ["name", "images", "place"], rows))
    render.next_command("vit datasets info NAME")


@app.command("info")
def info(
    name: Annotated[
        str, typer.Argument(metavar="NAME|DIR|CSV", help="A known set, or your own folder or CSV.")
    ],
    as_json: options.Json = False,
) -> None:
    """Tell what a data set holds: classes, counts, license, where to get it."""
    from vitcli import render

    facts = _facts(name)
    if as_json:
        options.print_json(facts)
        return
    told = {key: _words(value) for key, value in facts.items() if value}
    steps = told.pop("steps", None)
    width = max(len(key) for key in told)
    for key, text in told.items():
        typer.echo(f"{key.replace('_', ' '):<{width}}  {text}")
    if steps is not None:  # flush left, so that its commands can be copied
        typer.echo(f"\n{steps}")
    render.next_command(_train(name))


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME|DIR|CSV", help="As for info.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[data.key=value ...]", help="As in data.label_column=species."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.png", help="Default: NAME.png, here.")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="train, validation or test.")] = "train",
    count: Annotated[int, typer.Option("--count", min=1, max=100, help="Images to show.")] = 25,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=2**63 - 1, help="Another seed, other images.")
    ] = 0,
    as_json: options.Json = False,
) -> None:
    """Draw some images of a data set, each under its class: of every class as many as of another.

    Images keep their aspect. Example: vit datasets show photos --count 36 -o photos.png
    """
    from vitcli import render
    from vitcli.jobs.show import show as job
    from vitcli.report.canvas import check_target, one_line, save
    from vitcli.report.grid import grid

    target = output or Path(f"{_bare(Path(name).resolve()) or 'data'}.png")
    check_target(target)
    found = job(name, overrides=overrides or [], split=split, count=count, seed=seed)
    shown = len(found.images)
    heading = (
        f"{one_line(found.data, 50)}, {found.split}: {shown} of {found.total:,} images, "
        f"{found.classes} classes"
    )
    save(grid(found.images, found.labels, shown if shown <= 5 else ceil(sqrt(shown)), heading), target)
    if as_json:
        rows = zip(found.positions, found.labels, found.paths, strict=True)
        options.print_json(
            {
                "picture": str(target),
                "data": found.data,
                "split": found.split,
                "images": [
                    {"index": index, "class": label, "path": None if path is None else str(path)}
                    for index, label, path in rows
                ],
            }
        )
        return
    typer.echo(f"{target} written")
    render.next_command(" ".join([_train(name), *(overrides or [])]))


def _bare(path: Path) -> str:
    return path.stem if path.is_file() else path.name


def _train(name: str) -> str:
    return "vit train digits" if name == "digits" else f"vit train folder --data {name}"


def _facts(name: str) -> dict[str, object]:
    """Returns what the catalogue says of a known set, and what is really there, if anything is."""
    from vitcli.data.catalogue import CATALOGUE

    entry = CATALOGUE.get(name)
    if entry is None:
        return _counts(name)
    facts: dict[str, object] = {**asdict(entry), "place": "built in" if entry.built_in else str(entry.place)}
    return facts | _counts(name) if entry.built_in or entry.place.exists() else facts


def _counts(source: str) -> dict[str, object]:
    """Returns classes and sizes of what is really there."""
    from vitcli.core.recipe import DataSpec
    from vitcli.data.sources import open_source

    dataset = open_source(DataSpec(source=source), seed=0)
    sizes: dict[str, object] = {f"{part}_images": len(examples) for part, examples in dataset.parts.items()}
    return {"classes": dataset.classes, **sizes}


def _words(value: object) -> str:
    """Returns a fact on one line (steps: as they are)."""
    if isinstance(value, dict):
        return ", ".join(f"data.{key}={item}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
