"""Every family of transformers' that has ViT's blocks, built there at random, is the same function here and back."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import transformers

from tests.cli.running import Result, here
from tests.models import random_pixels, random_weights, spec_of
from tests.peers.compare import assert_logits
from vitcli.core import registry
from vitcli.data.decode import Geometry, decode
from vitcli.weights.file import read_weights, write_weights
from vitcli.weights.header import Card, Preprocess, read_header


def class_token(made: Any, pixels: Any) -> Any:
    """The class token after the last norm, of a model or of the model inside one for a task."""
    return getattr(made, made.base_model_prefix, made)(pixels).last_hidden_state[:, 0]


def logits(made: Any, pixels: Any) -> Any:
    return made(pixels).logits


def pooled(made: Any, pixels: Any) -> Any:
    return made(pixels).pooler_output


@dataclass(frozen=True)
class Case:
    """A class of transformers', its options, what it puts out, and the class that we write it as."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    output: Callable[[Any, Any], Any] = logits
    arguments: dict[str, Any] = field(default_factory=dict)
    written: str = ""
    dropped: str = ""

    @property
    def built(self) -> Any:
        """The model with random weights; its own first ones are too small to tell much."""
        kind: Any = getattr(transformers, self.name)
        sizes = {"image_size": 20, "patch_size": 5, "hidden_size": 24, "num_hidden_layers": 2}
        width = {"mlp_ratio": 2} if "Dinov2" in self.name else {"intermediate_size": 50}
        torch.manual_seed(7)
        config = kind.config_class(**{**sizes, **width, "num_attention_heads": 3, **self.options})
        made = kind(config, **self.arguments).eval()
        with torch.no_grad():
            for name, value in made.named_parameters():
                gain = ("norm" in name and name.endswith("weight")) or "lambda" in name
                value.copy_(torch.randn_like(value) * 0.3 + gain)
        return made

    @property
    def back(self) -> Any:
        """The class that a written file is loaded as."""
        return getattr(transformers, self.written or self.name)


NAMES = dict(enumerate(["cat", "dog", "Käse"]))
LABELS = {"id2label": NAMES, "label2id": {name: i for i, name in NAMES.items()}}
VIT, DEIT, DINOV2 = "ViTForImageClassification", "DeiTForImageClassification", "Dinov2ForImageClassification"
REGISTERS = "Dinov2WithRegistersForImageClassification"
SMALL = {
    "decoder_num_attention_heads": 2,
    "decoder_hidden_size": 12,
    "decoder_num_hidden_layers": 1,
    "decoder_intermediate_size": 20,
}
CASES = {
    "vit, no classes": Case(VIT, {"num_labels": 0}),
    "vit model": Case("ViTModel", {"pooler_output_size": 13, "qkv_bias": False}, pooled),
    "vit model, no pooler": Case(
        "ViTModel", {"hidden_act": "relu"}, class_token, {"add_pooling_layer": False}, VIT
    ),
    "vit masked": Case(
        "ViTForMaskedImageModeling", {"encoder_stride": 5}, class_token, {}, VIT, "embeddings.mask_token"
    ),
    "deit": Case(DEIT, {**LABELS, "hidden_act": "gelu_new", "layer_norm_eps": 1e-6}),
    "deit, two classifiers": Case(f"{DEIT}WithTeacher", {**LABELS, "qkv_bias": False, "num_channels": 1}),
    "deit model": Case("DeiTModel", {}, pooled),
    "deit masked": Case(
        "DeiTForMaskedImageModeling", {"encoder_stride": 5}, class_token, {}, DEIT, "decoder.0.bias"
    ),
    "dinov2": Case(DINOV2, {**LABELS, "layerscale_value": 1e-5, "mlp_ratio": 3}, dropped="mask_token"),
    "dinov2, no classes": Case(DINOV2, {"num_labels": 0, "hidden_act": "relu"}),
    "dinov2 model, gated": Case("Dinov2Model", {"use_swiglu_ffn": True, "mlp_ratio": 4}, pooled),
    "dinov2 model": Case("Dinov2Model", {"qkv_bias": False, "layer_norm_eps": 1e-5}, pooled),
    "dinov2, gated": Case(DINOV2, {**LABELS, "use_swiglu_ffn": True, "hidden_act": "silu"}),
    "registers": Case(REGISTERS, {**LABELS, "num_register_tokens": 3}),
    # 16 patches: nine patches behind a class token and seven registers would be a square as well.
    "registers model, gated": Case(
        "Dinov2WithRegistersModel", {"use_swiglu_ffn": True, "num_register_tokens": 7}, pooled
    ),
    "mae": Case("ViTMAEForPreTraining", {**SMALL, "mask_ratio": 0.0}, class_token, {}, VIT, "decoder."),
    "mae model": Case("ViTMAEModel", {"mask_ratio": 0.0, "hidden_act": "quick_gelu"}, class_token, {}, VIT),
}
EVERY = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def card(path: Path) -> Card:
    found = read_header(path).card
    assert found is not None
    return found


