"""Wrong requests: exit code 2 and one line that says what was given and what to do; nothing is touched."""

from __future__ import annotations

import resource
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.cli.inputs import finished_run, folders, image, recipe_file, weights_file
from tests.cli.running import ENGINES, TINY, VIT, Result, child, environment, here, snapshot
from tests.cli.wrong import CASES, fill
from vitcli.core import registry

# The ones that also run as processes: one a kind of check, none of which may load an engine.
AS_PROCESSES = (
    "recipe: unknown key",
    "recipe: unknown key in a file",
    "recipe: image size and patches",
    "recipe: classes against the data",
    "data: no such folder",
    "data: truncated JPEG",
    "request: unknown command",
    "request: name taken",
    "request: missing image",
    "picture: report without records",
    "picture: confusion onto a photo",
    "picture: show a broken image",
    "weights: truncated",
    "weights: 10 classes on 5",
    "weights: onto itself",
)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the cases name."""
    root = tmp_path_factory.mktemp("requests") / "here"
    root.mkdir()
    fill(root)
    return root


@pytest.fixture
def world(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """That folder as the current one; at the end of the test it must be as it was, to the last byte."""
    monkeypatch.chdir(filled)
    monkeypatch.setenv("VIT_DATA", str(tmp_path / "known sets"))
    before = snapshot(filled)
    yield filled
    assert snapshot(filled) == before


@pytest.mark.usefixtures("world", "no_engine")
@pytest.mark.parametrize("name", CASES)
def test_wrong_request(name: str) -> None:
    request, parts = CASES[name]
    _assert_refused(here(*shlex.split(request)), parts)


@pytest.mark.parametrize("name", AS_PROCESSES)
def test_wrong_request_as_a_process(name: str, world: Path) -> None:
    request, parts = CASES[name]
    result = child(*shlex.split(request), cwd=world)
    _assert_refused(result, parts)
    assert not result.loaded & ENGINES


@pytest.mark.parametrize(("backend", "library"), [("torch", "PyTorch"), ("jax", "JAX")], ids=["torch", "jax"])
@pytest.mark.parametrize(
    "command", ["train", "evaluate runs/taken", "predict five/a/0.png"], ids=["train", "evaluate", "predict"]
)
@pytest.mark.usefixtures("world")
def test_unknown_device(command: str, backend: str, library: str) -> None:
    result = here(*shlex.split(command), "-b", backend, "--device", "cuda:97")
    _assert_refused(result, ("'cuda:97'", f"{library} sees", "cpu"))


def test_unknown_device_for_a_conversion(world: Path) -> None:
    result = here("convert", "weights", "letters.safetensors", "new.safetensors", "--device", "tpu:97")
    _assert_refused(result, ("'tpu:97'", "cpu"))
    assert not (world / "new.safetensors").exists()


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_absent_backend(backend: str, world: Path) -> None:
    for request in ("train", "evaluate runs/taken", "predict five/a/0.png"):
        result = child(*shlex.split(request), "-b", backend, cwd=world, env={"VIT_TEST_ABSENT": backend})
        _assert_refused(result, (f"'{backend}' is not installed", f"pip install 'vitcli[{backend}]'"))
        assert not result.loaded & ENGINES


def test_parity_needs_both_backends(world: Path) -> None:
    result = child("parity", cwd=world, env={"VIT_TEST_ABSENT": "jax"})
    _assert_refused(result, ("'jax' is not installed", "pip install 'vitcli[jax]'"))
    assert not result.loaded & ENGINES


def test_backend_that_does_not_import(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def load(self) -> NoReturn:
            raise ImportError("libtorch.so: wrong ELF class")

    monkeypatch.setattr(registry, "_entries", lambda: {"torch": Broken()})
    _assert_refused(here("train", "-b", "torch"), ("'torch'", "does not import", "wrong ELF class"))


def test_runs_folder_without_permission(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    result = child("train", "--runs", "closed/runs", cwd=tmp_path, ordinary=True)
    _assert_refused(result, ("--runs closed/runs", "closed cannot be written", "--runs DIR"))
    assert not result.loaded & ENGINES
    assert not list(closed.iterdir())


@pytest.mark.parametrize(
    ("asked", "parts"),
    [
        ("evaluate closed.safetensors", ("closed.safetensors", "Permission denied")),
        ("evaluate shut/run", ("shut/run", "Permission denied")),
        ("predict closed.png -w open.safetensors", ("closed.png", "Permission denied")),
        ("train --data data", ("data/a", "Permission denied")),
        ("train closed.toml", ("closed.toml", "Permission denied")),
    ],
    ids=["weights", "run folder", "image", "class folder", "recipe"],
)
def test_reading_without_permission(asked: str, parts: tuple[str, ...], tmp_path: Path) -> None:
    for path in (
        weights_file(tmp_path / "closed.safetensors"),
        finished_run(tmp_path / "shut" / "run").parent,
        image(tmp_path / "closed.png"),
        folders(tmp_path / "data", "ab") / "a",
        recipe_file(tmp_path / "closed.toml"),
    ):
        path.chmod(0)
    weights_file(tmp_path / "open.safetensors")
    result = child(*asked.split(), cwd=tmp_path, ordinary=True)
    for folder in ("shut", "data/a"):
        (tmp_path / folder).chmod(0o755)
    _assert_refused(result, parts)
    assert not result.loaded & ENGINES


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("limit", "parts", "left"),
    [
        (200, ("runs/full", "File too large", "--runs DIR"), None),
        (2500, ("metrics.jsonl", "File too large", "--runs DIR"), {"recipe.toml", "metrics.jsonl"}),
        (6000, ("model.safetensors", "0.0 MB", "File too large"), {"recipe.toml", "metrics.jsonl"}),
    ],
    ids=["recipe", "metrics", "weights"],
)
def test_full_disk_fails_the_job(
    limit: int,
    parts: tuple[str, ...],
    left: set[str] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A limit on the size of files stands for a disk without room; Python ignores the signal that goes with it.
    monkeypatch.chdir(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    registry.load("torch")  # its import may write byte code, which is not what is tested
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        result = here("train", "-b", "torch", "--name", "full", *TINY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert result.code == 1
    assert result.out == ""
    assert len(result.errors) == 1
    assert "Traceback" not in result.err
    for part in parts:
        assert part in result.errors[0]
    run = tmp_path / "runs" / "full"
    assert (left is None) is not run.exists()
    assert {path.name for path in run.glob("*")} == (left or set())


def test_full_output_fails_the_job(world: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [VIT, "recipes", "show", "digits"],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=world,
            env=environment(),
        )
    assert done.returncode == 1
    assert done.stderr.decode().startswith("error: No space left on device")
    assert b"Traceback" not in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.usefixtures("one_thread")
def test_diverged_run_says_what_to_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = here("train", "-b", "torch", *TINY, "train.lr=1e30", "train.optimizer=sgd")
    assert result.code == 1
    assert result.out == ""
    assert len(result.errors) == 1
    for part in ("step", "learning rate", "train.lr", "train.warmup", "train.clip"):
        assert part in result.errors[0]


def test_debug_shows_the_traceback(world: Path) -> None:
    result = child("--debug", "train", "digts", cwd=world)
    assert result.code == 1
    assert "Traceback" in result.err
    assert "RecipeError: recipe 'digts' is not known" in result.err


def _assert_refused(result: Result, parts: tuple[str, ...]) -> None:
    assert result.code == 2, result
    assert result.out == ""
    assert len(result.errors) == 1, result.err
    assert len(result.err.splitlines()) <= 3
    assert "Traceback" not in result.err
    assert "this is a bug" not in result.errors[0]
    for part in parts:
        assert part in result.errors[0]


def test_what_cannot_be_written_is_told_by_the_name_that_was_asked_for(tmp_path: Path) -> None:
    target = tmp_path / f"{'long' * 60}.safetensors"
    result = here("convert", "weights", weights_file(tmp_path / "a.safetensors"), target)
    assert (result.code, result.errors) == (1, [f"error: cannot write {target} (0.0 MB): File name too long"])


def test_no_pytorch_file_is_written_without_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "installed", lambda name: name != "torch")
    result = here("convert", "weights", weights_file(tmp_path / "a.safetensors"), tmp_path / "b.pth")
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert f"{tmp_path / 'b.pth'} is a PyTorch file, which PyTorch must write" in result.err
    assert "pip install 'vitcli[torch]'" in result.err
