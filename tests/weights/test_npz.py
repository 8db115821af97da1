"""NumPy archives: both numberings of Google, its prefixes, timm as reader of what is written, what is refused."""

from __future__ import annotations

import json
import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray

from tests.cli.inputs import weights_file
from tests.cli.running import here
from tests.models import random_pixels
from tests.peers.random import Notes
from vitcli.core import registry
from vitcli.jobs.model import open_weights
from vitcli.weights.npz import read_npz, write_npz

GOLDEN = Path(__file__).parent.parent / "golden" / "peers"


@pytest.mark.parametrize("prefix", ["", "params/", "opt/target/"])
def test_both_numberings_and_every_prefix_are_the_same_model(tmp_path: Path, prefix: str) -> None:
    published = read_npz(GOLDEN / "gr_vit_token" / "params.npz")
    with np.load(GOLDEN / "gr_vit_token_linen" / "params.npz") as linen:
        np.savez(tmp_path / "a.npz", **{prefix + name: linen[name] for name in linen.files})
    found = read_npz(tmp_path / "a.npz")
    assert set(found) == set(published)
    assert all(np.array_equal(found[name], published[name]) for name in published)


def test_what_goes_out_is_loaded_by_timm(tmp_path: Path) -> None:
    source = GOLDEN / "gr_vit_token" / "params.npz"
    for target, options in (("ours.safetensors", []), ("again.npz", ["--to", "google"])):
        said = here("convert", "weights", source, tmp_path / target, *options)
        assert said.code == 0, said.err
        source = tmp_path / target
    config = json.loads((GOLDEN / "gr_vit_token" / "config.json").read_text())
    peer: Any = timm.models.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=4, mlp_ratio=2, num_classes=7
    )
    assert (config["hidden_size"], config["num_layers"], config["num_heads"]) == (32, 2, 4)
    peer.load_pretrained(str(tmp_path / "again.npz"))
    ours = torch.load(_state_dict(tmp_path), weights_only=True)
    assert all(torch.equal(value, ours[name]) for name, value in peer.state_dict().items())
    assert not stat.S_IMODE((tmp_path / "again.npz").stat().st_mode) & 0o077 & ~0o044


@pytest.mark.parametrize("name", ["bv_tok_learn", "bv_map_learn", "bv_gap_learn"])
def test_big_visions_file_comes_back_under_its_own_names(tmp_path: Path, name: str) -> None:
    source = GOLDEN / name / "params.npz"
    for target, options in (("ours.safetensors", []), ("again.npz", ["--to", "big_vision"])):
        said = here("convert", "weights", source, tmp_path / target, *options)
        assert said.code == 0, said.err
        source = tmp_path / target
    with np.load(GOLDEN / name / "params.npz") as theirs, np.load(tmp_path / "again.npz") as ours:
        assert set(ours.files) == set(theirs.files)
        assert all(np.array_equal(ours[key], theirs[key]) for key in theirs.files)


def test_fixed_positions_need_the_image_size(tmp_path: Path) -> None:
    source = GOLDEN / "bv_gap_sincos2d" / "params.npz"
    said = here("convert", "weights", source, tmp_path / "a.safetensors")
    assert said.code == 2
    assert "model.image_size" in said.err
    assert here("convert", "weights", source, tmp_path / "a.safetensors", "model.image_size=32").code == 0


def _state_dict(folder: Path) -> Path:
    assert (
        here("convert", "weights", folder / "ours.safetensors", folder / "ours.pth", "--to", "torch").code
        == 0
    )
    return folder / "ours.pth"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bv_gap_state", "chrono, opt are not of the model below params/ and are left out"),
        ("bv_map_scan_towers", "b, t, txt are not of the model below params/img/ and are left out"),
        ("bv_gap_scan_bfloat16", "bfloat16 numbers become float32, which holds them exactly"),
        (
            "bv_old_map",
            "the first row of Transformer/posembed_input/pos_embedding is left out: "
            "it is of a class token that is not there",
        ),
    ],
)
def test_what_is_not_used_or_changed_is_said(name: str, words: str) -> None:
    notes, path = Notes(), GOLDEN / name / "params.npz"
    read_npz(path, notes)
    assert notes.told == [f"{path}: {words}"]


def test_only_what_is_known_to_stand_beside_weights_is_left_out(tmp_path: Path) -> None:
    with np.load(GOLDEN / "bv_gap_learn" / "params.npz") as theirs:
        np.savez(tmp_path / "a.npz", **{**theirs, "ema/head/bias": theirs["params/head/bias"]})
    said = here("convert", "weights", tmp_path / "a.npz", tmp_path / "b.safetensors")
    assert said.code == 2
    assert "ema/head/bias is not part of this model" in said.err


@pytest.mark.parametrize(
    "twin", ["probe", "Transformer/pos_embedding", "Transformer/posembed_input/pos_embedding"]
)
def test_old_names_beside_todays_are_refused(twin: str, tmp_path: Path) -> None:
    with np.load(GOLDEN / "bv_map_learn" / "params.npz") as theirs:
        now = {"probe": "MAPHead_0/probe"}.get(twin, "pos_embedding")
        np.savez(tmp_path / "a.npz", **{**theirs, f"params/{twin}": theirs[f"params/{now}"]})
    said = here("convert", "weights", tmp_path / "a.npz", tmp_path / "b.safetensors")
    assert said.code == 2, said.out
    assert "is not part of this model" in said.err.splitlines()[-1]


