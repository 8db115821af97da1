"""The engine as a parameter."""

from __future__ import annotations

from functools import cache

import pytest

from vitcli.core import registry
from vitcli.core.backend import Backend


@cache
def load(name: str) -> Backend:
    """Each engine once."""
    return registry.load(name)


@pytest.fixture(params=registry.names())
def backend(request: pytest.FixtureRequest) -> Backend:
    """Every engine; an engine that is not installed fails, it does not skip."""
    return load(request.param)