def put_out(case: Case, made: Any, pixels: Any, dtype: torch.dtype) -> Any:
    with torch.inference_mode():
        return case.output(made.to(dtype), torch.tensor(pixels, dtype=dtype)).numpy()


def carried(source: Path, target: Path, *said: str) -> Result:
    target.parent.mkdir(exist_ok=True)
    result = here("convert", "weights", source, target, *said)
    assert result.code == 0, result.err
    return result


# JAX compiles each of them for seconds: one of each option there.
COMPILED = ("vit model", "deit, two classifiers", "registers", "registers model, gated")


@pytest.mark.parametrize(
    ("engine", "name"), [*(("torch", name) for name in CASES), *(("jax", name) for name in COMPILED)]
)
def test_what_transformers_wrote_comes_in(tmp_path: Path, engine: str, name: str) -> None:
    backend, case = registry.load(engine), CASES[name]
    peer = case.built
    peer.save_pretrained(tmp_path / "theirs")
    said = carried(tmp_path / "theirs" / "model.safetensors", tmp_path / "ours.safetensors")
    assert "(huggingface) ->" in said.err
    assert "assumed" not in said.err
    assert case.dropped in said.err
    assert ("left out" in said.err) == ("mask_token" in "".join(peer.state_dict()))
    ours = card(tmp_path / "ours.safetensors")
    assert ours.classes == (tuple(NAMES.values()) if "id2label" in case.options else ())
    pixels = random_pixels(ours.spec)
    narrow, exact = (put_out(case, peer, pixels, dtype) for dtype in (torch.float32, torch.float64))
    weights = read_weights(tmp_path / "ours.safetensors")
    assert_logits(backend, ours.spec, weights, pixels, exact=exact, narrow=narrow)


@EVERY
def test_it_goes_out_and_comes_back_bit_for_bit(tmp_path: Path, case: Case) -> None:
    peer = case.built
    peer.save_pretrained(tmp_path / "theirs")
    ours, again = tmp_path / "ours.safetensors", tmp_path / "again" / "model.safetensors"
    carried(tmp_path / "theirs" / "model.safetensors", ours)
    carried(ours, again, "--to", "huggingface")
    read, faults = case.back.from_pretrained(again.parent, output_loading_info=True)
    assert not any(faults.values()), faults
    if case.name == read.__class__.__name__:
        theirs, written = (
            load_file(path / "model.safetensors") for path in (tmp_path / "theirs", again.parent)
        )
        assert set(written) == set(theirs)
        # Nothing that logits depend on.
        assert all(torch.equal(written[name], theirs[name]) for name in theirs if "mask_token" not in name)
    pixels = random_pixels(card(ours).spec)
    output = Case(read.__class__.__name__, output=case.output if not case.written else logits)
    exact = put_out(case, peer, pixels, torch.float64)
    np.testing.assert_allclose(
        put_out(output, read.eval(), pixels, torch.float64), exact, rtol=1e-9, atol=1e-12
    )
    # Without our metadata and without its configuration, too, but for what shapes cannot tell.
    bare = tmp_path / "bare" / "model.safetensors"
    bare.parent.mkdir()
    save_file(load_file(again), bare)
    shutil.copy(again.parent / "config.json", bare.parent)
    carried(bare, tmp_path / "back.safetensors")
    assert card(tmp_path / "back.safetensors").spec == card(ours).spec
    assert same(tmp_path / "back.safetensors", ours)


