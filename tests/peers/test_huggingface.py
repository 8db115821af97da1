"""transformers' ViT, carried there and back by the command, is the same function with the same classes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

os.environ.setdefault("HF_HUB_OFFLINE", "1")
from transformers import AutoImageProcessor, ViTConfig, ViTForImageClassification

from tests.cli.running import here
from tests.conformance.conftest import backend as backend
from tests.models import random_pixels
from tests.peers.compare import assert_logits
from vitcli.core.backend import Backend
from vitcli.data.decode import Geometry, decode
from vitcli.weights.file import read_weights
from vitcli.weights.header import Card, read_header

OPTIONS: list[dict[str, Any]] = [
    {},
    {"qkv_bias": False, "hidden_act": "gelu_new", "layer_norm_eps": 1e-6},
    {"hidden_act": "quick_gelu", "num_channels": 1, "layer_norm_eps": 1e-5},
    {"hidden_act": "relu", "patch_size": 4, "num_attention_heads": 1},
]


def model(options: dict[str, Any], seed: int) -> Any:
    """A model of transformers' with random weights; its own first ones are too small to tell much."""
    sizes = {
        "image_size": 20,
        "patch_size": 5,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 50,
    }
    names = dict(enumerate(["cat", "dog", "Käse", "newt", "eft"]))
    config = ViTConfig(**{**sizes, **options}, id2label=names, label2id={n: i for i, n in names.items()})
    torch.manual_seed(seed)
    made: Any = ViTForImageClassification(config)
    made.eval()
    with torch.no_grad():
        for name, value in made.named_parameters():
            value.copy_(torch.randn_like(value) * 0.3 + ("norm" in name and name.endswith("weight")))
    return made


def logits(made: Any, pixels: Any, dtype: torch.dtype) -> Any:
    with torch.inference_mode():
        return made.to(dtype)(torch.tensor(pixels, dtype=dtype)).logits.numpy()


