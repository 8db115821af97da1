"""`vit parity`."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from vitcli.commands import options


class Exact(StrEnum):
    """The precisions for which two engines can be held to a tolerance at every step."""

    float32 = "float32"
    float64 = "float64"


def parity(
    request: Annotated[
        list[str] | None, typer.Argument(metavar="[RECIPE] [key=value ...]", show_default=False)
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Updates to make.")] = 10,
    precision: Annotated[
        Exact | None,
        typer.Option(
            "--precision",
            help="float64 proves that it is one algorithm; default: the recipe's.",
            show_default=False,
        ),
    ] = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Run both engines from the same start on the same batches and compare every step; exit 3 if they differ."""
    from vitcli import render
    from vitcli.core.errors import VerificationError
    from vitcli.core.recipes import DEFAULT
    from vitcli.jobs.parity import parity as job

    recipe, overrides = options.split_overrides(request)
    result = job(
        recipe or DEFAULT,
        overrides=overrides,
        data=data,
        steps=steps,
        precision=precision.value if precision else None,
        reporter=render.ConsoleReporter(),
    )
    if as_json:
        options.print_json({**asdict(result), "ok": result.ok})
    else:
        rows = [
            [
                str(row.step),
                *(f"{loss:.7f}" for loss in row.loss.values()),
                f"{row.loss_difference:.1e}",
                f"{row.perturbed_loss_difference:.1e}",
                f"{row.logits_difference:.1e}",
                f"{row.gradient_difference:.1e}",
                f"{row.worst_gradient} {row.worst_gradient_difference:.1e}",
            ]
            for row in result.steps
        ]
        columns = ["step", *(f"{name} loss" for name in result.steps[0].loss)]
        columns += ["difference", "perturbed 1e-7", "logits", "gradient", "worst gradient"]
        render.out().print(render.table("", columns, rows, right=range(7)))
        worst = {name: max(row.gradients[name] for row in result.steps) for name in result.steps[0].gradients}
        rows = [
            [name, f"{result.steps[0].gradients[name]:.1e}", f"{most:.1e}"] for name, most in worst.items()
        ]
        render.out().print(render.table("", ["gradient of", "first step", "largest"], rows, right=(1, 2)))
        render.out().print(
            f"{result.recipe}, {result.precision}, {len(result.steps)} steps: largest loss difference "
            f"{result.max_loss_difference:.2g}, parameters {result.parameter_difference:.2g} relative",
            soft_wrap=True,
        )
        render.next_command(f"vit train {result.recipe} --backend jax")
    if not result.ok:
        more = f" (and {len(result.faults) - 1} more)" if len(result.faults) > 1 else ""
        raise VerificationError(f"the engines differ: {result.faults[0]}{more}")
