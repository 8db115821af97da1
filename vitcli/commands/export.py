"""`vit export`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vitcli.commands import options


class Input(StrEnum):
    """Names of `vitcli.jobs.export.Inputs`, for the command line."""

    float32 = "float32"
    uint8 = "uint8"


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|FILE|ID", help="A run, a weights file in any layout, or a published name."
        ),
    ],
    request: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TARGET] [model.key=value ...]",
            help="The file to write (none: beside the source), and what a weights file cannot say.",
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", "-f", help="onnx, torch-export or stablehlo; none: seen from TARGET."),
    ] = None,
    inputs: Annotated[
        Input,
        typer.Option("--input", help="Normalised pixels (B, C, S, S), or images (B, S, S, C) as files are."),
    ] = Input.float32,
    as_json: options.Json = False,
) -> None:
    """Write a model as one file that other programs run, and compare its logits before saying done.

    Weights, class names and preprocessing are inside; a batch may have any size.

    Example: vit export runs/digits-torch digits.onnx
    """
    from dataclasses import asdict

    from vitcli import render
    from vitcli.jobs.export import export as job

    target, overrides = options.split_overrides(request)
    result = job(
        source,
        target,
        form=form,
        inputs=inputs.value,
        overrides=overrides,
        reporter=render.ConsoleReporter(),
    )
    if as_json:
        options.print_json({key: str(v) if isinstance(v, Path) else v for key, v in asdict(result).items()})
        return
    name = "pixels" if result.input == "float32" else "images"
    taken, given = (", ".join(map(str, shape)) for shape in (result.input_shape, result.output_shape))
    render.out().print(
        f"{result.target}: {result.format}, {result.parameters:,} values, {result.bytes / 1e6:.2f} MB\n"
        f"{name} {result.input} ({taken}) -> logits float32 ({given})\n"
        f"largest difference of logits from the {result.engine} engine's: {result.difference:.2g} "
        f"(allowed: {result.allowed:.2g})",
        soft_wrap=True,
    )
