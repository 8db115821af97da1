"""`vit backends`."""

from __future__ import annotations

from typing import Annotated

import typer

from vitcli.commands import options


def backends(
    devices: Annotated[
        bool, typer.Option("--devices", help="Import each engine and ask it for its devices.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """List the engines: installed or not, versions, and with --devices what they run on."""
    from vitcli import render
    from vitcli.core import registry

    found = []
    for name in registry.names():
        present = registry.installed(name)
        found.append(
            {
                "name": name,
                "installed": present,
                "version": registry.library_version(name),
                "devices": registry.load(name).devices() if devices and present else None,
                "install": f"pip install 'vitcli[{name}]'",
            }
        )
    if as_json:
        options.print_json(found)
        return
    rows = [
        [
            str(row["name"]),
            f"{row['version']}" if row["installed"] else f"not installed: {row['install']}",
            ", ".join(row["devices"]) if isinstance(row["devices"], list) else "vit backends --devices",
        ]
        for row in found
    ]
    render.out().print(render.table("", ["backend", "version", "devices"], rows))
    render.next_command("vit train --backend NAME")
