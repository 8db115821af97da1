"""`vit train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitcli.commands import options

if TYPE_CHECKING:
    from vitcli.core.reporter import Reporter


def train(
    request: Annotated[
        list[str] | None, typer.Argument(metavar="[RECIPE|FILE.toml] [key=value ...]", show_default=False)
    ] = None,
    backend: options.Backend = None,
    data: options.Data = None,
    init: Annotated[
        str | None,
        typer.Option(
            "--init",
            help="Weights to start from, in any layout, a run, or a published name; the model is theirs.",
            metavar="FILE|RUN|NAME",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the run folder.")] = None,
    runs: options.Runs = Path("runs"),
    device: options.Device = None,
    precision: options.Precision = None,
    skip_bad: options.SkipBad = None,
    as_json: options.Json = False,
) -> None:
    """Train a recipe into a run folder, with its curves as a picture; without arguments: the digits, offline.

    Examples: vit train cifar10-cpu --data DIR --backend jax; vit train folder --data photos train.epochs=20;
    vit train folder --data photos --init vit.safetensors train.lr=1e-4 model.image_size=160
    """
    from vitcli import render
    from vitcli.core.errors import VitError
    from vitcli.core.recipes import DEFAULT
    from vitcli.jobs.train import train as job

    recipe, overrides = options.split_overrides(request)
    overrides += [] if skip_bad is None else [f"data.skip_bad={skip_bad}"]
    reporter = render.ConsoleReporter()
    try:
        result = job(
            recipe or DEFAULT,
            overrides=overrides,
            backend=backend,
            data=data,
            init=init,
            device=device,
            precision=precision.value if precision else None,
            name=name,
            runs=runs,
            reporter=reporter,
        )
    except VitError as error:
        if error.run is not None:
            _draw(error.run, reporter)
        raise
    _draw(result.run, reporter)
    if as_json:
        options.print_json(
            {
                "run": str(result.run),
                "best": result.best,
                "seconds": result.seconds,
                "images_per_second": result.images_per_second,
            }
        )
        return
    render.out().print(
        f"{result.run}: {_best(result.best)}, "
        f"{result.seconds:.1f} s, {result.images_per_second:,.0f} images/s",
        soft_wrap=True,
    )
    render.next_command(f"vit evaluate {result.run}; vit predict IMAGE")


def _draw(run: Path, reporter: Reporter) -> None:
    """Draws the curves of a run, however it ended; a picture that fails is a note, since the run is worth more."""
    from vitcli.commands.report import draw_curves
    from vitcli.core.errors import VitError

    try:
        reporter.note(f"curves: {draw_curves([run])}")
    except VitError as error:
        reporter.note(f"no curves: {error}")


def _best(best: dict[str, float]) -> str:
    """Returns in words what the kept weights were chosen by."""
    top1, epoch = f"top-1 {best['top1']:.2%} on validation", f"epoch {best['epoch']:.0f}"
    if "train_loss" in best:
        return (
            f"lowest training loss {best['train_loss']:.4f} ({epoch}, step {best['step']:.0f}), last {top1}"
        )
    return f"best {top1} ({epoch})"
