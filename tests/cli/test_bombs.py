"""Files that are made to take memory or time, or that are no files: one line within two seconds."""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from tests.cli.inputs import finished_run
from tests.cli.running import Result, here
from tests.cli.test_damage import LONGEST, MOST
from tests.models import random_weights
from tests.weights.kinds import KINDS
from vitcli.core import registry
from vitcli.weights.header import read_header
from vitcli.weights.layouts import from_native

Place = Callable[[Path], object]


@pytest.fixture(autouse=True)
def _bounded(one_thread: None) -> Iterator[None]:
    """Fails a test that hangs, takes long or grows, instead of waiting for it."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise AssertionError("hangs")

    registry.load("torch")
    before = signal.signal(signal.SIGALRM, stop)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def refused(*arguments: str | Path) -> str:
    """Runs `vit`; returns the one line that it refused the request with."""
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.setitimer(signal.ITIMER_REAL, 5 * LONGEST)
    begin = time.perf_counter()
    said: Result = here(*arguments)
    assert time.perf_counter() - begin < LONGEST
    signal.setitimer(signal.ITIMER_REAL, 0)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - grown
    assert 1024 * grown < MOST
    assert said.code == 2, said.err
    assert not said.out
    assert len(said.errors) == 1, said.err[:3000]
    assert said.err.splitlines()[-1] == said.errors[0]
    assert len(said.errors[0]) < 1500
    return said.errors[0]


def convert(source: Path, *more: str | Path) -> str:
    """Returns how a conversion is refused; nothing is left of it."""
    before = sorted(source.parent.iterdir())
    line = refused("convert", "weights", source, source.parent / "out.safetensors", "-b", "torch", *more)
    assert sorted(source.parent.iterdir()) == before
    return line


def header(path: Path, entries: dict[str, Any], size: int | None = None) -> None:
    """Writes a safetensors header, and a hole after it."""
    text = json.dumps(entries).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, size or 8 + len(text))


def _entry(shape: list[int], start: int = 0, end: int = 0) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


def _many_tensors(path: Path) -> None:
    header(path, {f"b{i}": _entry([10**9]) for i in range(100_000)})


def _many_blocks(path: Path) -> None:
    found = {name: _entry(list(value.shape)) for name, value in random_weights(KINDS["torch"].spec).items()}
    header(path, found | {f"blocks.{i}.norm1.weight": _entry([10**9]) for i in range(9_000)})


def _many_sides(path: Path) -> None:
    header(path, {"head.weight": _entry([10**9] * 800_000)})


def _long_header(path: Path) -> None:
    path.write_bytes((10**9).to_bytes(8, "little") + b"{")
    os.truncate(path, 5 << 30)


def _hole(path: Path) -> None:
    header(path, {"x": _entry([2, 3], 0, 24)}, 5 << 30)


def _hole_as_told(path: Path) -> None:
    text = json.dumps({"x": _entry([5 << 28], 0, 5 << 30)})
    path.write_bytes(len(text).to_bytes(8, "little") + text.encode())
    os.truncate(path, 8 + len(text) + (5 << 30))


def _nothing(path: Path) -> None:
    path.touch()
    os.truncate(path, 5 << 30)


def _spec(**changes: Any) -> Place:
    """A good file whose metadata tell of another model."""

    def write(path: Path) -> None:
        kind = KINDS["transformers, DINOv2"]
        weights = from_native(random_weights(kind.spec), kind.spec, kind.layout)
        spec = {**kind.spec.model_dump(exclude_none=True), **changes}
        save_file(weights, path, {**kind.card.texts(), "vit.spec": json.dumps(spec)})

    return write


def _npz(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("cls", "embedding/kernel"):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(
                    file, {"descr": "<f4", "fortran_order": False, "shape": (12_500_000,)}
                )
                for _ in range(50):
                    file.write(bytes(1_000_000))


def _npz_that_lies(path: Path) -> None:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 10**5)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cls.npy", file.getvalue())


def _deflated(path: Path) -> None:
    good = path.with_suffix(".good")
    torch.save({"cls_token": torch.zeros(20_000_000)}, good)
    with zipfile.ZipFile(good) as archive, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as other:
        for name in archive.namelist():
            other.writestr(name, archive.read(name))
    good.unlink()


def _strides(path: Path) -> None:
    torch.save({"cls_token": torch.zeros(1).expand(10**6, 10**4)}, path)


def _views(path: Path) -> None:
    one = torch.zeros(1_000_000, dtype=torch.float16)
    torch.save({f"blocks.{i}.norm1.weight": one for i in range(1000)}, path)


def _itself(path: Path) -> None:
    content: dict[str, Any] = {}
    content["model"] = content
    torch.save(content, path)


def _no_values(path: Path) -> None:
    torch.save({"cls_token": torch.empty(3, device="meta")}, path)


BOMBS: dict[str, tuple[Place, str]] = {
    "a header of many tensors": (_many_tensors, "100,000 tensors"),
    "many blocks": (_many_blocks, "depth=9000"),
    "a shape of many sides": (_many_sides, "sides"),
    "a long header": (_long_header, "a header of 1,000,000,000 bytes"),
    "a hole after a small header": (_hole, "cut short or damaged"),
    "a hole as its header tells": (_hole_as_told, "not a Vision Transformer"),
    "nothing but a hole": (_nothing, "no safetensors header"),
    "a depth that nobody has": (_spec(depth=10**9), "depth"),
    "a width that nobody has": (_spec(mlp_dim=10**15), "mlp_dim"),
    "an archive of zeros": (_npz, "too large"),
    "an archive that tells of more": (_npz_that_lies, "not a whole archive"),
    "a state dict of zeros": (_deflated, "unpacked"),
    "one value told often": (_strides, "unpacked"),
    "one tensor told often": (_views, "unpacked"),
    "a container in itself": (_itself, "model is a dict, not a tensor"),
    "tensors without values": (_no_values, "cls_token is a tensor without values"),
}


@pytest.mark.parametrize(("write", "words"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_in_one_line(tmp_path: Path, write: Place, words: str) -> None:
    write(tmp_path / "model.safetensors")
    line = convert(tmp_path / "model.safetensors", "model.num_heads=3")
    assert words in line, line


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


NO_FILES: dict[str, Place] = {"a loop": _loop, "a pipe": os.mkfifo, "a folder": Path.mkdir}


@pytest.mark.parametrize("make", NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_file_is_refused_wherever_it_stands(tmp_path: Path, make: Place) -> None:
    make(tmp_path / "model.safetensors")
    assert "model.safetensors" in convert(tmp_path / "model.safetensors")
    picture = tmp_path / "a.png"
    assert refused("predict", picture, "--weights", tmp_path / "model.safetensors")
    assert refused("export", tmp_path / "model.safetensors", tmp_path / "model.onnx")
    assert refused("train", "digits", "--init", tmp_path / "model.safetensors", "--runs", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("make", NO_FILES.values(), ids=NO_FILES)
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("timm", "config.json"),
        ("transformers, ViT", "config.json"),
        ("transformers, ViT", "preprocessor_config.json"),
        ("peft, bare", "adapter_config.json"),
        ("adapter", "base.safetensors"),
    ],
)
def test_what_is_no_file_is_refused_beside_one(tmp_path: Path, make: Place, kind: str, name: str) -> None:
    source = KINDS[kind].write(tmp_path)
    (tmp_path / name).unlink()
    make(tmp_path / name)
    assert name in convert(source, *KINDS[kind].arguments)
    if kind == "adapter":
        assert name in convert(source, "--merge", "--base", tmp_path / name)


def test_a_configuration_beyond_any_model_is_not_read(tmp_path: Path) -> None:
    source = KINDS["timm"].write(tmp_path)
    os.truncate(tmp_path / "config.json", 5 << 30)
    assert "config.json" in convert(source)


def test_a_state_dict_is_known_by_its_content(tmp_path: Path) -> None:
    """PyTorch itself would take the suffix at its word."""
    path = KINDS["pth"].write(tmp_path).rename(tmp_path / "model.safetensors")
    said = here("convert", "weights", path, tmp_path / "out.safetensors", "model.num_heads=3", "-b", "torch")
    assert said.code == 0, said.err


def test_names_in_an_archive_that_are_no_text_are_told(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("\N{GREEK SMALL LETTER ALPHA}/data.pkl", b"")
    path.write_bytes(path.read_bytes().replace("\N{GREEK SMALL LETTER ALPHA}".encode(), b"\xb4\xff"))
    assert "not a whole PyTorch file" in convert(path)


@pytest.mark.parametrize(
    ("kind", "name", "key", "value", "words"),
    [
        ("timm", "config.json", "architecture", "x" * 100_000, "vit reads vit_*"),
        ("timm", "config.json", "pretrained_cfg", {"mean": {}}, "cannot be understood"),
        ("timm", "config.json", "pretrained_cfg", {"std": [0.5, 0, 0.5]}, "cannot be understood"),
        ("transformers, ViT", "config.json", "hidden_act", ["x" * 100_000], "vit has gelu_new"),
        ("transformers, ViT", "preprocessor_config.json", "image_std", [-1], "cannot be understood"),
    ],
)
def test_what_a_configuration_says_is_quoted_in_part(
    tmp_path: Path, kind: str, name: str, key: str, value: Any, words: str
) -> None:
    source, beside = KINDS[kind].write(tmp_path), tmp_path / name
    beside.write_text(json.dumps({**json.loads(beside.read_text()), key: value}))
    line = convert(source)
    assert name in line
    assert str(tmp_path) in line
    assert words in line


def test_a_filter_that_is_no_name_is_told(tmp_path: Path) -> None:
    source, config = KINDS["timm"].write(tmp_path), tmp_path / "config.json"
    said = json.loads(config.read_text())
    said["pretrained_cfg"] |= {"interpolation": ["bicubic"], "mean": [0.1, 0.3]}
    config.write_text(json.dumps(said))
    result = here("convert", "weights", source, tmp_path / "out.safetensors", "-b", "torch")
    assert result.code == 0, result.err
    assert "resizes images ['bicubic']" in result.err
    card = read_header(tmp_path / "out.safetensors").card
    assert card is not None
    assert card.preprocess.mean == (0.2,)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a=" + b"[" * 50_000])
def test_a_recipe_beside_weights_that_is_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    run = finished_run(tmp_path / "run")
    (run / "recipe.toml").write_bytes(content)
    assert "recipe.toml" in refused("evaluate", run, "--device", "cpu")
