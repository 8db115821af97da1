"""A table of paths and labels: CSV, TSV (or another delimiter), Parquet."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from vitcli.core.errors import DataError
from vitcli.core.recipe import DataSpec
from vitcli.data.dataset import Dataset, Split
from vitcli.data.files import Files
from vitcli.data.sources import parquet
from vitcli.data.sources.labels import by_text, check_files
from vitcli.data.sources.rows import Row, by_part, wanted


class _Lines(Protocol):
    """What `csv.reader` returns."""

    line_num: int

    def __iter__(self) -> Iterator[list[str]]: ...
    def __next__(self) -> list[str]: ...


def read(path: Path, data: DataSpec) -> Dataset:
    """Returns the images that a table lists.

    Raises:
        DataError: no such columns, files that do not exist, labels without a name or not in the training part.
    """
    rows, names = parquet.read(path, data) if parquet.holds(path) else (_read_csv(path, data), None)
    if not rows:
        raise DataError(f"{path} has no rows below its header")
    folder = os.path.join(path.parent, Path(data.image_folder or "").expanduser())
    parts: dict[Split, tuple[Files, Sequence[str]]] = {}
    for split, members in by_part(path, rows, data).items():
        files = Files([os.path.join(folder, row.file) for row in members])
        parts[split] = files, [row.label for row in members]
    check_files(
        str(path),
        [file for files, _ in parts.values() for file in files.names],
        f"paths are relative to {Path(folder)} "
        f"(the table's folder, joined with data.image_folder where that is said)",
    )
    names = _label_names(path, data) or names
    return by_text(str(path), parts, names=names, names_from=data.label_names)


def _read_csv(path: Path, data: DataSpec) -> list[Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            if "\0" in first:
                raise DataError(
                    f"{path} cannot be read as CSV: it holds NUL bytes; by its content it is "
                    f"neither Parquet, an .npz, a tar nor a zip"
                )
            file.seek(0)
            return list(_rows(path, csv.reader(file, delimiter=_delimiter(path, first)), data))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV: {error}") from error


def _delimiter(path: Path, first: str) -> str:
    """Returns what parts the columns of a table: the commonest in its first line, a comma where in doubt."""
    return "\t" if path.suffix.lower() == ".tsv" else max(",\t;", key=first.count)


def _rows(path: Path, lines: _Lines, data: DataSpec) -> Iterator[Row]:
    columns = next(lines, [])
    places = [columns.index(column) for column in wanted(path, columns, data)]
    most = max(places)
    for cells in lines:
        if not cells:
            continue
        if len(cells) <= most:
            raise DataError(f"{path}, line {lines.line_num}: fewer columns than the first line has")
        yield Row(file=cells[places[0]], label=cells[places[1]], part=cells[places[-1]])


def _label_names(path: Path, data: DataSpec) -> dict[str, str] | None:
    """Returns the names of the labels of the table at `path`."""
    if data.label_names is None:
        return None
    file = Path(data.label_names).expanduser()
    if not file.exists():
        file = path.parent / file
    try:
        names = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"data.label_names={data.label_names} cannot be read as JSON: {error}; "
            f"a file that is not there as given is looked for beside {path}"
        ) from error
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise DataError(
            f'data.label_names={data.label_names} must be an object of label to name, as {{"0": "cat"}}'
        )
    return {str(label): name for label, name in names.items()}
