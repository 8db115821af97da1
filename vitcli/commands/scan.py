"""`vit datasets scan`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from vitcli.commands import options


def scan(
    name: options.Source,
    overrides: options.DataKeys = None,
    as_json: options.Json = False,
) -> None:
    """Read every image of a data set to its end, and tell what is there, what is odd and what cannot be read.

    The exit code is 1 where an image cannot be read. Example: vit datasets scan photos
    """
    from vitcli import render
    from vitcli.jobs.scan import scan as job

    parts = job(name, overrides=overrides or [], reporter=render.ConsoleReporter())
    faults = [fault for part in parts.values() for fault in part.faults]
    if as_json:
        options.print_json({split: asdict(part) for split, part in parts.items()})
    else:
        rows = [
            [
                split,
                f"{part.images:,}",
                f"{min(part.by_class.values()):,} to {max(part.by_class.values()):,}",
                "{} / {} / {}".format(*part.short_side),
                "{} / {} / {}".format(*part.long_side),
                ", ".join(f"{kind} {count:,}" for kind, count in part.remarks.items()) or "-",
                f"{len(part.faults):,}",
            ]
            for split, part in parts.items()
        ]
        columns = ["part", "images", "a class", "short side", "long side", "remarks", "unreadable"]
        render.out().print(render.table("", columns, rows, right=(1, 6)))
        typer.echo("sides in pixels: smallest / median / largest; remarks: format = not what the name says,")
        typer.echo("frames = several, the first is read, tiny = one pixel wide or high")
        for fault in faults:
            typer.echo(fault)
    if faults:
        raise typer.Exit(1)
