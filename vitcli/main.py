"""The `vit` command: mounts the commands, and turns errors into one line and an exit code."""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

import vitcli
from vitcli.commands import backends, convert, datasets, evaluate, parity, predict, recipes, summary, train
from vitcli.core.errors import VitError

app = typer.Typer(
    name="vit",
    help="Train, fine-tune, move and study Vision Transformers: one recipe, two engines, the same run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    train.train,
    evaluate.evaluate,
    predict.predict,
    summary.summary,
    parity.parity,
    backends.backends,
):
    app.command()(command)
app.add_typer(convert.app, name="convert")
app.add_typer(recipes.app, name="recipes")
app.add_typer(datasets.app, name="datasets")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vit {vitcli.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks (also: VIT_DEBUG=1).")] = False,
) -> None:
    """Takes the options that stand before the command."""
    if debug:
        os.environ["VIT_DEBUG"] = "1"


def run() -> NoReturn:
    """Runs the command line; never shows a traceback unless asked to."""
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except typer.Exit as stop:
        code = stop.exit_code
    except Exception as error:
        code = _tell(error)
    except KeyboardInterrupt:
        _line("stopped; nothing was left half made")
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


def _tell(error: Exception) -> int:
    """Prints an error in one line and returns its exit code."""
    if os.environ.get("VIT_DEBUG"):
        raise error
    if isinstance(error, VitError):
        _line(str(error))
        return error.exit_code
    if hasattr(error, "format_message"):  # click's usage errors
        _line(f"{error.format_message()} (vit --help)")
        return 2
    if isinstance(error, typer.Abort):
        _line("stopped")
        return 130
    if isinstance(error, BrokenPipeError):
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - nothing more can be written; the shell closes it
        return 1
    if isinstance(error, OSError):
        _line(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        return 1
    _line(f"unexpected {type(error).__name__}: {error}; this is a bug, please report it with VIT_DEBUG=1")
    return 1


def _line(message: str) -> None:
    from vitcli.render import error_line

    error_line(message)
