"""Which layouts have files that stand beside the weights, and who reads and writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from vitcli.weights import config, timm_config
from vitcli.weights.header import Card, Preprocess


class Beside(Protocol):
    """A module that knows another program's configuration."""

    def read_config(self, folder: Path) -> dict[str, Any]:
        """Returns what is said of the model in a folder; empty where nothing is."""

    def told(self, config: Mapping[str, Any], source: str) -> dict[str, Any]:
        """Returns that as dotted recipe keys."""

    def class_names(self, config: Mapping[str, Any], count: int) -> tuple[str, ...] | None:
        """Returns the class names, where there is one for each class."""

    def read_preprocess(self, folder: Path, size: int, otherwise: Preprocess) -> Preprocess:
        """Returns how images are seen."""

    def remarks(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """Returns what is to be said aloud."""

    def files(self, card: Card) -> dict[str, str]:
        """Returns the texts to write beside a model, by file name."""


BESIDE: Mapping[str, Beside] = {"huggingface": config, "timm": timm_config}