def test_no_positions_are_positions_of_zero(tmp_path: Path) -> None:
    """What google-research/vision_transformer calls add_position_embedding=False."""
    weights, side = read_npz(GOLDEN / "gr_vit_token" / "params.npz"), "model.image_size=32"
    table = weights.pop("Transformer/posembed_input/pos_embedding")
    np.savez(tmp_path / "none.npz", **weights)  # type: ignore[arg-type]
    zeros = {**weights, "Transformer/posembed_input/pos_embedding": np.zeros_like(table)}
    np.savez(tmp_path / "zeros.npz", **zeros)  # type: ignore[arg-type]
    none = open_weights(tmp_path / "none.npz", [side], layout="google")
    zero = open_weights(tmp_path / "zeros.npz")
    assert (none.card.spec.tokens.positions, zero.card.spec.tokens.positions) == ("none", "learned")
    engine, pixels = registry.load("torch"), random_pixels(zero.card.spec)
    ours, theirs = (
        engine.load(file.card.spec, file.read(), device="cpu", precision="float64").logits(pixels)
        for file in (none, zero)
    )
    assert np.array_equal(ours, theirs)
    said = here(
        "convert", "weights", tmp_path / "none.npz", tmp_path / "ours.safetensors", side, "--from", "google"
    )
    assert said.code == 0, said.err
    said = here("convert", "weights", tmp_path / "ours.safetensors", tmp_path / "a.npz", "--to", "big_vision")
    assert said.code == 2
    assert "model.tokens.positions is none, in that code it is learned" in said.err
    said = here("convert", "weights", tmp_path / "ours.safetensors", tmp_path / "a.npz", "--to", "google")
    assert said.code == 0, said.err
    again = read_npz(tmp_path / "a.npz")
    assert again.keys() == weights.keys()
    assert all(np.array_equal(again[name], weights[name]) for name in weights)


def test_google_has_no_fixed_positions(tmp_path: Path) -> None:
    source, side = GOLDEN / "bv_gap_sincos2d" / "params.npz", "model.image_size=32"
    said = here("convert", "weights", source, tmp_path / "a.npz", side, "--to", "google")
    assert said.code == 2
    assert "model.tokens.positions is sincos2d, in that code it is learned" in said.err


def test_what_google_has_not_is_refused(tmp_path: Path) -> None:
    said = here(
        "convert", "weights", weights_file(tmp_path / "a.safetensors"), tmp_path / "a.npz", "--to", "google"
    )
    assert said.code == 2
    assert "google cannot hold this model: model." in said.err
    assert not (tmp_path / "a.npz").exists()


def _objects(path: Path) -> None:
    np.savez(path, a=np.array([{}], object))


def _nan(path: Path) -> None:
    np.savez(path, a=np.array([1.0, np.nan]))


def _whole_numbers(path: Path) -> None:
    np.savez(path, a=np.arange(3))


def _cut(path: Path) -> None:
    np.savez(path, a=np.arange(300.0))
    path.write_bytes(path.read_bytes()[:-30])


def _spoilt(path: Path) -> None:
    np.savez(path, a=np.arange(300.0))
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)


def _twins(path: Path) -> None:
    arrays: dict[str, Any] = {"params/a": np.ones(2), "a": np.zeros(2)}
    np.savez(path, **arrays)


def _stacked_twins(path: Path) -> None:
    block = "Transformer/encoderblock"
    arrays: dict[str, Any] = {
        f"{block}/Norm_0/scale": np.ones((2, 3)),
        f"{block}_1/Norm_0/scale": np.zeros(3),
    }
    np.savez(path, **arrays)


def _many(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(10_001):
            archive.writestr(f"{i}.npy", b"")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_objects, "not a whole archive of arrays: Object arrays"),
        (_nan, "1 of 2 values of a are not finite"),
        (_whole_numbers, "a holds int64"),
        (_spoilt, "not a whole archive of arrays"),
        (_twins, "two tensors of one name"),
        (_stacked_twins, "two tensors of one name"),
        (_many, "too large"),
        (_cut, ""),
    ],
)
def test_a_wrong_archive_is_refused(tmp_path: Path, make: Any, words: str) -> None:
    make(tmp_path / "a.npz")
    said = here("convert", "weights", tmp_path / "a.npz", tmp_path / "b.safetensors")
    assert said.code == 2, said.err
    assert words in said.err
    assert str(tmp_path / "a.npz") in said.err
    assert said.err.count("\n") == 1


def test_an_archive_comes_back_as_it_was(tmp_path: Path) -> None:
    arrays: dict[str, NDArray[Any]] = {
        "a/b": np.arange(6.0, dtype=np.float32).reshape(2, 3).T,
        "c": np.float32(3) * np.ones((), np.float32),
    }
    write_npz(tmp_path / "a.npz", arrays)
    found = read_npz(tmp_path / "a.npz")
    assert all(np.array_equal(found[name], value) for name, value in arrays.items())
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
