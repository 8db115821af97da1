"""What each command loads: help and listings no array library, a job one engine and never the other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import vitcli
from tests.cli.inputs import recipe_file, weights_file
from tests.cli.running import ENGINES, TINY, child, environment

ARRAYS = ENGINES | {
    *("numpy", "PIL", "safetensors", "matplotlib", "pyarrow", "datasets", "scipy"),
    *("httpx", "huggingface_hub"),
}
COMMANDS = (
    (),
    ("train",),
    ("evaluate",),
    ("predict",),
    ("report",),
    ("augment",),
    ("summary",),
    ("parity",),
    ("backends",),
    ("convert",),
    ("convert", "weights"),
    ("export",),
    ("recipes",),
    ("recipes", "list"),
    ("recipes", "show"),
    ("recipes", "copy"),
    ("recipes", "validate"),
    ("recipes", "keys"),
    ("datasets",),
    ("datasets", "list"),
    ("datasets", "info"),
    ("datasets", "show"),
    ("datasets", "fetch"),
    ("datasets", "verify"),
    ("datasets", "remove"),
    ("datasets", "scan"),
    ("datasets", "bench"),
    ("weights",),
    ("weights", "list"),
    ("weights", "fetch"),
    ("weights", "info"),
)
# One process prints every help page, and after each which array libraries have been loaded.
HELP_PAGES = """
import json, sys
from vitcli.main import app
def commands(command, path):
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, [*path, name])
import typer
found = []
for path in list(commands(typer.main.get_command(app), [])):
    code = app([*path, "--help"], prog_name="vit", standalone_mode=False)
    found.append([path, code, sorted(set(sys.modules) & set(sys.argv[1:]))])
print(json.dumps(found), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def help_pages(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[list[object]]]:
    """The text of all help pages, and (command, exit code, array libraries loaded so far) for each."""
    done = subprocess.run(
        [sys.executable, "-c", HELP_PAGES, *sorted(ARRAYS)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path_factory.mktemp("help"),
        env=environment(),
    )
    return done.stdout, json.loads(done.stderr)


def test_every_command_has_a_help_page(help_pages: tuple[str, list[list[object]]]) -> None:
    text, found = help_pages
    assert {tuple(path) for path, _, _ in found if isinstance(path, list)} == set(COMMANDS)
    assert all(code == 0 for _, code, _ in found)
    for path in COMMANDS:
        assert f"Usage: {' '.join(['vit', *path])} " in text


def test_no_help_page_loads_an_array_library(help_pages: tuple[str, list[list[object]]]) -> None:
    assert [(path, loaded) for path, _, loaded in help_pages[1] if loaded] == []


@pytest.mark.parametrize(
    "asked",
    [
        ("--help",),
        ("train", "--help"),
        ("--version",),
        ("recipes", "list"),
        ("recipes", "show", "digits", "--resolved", "train.epochs=3"),
        ("recipes", "keys"),
        ("recipes", "validate", "own.toml"),
        ("datasets", "list"),
        ("datasets", "info", "cifar10"),
        ("backends",),
        ("backends", "--json"),
        ("summary", "digits", "model.depth=2"),
        ("summary", "S/16", "--json"),
        ("summary", "model.safetensors"),
    ],
    ids=" ".join,
)
def test_no_array_library(asked: tuple[str, ...], tmp_path: Path) -> None:
    recipe_file(tmp_path / "own.toml")
    weights_file(tmp_path / "model.safetensors")
    result = child(*asked, cwd=tmp_path)
    assert result.code == 0
    assert all(line.startswith("next: vit ") for line in result.err.splitlines())
    assert result.out
    assert "vitcli.main" in result.loaded
    assert not result.loaded & ARRAYS


@pytest.mark.parametrize(("backend", "other"), [("torch", "jax"), ("jax", "torch")], ids=["torch", "jax"])
def test_one_engine_never_loads_the_other(backend: str, other: str, tmp_path: Path) -> None:
    result = child("train", "-b", backend, *TINY[1:], "train.steps=2", cwd=tmp_path)
    assert result.code == 0, result.err
    assert {backend, f"vitcli_{backend}"} <= result.loaded
    assert not result.loaded & {other, f"vitcli_{other}"}


def test_module_runs_as_the_script_does(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vitcli", "--version"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"vit {vitcli.__version__}\n", "")
    script = child("--version", cwd=tmp_path)
    assert (script.code, script.out) == (0, done.stdout)


@pytest.mark.parametrize("command", [(), ("recipes",), ("datasets",), ("convert",)], ids=str)
def test_a_bare_group_prints_its_help(command: tuple[str, ...], tmp_path: Path) -> None:
    result = child(*command, cwd=tmp_path)
    assert result.out.strip() == child(*command, "--help", cwd=tmp_path).out.strip()
    assert (result.code, result.err) == (2, "")
