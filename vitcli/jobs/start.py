"""What a run starts from: first weights that are drawn, or a weights file made to fit (`init.file`)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vitcli.core.draft import SHORTHANDS, Draft, expand, format_value
from vitcli.core.errors import VerificationError, WeightsError
from vitcli.core.recipe import Recipe
from vitcli.core.reporter import Reporter
from vitcli.jobs.drafts import provisional
from vitcli.jobs.pretrained import find
from vitcli.jobs.tensors import open_tensors
from vitcli.weights.adapt import FREE, adapt, proportional
from vitcli.weights.derive import describe
from vitcli.weights.file import Weights
from vitcli.weights.header import Card, Header, Layout
from vitcli.weights.initial import initial_weights
from vitcli.weights.layouts import to_native
from vitcli.weights.names import CODES, detect, native_shapes

# Where the command line's values come from (`vitcli.core.draft.override`).
_COMMAND = "command line"
_FREE = tuple(f"model.{key}" for key in FREE)
_SEEN = ("data.fit", "data.eval_size", "data.mean", "data.std", "data.interpolation")


@dataclass(frozen=True, kw_only=True)
class Start:
    """A weights file that a run starts from.

    Attributes:
        path: of the file.
        sha256: of the whole file.
        card: what it holds.
        named: whether its classes have names of their own, not just numbers.
        read: gives its tensors, native.
        notes: what of the recipe it decides, one line each.
    """

    path: Path
    sha256: str
    card: Card
    named: bool
    read: Callable[[], Weights]
    notes: tuple[str, ...]


def open_start(draft: Draft, reporter: Reporter) -> tuple[Draft, Start | None]:
    """Returns the draft completed by the file that it starts from, and that file; none where it names none.

    The file decides the architecture and how images are seen. What is said of either on the command line holds
    where it is a size, and must agree where it is not; so does all that a recipe says that names the file itself,
    while one that does not is about another model, and yields.

    Raises:
        RecipeError: what is said contradicts the file.
        WeightsError: the file is missing, damaged, or no Vision Transformer.
        VitError: it is a published one, and the network or the disk fails.
        VerificationError: it is not the file that `init.sha256` says.
    """
    place = draft.get("init.file")
    if not isinstance(place, str):  # none, or what `resolve` refuses
        return draft, None
    path = find(place, reporter)
    header, read = open_tensors(path, reporter)
    layout = detect(header)
    said = _said(draft)
    card = describe(header, layout, _of_the_file(said, header, layout), reporter)
    digest = _checked(path, said)
    completed, yielded = _with_model(draft, said, card, path)
    tells = header.card is not None or layout in CODES
    completed, seen = _with_preprocess(completed, said, card, tells=tells)
    values = {**completed.values, "init.sha256": digest}
    if os.path.exists(place):  # so that the recipe of the run holds from other folders too
        values["init.file"] = str(Path(place).absolute())
    start = Start(
        path=path,
        sha256=digest,
        card=card,
        named=header.card is not None or card.classes != tuple(map(str, range(len(card.classes)))),
        read=lambda: to_native(read(), card.spec, layout),
        notes=(*yielded, *seen),
    )
    for note in start.notes:
        reporter.note(note)
    return replace(completed, values=values), start


def first_weights(
    recipe: Recipe, classes: tuple[str, ...], start: Start | None, reporter: Reporter
) -> tuple[Weights, dict[str, Any] | None]:
    """Returns the weights of a run before its first step, and what is to be recorded of the file they are from.

    Raises:
        WeightsError: the file's values cannot be read, or are no numbers.
    """
    if start is None:
        return initial_weights(recipe.model, recipe.train.seed, recipe.init), None
    card = start.card
    if not start.named and card.classes != classes:
        # Numbers are no names: the first ten of another program's classes are not the ten digits.
        card = replace(card, classes=("",) * len(card.classes))
    dtype = np.float64 if recipe.train.precision == "float64" else np.float32
    weights = {name: value.astype(dtype) for name, value in start.read().items()}
    weights, changes = adapt(
        weights, card, Card.of(recipe, classes), init=recipe.init, seed=recipe.train.seed
    )
    reporter.note(f"starting from {start.path} ({len(weights)} tensors)")
    for note in changes:
        reporter.note(note)
    notes = [*start.notes, *changes]
    return weights, {"file": str(start.path.absolute()), "sha256": start.sha256, "notes": notes}


def _said(draft: Draft) -> Draft:
    """Returns what holds against the file: the command line, and all of a recipe that names the file itself."""
    own = draft.origins.get("init.file") != _COMMAND
    values = {key: value for key, value in draft.values.items() if own or draft.origins.get(key) == _COMMAND}
    return Draft(values=values, origins={key: draft.origins.get(key, "recipe") for key in values})


def _expanded(said: Draft, **known: Any) -> Draft:
    """Returns what is said with shorthands resolved, in the light of other keys of the model."""
    values = expand({**{f"model.{key}": value for key, value in known.items()}, **said.values})
    names = {key: said.origins[key] for key in SHORTHANDS if key in said.origins}
    short = next(iter(names.values()), "recipe")
    return Draft(values=values, origins={key: said.origins.get(key, short) for key in values})


def _of_the_file(said: Draft, header: Header, layout: Layout) -> Draft:
    """Returns what is said of the file itself: not the sizes, which may differ from its own."""
    values = {
        key: value
        for key, value in _expanded(said).values.items()
        if key.startswith("model.") and not key.startswith(_FREE)
    }
    # Where positions are fixed, nothing in a foreign file tells the image size.
    if header.card is None and "model.image_size" in said.values and not _has_positions(header, layout):
        values["model.image_size"] = said.values["model.image_size"]
    return Draft(values=values, origins=_expanded(said).origins)


def _has_positions(header: Header, layout: Layout) -> bool:
    try:
        return "pos_embed" in native_shapes(header.shapes, layout)
    except (IndexError, ValueError):
        return False  # no Vision Transformer: told better by who describes it


def _checked(path: Path, said: Draft) -> str:
    """Returns the SHA-256 of a file, which must be the one that is said."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}") from error
    expected = said.get("init.sha256", digest)
    if expected != digest:
        raise VerificationError(
            f"{path} has SHA-256 {digest[:12]}..., init.sha256 is {str(expected)[:12]}... "
            f"({said.origins['init.sha256']}): it has changed; say --init {path} to start from it as it is"
        )
    return digest


