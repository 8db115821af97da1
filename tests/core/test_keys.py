"""Every recipe key is described in words."""

from __future__ import annotations

from vitcli.core.draft import SHORTHANDS, known_keys
from vitcli.core.keys import describe_keys


def test_every_key_has_a_row_in_words() -> None:
    rows = describe_keys([*known_keys(), *SHORTHANDS])
    assert [row[0] for row in rows] == [*known_keys(), *SHORTHANDS]
    for key, _, allowed in rows:
        assert allowed, key
        assert not any(sign in allowed for sign in "<>()[]"), (key, allowed)


def test_rows_say_default_and_choice() -> None:
    keys = [
        "model.depth",
        "model.pool",
        "train.lr",
        "train.clip",
        "train.betas",
        "data.mean",
        "train.drop_last",
    ]
    assert describe_keys(keys) == [
        ["model.depth", "required", "whole number"],
        ["model.pool", '"cls"', "cls, mean, mean_all, cls_mean, map"],
        ["train.lr", "0.001", "number"],
        ["train.clip", "none", "number"],
        ["train.betas", "none", "list of number"],
        ["data.mean", "[0.5]", "list of number"],
        ["train.drop_last", "false", "true, false"],
    ]
