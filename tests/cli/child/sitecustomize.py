"""Loaded by a child process before `vit`: reports what it imports, and takes away what it is told to.

VIT_TEST_LOADED=FILE   at the end, the names of all loaded modules go into the file
VIT_TEST_ABSENT=torch  the library is not found, as where it has not been installed
VIT_TEST_ORDINARY=1    permissions of files hold, even for root
"""

import atexit
import ctypes
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


def _give_up_rights() -> None:
    """Clears all of this process's capabilities: capset of linux/capability.h, version 3."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    if ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "cannot give up root's rights")


if "VIT_TEST_LOADED" in os.environ:
    atexit.register(_report)
if "VIT_TEST_ORDINARY" in os.environ and os.geteuid() == 0:
    _give_up_rights()
if _absent:
    importlib.util.find_spec = _find
