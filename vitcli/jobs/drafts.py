"""A request becomes the draft of a recipe; no array library."""

from __future__ import annotations

from collections.abc import Sequence

from vitcli.core.draft import Draft, override, resolve
from vitcli.core.recipe import Recipe
from vitcli.core.recipes import draft as read_draft
from vitcli.data.catalogue import lookup


def recipe_draft(
    name: str, overrides: Sequence[str], *, data: str | None = None, precision: str | None = None
) -> Draft:
    """Returns the draft of a recipe with overrides and options on top.

    Raises:
        RecipeError: an unknown recipe or key.
    """
    options = [f"data.source={data}"] if data is not None else []
    options += [f"train.precision={precision}"] if precision is not None else []
    return override(read_draft(name), [*overrides, *options])


def provisional(draft: Draft, num_classes: int = 1000) -> Recipe:
    """Returns the recipe before any data is seen; the class count may come from a known set's name.

    Raises:
        RecipeError: the draft is wrong.
    """
    known = lookup(str(draft.get("data.source", "digits")))
    count = draft.get("model.num_classes", known.entry.num_classes if known else num_classes)
    return resolve(draft.derived({"model.num_classes": count}, "the recipe"))
