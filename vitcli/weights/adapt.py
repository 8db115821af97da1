"""Weights of one model made those of another: other sizes, channels or classes, and nothing else, each told."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitcli.core.draft import Draft, override, validated
from vitcli.core.errors import RecipeError, WeightsError
from vitcli.core.initial import InitSpec
from vitcli.core.parameters import parameter_table
from vitcli.core.spec import ModelSpec
from vitcli.weights.file import Weights
from vitcli.weights.header import Card, Preprocess
from vitcli.weights.initial import initial_weights
from vitcli.weights.resample import KERNELS, POSITIONS, resized_kernel, resized_positions

# Keys and sections of a spec that a model may have otherwise than the weights it starts from.
SIZES = ("image_size", "patch_size", "in_channels")
FREE = (*SIZES, "num_classes", "head.pre_logits", "drop.", "lora.")
_PATCHES = "patch_embed.proj.weight"


def adapt(
    weights: Mapping[str, NDArray[Any]],
    card: Card,
    wanted: Card,
    *,
    init: InitSpec | None = None,
    seed: int = 0,
) -> tuple[Weights, list[str]]:
    """Returns native weights for a model of the same architecture, and what has changed, one line each.

    Args:
        weights: native; they keep their types.
        card: what they are.
        wanted: what they are to be; the spec may differ in what `FREE` names. Rows of the head are kept by name.
        init: how sizes are resampled, and how what the weights have not is drawn.
        seed: of what is drawn: the values that a new model would have.

    Raises:
        WeightsError: the architecture is another one.
    """
    init = init or InitSpec()
    check_architecture(card.spec, wanted.spec)
    made, notes = dict(weights), []
    for step in (_positions, _patches):
        for name, value, note in step(weights, card.spec, wanted.spec, init):
            made[name] = value
            notes.append(note)
    drawn, told = _drawn(made, card, wanted, init, seed)
    made |= drawn
    names = parameter_table(wanted.spec)
    out = [name for name in made if name not in names]
    notes += [*told, *([f"left out: {_listed(out)}"] if out else []), *_computed(card, wanted)]
    return {name: made[name] for name in names}, notes


def adapted_card(card: Card, assignments: Sequence[str]) -> Card:
    """Returns the card of a file at other sizes, said as `model.image_size=384`.

    Raises:
        RecipeError: something else is said, or an impossible size.
        WeightsError: the file's model has no other sizes.
    """
    said = override(Draft(values={}), assignments)
    allowed = [f"model.{key}" for key in SIZES]
    for key in said.values:
        if key not in allowed:
            raise RecipeError(
                f"{key} cannot be adapted; allowed: {', '.join(allowed)} (classes: vit train --init FILE)"
            )
    values = card.spec.flat() | {key.removeprefix("model."): value for key, value in said.values.items()}
    spec = validated(ModelSpec, values, {})
    check_architecture(card.spec, spec)
    return replace(card, spec=spec, preprocess=proportional(card, spec))


def check_architecture(old: ModelSpec, new: ModelSpec) -> None:
    """Checks that a model has the architecture of a file, whatever its sizes.

    Raises:
        WeightsError: it has not; the first difference is told.
    """
    given, wanted = old.flat(), new.flat()
    # Adapters may be added, and then they are part of what was learnt.
    free = tuple(key for key in FREE if key != "lora." or not old.lora.rank)
    for key, value in given.items():
        if not key.startswith(free) and value != wanted[key] and not _history(key, value, wanted[key]):
            raise WeightsError(
                f"model.{key} is {value} in the weights and {wanted[key]} in the model that is to have them; "
                f"only image_size, patch_size, in_channels, classes, head.pre_logits and drop rates can be changed, "
                f"and lora where there was none"
            )
    if new.linear == "sequence" and new.grid != old.grid:
        raise WeightsError(
            f"the weights have model.linear='sequence': their layers map all {old.grid}x{old.grid} "
            f"patches at once, and cannot be made to map {new.grid}x{new.grid}; keep "
            f"model.image_size={old.image_size} and model.patch_size={old.patch_size}"
        )


def proportional(card: Card, spec: ModelSpec) -> Preprocess:
    """Returns how a model of other sizes sees as much of an image as the card's, in numbers for its channels."""
    seen = card.preprocess
    size = max(spec.image_size, round(seen.size * spec.image_size / card.spec.image_size))
    return seen.model_copy(update={"size": size}).fitted(spec.in_channels)


def channels(kernel: NDArray[Any], count: int) -> NDArray[Any]:
    """Returns a patch kernel (D, C, P, P) for images of so many channels.

    One channel takes the sum: a grey image gives the tokens that it gave as a colour one of equal channels. More are
    repeated in order and scaled, so that equal channels give the same tokens; as timm's `adapt_input_conv`.
    """
    old = kernel.shape[1]
    wide: NDArray[np.float64] = kernel.astype(np.float64)
    if count == 1:
        wide = wide.sum(axis=1, keepdims=True)
    else:
        wide = np.tile(wide, (1, math.ceil(count / old), 1, 1))[:, :count] * (old / count)
    made: NDArray[Any] = wide.astype(kernel.dtype)
    return made


