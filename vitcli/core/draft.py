"""Recipes as they are written: TOML with `key=value` overrides on top, resolved into a `Recipe`.

A draft may leave out what the data decides (`model.num_classes`) and may name a variant
(`model.variant = "S/16"`) or a ratio (`model.mlp_ratio = 4`): both are resolved here and never stored.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError

from vitcli.core.errors import RecipeError, nearest
from vitcli.core.recipe import Recipe
from vitcli.core.record import Record
from vitcli.core.variants import variant

Values = dict[str, Any]
R = TypeVar("R", bound=Record)
# Keys that only a draft has, with the type that an override of them takes.
SHORTHANDS = {"model.variant": str, "model.mlp_ratio": float}


@dataclass(frozen=True, kw_only=True)
class Draft:
    """Values by dotted key, and for each the place where it was said."""

    values: Mapping[str, Any]
    origins: Mapping[str, str] = field(default_factory=dict)

    def get(self, key: str, default: Any = None) -> Any:
        """Returns a value by dotted key."""
        return self.values.get(key, default)

    def derived(self, values: Mapping[str, Any], source: str) -> Draft:
        """Returns the draft completed by what `source` decides; equal values are accepted.

        Raises:
            RecipeError: the draft says otherwise.
        """
        for key, value in values.items():
            if key in self.values and self.values[key] != value:
                origin = self.origins.get(key, "recipe")
                raise RecipeError(
                    f"{key}={format_value(self.values[key])} ({origin}) contradicts {source}, which makes it "
                    f"{format_value(value)}; leave {key} out, or say {key}={format_value(value)}"
                )
        origins = {**self.origins, **dict.fromkeys(values, source)}
        return Draft(values={**self.values, **values}, origins=origins)


def parse(text: str, origin: str) -> Draft:
    """Returns the draft that a TOML text says.

    Raises:
        RecipeError: it is not TOML, or holds an unknown key (named with its line and the nearest right key).
    """
    try:
        tree = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RecipeError(f"{origin} is not valid TOML: {error}") from error
    lines = _lines(text)
    values: Values = {}
    origins: dict[str, str] = {}
    for key, value in _flatten(tree):
        where = f"{origin}, line {lines[key]}" if key in lines else origin
        _check_key(key, where)
        values[key], origins[key] = value, where
    return Draft(values=values, origins=origins)


def override(draft: Draft, assignments: Iterable[str]) -> Draft:
    """Returns the draft with `key=value` texts applied in order; values take the type that the spec gives.

    Raises:
        RecipeError: an unknown key, or no `=`.
    """
    values, origins = dict(draft.values), dict(draft.origins)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip()
        if not equals:
            raise RecipeError(f"'{assignment}' is not an override; write key=value, as in train.lr=0.001")
        _check_key(key, "command line")
        values[key], origins[key] = _typed(key, text.strip()), "command line"
    # How long a run is may be said in one of two ways: the later word replaces the earlier one.
    for said, other in (("train.epochs", "train.steps"), ("train.steps", "train.epochs")):
        spoken = origins.get(said) == "command line" and values.get(said) is not None
        if spoken and origins.get(other) != "command line":
            values.pop(other, None)
    return Draft(values=values, origins=origins)


def resolve(draft: Draft) -> Recipe:
    """Returns the recipe that a draft says.

    Raises:
        RecipeError: a missing key, a value of the wrong type or out of range, or an impossible combination.
    """
    return validated(Recipe, expand(draft.values), draft.origins)


def validated(record: type[R], values: Mapping[str, Any], origins: Mapping[str, str]) -> R:
    """Returns a record built from dotted keys, with the first fault told in one line.

    Raises:
        RecipeError: as `resolve`.
    """
    try:
        return record.model_validate(_nest(values))
    except ValidationError as error:
        faults = error.errors()
        message = _explain(faults[0], origins)
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise RecipeError(message + more) from error


@cache
def known_keys(record: type[Record] = Recipe, prefix: str = "") -> dict[str, Any]:
    """Returns every dotted key of a record with its annotated type."""
    keys: dict[str, Any] = {}
    for name, info in record.model_fields.items():
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, Record):
            keys |= known_keys(annotation, f"{prefix}{name}.")
        else:
            keys[prefix + name] = annotation
    return keys


def to_toml(record: Record, heading: str = "") -> str:
    """Returns a record as TOML; keys that are none are left out."""
    lines = [f"# {line}" for line in heading.splitlines()]

    def table(values: Mapping[str, Any], path: str) -> None:
        plain = {
            key: value for key, value in values.items() if not isinstance(value, dict) and value is not None
        }
        if path and plain:
            lines.extend(["", f"[{path}]"])
        lines.extend(f"{key} = {format_value(value)}" for key, value in plain.items())
        for key, value in values.items():
            if isinstance(value, dict):
                table(value, f"{path}.{key}" if path else key)

    table(record.model_dump(), "")
    return "\n".join(lines).lstrip("\n") + "\n"


def expand(values: Mapping[str, Any]) -> Values:
    """Returns the values with shorthands resolved; a key that is said wins over its shorthand."""
    expanded = dict(values)
    name, ratio = expanded.pop("model.variant", None), expanded.pop("model.mlp_ratio", None)
    if name is not None:
        for key, value in variant(str(name)).items():
            expanded.setdefault(f"model.{key}", value)
    embed_dim = expanded.get("model.embed_dim")
    if ratio is not None and isinstance(embed_dim, int):
        if not isinstance(ratio, int | float):
            raise RecipeError(f"model.mlp_ratio={ratio!r} is not a number")
        expanded.setdefault("model.mlp_dim", round(ratio * embed_dim))
    return expanded


def _check_key(key: str, where: str) -> None:
    known = [*known_keys(), *SHORTHANDS]
    if key in known:
        return
    section = any(name.startswith(f"{key}.") for name in known)
    if section:
        raise RecipeError(f"{key} is a section, not a key ({where}); it has {_section_keys(key, known)}")
    # A bare `lr` most likely means `train.lr`.
    tails = [name for name in known if name.rpartition(".")[2] == key]
    hint = f" (did you mean '{tails[0]}'?)" if tails else nearest(key, known)
    raise RecipeError(f"unknown key '{key}' ({where}){hint}; all keys: vit recipes keys")


def _section_keys(section: str, known: Iterable[str]) -> str:
    return ", ".join(name for name in known if name.startswith(f"{section}."))


def _typed(key: str, text: str) -> Any:
    """Returns the text of an override as the type that the key has."""
    annotation = SHORTHANDS.get(key) or known_keys()[key]
    kinds = set(_kinds(annotation))
    if NoneType in kinds and text.lower() == "none":
        return None
    if kinds <= {str, NoneType}:
        return text
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        # TOML has no .5 and no 5.; people write them.
        return float(text) if float in kinds and re.fullmatch(r"[+-]?(\d+\.|\.\d+)", text) else text


def _kinds(annotation: Any) -> Iterator[type]:
    """Yields the plain types that an annotation is made of."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _kinds(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from _kinds(part)
    elif origin is Literal:
        yield from (type(value) for value in get_args(annotation))
    else:
        yield origin or annotation


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _nest(values: Mapping[str, Any]) -> Values:
    tree: Values = {}
    for key, value in values.items():
        *path, last = key.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return tree


