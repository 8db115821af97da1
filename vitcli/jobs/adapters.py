"""Adapter files: ours and PEFT's, completed by their base, and carried from one to the other."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vitcli.core.errors import RequestError, VerificationError, WeightsError
from vitcli.core.reporter import Reporter, Silent
from vitcli.jobs.runs import weights_of
from vitcli.jobs.tensors import open_tensors
from vitcli.weights.config import read_json
from vitcli.weights.derive import describe
from vitcli.weights.file import Weights, write_weights
from vitcli.weights.header import Base, Card, Header
from vitcli.weights.layouts import to_native
from vitcli.weights.lora import adapter_base, adapter_of, check_adapter, with_adapter
from vitcli.weights.names import detect, is_peft
from vitcli.weights.peft import CONFIG, MODEL, PeftLayout, from_peft, to_peft


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """An adapter without its base.

    Attributes:
        path: of its file.
        layout: `adapter` (ours) or `peft`.
        card: of the whole model; it names the base where the file does.
        tensors: native.
    """

    path: Path
    layout: str
    card: Card
    tensors: Weights


def is_adapter(header: Header) -> bool:
    """Whether a file holds an adapter alone, ours or PEFT's."""
    return is_peft(header.shapes) or (header.card is not None and header.card.base is not None)


def open_adapter(
    path: Path, base: Path | None = None, overrides: Sequence[str] = (), reporter: Reporter | None = None
) -> Adapter:
    """Returns an adapter of either kind. PEFT's do not say what they adapt, so that their base is opened too.

    Args:
        path: of the file.
        base: whole weights; none: where the adapter says that they are.
        overrides: `model.key=value` for what PEFT's base cannot say.
        reporter: is told what is assumed of it.

    Raises:
        WeightsError: the adapter, or the base of one of PEFT's, is missing, damaged or of another model.
    """
    header, read = open_tensors(path)
    card = header.card
    if card is not None and overrides:
        raise RequestError(f"'{overrides[0]}': {path} says itself what model it belongs to")
    if card is not None and not is_peft(header.shapes):
        check_adapter(header.shapes, card, path)
        return Adapter(path=path, layout="adapter", card=card, tensors=read())
    config = _config(path)
    if card is not None and card.base is not None:  # we wrote it
        tensors, spec = from_peft(read(), config, card.spec, str(path))
        card = replace(card, spec=spec)
    else:
        base_path = _base_path(path, config.get("base_model_name_or_path"), base)
        base_card, weights = read_base(base_path, overrides, reporter)
        tensors, spec = from_peft(read(), config, base_card.spec, str(path))
        classes = base_card.classes
        if len(classes) != spec.num_classes:
            classes = tuple(map(str, range(spec.num_classes)))
        card = replace(base_card, spec=spec, classes=classes)
        card = replace(card, base=adapter_base(card, tensors, weights, base_path))
    check_adapter({name: value.shape for name, value in tensors.items()}, card, path)
    return Adapter(path=path, layout="peft", card=card, tensors=tensors)


def complete(adapter: Adapter, base: Path | None = None) -> Weights:
    """Returns the whole weights of a model, adapters beside their layers.

    Raises:
        WeightsError: the base is missing, damaged, or another one than the adapter was trained from.
    """
    card = adapter.card
    if card.base is None:
        raise WeightsError(
            f"{adapter.path} does not say what it is an adapter of; name its base with --base FILE"
        )
    path = _base_path(adapter.path, card.base.path, base)
    # What a foreign base cannot say, the adapter does.
    known = [f"model.num_heads={card.spec.num_heads}"]
    if card.spec.tokens.positions != "learned":
        known.append(f"model.image_size={card.spec.image_size}")
    _, weights = read_base(path, known)
    return with_adapter(weights, adapter.tensors, card, path=adapter.path, base_path=path)


