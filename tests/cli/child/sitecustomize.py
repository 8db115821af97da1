"""Loaded by a child process before `vit`: reports what it imported, and can hide an engine's library.

VIT_TEST_LOADED=FILE   at the end, the names of all loaded modules go into the file
VIT_TEST_ABSENT=torch  the library is not found, as where it has not been installed
"""

import atexit
import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

_find_spec = importlib.util.find_spec
_absent = os.environ.get("VIT_TEST_ABSENT")


def _report() -> None:
    Path(os.environ["VIT_TEST_LOADED"]).write_text("\n".join(sys.modules), encoding="utf-8")


def _find(name: str, package: str | None = None) -> ModuleSpec | None:
    return None if name == _absent else _find_spec(name, package)


if "VIT_TEST_LOADED" in os.environ:
    atexit.register(_report)
if _absent:
    importlib.util.find_spec = _find
