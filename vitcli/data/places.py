"""Folders outside of the project: where vit keeps what it can make again, and what it was given."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """Returns the folder of caches: $VIT_CACHE, else $XDG_CACHE_HOME/vit, else ~/.cache/vit."""
    if given := os.environ.get("VIT_CACHE"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "vit"
