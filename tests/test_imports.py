"""The import check itself: the project passes, and a wrong import is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.imports import violations


def test_imports_run_one_way() -> None:
    assert violations() == []


@pytest.mark.parametrize(
    ("path", "line", "wrong"),
    [
        ("vitcli/core/a.py", "import numpy", "numpy"),
        ("vitcli/core/a.py", "def f():\n    import numpy", "numpy"),
        ("vitcli/data/a.py", "from vitcli.weights.file import read_weights", "vitcli.weights.file"),
        ("vitcli/jobs/a.py", "import torch", "torch"),
        ("vitcli/commands/a.py", "from vitcli.jobs.train import train", "vitcli.jobs.train"),
        ("vitcli/commands/a.py", "def f():\n    import rich", "rich"),
        ("backends/vitcli_jax/a.py", "import optax", "optax"),
        ("backends/vitcli_jax/a.py", "from vitcli.data.random import mix", "vitcli.data.random"),
        ("vitcli/__init__.py", "import numpy", "numpy"),
    ],
)
def test_a_wrong_import_is_found(tmp_path: Path, path: str, line: str, wrong: str) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(line + "\n")
    (found,) = violations(tmp_path)
    assert f"may not import {wrong} " in found


def test_what_only_the_type_checker_reads_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "vitcli" / "core").mkdir(parents=True)
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import numpy\n"
    (tmp_path / "vitcli" / "core" / "a.py").write_text(text)
    assert violations(tmp_path) == []