def _with_model(draft: Draft, said: Draft, card: Card, path: Path) -> tuple[Draft, list[str]]:
    """Returns the draft with the file's model, and a note of what the recipe says otherwise."""
    file = {
        f"model.{key}": value
        for key, value in card.spec.flat().items()
        if not key.startswith(("num_classes", "drop."))
    }
    fixed = {key: value for key, value in file.items() if not key.startswith(_FREE)}
    _expanded(said, embed_dim=card.spec.embed_dim).derived(fixed, str(path))
    known, recipe = _expanded(said), expand(draft.values)
    yielding = {key: value for key, value in file.items() if key not in known.values}
    others = [
        f"{key.removeprefix('model.')}={_text(value)} (recipe: {_text(recipe[key])})"
        for key, value in yielding.items()
        if key in recipe and recipe[key] != value
    ]
    if "model.image_size" in yielding and recipe.get("model.image_size") != file["model.image_size"]:
        # These were meant for images of the recipe's size.
        for key in ("data.cache_size", "data.eval_size"):
            if key not in said.values and recipe.pop(key, None) is not None:
                others.append(f"{key} by its default")
    notes = [f"the model is that of {path}: {', '.join(others)}"] if others else []
    origins = {**draft.origins, **known.origins, **dict.fromkeys(yielding, str(path))}
    return Draft(values={**recipe, **known.values, **yielding}, origins=origins), notes


def _with_preprocess(draft: Draft, said: Draft, card: Card, *, tells: bool) -> tuple[Draft, list[str]]:
    """Returns the draft with images seen as the file's model saw them, and a note of it."""
    if not tells:
        return draft, ["images are seen as the recipe says: the file does not say how its model saw them"]
    rest = {key: value for key, value in draft.values.items() if key not in _SEEN or key in said.values}
    spec = provisional(Draft(values=rest, origins=draft.origins)).model
    seen = proportional(card, spec)
    file = {
        "data.fit": seen.fit,
        "data.eval_size": seen.size,
        "data.mean": list(seen.mean),
        "data.std": list(seen.std),
        "data.interpolation": seen.interpolation,
    }
    found = {key: value for key, value in file.items() if key not in said.values}
    told = ", ".join(f"{key}={_text(value)}" for key, value in found.items())
    notes = [f"images are seen as the file's model saw them: {told}"] if found else []
    origins = {**draft.origins, **dict.fromkeys(found, "init.file")}
    return Draft(values={**rest, **found}, origins=origins), notes


def _text(value: Any) -> str:
    return "none" if value is None else format_value(value)
