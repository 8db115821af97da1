"""What the command line's tests share: one tiny trained run for each backend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from tests.cli.bad_world import fill
from tests.cli.running import TINY, Result, here, snapshot
from vitcli.core import registry


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A run of one epoch on the digits, and what `vit train --json` said about it."""

    backend: str
    run: Path
    said: Result


@pytest.fixture(scope="session", params=["torch", "jax"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The run of each backend; read it, do not write to it."""
    runs = tmp_path_factory.mktemp("trained") / "runs"
    with _one_thread():
        said = here("train", "digits", "-b", request.param, "--runs", runs, "--json", *TINY)
    assert said.code == 0, said.err
    return Trained(backend=request.param, run=runs / f"digits-{request.param}", said=said)


@pytest.fixture
def untouched(trained: Trained) -> Iterator[Trained]:
    """The trained run; reading commands must leave it as it was."""
    before = snapshot(trained.run.parent)
    yield trained
    assert snapshot(trained.run.parent) == before


@pytest.fixture
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: models this small gain nothing from more, and lose much on a busy machine."""
    with _one_thread():
        yield


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes loading an engine a bug."""

    def refuse(name: str) -> NoReturn:
        raise AssertionError(f"{name} was loaded before the request was refused")

    monkeypatch.setattr(registry, "load", refuse)


@pytest.fixture
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are not drawn, which would take longer than they do."""
    monkeypatch.setattr("vitcli.commands.train._draw", lambda run, reporter: None)


@pytest.fixture
def good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of good images, a recipe and weights for them, as the current one."""
    place = tmp_path / "here"
    place.mkdir()
    fill(place)
    monkeypatch.chdir(place)
    return place


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
