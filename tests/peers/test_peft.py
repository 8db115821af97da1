"""PEFT loads adapters of ours, and ours are what PEFT wrote: on transformers' ViT and on timm's."""

from __future__ import annotations

import json
import os
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

os.environ.setdefault("HF_HUB_OFFLINE", "1")
from peft import LoraConfig, PeftModel, get_peft_model
from timm.models.vision_transformer import VisionTransformer
from transformers import ViTForImageClassification

from tests import reference
from tests.cli.running import here
from tests.conformance.conftest import backend as backend
from tests.models import random_pixels
from tests.peers.compare import assert_logits
from tests.weights.adapters import files
from vitcli.core.backend import Backend
from vitcli.core.spec import ModelSpec
from vitcli.jobs.adapters import complete, open_adapter
from vitcli.jobs.model import open_weights
from vitcli.weights.file import Weights, read_weights
from vitcli.weights.lora import merged
from vitcli.weights.peft import PEFT_LAYOUTS

SIZES: dict[str, Any] = {
    "image_size": 15,
    "patch_size": 5,
    "num_classes": 6,
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_dim": 50,
    "norm": {"eps": 1e-12},
}


def spec_of(*targets: str, **changes: Any) -> ModelSpec:
    lora = {"rank": 3, "alpha": 7.0, "targets": targets}
    return ModelSpec.model_validate({**SIZES, "lora": lora, **changes})


def vit(*arguments: str | Path) -> str:
    said = here("convert", "weights", *arguments)
    assert said.code == 0, said.err
    return said.err


def peft_folder(folder: Path, adapter: Path, to: str) -> Path:
    folder.mkdir()
    vit(adapter, folder / "adapter_model.safetensors", "--to", to)
    return folder


def theirs(base: Path, spec: ModelSpec, kind: str) -> Any:
    """The base as transformers or timm loads it."""
    folder = base.parent / kind
    if kind == "transformers":
        if not folder.exists():
            folder.mkdir()
            vit(base, folder / "model.safetensors", "--to", "huggingface")
        loaded: Any = ViTForImageClassification
        return loaded.from_pretrained(folder).eval()
    peer = VisionTransformer(
        img_size=spec.image_size,
        patch_size=spec.patch_size,
        num_classes=spec.num_classes,
        embed_dim=spec.embed_dim,
        depth=spec.depth,
        num_heads=spec.num_heads,
        mlp_ratio=spec.mlp_dim / spec.embed_dim,
        norm_layer=partial(torch.nn.LayerNorm, eps=spec.norm.eps),
    )
    peer.load_state_dict({name: torch.tensor(value) for name, value in read_weights(base).items()})
    return peer.eval()


def logits(model: Any, pixels: NDArray[Any], dtype: torch.dtype) -> NDArray[Any]:
    with torch.inference_mode():
        found: Any = model.to(dtype)(torch.tensor(pixels, dtype=dtype))
    rows: NDArray[Any] = getattr(found, "logits", found).numpy()
    return rows


def randomised(model: Any) -> Any:
    """All that PEFT trains of a model, at random; its own B are zeros."""
    torch.manual_seed(7)
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                value.copy_(torch.randn_like(value) * 0.3)
    return model.eval()


KINDS = {
    "transformers": [("q", "v"), ("q", "k", "v", "proj", "fc1", "fc2"), ("fc2",)],
    "timm": [("qkv",), ("qkv", "proj", "fc1", "fc2"), ("proj", "fc1")],
}
CASES = [(kind, targets) for kind, several in KINDS.items() for targets in several]


def loaded(base: Path, spec: ModelSpec, kind: str, folder: Path) -> Any:
    """The base with an adapter as PEFT loads it; a tensor that it misses or does not know fails."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(missing|unexpected|adapter).*")
        return PeftModel.from_pretrained(theirs(base, spec, kind), str(folder)).eval()


def same(spec: ModelSpec, weights: Weights, model: Any, precision: float = 1e-9) -> None:
    """A model of theirs gives the logits of the equations."""
    pixels = random_pixels(spec)
    exact = logits(model, pixels, torch.float64)
    found = reference.logits(weights, pixels, spec)
    np.testing.assert_allclose(found, exact, rtol=precision, atol=precision * np.abs(exact).max())


@pytest.mark.parametrize(("kind", "targets"), CASES, ids=str)
def test_peft_loads_our_adapter(tmp_path: Path, kind: str, targets: tuple[str, ...]) -> None:
    spec = spec_of(*targets)
    base, adapter, whole = files(tmp_path, spec)
    folder = peft_folder(tmp_path / "peft", adapter, f"peft-{kind}")
    same(spec, whole, loaded(base, spec, kind, folder))


@pytest.mark.parametrize("kind", KINDS)
def test_engines_agree_with_peft(backend: Backend, tmp_path: Path, kind: str) -> None:
    """Read from the files, as `vit predict` reads them: our own adapter, and PEFT's of the same numbers."""
    spec = spec_of(*KINDS[kind][1])
    base, adapter, _ = files(tmp_path, spec)
    folder = peft_folder(tmp_path / "peft", adapter, f"peft-{kind}")
    model, pixels = loaded(base, spec, kind, folder), random_pixels(spec)
    narrow, exact = (logits(model, pixels, dtype) for dtype in (torch.float32, torch.float64))
    ours, theirs = (open_weights(path).read() for path in (adapter, folder / "adapter_model.safetensors"))
    assert_logits(backend, spec, ours, pixels, exact=exact, narrow=narrow)
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)


