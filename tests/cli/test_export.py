"""`vit export`: what it prints, where it writes, and what it refuses before an engine is loaded."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.cli.inputs import finished_run, weights_file
from tests.cli.running import ENGINES, child, here, snapshot

REFUSED = {
    "export run": ("--format onnx|torch-export|stablehlo",),
    "export run model.pb": ("--format onnx|torch-export|stablehlo",),
    "export run --format onx": ("--format onx is not known", "did you mean 'onnx'", "stablehlo"),
    "export run a.pt2 --format onnx": ("a.pt2 must end in .onnx",),
    "export nothing --format onnx": ("no run folder or weights file at nothing",),
    "export folder.onnx --format onnx": ("folder.onnx is a folder without model.safetensors",),
    "export run folder.onnx": ("folder.onnx is a folder", "give a file name"),
    "export run nowhere/a.onnx": ("no folder nowhere", "make it first"),
    "export same.onnx same.onnx": ("same.onnx is the source itself",),
    "export run a.onnx b.onnx": ("'a.onnx' and 'b.onnx'", "give one"),
    "export run a.onnx model.depth=2": ("model.depth=2", "metadata"),
    "export run a.onnx train.lr=1": ("'train.lr=1'", "model.key=value"),
    "export run a.onnx --input int8": ("'int8'", "'uint8'"),
    "export page.safetensors a.onnx": ("page.safetensors", "not a whole safetensors file"),
}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    finished_run(tmp_path / "run")
    weights_file(tmp_path / "same.onnx")
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "page.safetensors").write_text("<html></html>")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize("request_", REFUSED)
def test_refused(request_: str, world: Path) -> None:
    before = snapshot(world)
    said = here(*shlex.split(request_))
    assert (said.code, said.out, len(said.err.splitlines())) == (2, "", 1)
    for part in REFUSED[request_]:
        assert part in said.err
    assert snapshot(world) == before


@pytest.mark.parametrize(
    ("form", "absent", "parts"),
    [
        ("onnx", "onnxruntime", ("needs onnxruntime, not installed", "pip install 'vitcli[export]'")),
        ("onnx", "torch", ("'torch' is not installed", "pip install 'vitcli[torch]'")),
        ("stablehlo", "jax", ("'jax' is not installed", "pip install 'vitcli[jax]'")),
    ],
)
def test_absent_library(form: str, absent: str, parts: tuple[str, ...], world: Path) -> None:
    before = snapshot(world)
    said = child("export", "run", "--format", form, cwd=world, env={"VIT_TEST_ABSENT": absent})
    assert (said.code, said.out, len(said.err.splitlines())) == (2, "", 1)
    assert all(part in said.err for part in parts)
    assert not said.loaded & ENGINES
    assert snapshot(world) == before


def test_onnx_as_a_process(world: Path) -> None:
    """The libraries under it have much to say; none of it is seen."""
    said = child("export", "run", "--format", "onnx", "--input", "uint8", cwd=world)
    assert said.code == 0, said.err
    kind, shapes, difference = said.out.splitlines()
    size = (world / "run" / "model.onnx").stat().st_size
    assert kind == f"run/model.onnx: onnx, 1,614 values, {size / 1e6:.2f} MB"
    assert shapes == "images uint8 (batch, 8, 8, 1) -> logits float32 (batch, 10)"
    assert difference.startswith("largest difference of logits from the torch engine's: ")
    assert difference.endswith(" (allowed: 2e-05)")
    (note,) = said.err.splitlines()
    assert note.startswith("run/model.safetensors (native) -> run/model.onnx (onnx): ")
    assert not said.loaded & {"jax", "vitcli_jax"}


def test_as_json(world: Path) -> None:
    said = here("export", "run/model.safetensors", "a.pt2", "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["difference"] <= found["allowed"] == pytest.approx(2e-5)
    assert found | {"difference": 0, "bytes": 0, "allowed": 0} == {
        "source": "run/model.safetensors",
        "target": "a.pt2",
        "format": "torch-export",
        "engine": "torch",
        "input": "float32",
        "input_shape": ["batch", 1, 8, 8],
        "output_shape": ["batch", 10],
        "parameters": 1614,
        "bytes": 0,
        "difference": 0,
        "allowed": 0,
    }
    assert found["bytes"] == (world / "a.pt2").stat().st_size
