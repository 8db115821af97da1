"""The rows of a table, and which of its columns are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vitcli.core.errors import DataError
from vitcli.core.recipe import DataSpec
from vitcli.data.dataset import Split
from vitcli.data.sources.labels import PARTS, part_of, some


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One image of a table; `part` is what its split column says, where the recipe names one."""

    file: str
    label: str
    part: str


def wanted(path: Path, columns: Sequence[str], data: DataSpec) -> list[str]:
    """Returns the columns to be read: path, label and, where the recipe names one, split.

    Raises:
        DataError: the table lacks one.
    """
    keys = ["path_column", "label_column"] + (["split_column"] if data.split_column is not None else [])
    for key in keys:
        column = getattr(data, key)
        if column not in columns:
            raise DataError(
                f"{path} has no column '{column}' (data.{key}); its first line holds: {some(columns)}"
            )
    return [getattr(data, key) for key in keys]


def by_part(path: Path, rows: Sequence[Row], data: DataSpec) -> dict[Split, list[Row]]:
    """Returns the rows of each part; without a split column all are for training.

    Raises:
        DataError: the split column holds another word.
    """
    if data.split_column is None:
        return {"train": list(rows)}
    parts: dict[Split, list[Row]] = {}
    for row in rows:
        part = part_of(row.part)
        if part is None:
            allowed = ", ".join(name for names in PARTS.values() for name in names)
            raise DataError(
                f"{path}, column '{data.split_column}' (data.split_column) says '{row.part}'; "
                f"it may say {allowed}"
            )
        parts.setdefault(part, []).append(row)
    return parts