@pytest.mark.parametrize(("kind", "targets"), CASES, ids=str)
def test_what_peft_wrote_is_the_same_function(tmp_path: Path, kind: str, targets: tuple[str, ...]) -> None:
    spec = spec_of(*targets)
    base, adapter, _ = files(tmp_path, spec)
    ours = tmp_path / "peft" / "adapter_config.json"
    peft_folder(ours.parent, adapter, f"peft-{kind}")
    said = json.loads(ours.read_text())
    assert said["modules_to_save"] == ["classifier" if kind == "transformers" else "head"]
    config = LoraConfig(
        r=5, lora_alpha=9, target_modules=said["target_modules"], modules_to_save=said["modules_to_save"]
    )
    made = randomised(get_peft_model(theirs(base, spec, kind), config))
    made.save_pretrained(tmp_path / "theirs")
    vit(tmp_path / "theirs", tmp_path / "again.safetensors", "--base", base)
    file = open_weights(tmp_path / "again.safetensors")
    card = file.card
    assert card.spec.lora.model_dump() == {"rank": 5, "alpha": 9.0, "targets": targets}
    assert card.classes == tuple("abcdef")
    same(card.spec, file.read(), made)
    # And back: the same tensors, bit for bit, under the same names.
    peft_folder(tmp_path / "back", tmp_path / "again.safetensors", f"peft-{kind}")
    wanted, found = (
        read_weights(tmp_path / name / "adapter_model.safetensors") for name in ("theirs", "back")
    )
    assert set(wanted) == set(found)
    assert all(wanted[name].tobytes() == found[name].tobytes() for name in wanted)


OPTIONS: dict[str, dict[str, Any]] = {
    "rslora": {"use_rslora": True},
    "ranks and alphas by layer": {
        "rank_pattern": {"q_proj": 2, r"layers.1.attention.v_proj": 6},
        "alpha_pattern": {r"vit.layers.\d+.attention.v_proj": 3},
    },
    "one block": {"layers_to_transform": [1], "layers_pattern": "layers"},
    "everything linear": {"target_modules": "all-linear"},
    "without a head": {"modules_to_save": None},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options_of_peft_come_in(tmp_path: Path, options: dict[str, Any]) -> None:
    spec = spec_of("q", "v")
    base, _, _ = files(tmp_path, spec)
    arguments = {"target_modules": ["q_proj", "v_proj"], "modules_to_save": ["classifier"], **options}
    made = randomised(
        get_peft_model(theirs(base, spec, "transformers"), LoraConfig(r=4, lora_alpha=8, **arguments))
    )
    made.save_pretrained(tmp_path / "theirs")
    # The base that it names is the folder that transformers read.
    adapter = open_adapter(tmp_path / "theirs" / "adapter_model.safetensors")
    assert adapter.card.base is not None
    assert Path(adapter.card.base.path) == tmp_path / "transformers" / "model.safetensors"
    # B that is multiplied is rounded once more.
    same(adapter.card.spec, complete(adapter), made, 1e-6 if "rank_pattern" in options else 1e-9)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "DoRA": ({"use_dora": True}, "use_dora=True"),
    "bias": ({"bias": "all"}, "bias='all'"),
    "parameters": ({"target_parameters": ["layers.0.attention.o_proj.weight"]}, "target_parameters="),
    "the patches": ({"target_modules": ["q_proj", "projection"]}, "projection.lora_A.weight"),
    "a norm": ({"modules_to_save": ["classifier", "layernorm"]}, "layernorm.bias"),
    "another base": ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
}


