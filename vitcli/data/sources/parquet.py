"""Parquet tables: of paths and labels, or with the images in them, as the Hugging Face Hub keeps them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vitcli.core.errors import DataError, reason
from vitcli.core.recipe import DataSpec
from vitcli.data.sources.kept import identity, image_files_of
from vitcli.data.sources.labels import some
from vitcli.data.sources.rows import Row, wanted

# Rows with images that are in memory at a time.
_ROWS = 256


def holds(path: Path) -> bool:
    """Returns whether a file is Parquet, by its first bytes."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def read(path: Path, data: DataSpec) -> tuple[list[Row], dict[str, str] | None]:
    """Returns the rows of a table, and the names of its labels where the file itself has them.

    Images in the table are written to the cache, once; no path in the file decides where.

    Raises:
        DataError: pyarrow is not installed, the file is damaged, or a column is not there.
        VitError: the images cannot be written.
    """
    with _opened(path) as file:
        columns: list[str] = file.schema_arrow.names
        if data.path_column in columns and not _has_images(file.schema_arrow.field(data.path_column).type):
            image = None
        else:
            image = _image_column(path, file.schema_arrow, data)
            data = data.model_copy(update={"path_column": image or data.path_column})
        names = wanted(path, columns, data)
        words = [_words(path, file, name) for name in (names[1:] if image else names)]
        if image is None:
            files = words.pop(0)
        else:
            files = image_files_of(identity(path), str(path), lambda: _images(file, image))
    parts = words[-1]
    rows = [Row(file=f, label=la, part=p) for f, la, p in zip(files, words[0], parts, strict=True)]
    return rows, _class_names(file.schema_arrow.metadata or {}, data.label_column)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(
            f"{path} is Parquet, which pyarrow reads: it is not installed; pip install 'vitcli[sources]'"
        ) from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {reason(error)}") from error


def _words(path: Path, file: Any, column: str) -> list[str]:
    """Returns a column of words or whole numbers as words."""
    found: list[str] = []
    for batch in file.iter_batches(columns=[column]):
        found += [_word(path, column, value) for value in batch.column(0).to_pylist()]
    return found


def _word(path: Path, column: str, value: object) -> str:
    if isinstance(value, str | int):
        return str(value)
    shown = "nothing" if value is None else f"a {type(value).__name__}"
    raise DataError(
        f"{path}, column '{column}' holds {shown}; words or whole numbers are wanted in every row"
    )


def _images(file: Any, column: str) -> Iterator[bytes | None]:
    for batch in file.iter_batches(batch_size=_ROWS, columns=[column]):
        for value in batch.column(0).to_pylist():
            yield value["bytes"] if isinstance(value, dict) else value


def _has_images(kind: Any) -> bool:
    """Returns whether a column holds the bytes of files: alone, or as the Hub's pairs of bytes and path."""
    binary = ("binary", "large_binary")
    if str(kind) in binary:
        return True
    return str(kind).startswith("struct<") and any(f.name == "bytes" and str(f.type) in binary for f in kind)


def _image_column(path: Path, schema: Any, data: DataSpec) -> str | None:
    """Returns the column of images: the one that the recipe names, or the only one."""
    found = [field.name for field in schema if _has_images(field.type)]
    if data.path_column in found:
        return data.path_column
    if len(found) > 1:
        raise DataError(f"{path} has several columns of images: {some(found)}; choose with data.path_column")
    return found[0] if found else None


def _class_names(metadata: dict[bytes, bytes], column: str) -> dict[str, str] | None:
    """Returns the names that the Hub's own metadata gives to the numbers of a column."""
    try:
        names: Sequence[str] = json.loads(metadata[b"huggingface"])["info"]["features"][column]["names"]
    except (KeyError, ValueError, TypeError):
        return None
    return {str(number): name for number, name in enumerate(names)}
