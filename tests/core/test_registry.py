"""Engines are known by name, and only the chosen one is imported."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from vitcli.core import registry
from vitcli.core.errors import BackendError


def entries(*names: str) -> dict[str, EntryPoint]:
    return {name: EntryPoint(name=name, value=f"fake_{name}:backend", group=registry.GROUP) for name in names}


@pytest.fixture
def only_zig_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four registered engines, of which the libraries `zig` and `abc` can be found."""
    known = entries("zig", "jax", "abc", "torch")
    monkeypatch.setattr(registry, "_entries", lambda: known)
    monkeypatch.setattr(registry, "installed", lambda name: name in ("zig", "abc"))


def test_this_projects_engines_are_registered() -> None:
    assert registry.names() == ["torch", "jax"]


@pytest.mark.usefixtures("only_zig_installed")
def test_preferred_engines_come_first_and_the_others_by_name() -> None:
    assert registry.names() == ["torch", "jax", "abc", "zig"]


@pytest.mark.usefixtures("only_zig_installed")
def test_the_first_installed_engine_is_taken() -> None:
    assert registry.choose(None) == "abc"
    assert registry.choose("zig") == "zig"


@pytest.mark.usefixtures("only_zig_installed")
def test_an_absent_engine_is_told_with_the_line_that_installs_it() -> None:
    with pytest.raises(BackendError, match=r"'jax' is not installed; run: pip install 'vitcli\[jax\]'"):
        registry.load("jax")


@pytest.mark.usefixtures("only_zig_installed")
def test_an_unknown_engine_is_told_with_the_nearest() -> None:
    with pytest.raises(
        BackendError, match=r"'torsh' is not known \(did you mean 'torch'\?\); allowed: torch, jax"
    ):
        registry.choose("torsh")


def test_no_engine_at_all_is_told_with_both_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "installed", lambda name: False)
    with pytest.raises(BackendError, match=r"no engine is installed; run: .*\[torch\].*\[jax\]"):
        registry.choose(None)


@pytest.mark.usefixtures("only_zig_installed")
def test_the_chosen_engine_is_made_by_its_factory(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("fake_zig")
    made = object()
    module.backend = lambda: made  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_zig", module)
    assert registry.load("zig") is made


@pytest.mark.usefixtures("only_zig_installed")
def test_an_engine_that_does_not_import_is_told_with_the_reason() -> None:
    with pytest.raises(
        BackendError, match="'abc' is installed but does not import: No module named 'fake_abc'"
    ):
        registry.load("abc")


def test_presence_and_version_are_asked_without_importing() -> None:
    assert registry.installed("wave")
    assert "wave" not in sys.modules
    assert not registry.installed("no_such_library")
    assert registry.library_version("no-such-library") is None
    assert registry.library_version("pydantic") == __import__("pydantic").VERSION
