"""The recipes that come with the project, by name."""

from __future__ import annotations

from pathlib import Path

from vitcli.core.draft import Draft, parse
from vitcli.core.errors import RecipeError, nearest

DEFAULT = "digits"
_PACKAGE = Path(__file__).resolve().parent.parent


def folder() -> Path:
    """Returns the folder of recipes: inside the installed package, or beside it in a checkout."""
    inside = _PACKAGE / "recipes"
    return inside if inside.is_dir() else _PACKAGE.parent / "recipes"


def names() -> list[str]:
    """Returns the names of the recipes, the default one first."""
    found = {path.relative_to(folder()).with_suffix("").as_posix() for path in folder().rglob("*.toml")}
    return sorted(found, key=lambda name: (name != DEFAULT, name))


def text(name: str) -> tuple[str, str]:
    """Returns the TOML of a recipe, by name or by path of a file, and what to call it.

    Raises:
        RecipeError: there is no such recipe or file, or it is not text.
    """
    path = Path(name)
    if path.suffix != ".toml" and name in names():
        path = folder() / f"{name}.toml"
    elif path.suffix != ".toml":
        images = f"; to train on the images of a folder, say --data {name}" if path.is_dir() else ""
        raise RecipeError(
            f"recipe '{name}' is not known{nearest(name, names())}; allowed: {', '.join(names())}, "
            f"or a file ending in .toml{images}"
        )
    try:
        return path.read_text(encoding="utf-8"), name
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise RecipeError(
            f"cannot read recipe {path}: {reason}; vit recipes list names those that come with vit"
        ) from error


def draft(name: str) -> Draft:
    """Returns the draft of a recipe by name or file.

    Raises:
        RecipeError: as `text`, or the TOML is wrong.
    """
    return parse(*text(name))


def headline(name: str) -> str:
    """Returns the first comment line of a recipe: what it is."""
    return text(name)[0].split("\n", 1)[0].lstrip("# ").strip()
