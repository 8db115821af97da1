"""Imports run one way: the check behind `make lint`, and a test of itself in test_imports.py.

Each room of the house may import its own rooms and the third parties listed; `body` rooms only inside a
function, where loading them is put off until a command runs.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# room: (rooms of ours, third parties, rooms allowed inside a function)
RULES: dict[str, tuple[set[str], set[str], set[str]]] = {
    "vitcli.core": ({"vitcli.core"}, {"pydantic", "pydantic_core"}, set()),
    "vitcli.fetch": ({"vitcli.core", "vitcli.fetch"}, {"httpx"}, set()),
    "vitcli.hub": (
        {"vitcli.core", "vitcli.data.places", "vitcli.fetch", "vitcli.hub"},
        {"huggingface_hub"},
        set(),
    ),
    "vitcli.data": (
        {"vitcli.core", "vitcli.data", "vitcli.fetch"},
        {"numpy", "PIL", "datasets", "pyarrow", "scipy"},
        set(),
    ),
    "vitcli.weights": (
        {"vitcli.core", "vitcli.data", "vitcli.weights"},
        {"numpy", "safetensors"},
        set(),
    ),
    "vitcli.jobs": (
        {"vitcli.core", "vitcli.data", "vitcli.hub", "vitcli.weights", "vitcli.jobs"},
        {"numpy"},
        set(),
    ),
    "vitcli.report": ({"vitcli.core", "vitcli.report"}, {"numpy", "matplotlib"}, set()),
    "vitcli.commands": (
        {"vitcli.core.errors", "vitcli.commands"},
        {"typer"},
        {
            "vitcli.core",
            "vitcli.data",
            "vitcli.fetch",
            "vitcli.hub",
            "vitcli.jobs",
            "vitcli.render",
            "vitcli.report",
        },
    ),
    "vitcli.main": ({"vitcli", "vitcli.core.errors", "vitcli.commands"}, {"typer"}, {"vitcli.render"}),
    "vitcli.__main__": ({"vitcli.main"}, set(), set()),
    "vitcli.render": ({"vitcli.core.reporter"}, {"rich"}, set()),
    "vitcli": (set(), set(), set()),
    "vitcli_jax": ({"vitcli.core", "vitcli_jax"}, {"numpy", "jax"}, set()),
    "vitcli_torch": (
        {"vitcli.core", "vitcli_torch"},
        {"numpy", "onnxruntime", "torch", "torchvision"},
        set(),
    ),
}


def violations(root: Path = ROOT) -> list[str]:
    """Every import that points the wrong way, as `file:line: message`."""
    found = []
    for folder in (root / "vitcli", root / "backends"):
        for path in sorted(folder.rglob("*.py")):
            module = ".".join(path.relative_to(folder.parent).with_suffix("").parts)
            module = module.removeprefix("backends.").removesuffix(".__init__")
            for line, target, inside in _imports(ast.parse(path.read_text(encoding="utf-8"))):
                if not _allowed(module, target, inside):
                    where = "inside a function" if inside else "at the top"
                    found.append(f"{path.relative_to(root)}:{line}: {module} may not import {target} {where}")
    return found


def _allowed(module: str, target: str, inside: bool) -> bool:
    top = target.partition(".")[0]
    if top in sys.stdlib_module_names:
        return True
    room = max((name for name in RULES if _within(module, name)), key=len)
    ours, others, body = RULES[room]
    if top.startswith("vitcli"):
        return any(_within(target, name) for name in ours | (body if inside else set()))
    return top in others


def _within(module: str, room: str) -> bool:
    # The package itself is a room without its sub-packages: `vitcli` holds the version and the lazy API.
    return module == room or (room != "vitcli" and module.startswith(f"{room}."))


def _imports(tree: ast.Module) -> Iterator[tuple[int, str, bool]]:
    """Yields (line, module, whether inside a function); what only the type checker reads is left out."""

    def walk(node: ast.AST, inside: bool) -> Iterator[tuple[int, str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and getattr(child.test, "id", "") == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.Import):
                yield from ((child.lineno, alias.name, inside) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                names = [alias.name for alias in child.names] if child.module == "vitcli" else []
                yield from ((child.lineno, f"vitcli.{name}", inside) for name in names)
                if not names:
                    yield child.lineno, child.module or "", inside
            deeper = inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from walk(child, deeper)

    return walk(tree, False)


if __name__ == "__main__":
    wrong = violations()
    print("\n".join(wrong) or "imports run one way")
    sys.exit(bool(wrong))
