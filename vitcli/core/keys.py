"""Every recipe key with its default and what it allows, for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, get_args, get_origin

from pydantic_core import PydanticUndefined

from vitcli.core.draft import SHORTHANDS, format_value
from vitcli.core.recipe import Recipe
from vitcli.core.record import Record


def describe_keys(keys: Iterable[str]) -> list[list[str]]:
    """Returns (key, default, allowed) for each dotted key."""
    return [[key, *_facts(key)] for key in keys]


def _facts(key: str) -> tuple[str, str]:
    if key in SHORTHANDS:
        return "", "fills other keys"
    record: type[Record] = Recipe
    *path, name = key.split(".")
    for part in path:
        annotation = record.model_fields[part].annotation
        if not isinstance(annotation, type) or not issubclass(annotation, Record):
            raise KeyError(key)
        record = annotation
    field = record.model_fields[name]
    default = (
        "required"
        if field.default is PydanticUndefined
        else "none"
        if field.default is None
        else format_value(field.default)
    )
    return default, _allowed(field.annotation)


def _allowed(annotation: object) -> str:
    """Returns a type in words."""
    if get_origin(annotation) is Literal:
        return ", ".join(str(value) for value in get_args(annotation))
    if get_origin(annotation) is Annotated:
        return _allowed(get_args(annotation)[0])
    parts = [part for part in get_args(annotation) if part is not type(None)]
    if get_origin(annotation) is tuple:
        return f"list of {_allowed(parts[0])}"
    if parts:
        return " or ".join(map(_allowed, parts))
    names = {int: "whole number", float: "number", bool: "true, false", str: "text"}
    return names.get(annotation, str(annotation))  # type: ignore[call-overload, no-any-return]