@EVERY
def test_names_in_memory_are_read_too(tmp_path: Path, case: Case) -> None:
    peer = case.built
    peer.save_pretrained(tmp_path)
    carried(tmp_path / "model.safetensors", tmp_path / "saved.safetensors")
    torch.save(peer.state_dict(), tmp_path / "state.pth")
    save_file(peer.state_dict(), tmp_path / "state.safetensors")
    assert set(load_file(tmp_path / "state.safetensors")) != set(load_file(tmp_path / "model.safetensors"))
    for name in ("state.pth", "state.safetensors"):
        carried(tmp_path / name, tmp_path / "ours.safetensors")
        assert same(tmp_path / "ours.safetensors", tmp_path / "saved.safetensors")
        ours, saved = card(tmp_path / "ours.safetensors"), card(tmp_path / "saved.safetensors")
        assert (ours.spec, ours.classes) == (saved.spec, saved.classes)


def same(one: Path, other: Path) -> bool:
    ours, theirs = read_weights(one), read_weights(other)
    return list(ours) == list(theirs) and all(
        ours[name].tobytes() == theirs[name].tobytes() for name in theirs
    )


@pytest.mark.parametrize(
    ("case", "said", "eps"),
    [
        ("deit", 'model.norm.eps=1e-12, model.mlp.activation="gelu" assumed', 1e-12),
        ("dinov2 model", 'model.norm.eps=1e-06, model.mlp.activation="gelu" assumed', 1e-6),
        ("dinov2, gated", "model.norm.eps=1e-06 assumed", 1e-6),
    ],
)
def test_without_a_configuration_what_is_usual_is_assumed_and_said(
    tmp_path: Path, case: str, said: str, eps: float
) -> None:
    CASES[case].built.save_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    paths = tmp_path / "model.safetensors", tmp_path / "ours.safetensors"
    result = carried(*paths, "model.num_heads=3")
    assert said in result.err
    assert "does not say how images are seen: the short side bicubic to" in result.err
    spec = card(paths[1]).spec
    assert spec.norm.eps == eps
    assert spec.layer_scale in (None, 1.0)
    result = carried(*paths, "model.num_heads=3", "model.norm.eps=1e-4")
    assert "model.norm.eps" not in result.err
    assert card(paths[1]).spec.norm.eps == 1e-4


@pytest.mark.parametrize(
    ("case", "change", "said", "words"),
    [
        ("dinov2", {"model_type": "vit"}, [], ("of type 'vit'", "names of 'dinov2'")),
        ("deit", {"model_type": "dinov2"}, [], ("of type 'dinov2'", "names of 'deit'")),
        ("vit model", {"pooler_act": "relu"}, [], ("pooler_act 'relu'", "'tanh'")),
        ("dinov2", {"mlp_ratio": 2}, [], ("model.mlp_dim=72", "config.json")),
        ("registers", {"num_register_tokens": 2}, [], ("model.tokens.registers=3", "config.json")),
        ("dinov2", {}, ["model.layer_scale=0.5"], ("model.layer_scale=0.5", "config.json")),
        ("dinov2", {"mlp_ratio": float("inf")}, [], ("mlp_ratio inf", "config.json")),
        ("dinov2", {"model_type": ["vit"]}, [], ("type '['vit']'", "'vit_mae'")),
        ("deit", {"hidden_act": {"a": 1}}, [], ("hidden_act '{'a': 1}'", "quick_gelu")),
        ("deit", {"image_size": [20, 15]}, [], ("model.image_size=20", "config.json")),
        ("dinov2", {}, ["model.pool=cls"], ('model.pool="cls"', '"cls_mean"')),
    ],
)
def test_what_contradicts_is_refused(
    tmp_path: Path, case: str, change: dict[str, Any], said: list[str], words: tuple[str, ...]
) -> None:
    CASES[case].built.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    result = here("convert", "weights", tmp_path / "model.safetensors", tmp_path / "ours.safetensors", *said)
    assert result.code == 2
    assert all(word in result.err for word in words), result.err
    assert not (tmp_path / "ours.safetensors").exists()


