"""Exported files: every option of a model, logits by programs that know nothing of vit, what is inside, refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from tests import reference
from tests.conformance.conftest import load
from tests.models import BASE, OPTIONS, random_pixels, random_weights, spec_of
from vitcli.core import registry
from vitcli.core.errors import RequestError, VerificationError
from vitcli.core.parameters import parameter_table
from vitcli.core.spec import ModelSpec
from vitcli.jobs.export import BATCHES, FORMATS, TOLERANCE, ExportResult, Inputs, export
from vitcli.jobs.model import model_inputs
from vitcli.weights.file import write_weights
from vitcli.weights.header import Card, Preprocess
from vitcli.weights.layouts import from_native

# What takes half a second; the rest is slow, and `test_programs_without_vit` has most options at once.
FEW: dict[str, tuple[str, ...]] = {
    "onnx": (),
    "torch-export": ("whole sequence, otherwise", "heads cut and merged raw", "no classes", "grey"),
    "stablehlo": (),
}
MANY = [
    pytest.param(form, option, marks=() if option in FEW[form] else pytest.mark.slow)
    for form in FORMATS
    for option in OPTIONS
]
# Each prints the texts in a file, and the logits of batches of 1, 3 and 7 of the images in an .npy file.
PROGRAMS = {
    "onnx": """
        import onnxruntime
        session = onnxruntime.InferenceSession(path)
        texts = session.get_modelmeta().custom_metadata_map
        (given,) = session.get_inputs()
        call = lambda x: session.run(["logits"], {given.name: x})[0]
    """,
    "torch-export": """
        import torch
        texts = {"vit.classes": ""}
        module = torch.export.load(path, extra_files=texts).module()
        call = lambda x: module(torch.tensor(x)).numpy()
    """,
    "stablehlo": """
        from jax import export
        with np.load(path) as file:
            program = export.deserialize(bytearray(file["model.jax"]))
            weights = {name[8:]: file[name] for name in file.files if name.startswith("weights/")}
            texts = {name: file[name].decode() for name in file.files if name.startswith("vit.")}
        call = lambda x: program.call(weights, x)
    """,
}


def card_of(spec: ModelSpec) -> Card:
    """A card with names and levels that are not everyone's."""
    channels = spec.in_channels
    seen = Preprocess(
        fit="crop",
        size=spec.image_size + 2,
        mean=(0.41, 0.52, 0.63, 0.37, 0.48)[:channels],
        std=(0.21, 0.32, 0.13, 0.24, 0.35)[:channels],
    )
    classes = tuple(f"été {number}" for number in range(spec.num_classes))
    return Card(spec=spec, classes=classes, preprocess=seen, source="photos")


def native(path: Path, spec: ModelSpec, seed: int = 0) -> Path:
    write_weights(path, random_weights(spec, seed), card_of(spec), "native")
    return path


def images_of(spec: ModelSpec, inputs: Inputs, count: int = 7) -> tuple[NDArray[Any], NDArray[Any]]:
    """What a file takes, and the pixels that a model sees of it."""
    if inputs == "float32":
        pixels = random_pixels(spec, count)
        return pixels, pixels
    shape = (count, spec.image_size, spec.image_size, spec.in_channels)
    images = np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)
    return images, model_inputs(images, card_of(spec))


def assert_close(found: NDArray[Any], spec: ModelSpec, pixels: NDArray[Any]) -> None:
    expected = reference.logits(random_weights(spec), pixels, spec)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= TOLERANCE * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize(("form", "option"), MANY)
def test_every_option_is_exported(form: str, option: str, tmp_path: Path) -> None:
    spec = spec_of(option)
    result = export(native(tmp_path / "a.safetensors", spec), form=form)
    assert result.target == tmp_path / f"a{FORMATS[form].suffix}"
    assert (result.format, result.bytes) == (form, result.target.stat().st_size)
    images, pixels = images_of(spec, "float32")
    texts, (found,) = load(FORMATS[form].engine).run_exported(result.target, form, [images])  # type: ignore[attr-defined]
    assert texts.items() >= (card_of(spec).texts() | {"vit.input": "float32"}).items()
    assert result.output_shape == ("batch", found.shape[1])
    assert_close(found, spec, pixels)