# A tensor's name, its new value, and what is told about it.
_Change = tuple[str, NDArray[Any], str]


def _positions(
    weights: Mapping[str, NDArray[Any]], old: ModelSpec, new: ModelSpec, init: InitSpec
) -> Iterator[_Change]:
    if old.grid == new.grid or "pos_embed" not in weights:
        return
    prefix = old.position_slots - old.grid**2
    kept = f", {prefix} in front kept" if prefix else ""
    yield (
        "pos_embed",
        resized_positions(weights["pos_embed"], prefix, new.grid, POSITIONS[init.resample]),
        f"positions: {old.grid}x{old.grid} -> {new.grid}x{new.grid}, resampled as {init.resample} does{kept}",
    )


def _patches(
    weights: Mapping[str, NDArray[Any]], old: ModelSpec, new: ModelSpec, init: InitSpec
) -> Iterator[_Change]:
    kernel = weights[_PATCHES]
    if old.patch_size != new.patch_size:
        kernel = resized_kernel(kernel, new.patch_size, KERNELS[init.resample])
        sides = f"{old.patch_size}x{old.patch_size} -> {new.patch_size}x{new.patch_size} pixels"
        yield _PATCHES, kernel, f"patch kernels: {sides}, by the pseudo-inverse of the resizing"
    if old.in_channels != new.in_channels:
        kernel = channels(kernel, new.in_channels)
        how = "summed" if new.in_channels == 1 else f"repeated, times {old.in_channels}/{new.in_channels}"
        yield _PATCHES, kernel, f"first layer: {old.in_channels} -> {new.in_channels} channels, {how}"


def _drawn(
    weights: Mapping[str, NDArray[Any]], card: Card, wanted: Card, init: InitSpec, seed: int
) -> tuple[Weights, list[str]]:
    """Returns the tensors that the weights lack or have for other classes, rows of equal names kept, and notes."""
    table = parameter_table(wanted.spec)
    # Rows mean the same only where what they multiply does.
    same = card.spec.head.pre_logits == wanted.spec.head.pre_logits
    others = not same or card.classes != wanted.classes
    names = [
        name
        for name, parameter in table.items()
        if name not in weights or weights[name].shape != parameter.shape or (others and _is_head(name))
    ]
    dtype = weights[_PATCHES].dtype
    drawn = {
        name: value.astype(dtype)
        for name, value in initial_weights(wanted.spec, seed, init, only=names).items()
    }
    heads = [name for name in names if _is_head(name)]
    kept = shared_rows(card.classes, wanted.classes) if same else []
    for name in heads:
        for there, here in kept:
            drawn[name][here] = weights[name][there]
    notes = [_told(card.classes, wanted.classes, kept)] if heads else []
    rest = [name for name in names if name not in heads]
    return drawn, [f"drawn anew: {_listed(rest)}", *notes] if rest else notes


def _is_head(name: str) -> bool:
    return name.startswith("head")


def _computed(card: Card, wanted: Card) -> Iterator[str]:
    """Yields a note of what is otherwise and in no tensor: fixed positions, and how images are seen."""
    old, new = card.spec, wanted.spec
    if old.grid != new.grid and old.tokens.positions == "sincos2d":
        yield f"positions: {old.grid}x{old.grid} -> {new.grid}x{new.grid}, fixed sin-cos, computed"
    before, after = card.preprocess.flat(), wanted.preprocess.flat()
    changed = [f"{key} {before[key]} -> {value}" for key, value in after.items() if value != before[key]]
    if changed:
        yield f"images: {', '.join(changed)}"


def shared_rows(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """Returns where the classes that both have stand, in the order of the new ones.

    A name that stands twice among either is no name: nobody knows which of the two is meant.
    """
    places = {name: row for row, name in enumerate(old)}
    twice = {name for names in (old, new) for name, times in Counter(names).items() if times > 1}
    return [(places[name], row) for row, name in enumerate(new) if name in places and name not in twice]


def _told(old: tuple[str, ...], new: tuple[str, ...], kept: Sequence[tuple[int, int]]) -> str:
    text = f"head: {len(old)} -> {len(new)} classes, "
    if not kept:
        return text + "all drawn anew"
    names = ", ".join(new[row] for _, row in kept[:5]) + (", ..." if len(kept) > 5 else "")
    rest = len(new) - len(kept)
    return text + f"{len(kept)} kept by name ({names})" + (f", {rest} drawn anew" if rest else "")


def _listed(names: Sequence[str]) -> str:
    """Returns the first few names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _history(key: str, given: Any, wanted: Any) -> bool:
    """Whether two values say the same of trained weights: LayerScale's first value is past."""
    return key == "layer_scale" and given is not None and wanted is not None
