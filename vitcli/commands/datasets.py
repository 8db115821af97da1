"""`vit datasets`."""

from __future__ import annotations

from dataclasses import asdict
from math import ceil, sqrt
from pathlib import Path
from typing import Annotated

import typer

from vitcli.commands import fetch, options
from vitcli.commands.bench import bench
from vitcli.commands.scan import scan

app = typer.Typer(help="Data sets known by name.", no_args_is_help=True)
app.command("fetch")(fetch.fetch)
app.command("verify")(fetch.verify)
app.command("remove")(fetch.remove)
app.command("scan")(scan)
app.command("bench")(bench)


@app.command("list")
def list_datasets(as_json: options.Json = False) -> None:
    """List the data sets known by name: what they hold, what there is to download, and which are here."""
    from vitcli import render
    from vitcli.data.catalogue import CATALOGUE, lookup
    from vitcli.data.installed import state

    names = [
        f"{entry.name}-{size}" if number else entry.name
        for entry in CATALOGUE.values()
        for number, size in enumerate(entry.sizes or [""])
    ]
    rows = []
    for known in filter(None, map(lookup, names)):
        is_state = state(known, known.folder)
        place = str(known.place) if is_state in ("fetched", "your own") else is_state
        size = f"{known.release.size / 1e6:,.0f} MB" if known.release else ""
        rows.append([known.name, known.entry.images, size, is_state, place])
    if as_json:
        keys = ("name", "images", "download", "state", "place")
        options.print_json([dict(zip(keys, row, strict=True)) for row in rows])
        return
    # Where a set is, is told by info; other sizes are told apart by their names alone.
    table = [row[:4] for row in rows]
    render.out().print(render.table("", ["name", "images", "download", "state"], table, right=[2]))
    render.next_command("vit datasets info NAME")


@app.command("info")
def info(
    name: options.Source,
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
        typer.echo(f"{key.replace('_', ' '):<{width}}  " + text.replace("\n", "\n" + " " * (width + 2)))
    if steps is not None:  # flush left, so that its commands can be copied
        typer.echo(f"\n{steps}")
    wanting = facts.get("state") == "absent" and "files" in facts
    render.next_command(str(facts["obtain"]) if wanting else _train(name))


@app.command("show")
def show(
    name: options.Source,
    overrides: options.DataKeys = None,
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
    from vitcli.data.catalogue import lookup
    from vitcli.data.installed import state

    known = lookup(name)
    if known is None:
        return _counts(name)
    entry = known.entry
    facts: dict[str, object] = {**asdict(entry), "name": known.name, "obtain": known.obtain}
    del facts["sizes"]
    if sizes := [size for size in entry.sizes if size]:
        facts["sizes"] = sizes
    if known.release is not None:
        facts["download"] = f"{known.release.size:,} bytes; {known.release.unpacked:,} unpacked, about"
        facts["files"] = [asdict(remote) for remote in known.release.files]
    facts["place"] = "built in" if entry.built_in else str(known.place)
    facts["state"] = state(known, known.folder)
    return facts | _counts(name) if entry.built_in or known.place.exists() else facts


def _counts(source: str) -> dict[str, object]:
    """Returns classes and sizes of what is really there."""
    from vitcli.core.recipe import DataSpec
    from vitcli.data.sources import open_source

    dataset = open_source(DataSpec(source=source), seed=0)
    sizes: dict[str, object] = {f"{part}_images": len(examples) for part, examples in dataset.parts.items()}
    return {"classes": dataset.classes, **sizes}


def _words(value: object) -> str:
    """Returns a fact as text, on one line but for files (and steps, which stay as they are)."""
    if isinstance(value, dict):
        return ", ".join(f"data.{key}={item}" for key, item in value.items())
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "\n".join(f"{file['url']} sha256:{file['sha256'] or 'not published'}" for file in value)
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
