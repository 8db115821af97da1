"""Random models by the own code of Google's two JAX programs: read, run on both engines, and given back to it.

Run by `make check-originals`; what that code once wrote is in `tests/golden/peers`, for every run.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests.conformance.conftest import load
from tests.peers.compare import assert_logits
from tests.peers.original_jax import (
    Original,
    Program,
    Tree,
    big_vision,
    build,
    flat,
    restored,
    save,
    sized,
)
from tests.peers.original_states import below, bfloat16, flax_state, older, optax_state, published, towers
from tests.peers.random import Notes, converted
from vitcli.core import registry
from vitcli.core.errors import VitError
from vitcli.jobs.model import WeightsFile, open_weights

pytestmark = pytest.mark.originals

PREFIXES = ("", "params/", "params/img/", "opt/target/")
GOOGLE = list(product(["token", "gap"], [None, 10], [0, 6]))
BIG_VISION = list(product(["gap", "map", "tok"], ["learn", "sincos2d"], [False, True, 11], [None, 5]))


def assert_same(path: Path, model: Original, *said: str, params: Tree | None = None) -> WeightsFile:
    """Compares both engines with a model's own code, and what its code reads of the file that goes back."""
    params = params or model.params
    file = open_weights(path, said)
    assert file.layout == model.program
    exact, narrow = (model.logits(params, wide=wide) for wide in (True, False))
    assert (file.card.spec.output_dim, file.card.spec.image_size) == (exact.shape[1], model.image[0])
    for name in registry.names():
        weights = file.read()
        assert_logits(load(name), file.card.spec, weights, model.pixels(), exact=exact, narrow=narrow)
    ours = converted(path, path.with_name("ours.safetensors"), "native", *said)
    again = flat(restored(model, converted(ours, path.with_name("again.npz"), model.program)))
    theirs = flat(params)
    assert again.keys() == theirs.keys()
    assert all(again[name].tobytes() == np.asarray(theirs[name]).tobytes() for name in theirs)
    return file


@pytest.mark.parametrize("naming", ["published", "linen"])
@pytest.mark.parametrize(("classifier", "size", "classes"), GOOGLE)
def test_vision_transformer(
    classifier: str, size: int | None, classes: int, naming: str, tmp_path: Path
) -> None:
    seed = GOOGLE.index((classifier, size, classes)) + 10 * (naming == "linen")
    options = {"classifier": classifier, "representation_size": size, "num_classes": classes}
    model = sized("google", seed, **options)
    tree = published(model.params) if naming == "published" else model.params
    assert_same(save(tmp_path / "a.npz", below(PREFIXES[seed % 4], tree)), model)


@pytest.mark.parametrize(("pool", "positions", "size", "classes"), BIG_VISION)
def test_big_vision(pool: str, positions: str, size: int | bool, classes: int | None, tmp_path: Path) -> None:
    seed = BIG_VISION.index((pool, positions, size, classes))
    options: dict[str, Any] = {"pool_type": pool, "posemb": positions, "rep_size": size}
    options |= {"num_classes": classes, "scan": bool(seed % 3), "head_zeroinit": bool(seed % 2)}
    options |= {"remat_policy": ("nothing_saveable", "dots_with_no_batch_dims_saveable")[seed % 2]}
    if seed % 4 == 1:
        options["mlp_dim"] = None
    model = sized("big_vision", seed, **options)
    said = [f"model.image_size={model.image[0]}"] if positions == "sincos2d" else []
    assert_same(save(tmp_path / "a.npz", below(PREFIXES[seed % 4], model.params)), model, *said)


@pytest.mark.parametrize("program", ["google", "big_vision"])
def test_more_than_ten_blocks(program: Program, tmp_path: Path) -> None:
    deep = {"transformer": {"num_layers": 12}} if program == "google" else {"depth": 12, "scan": True}
    model = sized(program, 3, **deep)
    assert_same(save(tmp_path / "a.npz", model.params), model)


@pytest.mark.parametrize("scan", [False, True])
def test_bfloat16(scan: bool, tmp_path: Path) -> None:
    model = sized("big_vision", 5, pool_type="map", scan=scan)
    halves = bfloat16(model.params)
    wide = jax.tree.map(lambda value: value.astype(np.float32), halves)
    notes = Notes()
    path = save(tmp_path / "a.npz", {"params": halves})
    open_weights(path, reporter=notes)
    assert f"{path}: bfloat16 numbers become float32, which holds them exactly" in notes.told
    assert_same(path, model, params=wide)


