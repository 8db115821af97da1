"""Damaged weights files through `vit convert weights`: done, or one clear line and nothing written."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest

from tests.cli.running import here
from tests.weights.damage import damaged
from vitcli.core import registry
from vitcli.core.spec import ModelSpec
from vitcli.jobs.tensors import write_tensors
from vitcli.weights.header import Card, Layout, Preprocess
from vitcli.weights.initial import initial_weights
from vitcli.weights.layouts import from_native

SIZES = {
    "image_size": 8,
    "patch_size": 4,
    "num_classes": 5,
    "embed_dim": 12,
    "depth": 2,
    "num_heads": 3,
    "mlp_dim": 20,
}
# What the code behind a layout fixes.
FACTS: dict[Layout, dict[str, object]] = {
    "native": {"mlp": {"activation": "swiglu"}, "tokens": {"registers": 1}},
    "torch": {},
    "jax": {},
    "huggingface": {"norm": {"eps": 1e-12}},
    "google": {"mlp": {"activation": "gelu_tanh"}},
    "big_vision": {"mlp": {"activation": "gelu_tanh"}, "tokens": {"position_slots": "patches"}},
}
KINDS: tuple[tuple[Layout, str], ...] = (
    ("native", "safetensors"),
    ("torch", "safetensors"),
    ("jax", "safetensors"),
    ("huggingface", "safetensors"),
    ("google", "npz"),
    ("big_vision", "npz"),
    ("torch", "pth"),
)
# Seconds that a refusal may take, and bytes by which the process may grow; a file has 40 kB.
LONGEST, MOST = 2.0, 300e6


def _good(folder: Path, layout: Layout, suffix: str) -> bytes:
    spec = ModelSpec.model_validate({**SIZES, **FACTS[layout]})
    seen = Preprocess(fit="squash", size=8, mean=(0.5,), std=(0.5,))
    card = Card(spec=spec, classes=tuple("abcde"), preprocess=seen, source="five")
    path = folder / f"good.{suffix}"
    write_tensors(path, from_native(initial_weights(spec, 0), spec, layout), card, layout)
    content = path.read_bytes()
    path.unlink()
    return content


def _refused_or_done(place: Path, suffix: str, content: bytes, backend: str = "torch") -> int:
    """Converts a file; returns the exit code after checking what was said and what is left."""
    source, target = place / f"bad.{suffix}", place / "out.safetensors"
    source.write_bytes(content)
    begin = time.perf_counter()
    result = here("convert", "weights", source, target, "model.num_heads=3", "-b", backend)
    assert time.perf_counter() - begin < LONGEST
    assert "Traceback" not in result.err
    left = {path.name for path in place.iterdir()}
    if result.code == 0:
        assert left == {source.name, target.name}
        target.unlink()
    else:
        assert result.code in (2, 3), result.err
        assert len(result.errors) == 1 and result.err.splitlines()[-1] == result.errors[0], result.err
        assert len(result.errors[0]) < 1500
        assert left == {source.name}
    source.unlink()
    return result.code


def _all_clean(tmp_path: Path, layout: Layout, suffix: str, seeds: range) -> None:
    registry.load("torch")
    good, place = _good(tmp_path, layout, suffix), tmp_path / "place"
    place.mkdir()
    assert _refused_or_done(place, suffix, good) == 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    codes = []
    for seed in seeds:
        try:
            codes.append(_refused_or_done(place, suffix, damaged(good, seed)))
        except BaseException as error:
            error.add_note(f"{layout}, {suffix}, seed {seed}")
            raise
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert grown < MOST
    # Damage that is none (a bit of a weight) is rare; most of it is told.
    assert codes.count(0) < 0.6 * len(codes) and codes.count(2) > 0.3 * len(codes)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("layout", "suffix"), KINDS)
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, layout: Layout, suffix: str) -> None:
    _all_clean(tmp_path, layout, suffix, range(40))


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("layout", "suffix"), KINDS)
def test_hundreds_of_damaged_files_are_refused_in_one_line(
    tmp_path: Path, layout: Layout, suffix: str
) -> None:
    _all_clean(tmp_path, layout, suffix, range(40, 400))
