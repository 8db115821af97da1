"""Files as training scripts leave them: wrapped names, containers, numbers of half the width."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.models import random_weights, spec_of
from tests.peers.random import Notes
from tests.weights.kinds import KINDS
from vitcli.core import registry
from vitcli.core.errors import BackendError, WeightsError
from vitcli.jobs.convert import convert
from vitcli.jobs.tensors import open_tensors
from vitcli.weights.file import Weights, read_weights

WEIGHTS = {name: torch.tensor(value) for name, value in random_weights(spec_of("standard")).items()}
OTHERS = {name: value + 1 for name, value in WEIGHTS.items()}


def opened(path: Path) -> tuple[Weights, list[str]]:
    """The tensors of a file, and what was said about it."""
    notes = Notes()
    header, read = open_tensors(path, notes)
    found = read()
    assert {name: value.shape for name, value in found.items()} == header.shapes
    return found, [text.removeprefix(f"{path}: ") for text in notes.told]


def assert_equal(found: Weights, expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], value.float().numpy())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "model.module."])
@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_what_stands_before_every_name_is_taken_away(prefix: str, kind: str, tmp_path: Path) -> None:
    wrapped = {prefix + name: value for name, value in WEIGHTS.items()}
    path = tmp_path / f"a.{kind}"
    torch.save(wrapped, path) if kind == "pth" else save_file(wrapped, path)
    found, said = opened(path)
    assert_equal(found, WEIGHTS)
    assert said == [f"every name begins with '{prefix}', which is taken away"]


def test_what_stands_before_some_names_stays(tmp_path: Path) -> None:
    mixed = {**{f"model.{name}": value for name, value in WEIGHTS.items()}, "other": torch.ones(1)}
    torch.save(mixed, tmp_path / "a.pth")
    assert_equal(opened(tmp_path / "a.pth")[0], mixed)


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        ({"model": WEIGHTS}, "the tensors under 'model' are taken"),
        ({"state_dict": WEIGHTS, "epoch": 3, "arch": "vit_base"}, "the tensors under 'state_dict' are taken"),
        (
            {"state_dict": OTHERS, "state_dict_ema": WEIGHTS},
            "the tensors under 'state_dict_ema' are taken; it holds state_dict too",
        ),
        (
            {"model": OTHERS, "model_ema": WEIGHTS},
            "the tensors under 'model_ema' are taken; it holds model too",
        ),
        ({"model_state_dict": WEIGHTS}, "the tensors under 'model_state_dict' are taken"),
    ],
    ids=["model", "state_dict", "ema", "model_ema", "model_state_dict"],
)
def test_the_container_is_said(content: dict[str, Any], taken: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pth")
    found, said = opened(tmp_path / "a.pth")
    assert_equal(found, WEIGHTS)
    assert said == [taken]


def test_a_training_checkpoint_is_read(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 3)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    options = argparse.Namespace(lr=0.1, model="vit_base_patch16_224")
    wrapped = {f"module.{name}": value for name, value in WEIGHTS.items()}
    torch.save(
        {"epoch": 1, "args": options, "optimizer": optimizer.state_dict(), "state_dict": {"model": wrapped}},
        tmp_path / "a.pth",
    )
    found, said = opened(tmp_path / "a.pth")
    assert_equal(found, WEIGHTS)
    assert said == [
        "the tensors under 'state_dict' are taken",
        "the tensors under 'model' are taken",
        "every name begins with 'module.', which is taken away",
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_half_the_width_becomes_float32_exactly(dtype: torch.dtype, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    # Every finite pattern of 16 bits, signed zeros and subnormals among them.
    patterns = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(dtype)
    narrow = {"every": patterns[patterns.isfinite()], "none": torch.zeros((0, 3), dtype=dtype)}
    narrow |= {"one": torch.tensor(1.5, dtype=dtype), "more": torch.ones((2, 3, 4), dtype=dtype) / 3}
    wide = {"wide": torch.full((3,), 0.1)}
    torch.save(narrow | wide, path) if kind == "pth" else save_file(narrow | wide, path)
    found, said = opened(path)
    assert_equal(found, narrow | wide)
    assert np.signbit(found["every"]).sum() == len(found["every"]) // 2
    name = str(dtype).removeprefix("torch.")
    assert said == [f"{name} numbers become float32, which holds them exactly"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_numbers_that_are_not_finite_are_refused(dtype: torch.dtype, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    bad = {"good": torch.ones(3), "bad": torch.tensor([1.0, float("nan"), float("-inf")], dtype=dtype)}
    torch.save(bad, path) if kind == "pth" else save_file(bad, path)
    with pytest.raises(WeightsError, match="2 of 3 values of bad are not finite numbers"):
        opened(path)


@pytest.mark.parametrize(
    ("value", "kinds"),
    [
        (torch.ones(3, dtype=torch.float8_e4m3fn), ("F8_E4M3", "torch.float8_e4m3fn")),
        (torch.ones(3, dtype=torch.int64), ("int64", "int64")),
        (torch.ones(3, dtype=torch.bool), ("bool", "bool")),
    ],
    ids=["float8", "int64", "bool"],
)
def test_other_numbers_are_refused(value: torch.Tensor, kinds: tuple[str, str], tmp_path: Path) -> None:
    save_file({"x": value}, tmp_path / "a.safetensors")
    torch.save({"x": value}, tmp_path / "a.pth")
    for path, kind in zip((tmp_path / "a.safetensors", tmp_path / "a.pth"), kinds, strict=True):
        with pytest.raises(WeightsError, match=f"{path}: .*x holds {kind}, not "):
            opened(path)


@pytest.mark.parametrize(
    ("kind", "older", "newer"),
    [
        ("timm, map", "blocks.1.gamma_2", "blocks.1.ls2.gamma"),
        ("dinov2, gated", "blocks.0.1.norm1.bias", "blocks.1.norm1.bias"),
    ],
)
def test_an_older_name_beside_the_newer_one_is_refused(
    kind: str, older: str, newer: str, tmp_path: Path
) -> None:
    """Either could be meant: one of the two would be left out without a word."""
    _, read = open_tensors(KINDS[kind].write(tmp_path))
    tensors = {name: torch.tensor(value) for name, value in read().items()}
    save_file({**tensors, older: tensors[newer].clone()}, tmp_path / "a")
    with pytest.raises(WeightsError, match=f"({older} and {newer}|{newer} and {older}) are two names of one"):
        open_tensors(tmp_path / "a")


def test_some_tensors_alone_are_read(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2), "b": torch.full((2,), float("nan"))}, tmp_path / "a")
    assert list(read_weights(tmp_path / "a", ["a"])) == ["a"]


def test_without_pytorch_its_files_are_neither_read_nor_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(WEIGHTS, tmp_path / "a.pth")
    save_file(WEIGHTS, tmp_path / "a.safetensors")
    monkeypatch.setattr(registry, "installed", lambda name: name != "torch")
    words = "is a PyTorch file, which PyTorch must {}; run: pip install 'vitcli[torch]'"
    with pytest.raises(BackendError, match=re.escape(f"{tmp_path / 'a.pth'} {words.format('read')}")):
        open_tensors(tmp_path / "a.pth")
    target = tmp_path / "new.pth"
    with pytest.raises(BackendError, match=re.escape(f"{target} {words.format('write')}")):
        convert(tmp_path / "a.safetensors", target, backend="jax")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pth", "a.safetensors"]