def _lines(text: str) -> dict[str, int]:
    """Returns the line of each `key = value` under its `[section]`; inline tables are not looked into."""
    found: dict[str, int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[([\w.\s]+)\]", line):
            section = header[1].replace(" ", "") + "."
        elif key := re.match(r"\s*([\w.\s]+?)\s*=", line):
            found[section + key[1].replace(" ", "")] = number
    return found


def _explain(fault: Any, origins: Mapping[str, str]) -> str:
    """Returns one line for one of pydantic's errors: the key, what was given, what is allowed."""
    key = ".".join(str(part) for part in fault["loc"] if isinstance(part, str))
    where = f" ({origins[key]})" if key in origins else ""
    if fault["type"] == "missing":
        return f"{key} is missing; say {key}=..."
    if fault["type"] == "extra_forbidden":
        return f"unknown key '{key}'{where}"
    if fault["type"] == "value_error":
        section = f"{key}: " if key else ""
        return f"{section}{fault['ctx']['error']}"
    if fault["type"] == "literal_error":
        return f"{key}={format_value(fault['input'])}{where} is not one of {fault['ctx']['expected']}"
    return f"{key}={format_value(fault['input'])}{where}: {fault['msg'][0].lower()}{fault['msg'][1:]}"


def format_value(value: Any) -> str:
    """Returns a value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return "[" + ", ".join(format_value(item) for item in value) + "]"
    return repr(value)