def card(path: Path) -> Card:
    found = read_header(path).card
    assert found is not None
    return found


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_what_transformers_wrote_comes_in(backend: Backend, tmp_path: Path, options: dict[str, Any]) -> None:
    peer = model(options, 1)
    peer.save_pretrained(tmp_path / "theirs")
    said = here(
        "convert", "weights", tmp_path / "theirs" / "model.safetensors", tmp_path / "ours.safetensors"
    )
    assert said.code == 0, said.err
    assert "(huggingface) ->" in said.err
    ours = card(tmp_path / "ours.safetensors")
    assert ours.classes == ("cat", "dog", "Käse", "newt", "eft")
    pixels = random_pixels(ours.spec)
    narrow, exact = logits(peer, pixels, torch.float32), logits(peer, pixels, torch.float64)
    assert_logits(
        backend, ours.spec, read_weights(tmp_path / "ours.safetensors"), pixels, exact=exact, narrow=narrow
    )


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_what_goes_out_is_loaded_by_transformers(tmp_path: Path, options: dict[str, Any]) -> None:
    peer = model(options, 2)
    peer.save_pretrained(tmp_path / "theirs")
    (tmp_path / "again").mkdir()
    for source, target, layout in (
        ("theirs/model", "ours", "native"),
        ("ours", "again/model", "huggingface"),
    ):
        source, target = (str(tmp_path / f"{name}.safetensors") for name in (source, target))
        said = here("convert", "weights", source, target, "--to", layout)
        assert said.code == 0, said.err
    transformers: Any = ViTForImageClassification
    read, faults = transformers.from_pretrained(tmp_path / "again", output_loading_info=True)
    assert not any(faults.values()), faults
    assert read.config.id2label == peer.config.id2label
    pixels = np.random.default_rng(0).normal(size=(2, peer.config.num_channels, 20, 20)).astype(np.float32)
    state, wanted = read.state_dict(), peer.state_dict()
    assert all(torch.equal(state[name], wanted[name]) for name in wanted)
    # Its gelu_new and its gelu_pytorch_tanh are one function in two orders of arithmetic.
    exact = logits(peer, pixels, torch.float64)
    np.testing.assert_allclose(logits(read.eval(), pixels, torch.float64), exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("fit", ["squash", "crop"])
def test_transformers_sees_images_as_we_do(tmp_path: Path, fit: Any) -> None:
    mean, std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    processor: dict[str, Any] = {"image_mean": mean, "image_std": std, "size": {"height": 20, "width": 20}}
    if fit == "crop":
        processor |= {"size": {"shortest_edge": 26}, "do_center_crop": True, "crop_size": {"height": 20}}
    model({}, 3).save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "preprocessor_config.json").write_text(json.dumps(processor))
    (tmp_path / "again").mkdir()
    source, target = (str(tmp_path / name / "model.safetensors") for name in ("theirs", "again"))
    said = here("convert", "weights", source, target, "--to", "huggingface")
    assert said.code == 0, said.err
    seen = card(Path(target)).preprocess
    assert (seen.fit, seen.size) == (fit, 26 if fit == "crop" else 20)
    assert (seen.mean, seen.std) == (tuple(mean), tuple(std))
    # Of the side that is wanted already: two programs' resampling differs by a level.
    levels = np.random.default_rng(0).integers(0, 256, (seen.size, seen.size, 3), np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.png")
    ours = decode(tmp_path / "a.png", Geometry(fit=fit, size=seen.size, channels=3))
    edge = (seen.size - 20) // 2
    ours = ours[edge : edge + 20, edge : edge + 20]
    expected = ((ours / 255 - mean) / std).transpose(2, 0, 1)
    loaded: Any = AutoImageProcessor
    theirs = loaded.from_pretrained(tmp_path / "again")(Image.fromarray(levels), return_tensors="np")
    np.testing.assert_allclose(theirs["pixel_values"][0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_act": "silu"}, ("hidden_act 'silu'", "quick_gelu")),
        ({"model_type": "bert"}, ("model of type 'bert'", "'vit'")),
        ({"hidden_size": 48}, ("model.embed_dim=24", "config.json")),
        (None, ("config.json", "cannot be read as JSON")),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, Any] | None, words: tuple[str, ...]
) -> None:
    model({}, 4).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    text = "{" if change is None else json.dumps(config | change)
    (tmp_path / "config.json").write_text(text)
    said = here("convert", "weights", tmp_path / "model.safetensors", tmp_path / "ours.safetensors")
    assert said.code == 2
    assert all(word in said.err for word in words), said.err
    assert not (tmp_path / "ours.safetensors").exists()


def test_a_value_that_contradicts_the_configuration_is_refused(tmp_path: Path) -> None:
    model({}, 4).save_pretrained(tmp_path)
    paths = tmp_path / "model.safetensors", tmp_path / "ours.safetensors"
    said = here("convert", "weights", *paths, "model.norm.eps=1e-6")
    assert said.code == 2
    assert "model.norm.eps=1e-06 (command line) contradicts" in said.err
    # Without a configuration the library's default is meant, unless something else is said.
    (tmp_path / "config.json").unlink()
    assert here("convert", "weights", *paths, "model.num_heads=3").code == 0
    assert card(paths[1]).spec.norm.eps == 1e-12
    assert here("convert", "weights", *paths, "model.num_heads=3", "model.norm.eps=1e-6").code == 0
    assert card(paths[1]).spec.norm.eps == 1e-6


@pytest.mark.parametrize(
    "labels", [{"0": "cat"}, {"0": "cat", "1": "dog", "2": "a", "3": "b", "5": "c"}, "cat"]
)
def test_classes_that_are_not_all_named_are_numbered_and_told(labels: Any, tmp_path: Path) -> None:
    model({}, 4).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"id2label": labels}))
    said = here("convert", "weights", tmp_path, tmp_path / "ours.safetensors")
    assert said.code == 0
    assert "model.safetensors does not name each of 5 classes: numbered\n" in said.err
    assert card(tmp_path / "ours.safetensors").classes == ("0", "1", "2", "3", "4")


def test_files_of_another_model_are_not_written_over(tmp_path: Path) -> None:
    model({}, 5).save_pretrained(tmp_path)
    source, target = tmp_path / "model.safetensors", tmp_path / "other.safetensors"
    said = here("convert", "weights", source, target, "--to", "huggingface")
    assert said.code == 2
    assert "config.json exists" in said.err
    assert not target.exists()
