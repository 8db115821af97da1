"""The core, and commands that compute no array, load no array library: seen from a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ["PIL", "jax", "jaxlib", "matplotlib", "numpy", "safetensors", "scipy", "torch", "torchvision"]
CORE = """
import importlib, pkgutil
import vitcli.core
for module in pkgutil.iter_modules(vitcli.core.__path__):
    importlib.import_module(f"vitcli.core.{module.name}")
"""
COMMAND = """
import sys
from vitcli.main import run
sys.argv = ["vit", *{arguments}]
try:
    run()
except SystemExit as stop:
    if stop.code:
        raise
"""
CHECK = """
import json, sys
loaded = [name for name in {heavy} if name in sys.modules]
print("\\n" + json.dumps([loaded, "vitcli" in sys.modules]))
"""


@pytest.mark.parametrize(
    "code",
    [
        CORE,
        "import vitcli, vitcli.main",
        *(
            COMMAND.format(arguments=arguments)
            for arguments in (["summary", "S/16"], ["--help"], ["backends"])
        ),
    ],
    ids=["core", "main", "summary", "help", "backends"],
)
def test_no_array_library_is_loaded(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code + CHECK.format(heavy=HEAVY)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [[], True]
