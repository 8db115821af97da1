"""What holds for every test."""

from __future__ import annotations

import os
import tempfile

import pytest

# Tests run side by side, and models are tiny: threads that wait for each other would cost five times the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Most of JAX's time here is compilation, and many tests and their children compile the same programs: what one
# has compiled the others of this run read. A size makes JAX lock the folder; it goes when this process ends.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _programs = tempfile.TemporaryDirectory(prefix="vit-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _programs.name
    os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(2**30)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded pixels go to a folder of the test's own, never to the user's cache."""
    monkeypatch.setenv("VIT_CACHE", str(tmp_path_factory.mktemp("cache")))
