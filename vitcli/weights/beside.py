"""Which layouts have files that stand beside the weights, and who reads and writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from vitcli.core.reporter import Reporter
from vitcli.weights import config, open_clip_config, timm_config
from vitcli.weights.header import Card, Preprocess
from vitcli.weights.names import code_for
from vitcli.weights.renaming import Code


class Beside(Protocol):
    """A module that knows another program's configuration, a file called `CONFIG`."""

    CONFIG: str

    def read_config(self, folder: Path) -> dict[str, Any]:
        """Returns what is said of the model in a folder; empty where nothing is."""

    def told(self, config: Mapping[str, Any], source: str, code: Code) -> dict[str, Any]:
        """Returns that as dotted recipe keys, for a file of a family."""

    def class_names(self, config: Mapping[str, Any], count: int) -> tuple[str, ...] | None:
        """Returns the class names, where there is one for each class."""

    def read_preprocess(
        self, folder: Path, size: int, otherwise: Preprocess, reporter: Reporter
    ) -> Preprocess | None:
        """Returns how images are seen, where that is said; what is done otherwise than it says is told."""

    def files(self, card: Card, code: Code) -> dict[str, str]:
        """Returns the texts to write beside a model of a family, by file name."""


BESIDE: Mapping[str, Beside] = {
    "huggingface": config,
    "huggingface-mae": config,
    "timm": timm_config,
    "clip": open_clip_config,
}


def configuration(card: Card, layout: str) -> dict[str, str]:
    """Returns the texts that stand beside a file in a layout, by file name; most layouts have none.

    Raises:
        WeightsError: the layout's library has no such model.
    """
    if layout in BESIDE and (code := code_for(card.spec, layout)):
        return BESIDE[layout].files(card, code)
    return {}