def read_base(
    path: Path, overrides: Sequence[str] = (), reporter: Reporter | None = None
) -> tuple[Card, Weights]:
    """Returns what a base holds and its tensors, native, from a file of any layout.

    Raises:
        WeightsError: it is missing, damaged, or has adapters of its own.
    """
    header, read = open_tensors(path)
    layout = detect(header)
    card = describe(header, layout, [] if header.card else overrides, reporter or Silent())
    if card.spec.lora.rank:
        raise WeightsError(f"{path} has adapters of its own; merge them first: vit convert weights --merge")
    return card, to_native(read(), card.spec, layout)


@dataclass(frozen=True, kw_only=True)
class Apart:
    """What of a model in training stands in adapter files, the same at every save, and what it stands upon."""

    names: frozenset[str]
    base: Base


def set_apart(
    weights: Weights, trained: Collection[str], card: Card, base: Weights, base_path: Path
) -> Apart:
    """Returns what a model's base has not: adapters, what else training moves, and what was made to fit."""
    names = frozenset(adapter_of(weights, base)) | frozenset(trained)
    return Apart(names=names, base=adapter_base(card, names, base, base_path))


def write_adapter(path: Path, weights: Weights, card: Card, apart: Apart) -> None:
    """Writes the part of a model that was set apart.

    Raises:
        VitError: the file cannot be written.
    """
    tensors = {name: value for name, value in weights.items() if name in apart.names}
    write_weights(path, tensors, replace(card, base=apart.base), "native")


def carry(adapter: Adapter, target: Path, to: PeftLayout | None) -> None:
    """Writes an adapter into a file of ours, or of PEFT's, and reads it back.

    Raises:
        RequestError: the file's name is not the one that PEFT reads, or another adapter is there.
        WeightsError: PEFT's layout cannot hold it.
        VerificationError: what was read back differs.
    """
    if to is None:
        if target.suffix != ".safetensors":
            raise RequestError(f"{target} must end in .safetensors: an adapter file says what it belongs to")
        write_weights(target, adapter.tensors, adapter.card, "native")  # which reads it back
        return
    config = target.parent / CONFIG
    if target.name != MODEL:
        raise RequestError(
            f"{target} must be called {MODEL}, in a folder of its own: PEFT reads no other name"
        )
    if config.exists():
        raise RequestError(f"{config} exists; write {MODEL} into a folder of its own")
    base = Path(adapter.card.base.path) if adapter.card.base else None
    # A folder of transformers' is called by its own name; of another file it is good to know which it was.
    named = base and (base.parent if (base.parent / "config.json").is_file() else base)
    tensors, said = to_peft(adapter.tensors, adapter.card, to, str(named) if named else None)
    again, _ = from_peft(tensors, said, adapter.card.spec, str(target))
    changed = [name for name, value in adapter.tensors.items() if again[name].tobytes() != value.tobytes()]
    if changed or set(again) != set(adapter.tensors):
        raise VerificationError(
            f"{len(changed)} tensors do not come back from {to}'s names, first {changed[:1]}; "
            f"{target} has not been written"
        )
    write_weights(target, tensors, adapter.card, "torch")  # which reads it back
    config.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def _base_path(adapter: Path, named: object, given: Path | None) -> Path:
    """Returns where the base of an adapter is: as said, where it was, or beside the adapter.

    Raises:
        WeightsError: nowhere.
    """
    if given is not None:
        return weights_of(given)
    place = Path(named) if isinstance(named, str) and named else None
    if place is not None:
        for path in (place, adapter.parent / place.name):
            if path.exists():
                return weights_of(path)
    where = f"which is not at {place}" if place else "and does not say where they are"
    raise WeightsError(
        f"{adapter} is an adapter, to be used with the weights that it was trained from, {where}; "
        f"name them: vit convert weights {adapter} model.safetensors --merge --base FILE"
    )


def _config(path: Path) -> Mapping[str, Any]:
    place = path.parent / CONFIG
    if not os.path.lexists(place):
        raise WeightsError(
            f"{path} needs the {CONFIG} that PEFT wrote beside it: it says what adapters weigh"
        )
    return read_json(place)
