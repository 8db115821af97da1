"""What holds for every test."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded pixels go to a folder of the test's own, never to the user's cache."""
    monkeypatch.setenv("VIT_CACHE", str(tmp_path_factory.mktemp("cache")))
