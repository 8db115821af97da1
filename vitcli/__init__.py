"""Train, fine-tune, move and study Vision Transformers: one recipe, two engines, the same run.

import vitcli
model = vitcli.load("model.safetensors", backend="jax")
model.predict(["a.jpg"], top=5)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitcli.core.errors import VitError
    from vitcli.core.spec import ModelSpec
    from vitcli.jobs.evaluate import evaluate
    from vitcli.jobs.model import Model, load
    from vitcli.jobs.predict import predict
    from vitcli.jobs.train import train

__version__ = "0.1.0"
__all__ = ["Model", "ModelSpec", "VitError", "__version__", "evaluate", "load", "predict", "train"]

_PLACES = {
    "Model": "vitcli.jobs.model",
    "ModelSpec": "vitcli.core.spec",
    "VitError": "vitcli.core.errors",
    "evaluate": "vitcli.jobs.evaluate",
    "load": "vitcli.jobs.model",
    "predict": "vitcli.jobs.predict",
    "train": "vitcli.jobs.train",
}


def __getattr__(name: str) -> Any:
    """Loads a public name when it is first asked for (PEP 562): importing vitcli loads no array library."""
    if name not in _PLACES:
        raise AttributeError(f"module 'vitcli' has no attribute '{name}'")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    """Returns the public names."""
    return sorted(__all__)