@pytest.mark.parametrize("case", ["vit model", "deit, two classifiers", "registers"])
def test_tensors_that_nobody_knows_are_named(tmp_path: Path, case: str) -> None:
    CASES[case].built.save_pretrained(tmp_path)
    path, target = tmp_path / "model.safetensors", tmp_path / "ours.safetensors"
    tensors = load_file(path)
    strange = {f"strange.{i}": torch.zeros(2) for i in range(5)}
    save_file(tensors | strange, path)
    result = here("convert", "weights", path, target)
    assert result.code == 2
    assert "strange.0 is not part of this model" in result.err
    assert "(and 2 more)" in result.err
    missing = next(name for name in tensors if "layernorm.bias" in name)
    save_file({name: value for name, value in tensors.items() if name != missing}, path)
    result = here("convert", "weights", path, target)
    assert result.code == 2
    assert f"{missing} is missing" in result.err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pool": "mean"}, "model.pool is mean, in that code it is cls"),
        (
            {"layer_scale": 0.1, "pool": "cls_mean", "mlp_dim": 30},
            "model.mlp_dim is 30, in that code it is 32",
        ),
        (
            {"layer_scale": 0.1, "pool": "cls_mean", "mlp_dim": 30, "mlp": {"activation": "swiglu"}},
            "model.mlp_dim is 30, in that code it is 32",
        ),
        (
            {"layer_scale": 0.1, "mlp_dim": 32, "tokens": {"registers": 2, "position_slots": "class"}},
            "model.pool is cls, in that code it is cls_mean",
        ),
        ({"tokens": {"registers": 2}}, "model.tokens.registers is 2, in that code it is 0"),
        ({"pool": "cls_mean", "mlp_dim": 32}, "model.pool is cls_mean, in that code it is cls"),
        ({"head": {"pre_logits": 11}}, "model.head.pre_logits is 11, in that code it is None"),
        ({"lora": {"rank": 2}}, "it has low-rank adapters beside its layers: merge them (--merge)"),
        ({"head": {"bias": False}}, "model.head.bias is False, in that code it is True"),
    ],
)
def test_what_no_family_holds_is_refused_by_the_nearest(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    source = tmp_path / "ours.safetensors"
    spec = spec_of("standard", **changes)
    names = tuple(str(i) for i in range(spec.num_classes))
    seen = Preprocess(fit="squash", size=spec.image_size, mean=(0.5,), std=(0.5,))
    write_weights(
        source, random_weights(spec), Card(spec=spec, classes=names, preprocess=seen, source=""), "native"
    )
    (tmp_path / "theirs").mkdir()
    target = tmp_path / "theirs" / "model.safetensors"
    result = here("convert", "weights", source, target, "--to", "huggingface")
    assert result.code == 2
    assert result.err == f"error: huggingface cannot hold this model: {words}\n"  # before anything is done
    assert not list(target.parent.iterdir())


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"size": {"shortest_edge": 18}}, "20 pixels cannot be cut out of 18"),
        ({"size": {"longest_edge": 18}}, "cannot be understood"),
        ({"size": 26, "crop_size": 0}, "cannot be understood"),
    ],
)
def test_how_images_are_seen_must_be_possible(tmp_path: Path, said: dict[str, Any], words: str) -> None:
    CASES["deit"].built.save_pretrained(tmp_path)
    processor = {"do_center_crop": True, "crop_size": {"height": 20, "width": 20}} | said
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    result = here("convert", "weights", tmp_path / "model.safetensors", tmp_path / "ours.safetensors")
    assert result.code == 2
    assert words in result.err, result.err


