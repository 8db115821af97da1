"""Engines by name: listed from entry-point metadata, imported only when chosen."""

from __future__ import annotations

import importlib.util
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version

from vitcli.core.backend import Backend
from vitcli.core.errors import BackendError, nearest

GROUP = "vitcli.backends"
# The engine taken where nobody says which, and the order in which `vit backends` lists them.
PREFERRED = ("torch", "jax")


def names() -> list[str]:
    """Returns the registered engines, whether or not their libraries are installed."""
    others = sorted(set(_entries()) - set(PREFERRED))
    return [name for name in (*PREFERRED, *others) if name in _entries()]


def installed(name: str) -> bool:
    """Returns whether the engine's library (of the engine's name) can be imported; imports nothing."""
    return importlib.util.find_spec(name) is not None


def library_version(name: str) -> str | None:
    """Returns the installed version of a library from its metadata, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def choose(name: str | None) -> str:
    """Returns the engine to use: the one named, or the first that is installed.

    Raises:
        BackendError: it is not known or not installed.
    """
    known = names()
    if name is None:
        for candidate in known:
            if installed(candidate):
                return candidate
        raise BackendError(
            "no engine is installed; run: pip install 'vitcli[torch]' or pip install 'vitcli[jax]'"
        )
    if name not in known:
        raise BackendError(
            f"backend '{name}' is not known{nearest(name, known)}; allowed: {', '.join(known)}"
        )
    if not installed(name):
        raise BackendError(f"backend '{name}' is not installed; run: pip install 'vitcli[{name}]'")
    return name


def load(name: str) -> Backend:
    """Returns an engine, importing its library.

    Raises:
        BackendError: it is not known, not installed, or its library fails to import.
    """
    entry = _entries()[choose(name)]
    try:
        backend: Backend = entry.load()()
    except ImportError as error:
        raise BackendError(f"backend '{name}' is installed but does not import: {error}") from error
    return backend


@cache
def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
