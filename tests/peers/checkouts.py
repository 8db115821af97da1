"""Other programs' own code, which no package index has: checkouts in the folder that `VIT_ORIGINALS` names."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest

VARIABLE = "VIT_ORIGINALS"


def load(checkout: str, *modules: str, absent: Sequence[str] = ()) -> tuple[Any, ...]:
    """Returns modules of a checkout.

    Args:
        checkout: the folder's name.
        modules: their dotted names.
        absent: modules that they import and that nothing here needs: empty ones stand in for what is not installed.
    """
    folder = Path(os.environ.get(VARIABLE) or "nowhere") / checkout
    if not folder.is_dir():
        said = os.environ.get(VARIABLE, "is not set")
        pytest.fail(
            f"{VARIABLE} must name a folder that holds a checkout of {checkout}; it {said}", pytrace=False
        )
    made = _stand_ins(absent)
    sys.modules.update(made)
    try:
        with patch.object(sys, "path", [str(folder), *sys.path]):
            return tuple(importlib.import_module(name) for name in modules)
    finally:
        for name in made:
            del sys.modules[name]


def _stand_ins(names: Sequence[str]) -> dict[str, ModuleType]:
    """Returns empty modules under the names of what is not installed; that of a file system opens files."""
    made = {name: ModuleType(name) for name in names if find_spec(name.partition(".")[0]) is None}
    for name, module in made.items():
        parent, _, leaf = name.rpartition(".")
        if parent:
            setattr(made[parent], leaf, module)
        if leaf == "gfile":
            module.__dict__["GFile"] = open
    return made
