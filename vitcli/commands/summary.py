"""`vit summary`."""

from __future__ import annotations

from typing import Annotated

import typer

from vitcli.commands import options


def summary(
    request: Annotated[
        list[str], typer.Argument(metavar="RECIPE|VARIANT|FILE [key=value ...]", show_default=False)
    ],
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Images that memory is estimated for.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Show a model layer by layer: shapes, parameters, FLOPs, memory.

    Examples: vit summary S/16; vit summary digits model.depth=8; vit summary runs/digits-jax/model.safetensors
    """
    from vitcli import render
    from vitcli.core.errors import RequestError
    from vitcli.core.parameters import parameter_table
    from vitcli.jobs.summary import summarise

    name, overrides = options.split_overrides(request)
    if name is None:
        raise RequestError("summary of what? name a recipe, a variant such as S/16, or a weights file")
    found = summarise(name, overrides, batch_size=batch)
    if as_json:
        options.print_json(
            {
                "name": found.name,
                "parameters": found.parameters,
                "flops": found.flops,
                "weight_bytes": found.weight_bytes,
                "training_bytes": found.training_bytes,
                "activation_bytes": found.activation_bytes,
                "batch": found.batch_size,
                "layers": [
                    {
                        "name": row.name,
                        "output": row.output,
                        "parameters": row.parameters,
                        "multiply_adds": row.multiply_adds,
                    }
                    for row in found.layers
                ],
                "tensors": {row.name: row.shape for row in parameter_table(found.spec).values()},
            }
        )
        return
    rows = [
        [row.name, " x ".join(map(str, row.output)), f"{row.parameters:,}", f"{row.multiply_adds:,}"]
        for row in found.layers
    ]
    console = render.out()
    console.print(
        render.table("", ["layer", "output of one image", "parameters", "multiply-adds"], rows, right=(2, 3))
    )
    console.print(
        f"{found.name}: {found.parameters:,} parameters ({found.weight_bytes / 1e6:.2f} MB), "
        f"{found.flops / 1e9:.4f} GFLOP forward an image\n"
        f"training in float32: {found.training_bytes / 1e6:.1f} MB for weights, gradients and optimiser, "
        f"about {found.activation_bytes / 1e6:.1f} MB for the activations of {found.batch_size} images",
        soft_wrap=True,
    )
    if "/" in name and not name.endswith((".toml", ".safetensors")):
        render.next_command(f"vit train RECIPE model.variant={name}")
    else:
        weights = name.endswith(".safetensors")
        render.next_command(f"vit predict IMAGE --weights {name}" if weights else f"vit train {name}")
