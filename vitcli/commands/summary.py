"""`vit summary`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vitcli.commands import options

if TYPE_CHECKING:
    from vitcli.jobs.summary import Summary


def summary(
    request: Annotated[
        list[str], typer.Argument(metavar="RECIPE|VARIANT|FILE [key=value ...]", show_default=False)
    ],
    batch: Annotated[
        int | None,
        typer.Option("--batch", min=1, help="Show the whole batch: shapes, multiply-adds, memory."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Show a model layer by layer: shapes, parameters, FLOPs, memory.

    Examples: vit summary S/16; vit summary digits model.depth=8; vit summary runs/digits-jax/model.safetensors
    """
    from vitcli import render
    from vitcli.core.errors import RequestError
    from vitcli.core.variants import VARIANTS
    from vitcli.jobs.summary import summarise

    name, overrides = options.split_overrides(request)
    if name is None:
        raise RequestError("summary of what? name a recipe, a variant such as S/16, or a weights file")
    found = summarise(name, overrides, batch_size=batch, reporter=render.ConsoleReporter())
    if as_json:
        options.print_json(_document(found))
        return
    times = batch or 1
    rows = [
        [
            row.name,
            " x ".join(map(str, (batch, *row.output) if batch else row.output)),
            f"{row.parameters:,}",
            f"{times * row.multiply_adds:,}",
        ]
        for row in found.layers
    ]
    shape = f"output of {batch} images" if batch else "output of one image"
    console = render.out()
    console.print(render.table("", ["layer", shape, "parameters", "multiply-adds"], rows, right=(2, 3)))
    console.print(
        f"{found.name}: {found.parameters:,} parameters ({found.weight_bytes / 1e6:.2f} MB), "
        f"{found.flops / 1e9:.4f} GFLOP forward an image\n"
        f"training in float32: {found.training_bytes / 1e6:.1f} MB for weights, gradients and optimiser, "
        f"about {found.activation_bytes / 1e6:.1f} MB for the activations of {found.batch_size} images",
        soft_wrap=True,
    )
    if batch:
        console.print(
            f"{batch} images: {times * found.flops / 2e6:,.2f} M multiply-adds, input "
            f"{found.input_bytes / 1e6:.2f} MB\n"
            f"as torchinfo counts: {found.torchinfo.multiply_adds / 1e6:,.2f} M multiply-adds, "
            f"{found.torchinfo.weight_bytes / 1e6:.2f} MB of parameters (every weight, bias and gain once an image, "
            "convolutions once a position; no products of queries, keys and values; class token and positions "
            "left out)",
            soft_wrap=True,
        )
    if name.partition("/")[0] in VARIANTS:
        render.next_command(f"vit train RECIPE model.variant={name}")
    elif not found.is_file:
        render.next_command(f"vit train {name}")
    elif overrides:
        render.next_command(f"vit convert weights {name} model.safetensors {' '.join(overrides)}")
    elif found.spec.num_classes:
        render.next_command(f"vit predict IMAGE --weights {name}")
    else:
        render.next_command(f"vit train folder --data DIR --init {name}")


def _document(found: Summary) -> dict[str, object]:
    """Returns a summary as `--json` prints it."""
    from dataclasses import asdict

    from vitcli.core.parameters import parameter_table

    return {
        "name": found.name,
        "parameters": found.parameters,
        "flops": found.flops,
        "weight_bytes": found.weight_bytes,
        "training_bytes": found.training_bytes,
        "activation_bytes": found.activation_bytes,
        "batch": found.batch_size,
        "input_bytes": found.input_bytes,
        "torchinfo": asdict(found.torchinfo),
        "layers": [asdict(row) for row in found.layers],
        "tensors": {row.name: row.shape for row in parameter_table(found.spec).values()},
    }
