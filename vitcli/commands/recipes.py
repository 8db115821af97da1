"""`vit recipes`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitcli.commands import options

app = typer.Typer(help="List, show, copy and check recipes.", no_args_is_help=True)
Request = Annotated[list[str], typer.Argument(metavar="RECIPE|FILE.toml [key=value ...]", show_default=False)]


@app.command("list")
def list_recipes(as_json: options.Json = False) -> None:
    """List the recipes that come with vit."""
    from vitcli import render
    from vitcli.core import recipes

    found = [{"name": name, "what": recipes.headline(name)} for name in recipes.names()]
    if as_json:
        options.print_json(found)
        return
    render.out().print(render.table("", ["recipe", "what"], [[row["name"], row["what"]] for row in found]))
    render.next_command("vit recipes show NAME; vit train NAME")


@app.command("show")
def show(
    request: Request,
    resolved: Annotated[bool, typer.Option("--resolved", help="Every key, as a run would have it.")] = False,
) -> None:
    """Print a recipe; with --resolved or overrides, complete as a run would have it."""
    from vitcli.core import recipes
    from vitcli.core.draft import to_toml
    from vitcli.jobs.drafts import provisional, recipe_draft

    name, overrides = options.split_overrides(request)
    name = name or recipes.DEFAULT
    if resolved or overrides:
        typer.echo(to_toml(provisional(recipe_draft(name, overrides))), nl=False)
    else:
        typer.echo(recipes.text(name)[0], nl=False)


@app.command("copy")
def copy(
    name: Annotated[str, typer.Argument(metavar="RECIPE")],
    target: Annotated[Path | None, typer.Argument(metavar="[FILE.toml]")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Copy a recipe to a file of your own."""
    from vitcli import render
    from vitcli.core import recipes
    from vitcli.core.errors import RequestError

    text = recipes.text(name)[0]
    target = target or Path(f"{name.rpartition('/')[2]}.toml")
    if target.suffix != ".toml":
        raise RequestError(f"{target} must end in .toml")
    if target.exists() and not force:
        raise RequestError(f"{target} exists; choose another name, or say --force")
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RequestError(f"cannot write {target}: {error.strerror}") from error
    typer.echo(f"{target} written")
    render.next_command(f"vit train {target}")


@app.command("validate")
def validate(request: Request) -> None:
    """Check a recipe file without touching any data."""
    from vitcli import render
    from vitcli.core import recipes
    from vitcli.core.parameters import count
    from vitcli.jobs.drafts import provisional, recipe_draft

    name, overrides = options.split_overrides(request)
    name = name or recipes.DEFAULT
    recipe = provisional(recipe_draft(name, overrides))
    typer.echo(f"{name}: valid, {count(recipe.model):,} parameters")
    render.next_command(f"vit train {name}")


@app.command("keys")
def keys() -> None:
    """List every key that a recipe may hold, with its default."""
    from vitcli import render
    from vitcli.core.draft import SHORTHANDS, known_keys
    from vitcli.core.keys import describe_keys

    rows = describe_keys([*known_keys(), *SHORTHANDS])
    render.out().print(render.table("", ["key", "default", "allowed"], rows))
