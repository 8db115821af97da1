"""Options that several commands share."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class PrecisionName(StrEnum):
    """Names of `vitcli.core.recipe.Precision`, for the command line."""

    float32 = "float32"
    tf32 = "tf32"
    bfloat16 = "bfloat16"
    float64 = "float64"


Backend = Annotated[
    str | None,
    typer.Option(
        "--backend", "-b", help="torch or jax; default: the first that is installed.", metavar="NAME"
    ),
]
Device = Annotated[
    str | None,
    typer.Option("--device", help="cpu, cuda, cuda:1, ...; default: the best there is.", metavar="NAME"),
]
Precision = Annotated[PrecisionName | None, typer.Option("--precision", help="Arithmetic of the engine.")]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="A known set's name, a folder, a table of path,label, an archive, an .npz.",
        metavar="NAME|DIR|FILE",
    ),
]
Source = Annotated[
    str,
    typer.Argument(metavar="NAME|DIR|FILE", help="A known set, or your own folder, table or archive."),
]
DataKeys = Annotated[
    list[str] | None,
    typer.Argument(metavar="[data.key=value ...]", help="As in data.label_column=species."),
]
SkipBad = Annotated[
    str | None,
    typer.Option("--skip-bad", metavar="N|N%", help="Leave out up to so many images that cannot be read."),
]
Runs = Annotated[Path, typer.Option("--runs", help="The folder that holds run folders.", metavar="DIR")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]


def print_json(value: Any) -> None:
    """Prints one JSON document to stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=True))


def split_overrides(arguments: list[str] | None) -> tuple[str | None, list[str]]:
    """Returns what is named first, and the `key=value` arguments after it.

    Raises:
        RecipeError: a second name.
    """
    from vitcli.core.errors import RecipeError

    arguments = arguments or []
    names = [argument for argument in arguments if "=" not in argument]
    if len(names) > 1:
        raise RecipeError(
            f"'{names[0]}' and '{names[1]}': give one; everything else is key=value, as in train.lr=0.001"
        )
    return (names[0] if names else None), [argument for argument in arguments if "=" in argument]
