"""`vit datasets fetch`, `verify` and `remove`: what is done with the folder of a known set."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from vitcli.commands import options

Name = Annotated[str, typer.Argument(metavar="NAME", help="A known set: vit datasets list names them.")]
Size = Annotated[
    str | None, typer.Option("--size", metavar="SIZE", help="full, 320 or 160, where a set has sizes.")
]
Root = Annotated[
    Path | None,
    typer.Option("--root", metavar="DIR", help="Make the set's folder here; default: $VIT_DATA."),
]


def fetch(
    name: Name,
    size: Size = None,
    root: Root = None,
    url: Annotated[
        str | None,
        typer.Option(
            "--url", metavar="URL", help="A mirror: a folder with the same files, or the sole file itself."
        ),
    ] = None,
    from_file: Annotated[
        list[Path] | None,
        typer.Option("--from-file", metavar="FILE", help="An archive that is here; again for each one."),
    ] = None,
    keep_archive: Annotated[bool, typer.Option("--keep-archive", help="Keep what was downloaded.")] = False,
    as_json: options.Json = False,
) -> None:
    """Download a known set, check it against its published checksum, and unpack it.

    Does nothing where that is done; goes on where it was stopped. Example: vit datasets fetch imagenette --size 160
    """
    from vitcli import render
    from vitcli.data.install import choose, install

    found = install(
        choose(name, size),
        render.ConsoleReporter(),
        root=root,
        mirror=url,
        given=from_file or [],
        keep=keep_archive,
    )
    if as_json:
        options.print_json(_plain(asdict(found)))
        return
    typer.echo(f"{found.name} is already there: {found.place}" if found.already else f"{found.place} written")
    if found.archives is not None:
        typer.echo(f"{found.archives} keeps what was downloaded")
    render.next_command(f"vit train folder --data {found.name if root is None else found.place}")


def verify(name: Name, size: Size = None, root: Root = None, as_json: options.Json = False) -> None:
    """Compare a fetched set's files, by name and size, with those that were unpacked."""
    from vitcli.data.install import choose, folder_of
    from vitcli.data.installed import verify as job

    known = choose(name, size)
    found = job(known, folder_of(known, root))
    if as_json:
        options.print_json(_plain(asdict(found)))
        return
    typer.echo(f"{found.place}: {found.files:,} files, {found.size:,} bytes, as they were unpacked")


def remove(
    name: Name,
    size: Size = None,
    root: Root = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a fetched set; a folder that vit did not fetch is left alone."""
    from vitcli import render
    from vitcli.core.errors import RequestError
    from vitcli.data.install import choose, folder_of
    from vitcli.data.installed import check_removable
    from vitcli.data.installed import remove as job

    known = choose(name, size)
    folder = folder_of(known, root)
    check_removable(known, folder)
    if not yes:
        if not sys.stdin.isatty():
            raise RequestError(
                f"{folder} is removed only if you say so: there is no terminal to ask, say --yes"
            )
        if not typer.confirm(f"remove {folder}?", err=True):
            typer.echo("nothing was removed")
            return
    job(known, folder, render.ConsoleReporter())
    typer.echo(f"{folder} removed")
    render.next_command(known.obtain)


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: str(value) if isinstance(value, Path) else value for key, value in facts.items()}