def test_sides_may_be_pairs_and_squashing_before_the_cut_is_said(tmp_path: Path) -> None:
    CASES["deit"].built.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"image_size": [20, 20], "patch_size": [5, 5]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    processor = {"size": {"height": 24, "width": 24}, "do_center_crop": True, "crop_size": 20, "resample": 0}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    result = carried(tmp_path / "model.safetensors", tmp_path / "ours.safetensors")
    assert "squashes images before it cuts out the middle; here they keep their shape" in result.err
    assert "has resample 0; here images are resized bicubic" in result.err
    seen = card(tmp_path / "ours.safetensors").preprocess
    assert (seen.fit, seen.size, seen.interpolation) == ("crop", 24, "bicubic")


def test_dinov2_sees_images_as_we_do(tmp_path: Path) -> None:
    theirs, again = tmp_path / "theirs", tmp_path / "again"
    CASES["dinov2"].built.save_pretrained(theirs)
    mean, std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    processor = {"image_mean": mean, "image_std": std, "size": {"shortest_edge": 13}, "do_center_crop": True}
    processor |= {"crop_size": {"height": 10, "width": 10}, "resample": 3}
    (theirs / "preprocessor_config.json").write_text(json.dumps(processor))
    again.mkdir()
    result = carried(theirs / "model.safetensors", again / "model.safetensors", "--to", "huggingface")
    assert "cuts out 10 pixels, the model has 20: the short side is scaled alike" in result.err
    seen = card(again / "model.safetensors").preprocess
    assert (seen.fit, seen.size, seen.interpolation) == ("crop", 26, "bicubic")
    written = json.loads((again / "preprocessor_config.json").read_text())
    assert (written["image_processor_type"], written["resample"]) == ("BitImageProcessor", 3)
    # Of the side that is wanted already: two programs' resampling differs by a level.
    levels = np.random.default_rng(0).integers(0, 256, (26, 26, 3), np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.png")
    ours = decode(tmp_path / "a.png", Geometry(fit="crop", size=26, channels=3))[3:23, 3:23]
    loaded: Any = transformers.AutoImageProcessor
    pixels = loaded.from_pretrained(again)(Image.fromarray(levels), return_tensors="np")["pixel_values"][0]
    np.testing.assert_allclose(pixels, ((ours / 255 - mean) / std).transpose(2, 0, 1), atol=1e-6)


@pytest.mark.parametrize(
    "said",
    [{"do_normalize": False}, {"rescale_factor": 1 / 127.5}, {"do_rescale": False}],
    ids=["not normalised", "another factor", "not rescaled"],
)
def test_levels_are_scaled_as_the_processor_says(tmp_path: Path, said: dict[str, Any]) -> None:
    CASES["deit"].built.save_pretrained(tmp_path)
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": 20, "width": 20}}
    numbers = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor | numbers | said))
    carried(tmp_path / "model.safetensors", tmp_path / "ours.safetensors")
    seen = card(tmp_path / "ours.safetensors").preprocess
    levels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    loaded: Any = transformers.AutoImageProcessor
    theirs = loaded.from_pretrained(tmp_path)(Image.fromarray(levels), return_tensors="np")
    ours = ((levels / 255 - np.array(seen.mean)) / np.array(seen.std)).transpose(2, 0, 1)
    np.testing.assert_allclose(theirs["pixel_values"][0], ours, rtol=1e-5, atol=1e-5)