@pytest.mark.parametrize(("options", "words"), REFUSED.values(), ids=REFUSED)
def test_options_that_vit_has_not_are_refused_by_name(
    tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    spec = spec_of("q", "v")
    base, _, _ = files(tmp_path, spec)
    arguments = {"target_modules": ["q_proj"], "modules_to_save": ["classifier"], **options}
    made: Any = get_peft_model(theirs(base, spec, "transformers"), LoraConfig(r=4, **arguments))
    made.save_pretrained(tmp_path / "theirs")
    said = here("convert", "weights", tmp_path / "theirs", tmp_path / "a.safetensors", "--base", base)
    assert said.code == 2
    assert words in said.err
    assert "merge_and_unload" in said.err
    assert not (tmp_path / "a.safetensors").exists()


def test_old_names_are_read_and_written(tmp_path: Path) -> None:
    spec = spec_of("q", "k", "v", "proj", "fc1", "fc2")
    _, adapter, whole = files(tmp_path, spec)
    folder = peft_folder(tmp_path / "old", adapter, "peft-transformers4")
    names = set(read_weights(folder / "adapter_model.safetensors"))
    assert "base_model.model.vit.encoder.layer.1.attention.attention.query.lora_A.weight" in names
    assert "base_model.model.vit.encoder.layer.0.output.dense.lora_B.weight" in names
    again = complete(open_adapter(folder / "adapter_model.safetensors"))
    assert all(again[name].tobytes() == value.tobytes() for name, value in whole.items())


def test_peft_loads_old_names_into_modules_that_have_them(tmp_path: Path) -> None:
    """transformers before 5 is not installed: a tree of modules under its names stands in for its model."""
    spec = spec_of("q", "k", "v", "proj", "fc1", "fc2")
    _, adapter, whole = files(tmp_path, spec)
    folder = peft_folder(tmp_path / "old", adapter, "peft-transformers4")
    together, _ = merged(whole, spec)
    D = spec.embed_dim
    layers = {
        "attention.attention.query": ("attn.qkv", slice(D)),
        "attention.attention.key": ("attn.qkv", slice(D, 2 * D)),
        "attention.attention.value": ("attn.qkv", slice(2 * D, None)),
        "attention.output.dense": ("attn.proj", slice(None)),
        "intermediate.dense": ("mlp.fc1", slice(None)),
        "output.dense": ("mlp.fc2", slice(None)),
    }
    root = torch.nn.Module()
    root.classifier = torch.nn.Linear(D, spec.num_classes)
    for i in range(spec.depth):
        for there, (ours, rows) in layers.items():
            kernel = torch.tensor(whole[f"blocks.{i}.{ours}.weight"][rows])
            layer = torch.nn.Linear(*kernel.shape[::-1])
            layer.weight.data = kernel
            put(root, f"vit.encoder.layer.{i}.{there}", layer)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(missing|unexpected|adapter).*")
        made: Any = PeftModel.from_pretrained(root, str(folder))
        plain: Any = made.merge_and_unload()
    np.testing.assert_array_equal(plain.classifier.weight.detach().numpy(), whole["head.weight"])
    for i in range(spec.depth):
        for there, (ours, rows) in layers.items():
            found = plain.get_submodule(f"vit.encoder.layer.{i}.{there}").weight.detach().numpy()
            np.testing.assert_allclose(found, together[f"blocks.{i}.{ours}.weight"][rows], atol=1e-5)


def put(root: Any, name: str, module: torch.nn.Module) -> None:
    """Hangs a module into a tree under a dotted name."""
    *path, last = name.split(".")
    for part in path:
        if not hasattr(root, part):
            root.add_module(part, torch.nn.Module())
        root = getattr(root, part)
    root.add_module(last, module)


@pytest.mark.parametrize("to", PEFT_LAYOUTS)
def test_the_names_follow_the_layers(tmp_path: Path, to: str) -> None:
    """`peft` alone means timm's names where query, key and value share an adapter, else transformers'."""
    for number, (targets, possible) in enumerate(
        [
            (("qkv",), ("peft", "peft-timm")),
            (("q",), ("peft", "peft-transformers", "peft-transformers4")),
            (("fc1",), PEFT_LAYOUTS),
            (("qkv", "q"), ()),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        _, adapter, _ = files(folder, spec_of(*targets))
        (folder / "peft").mkdir()
        said = here("convert", "weights", adapter, folder / "peft" / "adapter_model.safetensors", "--to", to)
        assert (said.code == 0) == (to in possible), said.err
        if to not in possible:
            assert "--merge" in said.err
            assert not list((folder / "peft").iterdir())