@pytest.mark.parametrize(
    ("form", "inputs"),
    [
        ("onnx", "float32"),
        pytest.param("onnx", "uint8", marks=pytest.mark.slow),
        ("torch-export", "uint8"),
        ("stablehlo", "float32"),
        pytest.param("stablehlo", "uint8", marks=pytest.mark.slow),
    ],
)
def test_programs_without_vit(form: str, inputs: Inputs, tmp_path: Path) -> None:
    """A process that cannot import vit gives the logits of the reference, for batches of every size."""
    spec = spec_of("all at once", depth=1)
    result = export(native(tmp_path / "a.safetensors", spec), form=form, inputs=inputs)
    content = result.target.read_bytes()
    assert not [name for name in (b".py", bytes(tmp_path)) if name in content]
    images, pixels = images_of(spec, inputs)
    np.save(tmp_path / "images.npy", images)
    lines = [line.removeprefix("        ") for line in PROGRAMS[form].splitlines()]
    program = "\n".join(
        [
            "import json, sys, numpy as np",
            "sys.modules |= dict.fromkeys(('vitcli', 'vitcli_jax', 'vitcli_torch'))",
            "path, images = sys.argv[1], np.load('images.npy')",
            *lines,
            "logits = [np.asarray(call(images[:n])).tolist() for n in (1, 3, 7)]",
            "print(json.dumps([dict(texts), logits]))",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(result.target)], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    texts, logits = json.loads(done.stdout)
    for count, found in zip((1, 3, 7), logits, strict=True):
        assert_close(np.array(found), spec, pixels[:count])
    assert json.loads(texts["vit.classes"]) == list(card_of(spec).classes)
    assert json.loads(texts["vit.preprocess"])["mean"] == [0.41, 0.52, 0.63]
    assert ModelSpec.model_validate_json(texts["vit.spec"]) == spec
    assert texts["vit.input"] == inputs


@pytest.mark.parametrize(
    "form",
    ["torch-export", *(pytest.param(form, marks=pytest.mark.slow) for form in ("onnx", "stablehlo"))],
)
def test_the_same_model_gives_the_same_bytes(form: str, tmp_path: Path) -> None:
    """So a file does not hold the day on which it was written."""
    start = native(tmp_path / "a.safetensors", spec_of("standard", depth=1))
    kind = FORMATS[form]
    first, second = (export(start, tmp_path / f"{name}{kind.suffix}").target for name in "bc")
    assert first.read_bytes() == second.read_bytes()


def test_a_table_made_while_tracing_is_not_kept(tmp_path: Path) -> None:
    """The engine's own table of positions still has its values after the exporter has been first to ask for it."""
    spec = spec_of("sincos2d", embed_dim=24, num_heads=3)
    assert export(native(tmp_path / "a.safetensors", spec), tmp_path / "a.pt2").difference < 1e-5
    pixels = random_pixels(spec)
    model = load("torch").load(spec, random_weights(spec), device="cpu", precision="float32")
    assert_close(model.logits(pixels), spec, pixels)


@pytest.mark.parametrize("layout", ["jax", "torchvision"])
def test_any_layout_in_one_step(layout: Any, tmp_path: Path) -> None:
    spec = ModelSpec.model_validate(BASE | {"norm": {"eps": 1e-6}})
    save_file(
        {
            name: np.ascontiguousarray(v)
            for name, v in from_native(random_weights(spec), spec, layout).items()
        },
        tmp_path / "a.safetensors",
    )
    heads = f"model.num_heads={spec.num_heads}"
    result = export(tmp_path / "a.safetensors", tmp_path / "b.pt2", overrides=[heads, "model.pool=cls"])
    images, pixels = images_of(spec, "float32")
    _, (found,) = load("torch").run_exported(result.target, "torch-export", [images])  # type: ignore[attr-defined]
    assert_close(found, spec, pixels)


@dataclass
class Fake:
    """An engine whose file is an empty one; what it gives back is the engine's own logits, changed."""

    change: Callable[[NDArray[Any]], NDArray[Any]] = lambda logits: logits
    texts: dict[str, str] = field(default_factory=dict)
    name: str = "torch"

    def export(self, path: Path, form: str, spec: ModelSpec, weights: Any, card: Any, levels: Any) -> None:
        path.write_bytes(b"a model")
        self.card, self.classes = card, spec.num_classes

    def run_exported(self, path: Path, form: str, batches: Any) -> tuple[dict[str, str], list[NDArray[Any]]]:
        assert [len(batch) for batch in batches] == list(BATCHES)
        return {**self.card, **self.texts}, [self.change(self.logits(batch)) for batch in batches]

    def load(self, *given: Any, **named: Any) -> Fake:
        return self

    def logits(self, pixels: NDArray[Any]) -> NDArray[Any]:
        return np.full((len(pixels), self.classes), 3.0)


def _damaged(logits: NDArray[Any]) -> NDArray[Any]:
    raise ValueError("unexpected end\nof a file")


WRONG = {
    "other logits": (Fake(lambda x: x + 1e-4), "differ by 0.0001 (allowed: 6e-05)"),
    "no numbers": (Fake(lambda x: x * np.nan), "differ by nan"),
    "one class less": (Fake(lambda x: x[:, 1:]), "gives logits (4, 5), not (4, 6)"),
    "no file": (Fake(_damaged), "does not run (unexpected end)"),
    "other classes": (Fake(texts={"vit.classes": "[]"}), "vit.classes came back changed"),
}


@pytest.mark.parametrize("exists", [False, True], ids=["new target", "old target"])
@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_agree_is_not_kept(
    case: str, exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, part = WRONG[case]
    start, target = native(tmp_path / "a.safetensors", spec_of("standard")), tmp_path / "b.pt2"
    if exists:
        target.write_bytes(b"what was there before")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(registry, "load", lambda name: engine)
    with pytest.raises(VerificationError) as caught:
        export(start, target)
    assert part in str(caught.value)
    assert f"{target} has not been written" in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_rounding_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load", lambda name: Fake(lambda x: x + 5e-5))
    result: ExportResult = export(
        native(tmp_path / "a.safetensors", spec_of("standard")), form="torch-export"
    )
    assert result.difference == pytest.approx(5e-5)
    assert result.allowed == pytest.approx(6e-5)
    assert result.target.read_bytes() == b"a model"


@pytest.mark.parametrize("form", ["torch-export", pytest.param("stablehlo", marks=pytest.mark.slow)])
def test_weights_that_changed_on_the_way_are_noticed(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Any = load(FORMATS[form].engine)
    write = type(engine).export

    def drift(self: Any, path: Path, form: str, spec: ModelSpec, weights: Any, *rest: Any) -> None:
        bias = weights["head.bias"] + 1e-3
        write(self, path, form, spec, {**weights, "head.bias": bias}, *rest)

    monkeypatch.setattr(type(engine), "export", drift)
    start = native(tmp_path / "a.safetensors", spec_of("standard", depth=1))
    with pytest.raises(VerificationError, match="differ by 0.001 "):
        export(start, form=form)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_two_gigabytes_are_too_many_for_onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of 2.4 GB without values on the disk; nothing but its header is read."""
    spec = ModelSpec.model_validate(
        {**BASE, "embed_dim": 4096, "num_heads": 64, "mlp_dim": 16384, "depth": 3}
    )
    entries, end = {}, 0
    for name, row in parameter_table(spec).items():
        size = 4 * int(np.prod(row.shape))
        entries[name] = {"dtype": "F32", "shape": row.shape, "data_offsets": [end, end + size]}
        end += size
    header = json.dumps({"__metadata__": card_of(spec).texts(), **entries}).encode()
    with (tmp_path / "a.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + end)
    monkeypatch.setattr(registry, "load", lambda name: pytest.fail("an engine was loaded"))
    with pytest.raises(RequestError, match=r"2\.42 GB of weights.* 2\.13 GB at most.*--format torch-export"):
        export(tmp_path / "a.safetensors", form="onnx")


def test_inputs_are_those_of_the_command_line() -> None:
    from vitcli.commands.export import Input

    assert [choice.value for choice in Input] == list(get_args(Inputs))
