"""Fine-tuning: which tensors move, how fast, and how strongly they decay. Both engines follow `plan`."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from vitcli.core.errors import nearest
from vitcli.core.parameters import parameter_table
from vitcli.core.record import Listed, Record

if TYPE_CHECKING:  # a name for the type checker only: recipe.py imports this file
    from vitcli.core.recipe import Recipe

# What a linear probe trains, and what a model with adapters does (`model.lora`): DeiT has two classifiers.
_HEAD = ("head.*", "head_dist.*")
_ADAPTERS = ("*.lora_a", "*.lora_b")


class TuneSpec(Record):
    """What of a model is trained, and how fast; by default all of it alike.

    A pattern is matched with the whole native name of a tensor (`vit summary RECIPE --json` lists them); * is any
    text, dots included: "blocks.0.*", "*.bias", "head.*". Of several rules for one tensor the last counts.
    """

    # Left as they are: no gradient, no moments, no decay, no average; the gradient's norm does not count them.
    freeze: Listed = ()
    # Trained although `freeze`, `probe` or `model.lora` freezes them.
    train: Listed = ()
    # Linear probe: all but the head is frozen. (With `model.lora`: all but the adapters and the head.)
    probe: bool = False
    # The learning rate falls by this factor a block, from the head and the last norm (full rate) down to the
    # embeddings: layer_decay^(depth + 1 - layer), as BEiT (arXiv:2106.08254) and MAE (arXiv:2111.06377) fine-tune.
    # timm puts the norm before pooling in the last block's layer.
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    # "pattern=factor": times train.lr, and times what `layer_decay` makes of it.
    lr: Listed = ()
    # "pattern=value": in place of train.weight_decay, whatever train.decay says of those tensors.
    weight_decay: Listed = ()

    @model_validator(mode="after")
    def _possible(self) -> TuneSpec:
        for rule in self.lr:
            if not _number(rule) > 0:
                raise ValueError(
                    f"lr: '{rule}' is not a rule; write 'pattern=factor' with a factor above 0, as in 'head.*=10'"
                )
        for rule in self.weight_decay:
            if not _number(rule) >= 0:
                raise ValueError(
                    f"weight_decay: '{rule}' is not a rule; write 'pattern=value' with a value of 0 or more, "
                    "as in 'blocks.*=0.05'"
                )
        return self


@dataclass(frozen=True, kw_only=True)
class Move:
    """How one tensor moves: `rate` times the learning rate of the step, with this weight decay."""

    rate: float
    decay: float


def plan(recipe: Recipe) -> dict[str, Move]:
    """Returns how each tensor that is trained moves, in the order of the table; the others are frozen.

    Raises:
        ValueError: a pattern that matches nothing, or nothing is left to train.
    """
    spec, tune, train = recipe.model, recipe.tune, recipe.train
    table = parameter_table(spec)
    names = _trained(tune, list(table))
    for key, rules in (("lr", tune.lr), ("weight_decay", tune.weight_decay)):
        _check_rules(key, rules, names, table)
    usual = {name: train.weight_decay if table[name].decay or train.decay == "all" else 0.0 for name in names}
    return {
        name: Move(
            rate=_layer_rate(name, spec.depth, tune) * _ruled(name, tune.lr, 1.0),
            decay=_ruled(name, tune.weight_decay, usual[name]),
        )
        for name in names
    }


def layer(name: str, depth: int) -> int:
    """Returns the layer of a tensor: 0 before the blocks, i + 1 in block i, depth + 1 behind them."""
    if block := re.match(r"blocks\.(\d+)\.", name):
        return int(block[1]) + 1
    first = ("cls_token", "reg_token", "pos_embed", "patch_embed.", "norm_pre.")
    return 0 if name.startswith(first) else depth + 1


def _trained(tune: TuneSpec, names: list[str]) -> list[str]:
    adapted = any(_any(name, _ADAPTERS) for name in names)
    if tune.probe and adapted:
        raise ValueError(
            "tune.probe=true trains the head alone, not model.lora's adapters; leave one of them out"
        )
    if tune.train and not (tune.freeze or tune.probe or adapted):
        raise ValueError(
            f"tune.train={list(tune.train)} is trained anyway: nothing is frozen; say tune.freeze='*' "
            "to train nothing else"
        )
    start = _HEAD if tune.probe else (*_ADAPTERS, *_HEAD) if adapted else ("*",)
    for key, patterns in (("freeze", tune.freeze), ("train", tune.train)):
        for pattern in patterns:
            _check(key, pattern, names)
    trained = [
        name
        for name in names
        if _any(name, tune.train) or (_any(name, start) and not _any(name, tune.freeze))
    ]
    if not trained:
        raise ValueError(
            f"tune.freeze={list(tune.freeze)} leaves nothing to train; say tune.train=... for what shall move, "
            "or freeze less"
        )
    return trained


def _check_rules(key: str, rules: Sequence[str], trained: list[str], names: Collection[str]) -> None:
    for rule in rules:
        pattern = _pattern(rule)
        _check(key, pattern, names)
        if not any(fnmatchcase(name, pattern) for name in trained):
            raise ValueError(
                f"tune.{key}: '{pattern}' matches frozen tensors only; leave the rule out, "
                f"or train them: tune.train={pattern}"
            )


def _check(key: str, pattern: str, names: Collection[str]) -> None:
    if any(fnmatchcase(name, pattern) for name in names):
        return
    # A module's name most likely means all that is in it.
    inside = f"{pattern.rstrip('.*')}.*"
    modules = {f"{name[: end.start()]}.*" for name in names for end in re.finditer(r"\.", name)}
    near = nearest(pattern, [*names, *sorted(modules)])
    hint = f" (did you mean '{inside}'?)" if inside in modules else near
    raise ValueError(
        f"tune.{key}: '{pattern}' matches no tensor of this model{hint}; all names: vit summary RECIPE --json"
    )


def _layer_rate(name: str, depth: int, tune: TuneSpec) -> float:
    return 1.0 if tune.layer_decay is None else tune.layer_decay ** (depth + 1 - layer(name, depth))


def _ruled(name: str, rules: Sequence[str], otherwise: float) -> float:
    """Returns the number of the last rule that matches a name."""
    found = [_number(rule) for rule in rules if fnmatchcase(name, _pattern(rule))]
    return found[-1] if found else otherwise


def _any(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _pattern(rule: str) -> str:
    return rule.rpartition("=")[0].strip()


def _number(rule: str) -> float:
    """Returns the number of a rule; not a number where there is none."""
    pattern, _, text = rule.rpartition("=")
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if pattern.strip() and math.isfinite(value) else math.nan
