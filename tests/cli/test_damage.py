"""Damaged files of every kind through `vit convert weights`: done, or one clear line and nothing written."""

from __future__ import annotations

import random
import resource
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.inputs import image
from tests.cli.running import Result, here
from tests.weights.damage import damaged, damaged_json
from tests.weights.kinds import KINDS
from vitcli.core import registry
from vitcli.weights.names import LAYOUTS

# Seconds that a refusal may take, and bytes by which the process may grow; a file has 40 kB.
LONGEST, MOST = 2.0, 300e6
_ADAPTATIONS = ("image_size=12", "image_size=20", "patch_size=2", "in_channels=1", "in_channels=5")


@dataclass(frozen=True, kw_only=True)
class Request:
    """A conversion in a folder of its own: the good files, by name, and the one that is converted."""

    place: Path
    files: dict[str, bytes]
    source: str
    arguments: tuple[str, ...]

    @classmethod
    def of(cls, place: Path, kind: str) -> Request:
        """Makes the folder, and good files of a kind in it."""
        (place / "in").mkdir(parents=True)
        (place / "out").mkdir()
        source = KINDS[kind].write(place / "in")
        files = {path.name: path.read_bytes() for path in (place / "in").iterdir()}
        return cls(place=place, files=files, source=source.name, arguments=KINDS[kind].arguments)

    def code(self, bad: dict[str, bytes | None], *more: str, suffix: str = "safetensors") -> int:
        """Converts, some files replaced (None: by a folder); checks what was said and what is left."""
        shutil.rmtree(self.place / "in")
        (self.place / "in").mkdir()
        for name, content in (self.files | bad).items():
            path = self.place / "in" / name
            path.mkdir() if content is None else path.write_bytes(content)
        before = sorted(self.place.rglob("*"))
        source, target = self.place / "in" / self.source, self.place / "out" / f"model.{suffix}"
        begin = time.perf_counter()
        said = here("convert", "weights", source, target, "-b", "torch", *self.arguments, *more)
        assert time.perf_counter() - begin < LONGEST
        left = [path for path in sorted(self.place.rglob("*")) if path not in before]
        if said.code == 0:
            assert target in left
            assert {path.suffix for path in left} <= {target.suffix, ".json"}
            for path in left:
                path.unlink()
            return 0
        _refused(said)
        assert not left
        return said.code


def _refused(said: Result) -> None:
    """Checks that a request was refused in one line, and that it was the last."""
    assert said.code in (2, 3), said.err
    assert not said.out
    assert len(said.errors) == 1, said.err
    assert said.err.splitlines()[-1] == said.errors[0], said.err
    assert len(said.errors[0]) < 1500
    assert "Traceback" not in said.err


def _fault(request: Request, seed: int) -> tuple[dict[str, bytes | None], list[str], str]:
    """What a seed draws: the file that is damaged, and now and then another layout or adaptation."""
    chance = random.Random(seed)
    texts = [name for name in request.files if name.endswith(".json")]
    tensors = [name for name in request.files if name not in texts]
    name = chance.choice(texts if texts and chance.random() < 0.5 else tensors)
    bad: dict[str, bytes | None] = {
        name: (damaged_json if name in texts else damaged)(request.files[name], seed)
    }
    if name in texts and chance.random() < 0.05:
        bad[name] = None
    more, suffix = [], "safetensors"
    way = chance.random()
    if way < 0.15:
        more, suffix = (
            ["--to", chance.choice([*LAYOUTS, "peft"])],
            chance.choice(["safetensors", "pth", "npz"]),
        )
    elif way < 0.3:
        more = ["--adapt", f"model.{chance.choice(_ADAPTATIONS)}"]
    elif way < 0.35:
        more = ["--merge"]
    return bad, more, suffix


def _all_clean(place: Path, kind: str, seeds: range) -> None:
    registry.load("torch")
    request = Request.of(place / "place", kind)
    assert request.code({}) == 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    codes = []
    for seed in seeds:
        bad, more, suffix = _fault(request, seed)
        try:
            codes.append(request.code(bad, *more, suffix=suffix))
        except BaseException as error:
            error.add_note(f"{kind}, seed {seed}: {list(bad)} {more} {suffix}")
            raise
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert grown < MOST
    # Damage that is none (a bit of a weight) is rare; most of it is told.
    assert codes.count(0) < 0.7 * len(codes)
    assert codes.count(2) >= 0.3 * len(codes)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    _all_clean(tmp_path, kind, range(6))


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", KINDS)
def test_hundreds_of_damaged_files_are_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    _all_clean(tmp_path, kind, range(40, 140))


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", ["native", "timm, map", "transformers, ViT", "peft"])
def test_what_is_not_converted_is_not_used_either(tmp_path: Path, kind: str) -> None:
    registry.load("torch")
    request, tried = Request.of(tmp_path / "place", kind), 0
    source, out, picture = tmp_path / "place/in" / request.source, tmp_path / "out", image(tmp_path / "a.png")
    commands: list[list[str | Path]] = [
        ["predict", picture, "--weights", source, "-b", "torch"],
        ["export", source, out / "model.onnx"],
        ["train", "digits", "--init", source, "--runs", out, "-b", "torch", *request.arguments],
    ]
    out.mkdir()
    for seed in range(8):
        bad, _, _ = _fault(request, seed)
        if request.code(bad) == 0:
            continue
        for command in commands:
            begin = time.perf_counter()
            _refused(here(*command))
            assert time.perf_counter() - begin < LONGEST
            assert not list(out.iterdir())
        tried += 1
    assert tried > 2
