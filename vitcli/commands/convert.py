"""`vit convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitcli.commands import options

app = typer.Typer(help="Carry weights between layouts, verified.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keeps `weights` a sub-command while it is the only one."""


@app.command("weights")
def weights(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="A safetensors file; its layout is detected.")
    ],
    target: Annotated[Path, typer.Argument(metavar="DST", help="The safetensors file to write.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[model.key=value ...]", help="What the file cannot say.")
    ] = None,
    to: Annotated[str, typer.Option("--to", help="native, torch or jax.")] = "native",
    backend: options.Backend = None,
    device: options.Device = None,
    as_json: options.Json = False,
) -> None:
    """Write weights in another layout, read them back, and compare logits in float64 before saying done."""
    from dataclasses import asdict

    from vitcli import render
    from vitcli.jobs.convert import convert as job

    result = job(
        source,
        target,
        to=to,
        overrides=overrides or [],
        backend=backend,
        device=device,
        reporter=render.ConsoleReporter(),
    )
    if as_json:
        options.print_json({key: str(v) if isinstance(v, Path) else v for key, v in asdict(result).items()})
        return
    render.out().print(
        f"{result.target}: {result.tensors} tensors, {result.parameters:,} values, "
        f"{result.layout_from} -> {result.layout_to}\n"
        f"logits on {result.backend}: float64 difference {result.difference_float64:.2g}, "
        f"float32 {result.difference_float32:.2g} (relative)",
        soft_wrap=True,
    )
    render.next_command(f"vit predict IMAGE --weights {result.target}")
