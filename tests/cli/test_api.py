"""The Python API: what the README shows, without the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vitcli
from tests.cli.conftest import Trained
from tests.cli.inputs import image
from tests.cli.running import TINY, environment

pytestmark = pytest.mark.usefixtures("one_thread")


def test_public_names_are_the_visible_ones() -> None:
    assert dir(vitcli) == sorted(vitcli.__all__)
    assert set(vitcli.__all__) == {
        "Model", "ModelSpec", "VitError", "__version__", "evaluate", "load", "predict", "train"
    }  # fmt: skip
    for name in vitcli.__all__:
        value = getattr(vitcli, name)
        if name != "__version__":
            assert value.__module__.startswith("vitcli.")
            assert value.__doc__
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = vitcli.nonsense


def test_import_loads_no_array_library() -> None:
    code = "import sys, json, vitcli; dir(vitcli); print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment()
    )
    loaded = set(json.loads(done.stdout))
    assert "vitcli" in loaded
    assert not loaded & {"numpy", "torch", "jax", "pydantic", "typer", "rich", "PIL"}


def test_model_tells_what_it_is(trained: Trained) -> None:
    model = vitcli.load(trained.run, backend=trained.backend)
    assert model.classes == tuple("0123456789")
    assert isinstance(model, vitcli.Model)
    assert isinstance(model.spec, vitcli.ModelSpec)
    assert (model.spec.image_size, model.spec.in_channels, model.spec.embed_dim) == (8, 1, 16)


def test_logits(trained: Trained) -> None:
    model = vitcli.load(trained.run / "model.safetensors", backend=trained.backend)
    pixels = np.random.default_rng(7).standard_normal((3, 1, 8, 8)).astype(np.float32)
    logits = model.logits(pixels)
    assert logits.shape == (3, 10)
    assert logits.dtype == np.float32
    # An image's logits do not depend on its neighbours; float32 sums may be taken in another order.
    alone = np.concatenate([model.logits(pixels[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(alone, logits, atol=1e-6)
    exact = vitcli.load(trained.run, backend=trained.backend, precision="float64").logits(pixels)
    assert exact.dtype == np.float64
    np.testing.assert_allclose(logits, exact, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 8, 8, 1), (3, 1, 8, 9), (3, 3, 8, 8), (1, 8, 8), (8, 8)], ids=str)
def test_wrong_shape_names_both(shape: tuple[int, ...], trained: Trained) -> None:
    model = vitcli.load(trained.run, backend=trained.backend)
    with pytest.raises(ValueError, match="takes") as caught:
        model.logits(np.zeros(shape, np.float32))
    assert str(shape) in str(caught.value)
    assert "(B, 1, 8, 8)" in str(caught.value)


def test_predict_with_a_model(trained: Trained, tmp_path: Path) -> None:
    paths = [image(tmp_path / f"{number}.png", seed=number) for number in range(3)]
    model = vitcli.load(trained.run, backend=trained.backend)
    found = model.predict(paths, top=4)
    assert [len(best) for best in found] == [4, 4, 4]
    for best in found:
        assert [p.probability for p in best] == sorted((p.probability for p in best), reverse=True)
        assert all(model.classes[p.index] == p.name for p in best)
    again = list(vitcli.predict(map(str, paths), weights=trained.run, top=4, backend=trained.backend))
    assert [outcome.path for outcome in again] == paths
    assert [outcome.predictions for outcome in again] == found
    assert [outcome.error for outcome in again] == [None] * 3


def test_train_and_evaluate(trained: Trained, tmp_path: Path) -> None:
    result = vitcli.train("digits", overrides=TINY, backend=trained.backend, runs=tmp_path, name="mine")
    assert result.run == tmp_path / "mine"
    assert result.backend == trained.backend
    # The same request gives the same run, with or without the command line.
    assert result.best == json.loads(trained.said.out)["best"]
    found = vitcli.evaluate(result.run, backend=trained.backend)
    assert found.evaluation.count == 180
    assert found.evaluation.top1 == pytest.approx(result.best["top1"])
    with pytest.raises(vitcli.VitError, match="exists; choose another"):
        vitcli.train("digits", overrides=TINY, backend=trained.backend, runs=tmp_path, name="mine")


def test_api_is_silent(trained: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    vitcli.train("digits", overrides=[*TINY[1:], "train.steps=1"], backend=trained.backend, runs=tmp_path)
    vitcli.evaluate(trained.run, backend=trained.backend)
    assert capfd.readouterr() == ("", "")


def test_errors_are_one_family(tmp_path: Path) -> None:
    for call in (
        lambda: vitcli.load(tmp_path / "none.safetensors"),
        lambda: vitcli.load(tmp_path, backend="tensorflow"),
        lambda: vitcli.train("digts", runs=tmp_path),
        lambda: list(vitcli.predict(["a.png"], runs=tmp_path)),
        lambda: vitcli.evaluate(tmp_path),
    ):
        with pytest.raises(vitcli.VitError):
            call()
    assert list(tmp_path.iterdir()) == []
