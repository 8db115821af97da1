"""A weights file says what it holds, and one that is not whole is refused before any value is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.models import random_weights, spec_of
from vitcli.core.errors import VitError, WeightsError
from vitcli.core.recipe import Recipe
from vitcli.weights.derive import describe
from vitcli.weights.file import read_weights, write_weights
from vitcli.weights.header import Card, Preprocess, check_tensors, read_header
from vitcli.weights.names import detect

SPEC = spec_of("standard")
CARD = Card(
    spec=SPEC,
    classes=("ape", "bee", "cat", "dog", "eël", "fox"),
    preprocess=Preprocess(fit="crop", size=17, mean=(0.25, 0.5, 0.75), std=(0.125, 0.25, 0.5)),
    source="a folder",
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    write_weights(path, random_weights(SPEC), CARD, "native")
    return path


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Writes the file with another header, the values left as they are."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    made = change(header)
    text = made if isinstance(made, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


def test_names_shapes_and_card_are_read(file: Path) -> None:
    header = read_header(file)
    assert header.shapes == {name: value.shape for name, value in random_weights(SPEC).items()}
    assert header.card == CARD
    assert header.metadata["vit.layout"] == "native"


def test_a_foreign_file_has_no_card(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"x": np.zeros((2, 3), np.float32), "s": np.zeros((), np.float32)}, path)
    header = read_header(path)
    assert (header.shapes, header.metadata, header.card) == ({"x": (2, 3), "s": ()}, {}, None)


def test_a_card_is_that_of_its_recipe() -> None:
    sections = {
        "model": SPEC.model_dump(),
        "data": {"source": "here", "fit": "squash", "cache_size": 19, "mean": [0.1, 0.2, 0.3]},
        "train": {"epochs": 1},
    }
    card = Card.of(Recipe.model_validate(sections), tuple("abcdef"))
    preprocess = Preprocess(fit="squash", size=19, mean=(0.1, 0.2, 0.3), std=(0.5,))
    assert card == Card(spec=SPEC, classes=tuple("abcdef"), preprocess=preprocess, source="here")


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 100, 0.5, -1])
def test_a_file_that_was_cut_is_refused(file: Path, keep: float) -> None:
    data = file.read_bytes()
    count = int(keep * len(data)) if isinstance(keep, float) else keep
    file.write_bytes(data[:count])
    for read in (read_header, read_weights):
        with pytest.raises(WeightsError, match=r"model.safetensors is not a whole safetensors file: "):
            read(file)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "an empty file"),
        (b"<html><body>404 not found</body></html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a pointer of Git LFS"),
        (b"\x80\x04\x95\x20" + bytes(50), "it is a pickle, and loading it could run code"),
        ((0x0580).to_bytes(8, "little") + b"{" + bytes(0x0580), "Extra data|property name"),
        (b"PK\x03\x04" + bytes(200), "not a whole safetensors file"),
        (b"\x80\x02}q\x00." + bytes(200), "not a whole safetensors file"),
        ((2**63).to_bytes(8, "little") + bytes(50), "no safetensors header at its start"),
        ((20_000_000).to_bytes(8, "little") + bytes(50), "no safetensors header at its start"),
        ((9).to_bytes(8, "little") + b"[1, 2, 3]", "not a whole safetensors file"),
        ((10).to_bytes(8, "little") + b"{not json}", "not a whole safetensors file"),
        ((4).to_bytes(8, "little") + b'"\xff\xff"', "not a whole safetensors file"),
        ((50_000).to_bytes(8, "little") + b"[" * 50_000, "not a whole safetensors file"),
    ],
)
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, raw: bytes, message: str) -> None:
    (tmp_path / "a.safetensors").write_bytes(raw)
    with pytest.raises(WeightsError, match=f"a.safetensors .*{message}"):
        read_header(tmp_path / "a.safetensors")


def test_an_absent_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weights file at .*gone.safetensors"):
        read_header(tmp_path / "gone.safetensors")
    with pytest.raises(WeightsError, match="no weights file at"):
        read_header(tmp_path)


def test_a_header_beyond_any_model_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.safetensors").open("wb") as file:
        file.write((12_000_000).to_bytes(8, "little") + b"{")
        file.truncate(13_000_000)
    with pytest.raises(WeightsError, match="a header of 12,000,000 bytes; vit reads 10,000,000"):
        read_header(tmp_path / "a.safetensors")


def test_bytes_too_many_are_refused(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(WeightsError, match="bytes long, its header says .*: cut short or damaged"):
        read_header(file)


def test_a_name_that_stands_twice_is_refused(file: Path) -> None:
    def twice(header: dict[str, Any]) -> bytes:
        text = json.dumps(header)
        return (text[:-1] + ', "head.bias": ' + json.dumps(header["head.bias"]) + "}").encode()

    rewrite(file, twice)
    with pytest.raises(WeightsError, match="a name stands in it twice"):
        read_header(file)


@pytest.mark.parametrize("metadata", [None, [], 5, "text", {"vit.schema": 1}, {"vit.schema": None}])
def test_metadata_that_are_no_texts_are_refused(file: Path, metadata: Any) -> None:
    rewrite(file, lambda header: header.update({"__metadata__": metadata}))
    with pytest.raises(
        WeightsError, match="not a whole safetensors file: its metadata are not texts by name"
    ):
        read_header(file)


@pytest.mark.parametrize("shape", ["16", [16.0], [None], ["16"], 16, None])
def test_a_shape_that_is_none_is_refused(file: Path, shape: Any) -> None:
    rewrite(file, lambda header: header["head.bias"].update({"shape": shape}))
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        read_header(file)


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("vit.schema", "2", "has schema 2; this program reads 1: install a newer vitcli"),
        ("vit.spec", "{}", "has damaged metadata: .*image_size"),
        ("vit.spec", "not json", "has damaged metadata"),
        ("vit.spec", None, "has damaged metadata: 'vit.spec'"),
        ("vit.classes", '["a", "b"]', "has damaged metadata: 2 class names for 6 classes"),
        ("vit.classes", "5", "has damaged metadata"),
        ("vit.preprocess", "[]", "has damaged metadata"),
        (
            "vit.preprocess",
            '{"fit": "crop", "size": "17", "mean": [0.5], "std": [0.5]}',
            "damaged metadata: .*size",
        ),
        (
            "vit.preprocess",
            '{"fit": "fill", "size": 17, "mean": [0.5], "std": [0.5]}',
            "damaged metadata: .*fit",
        ),
        (
            "vit.preprocess",
            '{"fit": "crop", "size": 17, "mean": ["a"], "std": [0.5]}',
            "damaged metadata: .*mean",
        ),
        ("vit.source", None, "has damaged metadata: 'vit.source'"),
    ],
)
def test_a_damaged_card_is_refused(file: Path, key: str, text: str | None, message: str) -> None:
    def change(header: dict[str, Any]) -> None:
        if text is None:
            del header["__metadata__"][key]
        else:
            header["__metadata__"][key] = text

    rewrite(file, change)
    with pytest.raises(WeightsError, match=f"(?s)model.safetensors .*{message}"):
        _ = read_header(file).card


def test_tensors_are_compared_by_name_and_shape() -> None:
    expected: dict[str, tuple[int, ...]] = {"a": (1,), "b": (2, 3), "c": (), "d": (4,)}
    check_tensors(expected, dict(expected), Path("x"))
    with pytest.raises(
        WeightsError,
        match=r"^x does not fit its spec: a is missing; b is missing; c is missing \(and 2 more\)$",
    ):
        check_tensors({"e": (1,)}, expected, Path("x"))
    with pytest.raises(WeightsError, match=r"^x does not fit its spec: b is \[3, 2\], not \[2, 3\]$"):
        check_tensors({**expected, "b": (3, 2)}, expected, Path("x"))


VALUES: list[Any] = [
    None,
    0,
    -1,
    2**63,
    1e400,
    "x",
    "F16",
    "I64",
    [],
    [0],
    [1, 2, 3, 4, 5],
    {},
    {"a": 1},
    True,
]


def test_a_header_changed_at_random_gives_a_model_or_one_kind_of_error(file: Path) -> None:
    random = np.random.default_rng(0)
    whole, told = file.read_bytes(), 0

    def change(header: dict[str, Any]) -> bytes | None:
        if random.random() < 0.4:
            del header["__metadata__"]
        for _ in range(random.integers(1, 3)):
            names = list(header)
            name = names[random.integers(len(names))]
            value = VALUES[random.integers(len(VALUES))]
            if random.random() < 0.2 or not isinstance(header[name], dict) or not header[name]:
                header[f"blocks.{name}"] = header.pop(name)
            else:
                keys = list(header[name])
                header[name][keys[random.integers(len(keys))]] = value
        text = bytearray(json.dumps(header).encode())
        if random.random() < 0.3:
            text[random.integers(len(text))] = random.integers(256)
        return bytes(text)

    for _ in range(150):
        file.write_bytes(whole)
        rewrite(file, change)
        try:
            header = read_header(file)
            describe(header, detect(header), [] if header.card else ["model.num_heads=2"])
            read_weights(file)
        except VitError as error:
            assert len(str(error)) > 10
            told += 1
    assert told > 100
