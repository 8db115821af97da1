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
        str,
        typer.Argument(metavar="SRC", help="A weights file, a run, a name of vit weights list, or a Hub id."),
    ],
    target: Annotated[Path, typer.Argument(metavar="DST", help="The file to write: .safetensors or .pth.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[model.key=value ...]", help="What the file cannot say.")
    ] = None,
    layout: Annotated[
        str | None, typer.Option("--from", help="Layout of SRC; none: seen from its names.")
    ] = None,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="native, torch, jax, timm, dinov2, clip, torchvision, huggingface, google, big_vision, "
            "origin-jax|torch|custom|homework.",
        ),
    ] = "native",
    backend: options.Backend = None,
    device: options.Device = None,
    as_json: options.Json = False,
) -> None:
    """Write weights in another layout, read them back, and compare logits in float64 before saying done.

    Example: vit convert weights vit.pth model.safetensors --from origin-jax model.num_heads=4
    """
    from dataclasses import asdict

    from vitcli import render
    from vitcli.jobs.convert import convert as job

    result = job(
        source,
        target,
        layout=layout,
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
    if result.layout_to in ("native", "torch", "jax") and result.target.suffix == ".safetensors":
        render.next_command(f"vit predict IMAGE --weights {result.target}")
    else:
        render.next_command(f"vit convert weights {result.target} model.safetensors")
