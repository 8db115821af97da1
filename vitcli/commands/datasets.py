"""`vit datasets`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from vitcli.commands import options

app = typer.Typer(help="Data sets known by name.", no_args_is_help=True)


@app.command("list")
def list_datasets(as_json: options.Json = False) -> None:
    """List the data sets known by name and where each would be read from."""
    from vitcli import render
    from vitcli.data.catalogue import CATALOGUE, data_root

    rows = []
    for entry in CATALOGUE.values():
        folder = data_root() / entry.name
        built_in = entry.obtain == "built in"
        rows.append(
            [
                entry.name,
                entry.images,
                "built in" if built_in else str(folder) if folder.is_dir() else "absent",
            ]
        )
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
    from vitcli.data.catalogue import CATALOGUE, data_root

    facts: dict[str, object] = {}
    if name in CATALOGUE:
        facts = asdict(CATALOGUE[name])
        facts["place"] = "built in" if facts["obtain"] == "built in" else str(data_root() / name)
    if name not in CATALOGUE or name == "digits" or (data_root() / name).is_dir():
        facts |= _counts(name)
    if as_json:
        options.print_json(facts)
        return
    width = max(len(key) for key in facts)
    for key, value in facts.items():
        text = ", ".join(map(str, value)) if isinstance(value, tuple | list) else value
        typer.echo(f"{key.replace('_', ' '):<{width}}  {text}")
    render.next_command(f"vit train {'digits' if name == 'digits' else f'folder --data {name}'}")


def _counts(source: str) -> dict[str, object]:
    """Returns classes and sizes of what is really there."""
    from vitcli.core.recipe import DataSpec
    from vitcli.data.sources import open_source

    dataset = open_source(DataSpec(source=source), seed=0)
    sizes: dict[str, object] = {f"{part}_images": len(examples) for part, examples in dataset.parts.items()}
    return {"classes": dataset.classes, **sizes}
