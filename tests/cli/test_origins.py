"""The write-ups' own files through `vit convert weights`, as safetensors and as PyTorch state dicts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import vitcli
from tests.cli.running import here
from tests.peers.test_golden import tensors
from tests.peers.test_origins import HEADS, SEEDS, golden, published
from vitcli.weights.header import Layout

pytestmark = pytest.mark.usefixtures("one_thread")


def source(folder: Path, layout: Layout, suffix: str) -> Path:
    path = folder / f"published{suffix}"
    if suffix == ".safetensors":
        save_file(published(layout), path)
    else:
        torch.save({name: torch.tensor(value) for name, value in published(layout).items()}, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("layout", SEEDS)
def test_in_and_out_is_bit_equal(layout: Layout, suffix: str, tmp_path: Path) -> None:
    start, ours, back = (
        source(tmp_path, layout, suffix),
        tmp_path / "ours.safetensors",
        tmp_path / f"back{suffix}",
    )
    said = here("convert", "weights", start, ours, "--from", layout, *HEADS.get(layout, []), "-b", "jax")
    assert (said.code, said.errors) == (0, [])
    assert f"{layout} -> native" in said.out
    assert here("convert", "weights", ours, back, "--to", layout).code == 0
    found = load_file(back) if suffix == ".safetensors" else arrays(back)
    assert found.keys() == published(layout).keys()
    assert all(found[name].tobytes() == value.tobytes() for name, value in published(layout).items())
    # The way out is the way in: names tell the layout, and a file of ours tells the heads.
    again = here("convert", "weights", back, tmp_path / "again.safetensors", *HEADS.get(layout, []))
    assert (again.code, again.errors) == (0, [])
    numbers = golden(layout)
    logits = vitcli.load(tmp_path / "again.safetensors", backend="torch").logits(numbers["input"])
    assert np.abs(logits - numbers["logits_f32"]).max() <= 2e-5 * max(1, np.abs(numbers["logits"]).max())


def arrays(path: Path) -> dict[str, Any]:
    return {name: value.numpy() for name, value in torch.load(path, weights_only=True).items()}


def test_a_wrapped_state_dict_in_half_precision_comes_in(tmp_path: Path) -> None:
    layout: Layout = "origin-torch"
    half = {name: torch.tensor(value).half() for name, value in published(layout).items()}
    torch.save({"epoch": 3, "model_state_dict": half}, tmp_path / "checkpoint.pth")
    said = here(
        "convert",
        "weights",
        tmp_path / "checkpoint.pth",
        tmp_path / "a.safetensors",
        *HEADS[layout],
        "--json",
    )
    assert said.code == 0, said.err
    assert json.loads(said.out)["layout_from"] == layout
    found = tensors(tmp_path / "a.safetensors")
    assert found["cls_token"].dtype == np.float32
    np.testing.assert_array_equal(found["cls_token"], half["cls_token"].float().numpy())


class Evil:
    """Pickled code."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("evil-was-here",)


def test_a_pickle_that_needs_code_is_refused_unrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"cls_token": Evil()}, "evil.pth")
    said = here("convert", "weights", "evil.pth", "new.safetensors")
    assert (said.code, said.out) == (2, "")
    assert len(said.errors) == 1
    assert "evil.pth" in said.errors[0] and "could run code" in said.errors[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.pth"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": torch.tensor([1, 2])}, "a holds int64, not floating-point numbers"),
        ({"a": torch.tensor([1.0, float("nan")])}, "1 of 2 values of a are not finite"),
        ({"a": 3}, "a is a int, not a tensor"),
        ([torch.ones(2)], "holds no state dict"),
        ({}, "holds no state dict"),
        ({"a": torch.ones(2)}, "not a Vision Transformer"),
    ],
    ids=str,
)
def test_other_content_is_refused(content: Any, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pth")
    said = here("convert", "weights", tmp_path / "a.pth", tmp_path / "new.safetensors")
    assert (said.code, len(said.errors)) == (2, 1)
    assert message in said.errors[0]
    assert not (tmp_path / "new.safetensors").exists()


@pytest.mark.parametrize("keep", [4, 100, 4000, 20000])
def test_a_cut_file_is_refused(keep: int, tmp_path: Path) -> None:
    path = source(tmp_path, "origin-torch", ".pth")
    path.write_bytes(path.read_bytes()[:keep])
    said = here("convert", "weights", path, tmp_path / "new.safetensors")
    assert (said.code, len(said.errors)) == (2, 1)
    assert said.errors == [f"error: {path} is not a whole PyTorch file: cut short or damaged"]


def test_a_layout_that_is_not_the_files_is_refused(tmp_path: Path) -> None:
    path = source(tmp_path, "origin-torch", ".safetensors")
    said = here("convert", "weights", path, tmp_path / "new.safetensors", "--from", "origin-custom")
    assert (said.code, len(said.errors)) == (2, 1)
    assert "is not a model that vit knows as origin-custom: " in said.errors[0]


def test_what_the_code_fixes_cannot_be_contradicted(tmp_path: Path) -> None:
    path = source(tmp_path, "origin-homework", ".safetensors")
    said = here("convert", "weights", path, tmp_path / "new.safetensors", "model.attention.softmax=keys")
    assert (said.code, len(said.errors)) == (2, 1)
    assert "model.attention.softmax" in said.errors[0] and "contradicts" in said.errors[0]
