"""The README's commands and its Python run as they stand."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.conftest import one_thread as one_thread
from tests.cli.running import here
from tests.peers.test_origins import published
from vitcli.data.digits import digits

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
# A shorter run of the same command: the README's own figures are measured elsewhere.
SHORT = ["train.epochs=1", "model.depth=1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the digit that the README predicts, and the write-up's weights that it converts."""
    folder = tmp_path_factory.mktemp("readme")
    image = np.asarray(digits().parts["test"].images[0])[..., 0]
    Image.fromarray(image).save(folder / "digit.png")
    weights = {name: torch.tensor(value) for name, value in published("origin-jax").items()}
    torch.save(weights, folder / "vit.pth")
    return folder


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.usefixtures("one_thread")
def test_every_command_of_the_readme_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    commands = [line for block in _blocks("sh") for line in block.splitlines() if line.startswith("vit ")]
    assert len(commands) >= 10
    for command in commands:
        words = shlex.split(command, comments=True)[1:]
        words += SHORT if words[0] in ("train", "parity") and "--init" not in words else []
        words += ["train.epochs=1"] if "--init" in words else []
        result = here(*words)
        assert result.code == 0, f"{command}: {result.err}"


def test_the_python_of_the_readme_runs(place: Path) -> None:
    (code,) = _blocks("python")
    short = code.replace('"train.epochs=2"', ", ".join(f'"{override}"' for override in SHORT))
    assert short != code
    done = subprocess.run(
        [sys.executable, "-c", short], cwd=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1] in "0123456789"
