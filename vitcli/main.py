"""The `vit` command: mounts the commands, and turns errors into one line and an exit code."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Annotated, NoReturn

import typer

import vitcli
from vitcli.commands import (
    augment,
    backends,
    convert,
    datasets,
    evaluate,
    export,
    parity,
    predict,
    recipes,
    report,
    summary,
    train,
    weights,
)
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
    export.export,
    predict.predict,
    augment.augment,
    report.report,
    summary.summary,
    parity.parity,
    backends.backends,
):
    app.command()(command)
app.add_typer(convert.app, name="convert")
app.add_typer(recipes.app, name="recipes")
app.add_typer(datasets.app, name="datasets")
app.add_typer(weights.app, name="weights")


_WHERE = "vit --debug shows where"
# What the system refuses because of what was asked for; anything else (a full disk, a bad one) is a failed job.
_REQUESTS = frozenset(
    getattr(errno, name)
    for name in ("EACCES", "EISDIR", "ELOOP", "ENAMETOOLONG", "ENOENT", "ENOTDIR", "EPERM", "EROFS")
)


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
    _plain_output()
    try:
        code = app(prog_name="vit", standalone_mode=False)
        sys.stdout.flush()
        if code == 130:  # what typer makes of Ctrl-C, without a word
            _line("stopped")
    except typer.Exit as stop:
        code = stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        _line("stopped")
        code = 130
    except Exception as error:
        code = _tell(error)
    sys.exit(code if isinstance(code, int) else 0)


def _plain_output() -> None:
    """Keeps colour out of pipes, whatever the environment says, and lets every file name be printed."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        utf8 = sys.stdout.encoding.lower().replace("-", "") == "utf8"
        sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")
    if not sys.stdout.isatty():
        os.environ["_TYPER_FORCE_DISABLE_TERMINAL"] = "1"  # typer's help would obey FORCE_COLOR


def _tell(error: Exception) -> int:
    """Prints an error in one line and returns its exit code."""
    if os.environ.get("VIT_DEBUG"):
        raise error
    if isinstance(error, VitError):
        _line(str(error))
        return error.exit_code
    if hasattr(error, "format_message"):  # click's usage errors
        if type(error).__name__ != "NoArgsIsHelpError":  # the help has been printed
            command = getattr(getattr(error, "ctx", None), "command_path", "vit")
            _line(f"{error.format_message()} ({command} --help)")
        return 2
    if isinstance(error, BrokenPipeError):
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - nothing more can be written; the shell closes it
        return 1
    if isinstance(error, OSError):
        _line(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''} ({_WHERE})")
        return 2 if error.errno in _REQUESTS else 1
    if isinstance(error, MemoryError):
        _line(
            f"out of memory: {error or 'no reason given'}; try a smaller train.micro_batch or a smaller model"
        )
        return 1
    _line(f"unexpected {type(error).__name__}: {error}; this is a bug, please report it ({_WHERE})")
    return 1


def _line(message: str) -> None:
    from vitcli.render import error_line

    error_line(message)
