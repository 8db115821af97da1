"""Neither threads, nor the cache, nor the engine change what is in a batch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vitcli
from vitcli.core import registry
from vitcli.core.backend import Backend, Batch, StepInput, Trainer

MODEL = (
    "model.image_size=12",
    "model.patch_size=6",
    "model.embed_dim=8",
    "model.depth=1",
    "model.num_heads=2",
    "model.mlp_dim=8",
    "train.epochs=3",
    "train.batch_size=5",
    "train.warmup=1 steps",
    "augment.crop=resized",
    "augment.policy=trivial",
    "augment.erase=0.3",
    "augment.mixup=0.4",
    "augment.repeats=2",
)
STEPS = 12
WAYS = {
    "cached, no thread": ("data.threads=0",),
    "cached, one thread": ("data.threads=1",),
    "cached, four threads": ("data.threads=4",),
    "streamed, no thread": ("data.threads=0", "data.cache_budget=0"),
    "streamed, one thread": ("data.threads=1", "data.cache_budget=0"),
    "streamed, four threads": ("data.threads=4", "data.cache_budget=0"),
    "streamed, as it comes": ("data.cache_budget=0",),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of eleven photographs, of which two are held out: the last batch is not full."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir()
        for i in range(11):
            height, width = random.integers(13, 40, 2)
            pixels = random.integers(0, 256, (height, width, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


class Taking:
    """An engine whose trainers note what every batch holds, and do not train."""

    def __init__(self, engine: Backend, *, resident: bool = False) -> None:
        self.engine, self._resident = engine, resident
        self.digest, self.steps = hashlib.sha256(), 0

    def trainer(self, recipe: Any, state: Any, *, device: str | None, images: Any) -> Trainer:
        trainer = self.engine.trainer(recipe, state, device="cpu", images=images)
        if self._resident:
            trainer.resident = True

        def step(batch: Batch, at: StepInput) -> Any:
            assert (batch.images is None) == self._resident
            pixels = images[batch.index] if batch.images is None else batch.images
            for array in (pixels, batch.labels, batch.index, batch.weights):
                self.digest.update(np.ascontiguousarray(array).data)
            for name in sorted(batch.plan):
                self.digest.update(name.encode() + np.ascontiguousarray(batch.plan[name]).data)
            self.steps += 1
            return type("Fixed", (), {"read": lambda self: {"loss": 1.0, "gradient_norm": 1.0}})()

        trainer.step = step  # type: ignore[method-assign]
        return trainer

    def devices(self) -> list[str]:
        return self.engine.devices()


def taken(
    name: str, photos: Path, runs: Path, monkeypatch: pytest.MonkeyPatch, *ways: str, resident: bool = False
) -> str:
    engine = Taking(registry.load(name), resident=resident)
    with monkeypatch.context() as patch:
        patch.setattr(registry, "load", lambda _: engine)
        vitcli.train("folder", overrides=[*MODEL, *ways], backend=name, data=str(photos), runs=runs)
    assert engine.steps == STEPS
    return engine.digest.hexdigest()


@pytest.mark.parametrize("kind", ["square", "ragged"])
def test_threads_the_cache_and_the_engine_do_not_change_a_batch(
    kind: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {
        (name, way): taken(name, photos, tmp_path, monkeypatch, f"data.cache={kind}", *said)
        for name in ("torch", "jax")
        for way, said in WAYS.items()
    }
    if kind == "square":
        found["torch", "resident"] = taken("torch", photos, tmp_path, monkeypatch, resident=True)
        found["jax", "resident"] = taken("jax", photos, tmp_path, monkeypatch, resident=True)
    assert len(set(found.values())) == 1, found
    other = taken("torch", photos, tmp_path, monkeypatch, f"data.cache={kind}", "train.seed=1")
    assert other not in found.values()
