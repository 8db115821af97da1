"""What holds for every test."""

from __future__ import annotations

import os

import pytest

# Tests run side by side, and models are tiny: threads that wait for each other would cost five times the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded pixels go to a folder of the test's own, never to the user's cache."""
    monkeypatch.setenv("VIT_CACHE", str(tmp_path_factory.mktemp("cache")))
