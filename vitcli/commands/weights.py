"""`vit weights`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitcli.commands import options

if TYPE_CHECKING:
    from vitcli.jobs.model import WeightsFile

app = typer.Typer(help="Pretrained weights known by name.", no_args_is_help=True)

Revision = Annotated[
    str | None,
    typer.Option("--revision", metavar="REV", help="Branch, tag or commit of a model on the Hub."),
]
Root = Annotated[
    Path | None,
    typer.Option("--root", metavar="DIR", help="Keep them here; default: the caches (HF_HOME, VIT_CACHE)."),
]


@app.command("list")
def list_weights(as_json: options.Json = False) -> None:
    """List well-known releases by name: layout, parameters, image size, license, and which are here."""
    from vitcli import render
    from vitcli.hub.releases import RELEASES

    rows = [_row(name) for name in RELEASES]
    if as_json:
        options.print_json(rows)
        return
    table = [
        [
            row["name"],
            row["layout"],
            f"{row['parameters']:,}",
            str(row["image_size"]),
            row["license"],
            "here" if row["path"] else "",
        ]
        for row in rows
    ]
    columns = ["name", "layout", "parameters", "pixels", "license", "state"]
    render.out().print(render.table("", columns, table, right=[2, 3]))
    render.next_command(
        "vit weights fetch NAME, or any model of the Hub by its id: vit weights fetch owner/name"
    )


@app.command("fetch")
def fetch(
    name: Annotated[
        str, typer.Argument(metavar="NAME|ID|URL", help="A known name, a Hub id (owner/name), or https://...")
    ],
    root: Root = None,
    revision: Revision = None,
    as_json: options.Json = False,
) -> None:
    """Bring pretrained weights here, checked against what is published, and print the path of their file.

    What is here already is not fetched again. Example: vit weights fetch facebook/dinov2-small
    """
    from dataclasses import asdict

    from vitcli import render
    from vitcli.hub.fetch import choose
    from vitcli.hub.fetch import fetch as job

    found = job(choose(name), render.ConsoleReporter(), root=root, revision=revision)
    if as_json:
        options.print_json({**asdict(found), "path": str(found.path)})
        return
    typer.echo(found.path)
    render.next_command(f"vit convert weights {name if root is None else found.path} model.safetensors")


@app.command("info")
def info(
    name: Annotated[str, typer.Argument(metavar="NAME|ID|FILE", help="What to tell about.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[model.key=value ...]", help="What a file cannot say.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Tell what is known of a release and whether it is here; or what a weights file holds."""
    from vitcli import render
    from vitcli.core.errors import RequestError
    from vitcli.jobs.model import open_weights
    from vitcli.jobs.runs import weights_of

    if os.path.exists(name):
        held = open_weights(weights_of(Path(name)), overrides or [], reporter=render.ConsoleReporter())
        facts = _facts(held)
        following = f"vit summary {held.path}"
    elif overrides:
        raise RequestError(
            f"'{overrides[0]}': {name} is no file here, and model.key=value is said of one; leave it out"
        )
    else:
        facts = _row(name)
        following = f"vit weights info {facts['path']}" if facts["path"] else f"vit weights fetch {name}"
    if as_json:
        options.print_json(facts)
        return
    told = {key.replace("_", " "): _words(value) for key, value in facts.items()}
    width = max(map(len, told))
    for key, text in told.items():
        typer.echo(f"{key:<{width}}  {text}")
    render.next_command(following)


def _row(name: str) -> dict[str, Any]:
    """Returns what is known of published weights; `path` is where they are, if they are here."""
    from vitcli.hub.fetch import cached, choose

    wanted = choose(name)
    path, known = cached(wanted), wanted.release
    told = {"name": wanted.name, "from": wanted.source, "path": None if path is None else str(path)}
    if known is None:
        return told
    return told | {
        "layout": known.layout,
        "parameters": known.parameters,
        "image_size": known.image_size,
        "license": known.license,
    }


def _facts(held: WeightsFile) -> dict[str, Any]:
    card = held.card
    return {
        "path": str(held.path),
        "layout": held.layout,
        "tensors": held.tensors,
        "parameters": held.parameters,
        "model": card.spec.model_dump(mode="json"),
        "classes": list(card.classes),
        "preprocess": card.preprocess.model_dump(mode="json"),
    }


def _words(value: object) -> str:
    """Returns a fact on one line; of many names the first."""
    if value is None or value == "":
        return "-"
    if isinstance(value, dict):
        return ", ".join(
            f"{key}=({_words(item)})" if isinstance(item, dict) else f"{key}={item}"
            for key, item in value.items()
        )
    if isinstance(value, list):
        return f"{len(value)}: {', '.join(map(str, value[:5]))}{', ...' if len(value) > 5 else ''}"
    return f"{value:,}" if isinstance(value, int) else str(value)
