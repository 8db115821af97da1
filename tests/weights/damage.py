"""Files damaged in every way that a seed draws: cut, grown, bits flipped, headers and configurations that lie."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

_NUMBERS: tuple[Any, ...] = (
    0,
    -1,
    1,
    3,
    2**31,
    2**40,
    2**63,
    10**30,
    1.5,
    True,
    None,
    "8",
    [],
    [2],
    {},
    1e308,
)
_NAMES = (
    "",
    "../../x\n",
    "a\0b",
    "head.weight",
    "blocks.0.attn.qkv.weight",
    "blocks.99999999.norm1.weight",
    "é" * 300,
)
_TYPES = ("F16", "BF16", "F64", "I64", "U8", "BOOL", "F8_E4M3", "C64", "f32", "", None, 4)
# What a JSON text can say and no value of Python's `json.dumps` becomes; and values longer or deeper than any.
_TOKENS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "1e308",
    "9" * 4000,
    "9" * 5000,
    "-0",
    "0.0",
    '"\\ud800"',
    '"\\u0000"',
    '"' + "x" * 100_000 + '"',
    "[" * 20_000 + "]" * 20_000,
    '{"a":' * 300 + "1" + "}" * 300,
    "[" + "1," * 50_000 + "1]",
    '{"height": "a"}',
    "[1e308, -1]",
    '["\\n", null]',
)
_WHOLE = (
    b"",
    b"null",
    b"[]",
    b"{}",
    b"3",
    b'"text"',
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b"{" * 50_000,
)
_LENGTHS = (0, 1, 2, 7, 2**24, 10**8, 10**9, 2**31, 2**63, 2**64 - 1)

Chance = random.Random


def damaged(good: bytes, seed: int) -> bytes:
    """A copy of a file of any kind with one fault, or a few of one sort."""
    chance = Chance(seed)
    bytewise: list[Callable[[bytes, Chance], bytes]] = [_cut, _grow, _flip, _flip_head, _swap, _lose, _zero]
    if good[8:9] == b"{":
        return chance.choice([*bytewise, *[_lie] * 8, _length])(good, chance)
    return chance.choice(bytewise)(good, chance)


def damaged_json(good: bytes, seed: int) -> bytes:
    """A copy of a JSON object with one fault, or a few of one sort."""
    chance = Chance(seed)
    fault = chance.choice(["value", "token", "token", "key", "name", "twin", "bytes", "whole"])
    if fault == "whole":
        return chance.choice(_WHOLE)
    if fault == "bytes":
        return chance.choice([_cut, _grow, _flip, _swap, _lose, _zero])(good, chance)
    tree = json.loads(good)
    if fault == "twin":
        key = chance.choice(list(tree))
        return good.rstrip()[:-1] + f", {json.dumps(key)}: {chance.choice(_TOKENS)}}}".encode()
    node, key = _leaf(tree, chance)
    if fault == "key":
        del node[key]
    elif fault == "name" and isinstance(node, dict):
        node[chance.choice([*_NAMES, f"{key}s", "num_heads", "model_type"])] = node.pop(key)
    elif fault == "value":
        node[key] = chance.choice([*_NUMBERS, 10**9, "a\nb", -0.0])
    else:
        node[key] = "@@"
    return json.dumps(tree).replace('"@@"', chance.choice(_TOKENS)).encode()


def _leaf(tree: Any, chance: Chance) -> tuple[Any, Any]:
    """An object or a list somewhere in a tree, and one of its keys."""
    key = chance.choice(list(tree) if isinstance(tree, dict) else range(len(tree)))
    below = tree[key]
    deeper = isinstance(below, dict | list) and below and chance.random() < 0.7
    return _leaf(below, chance) if deeper else (tree, key)


def _cut(good: bytes, chance: Chance) -> bytes:
    return good[
        : chance.choice([0, 1, 7, 8, 9, 100, len(good) // 2, len(good) - 1, chance.randrange(len(good))])
    ]


def _grow(good: bytes, chance: Chance) -> bytes:
    return good + chance.randbytes(chance.choice([1, 8, 5000]))


def _flip(good: bytes, chance: Chance, reach: int | None = None) -> bytes:
    out = bytearray(good)
    for _ in range(chance.choice([1, 1, 2, 8])):
        out[chance.randrange(min(reach or len(out), len(out)))] ^= 1 << chance.randrange(8)
    return bytes(out)


def _flip_head(good: bytes, chance: Chance) -> bytes:
    return _flip(good, chance, 3000)


def _swap(good: bytes, chance: Chance) -> bytes:
    at, size = chance.randrange(len(good)), chance.choice([1, 4, 64])
    return good[:at] + chance.randbytes(size) + good[at + size :]


def _lose(good: bytes, chance: Chance) -> bytes:
    at = chance.randrange(len(good))
    return good[:at] + good[at + chance.choice([1, 4, 200]) :]


def _zero(good: bytes, chance: Chance) -> bytes:
    at, size = chance.randrange(len(good)), chance.choice([8, 500])
    return good[:at] + bytes(min(size, len(good) - at)) + good[at + size :]


def _length(good: bytes, chance: Chance) -> bytes:
    real = int.from_bytes(good[:8], "little")
    length = chance.choice([*_LENGTHS, real - 1, real + 1, real + 8, len(good)])
    return length.to_bytes(8, "little") + good[8:]


def _lie(good: bytes, chance: Chance) -> bytes:
    """A header of safetensors that is JSON, and wrong."""
    end = 8 + int.from_bytes(good[:8], "little")
    header = json.loads(good[8:end])
    metadata = header.get("__metadata__", {})
    names = [name for name in header if name != "__metadata__"]
    name = chance.choice(names)
    entry = header[name]
    fault = chance.choice(
        ["shape", "sides", "type", "offsets", "name", "drop", "add", "twin", "metadata", "spec", "deep"]
    )
    if fault == "shape":
        entry["shape"] = chance.choice([*_NUMBERS, [1] * 65, entry["shape"][::-1], [*entry["shape"], 1]])
    elif fault == "sides" and entry["shape"]:
        entry["shape"][chance.randrange(len(entry["shape"]))] = chance.choice(_NUMBERS)
    elif fault == "type":
        entry["dtype"] = chance.choice(_TYPES)
    elif fault == "offsets":
        other = header[chance.choice(names)]["data_offsets"]
        entry["data_offsets"] = chance.choice(
            [other, other[::-1], [0, chance.choice(_NUMBERS)], [-4, 0], None, {}]
        )
    elif fault == "name":
        header[chance.choice(_NAMES)] = header.pop(name)
    elif fault == "drop":
        del header[name]
    elif fault == "add":
        header[chance.choice(_NAMES)] = chance.choice(
            [entry, {**entry, "data_offsets": [0, 0], "shape": [0]}, None, 3]
        )
    elif fault == "metadata":
        header["__metadata__"] = chance.choice(
            [*_NUMBERS, {**metadata, "vit.schema": "7"}, {"vit.schema": "1"}, {"a": 1}]
        )
    elif fault == "spec" and metadata:
        key = chance.choice(list(metadata))
        metadata[key] = _spoilt(metadata[key], chance)
    text = json.dumps(header)
    if fault == "twin":
        text = text[:-1] + f', "{name}": {json.dumps(entry)}' + "}"
    elif fault == "deep":
        text = text[:-1] + ', "x": ' + "[" * 20_000 + "]" * 20_000 + "}"
    return len(text.encode()).to_bytes(8, "little") + text.encode() + good[end:]


def _spoilt(text: str, chance: Chance) -> str:
    """A text of the metadata with one of its values replaced where it is JSON, else with a character lost."""
    try:
        tree = json.loads(text)
    except ValueError:
        tree = None
    if not isinstance(tree, dict) or not tree:
        at = chance.randrange(len(text) + 1)
        return text[:at] + text[at + 1 :]
    node = tree
    while True:
        key = chance.choice(list(node))
        if not isinstance(node[key], dict) or not node[key]:
            node[key] = chance.choice([*_NUMBERS, 10**9, "mean", "swiglu"])
            return json.dumps(tree)
        node = node[key]