@pytest.mark.parametrize(
    ("whole", "beside"),
    [
        (optax_state, "chrono, opt are not of the model below params/"),
        (flax_state, "opt are not of the model below opt/target/"),
        (towers, "b, t, txt are not of the model below params/img/"),
    ],
)
def test_what_stands_beside_the_weights_is_left_out(whole: Any, beside: str, tmp_path: Path) -> None:
    model = sized("big_vision", 8, pool_type="map", scan=True)
    path, notes = save(tmp_path / "a.npz", whole(model.params)), Notes()
    open_weights(path, reporter=notes)
    assert any(beside in note for note in notes.told), notes.told
    assert_same(path, model)


@pytest.mark.parametrize("numbering", ["published", "linen"])
@pytest.mark.parametrize("slot", [False, True])
@pytest.mark.parametrize("table", ["posembed_input", "Transformer", "today's"])
@pytest.mark.parametrize("pool", ["gap", "map", "map, inlined", "tok"])
def test_older_files_of_big_vision(pool: str, table: str, slot: bool, numbering: str, tmp_path: Path) -> None:
    model = sized("big_vision", 11, pool_type=pool.partition(",")[0], rep_size=True)
    old = older(model.params, table=table, slot=slot, inlined="inlined" in pool)
    path = save(tmp_path / "a.npz", below("opt/target/", published(old) if numbering == "published" else old))
    notes = Notes()
    file = open_weights(path, reporter=notes)
    # In float64 the token and its position are added there as they are in ours.
    wide = jax.tree.map(lambda value: value.astype(np.float64), old)
    mended = big_vision()[0].fix_old_checkpoints(wide)
    exact = model.logits(mended, wide=True)
    for name in registry.names():
        assert_logits(load(name), file.card.spec, file.read(), model.pixels(), exact=exact)
    assert any("row" in note for note in notes.told) == (slot and pool != "tok")
    google = (slot and pool == "tok") or (table == "posembed_input" and pool == "gap")
    assert file.layout == ("google" if google else "big_vision")


def test_no_positions_are_googles_where_that_is_said(tmp_path: Path) -> None:
    model = sized("google", 21, transformer={"add_position_embedding": False})
    path, said = save(tmp_path / "a.npz", model.params), f"model.image_size={model.image[0]}"
    file = open_weights(path, [said], layout="google")
    assert file.card.spec.tokens.positions == "none"
    exact = model.logits(wide=True)
    for name in registry.names():
        assert_logits(load(name), file.card.spec, file.read(), model.pixels(), exact=exact)
    ours = converted(path, tmp_path / "ours.safetensors", "native", said, layout="google")
    again = flat(restored(model, converted(ours, tmp_path / "again.npz", "google")))
    assert all(again[name].tobytes() == value.tobytes() for name, value in flat(model.params).items())


ENCODER = {"num_layers": 1, "mlp_dim": 9, "num_heads": 2}
GOOGLES = {"hidden_size": 8, "patches": [2, 2], "transformer": ENCODER, "num_classes": 3}
BIG_VISIONS = {"width": 8, "depth": 1, "num_heads": 2, "patch_size": [2, 2], "num_classes": 3}


@pytest.mark.parametrize(
    ("program", "options", "sides", "words"),
    [
        ("google", {"resnet": {"width_factor": 0.5, "num_layers": [1]}}, (16, 16), "block1/unit1/conv1"),
        ("google", {"patches": [2, 4]}, (8, 16), r"embedding/kernel is \[2, 4, 3, 8\]"),
        ("big_vision", {"patch_size": [2, 4]}, (8, 16), r"embedding/kernel is \[2, 4, 3, 8\]"),
        ("google", {}, (8, 6), "no square grid of patches"),
        ("big_vision", {}, (8, 6), "no square grid of patches"),
    ],
)
def test_what_the_spec_has_not_is_refused(
    program: Program, options: dict[str, Any], sides: tuple[int, int], words: str, tmp_path: Path
) -> None:
    arguments = {**(GOOGLES if program == "google" else BIG_VISIONS), **options}
    path = save(tmp_path / "a.npz", build(program, arguments, (*sides, 3)).params)
    with pytest.raises(VitError, match=words) as caught:
        open_weights(path)
    assert "\n" not in str(caught.value)


def test_what_its_own_reader_refuses_is_refused(tmp_path: Path) -> None:
    model = sized("big_vision", 11, pool_type="map")
    token = np.ones((1, 1, model.arguments["width"]), np.float32)
    path = save(tmp_path / "a.npz", {**model.params, "cls": token})
    with pytest.raises(ValueError, match="but not in model"):
        restored(model, path)
    with pytest.raises(VitError, match="pool"):
        open_weights(path)
