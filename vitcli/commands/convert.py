"""`vit convert`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitcli.commands import options

if TYPE_CHECKING:
    from vitcli.jobs.convert import ConvertResult

app = typer.Typer(help="Carry weights between layouts, verified.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keeps `weights` a sub-command while it is the only one."""


def _help_layout(name: str | None) -> None:
    if name is not None:
        from vitcli.jobs.pages import page

        typer.echo(page(name))
        raise typer.Exit


Source = Annotated[
    str,
    typer.Argument(metavar="SRC", help="A run, a weights file in any layout, or a published name."),
]
Target = Annotated[
    Path,
    typer.Argument(
        metavar="DST", help="The file to write: .safetensors, .pth, .pt or .npz; of --to peft its folder."
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[model.key=value ...]", help="What the file cannot say.")
]
From = Annotated[str | None, typer.Option("--from", help="Layout of SRC; none: seen from its names.")]
To = Annotated[
    str,
    typer.Option(
        "--to",
        help="native, torch, jax, timm, dinov2, clip, torchvision, huggingface, huggingface-mae, google, big_vision, "
        "origin-jax|torch|custom|homework; "
        "of an adapter: native, peft, peft-timm, peft-transformers, peft-transformers4.",
    ),
]
Adapt = Annotated[
    list[str] | None,
    typer.Option(
        "--adapt",
        metavar="model.key=value",
        help="What is to be otherwise in DST: model.image_size, model.patch_size, model.in_channels; repeatable.",
    ),
]
Resample = Annotated[
    str | None,
    typer.Option(
        "--resample",
        help="Positions and patches of another size as in timm, huggingface, torchvision, google, big_vision, "
        "dinov2, dinov2-registers; or bilinear. None: timm.",
    ),
]
HelpLayout = Annotated[
    str | None,
    typer.Option(
        "--help-layout",
        metavar="LAYOUT",
        is_eager=True,
        callback=_help_layout,
        help="Tell what a layout derives and assumes, and its names.",
    ),
]
Verify = Annotated[
    bool,
    typer.Option("--verify", help="Run both files on every engine, and on the library they belong to."),
]
Merge = Annotated[
    bool, typer.Option("--merge", help="Add low-rank adapters to the weights that they stand beside.")
]
Base = Annotated[
    Path | None,
    typer.Option(
        "--base", metavar="FILE", help="What an adapter was trained from; none: as the adapter says."
    ),
]


@app.command("weights")
def weights(
    source: Source,
    target: Target,
    overrides: Overrides = None,
    layout: From = None,
    to: To = "native",
    adapt: Adapt = None,
    resample: Resample = None,
    help_layout: HelpLayout = None,
    verify: Verify = False,
    merge: Merge = False,
    base: Base = None,
    backend: options.Backend = None,
    device: options.Device = None,
    as_json: options.Json = False,
) -> None:
    """Write weights in another layout, read them back, and compare logits in float64 before saying done.

    An adapter (ours, or a folder of PEFT's) stays one, --to native or peft, or is merged into its base.

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
        adaptations=adapt or [],
        resample=resample,
        verify=verify,
        merge=merge,
        base=base,
        backend=backend,
        device=device,
        reporter=render.ConsoleReporter(),
    )
    if as_json:
        options.print_json({key: str(v) if isinstance(v, Path) else v for key, v in asdict(result).items()})
        return
    _tell(result)


def _tell(result: ConvertResult) -> None:
    """Prints what was done, how far logits are apart, and what may follow."""
    from vitcli import render

    compared = "tensors alone were compared: an adapter has no logits"
    if result.backend is not None:
        compared = (
            f"logits on {result.backend}: float64 difference {result.difference_float64:.2g}, "
            f"float32 {result.difference_float32:.2g} (relative)"
        )
    render.out().print(
        f"{result.target}: {result.tensors} tensors, {result.parameters:,} values, "
        f"{result.layout_from} -> {result.layout_to}\n{compared}",
        soft_wrap=True,
    )
    for found in result.evidence:
        apart = f"float64 {found.float64:.2g}, float32 {found.float32:.2g}"
        typer.echo(f"{found.file}: {found.engine} and {found.against}: {apart}")
    if result.target.suffix != ".safetensors":
        render.next_command(f"vit convert weights {result.target} model.safetensors")
    elif result.classes:
        render.next_command(f"vit predict IMAGE --weights {result.target}")
    else:
        render.next_command(f"vit train folder --data DIR --init {result.target}")
