"""`vit datasets bench`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from vitcli.commands import options

_SAYS = {
    "decode": "files to fitted pixels, all cores",
    "cache": "the same, written to disk",
    "plan": "what augmentation draws for a batch",
    "gather": "a batch out of the cache, and its plan",
    "copy": "a batch to the device",
    "augment": "a batch on the device",
    "step": "a training step on one batch",
}


def bench(
    name: options.Source,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value ...]", help="As in model.variant=S/16 model.image_size=224."),
    ] = None,
    recipe: Annotated[
        str, typer.Option("--recipe", help="Whose model, batch size and augmentation are measured.")
    ] = "folder",
    count: Annotated[int, typer.Option("--count", min=1, help="Training images to take.")] = 1024,
    backend: options.Backend = None,
    device: options.Device = None,
    as_json: options.Json = False,
) -> None:
    """Measure how fast images come to a model, stage by stage, and say which stage holds it up.

    Example: vit datasets bench photos --recipe folder model.image_size=96
    """
    from vitcli import render
    from vitcli.jobs.bench import bench as job

    found = job(
        name,
        recipe=recipe,
        overrides=overrides or [],
        count=count,
        backend=backend,
        device=device,
        reporter=render.ConsoleReporter(),
    )
    if as_json:
        options.print_json(asdict(found))
        return
    rows = [[stage, f"{speed:,.0f}", _SAYS[stage]] for stage, speed in found.stages.items()]
    title = f"{found.images:,} images of {found.data}, {found.recipe} on {found.backend}, batches of {found.batch_size}"
    typer.echo(title)
    render.out().print(render.table("", ["stage", "images/s", "what"], rows, right=(1,)))
    typer.echo(f"trained from the cache, {_limit(found.limit)}")
    if found.stream_limit is not None:
        typer.echo(f"decoded each time (data.cache=none), {_limit(found.stream_limit)}")


def _limit(stage: str) -> str:
    return "the model is the limit: images come fast enough" if stage == "step" else f"{stage} is the limit"
