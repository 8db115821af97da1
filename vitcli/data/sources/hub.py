"""Folders that the `datasets` library of Hugging Face saved to disk; nothing is fetched, no code of theirs is run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vitcli.core.errors import DataError
from vitcli.core.recipe import DataSpec
from vitcli.data.dataset import Dataset, Split
from vitcli.data.files import Files
from vitcli.data.sources.kept import identity, image_files_of
from vitcli.data.sources.labels import by_text, check_files, part_of, some

# Rows with images that are in memory at a time.
_ROWS = 256


def holds(folder: Path) -> bool:
    """Returns whether a folder is one that `save_to_disk` made."""
    one = all((folder / name).is_file() for name in ("dataset_info.json", "state.json"))
    return one or (folder / "dataset_dict.json").is_file()


def read(folder: Path, data: DataSpec) -> Dataset:
    """Returns the images of a saved data set; those kept as bytes are written to the cache, once.

    Raises:
        DataError: the library is not installed, the folder is damaged, or has no column of images or of labels.
        VitError: the images cannot be written.
    """
    places = _places(folder)
    notes: tuple[str, ...] = ()
    if other := [name for name in places if part_of(name) is None]:
        notes += (f"splits {some(other)} are left out: neither train, validation nor test",)
    parts: dict[Split, tuple[Files, Sequence[str]]] = {}
    names: dict[str, str] | None = None
    for name, place in places.items():
        part = part_of(name)
        if part is None:
            continue
        table = _load(place)
        image, label = _columns(place, table.features, data)
        if part == "train" and hasattr(table.features[label], "names"):
            names = {str(number): word for number, word in enumerate(table.features[label].names)}
        labels = _labels(place, table, label)
        if part != "train" and set(labels) == {"-1"}:
            notes += (f"the {part} split is left out: it has no labels",)
            continue
        parts[part] = Files(_files(place, table, image)), labels
    return by_text(str(folder), parts, names=names, notes=notes)


def _places(folder: Path) -> dict[str, Path]:
    """Returns the folder of each split."""
    listed = folder / "dataset_dict.json"
    if not listed.is_file():
        return {"train": folder}
    try:
        splits = [str(name) for name in json.loads(listed.read_text(encoding="utf-8"))["splits"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{listed} does not list the splits; save the data set again") from error
    here = {path.name: path for path in folder.iterdir() if path.is_dir()}
    if absent := [name for name in splits if name not in here]:
        raise DataError(f"{folder} lacks {some(absent)}, which {listed.name} lists; save the data set again")
    return {name: here[name] for name in splits}


def _load(folder: Path) -> Any:
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"  # read once, at the import
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"{folder} is a Hugging Face data set, which `datasets` reads: it is not installed; "
            f"pip install 'vitcli[sources]'"
        ) from error
    datasets.disable_progress_bars()
    try:
        return datasets.load_from_disk(str(folder.absolute()), keep_in_memory=False)
    except Exception as error:  # theirs, Arrow's and fsspec's: whatever damaged files bring forth
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{folder} cannot be read as a Hugging Face data set: {reason}") from error


def _columns(folder: Path, features: dict[str, Any], data: DataSpec) -> tuple[str, str]:
    """Returns the columns of images and labels: those that the recipe names, or the only ones of their kind."""
    kinds = {name: getattr(feature, "_type", "") for name, feature in features.items()}
    chosen = []
    for key, kind in (("path_column", "Image"), ("label_column", "ClassLabel")):
        column = getattr(data, key)
        found = [name for name, theirs in kinds.items() if theirs == kind]
        if column in kinds and (column in found or kind == "ClassLabel"):
            found = [column]
        if len(found) != 1:
            have = some(f"{name} ({theirs or 'nested'})" for name, theirs in kinds.items())
            raise DataError(
                f"{folder} has {'no column' if not found else 'several columns'} of type {kind}; it has {have}; "
                f"choose one with data.{key}"
            )
        chosen += found
    return chosen[0], chosen[1]


def _labels(folder: Path, table: Any, column: str) -> list[str]:
    values = table.with_format(None)[column][:]
    if wrong := sorted({type(value).__name__ for value in values} - {"int", "str"}):
        raise DataError(f"{folder}, column '{column}' holds {some(wrong)}; words or whole numbers are wanted")
    return [str(value) for value in values]


def _files(folder: Path, table: Any, column: str) -> list[str]:
    """Returns the files of the images: their own where the set holds paths alone, else those in the cache."""
    import datasets

    coded = table.with_format(None).select_columns([column]).cast_column(column, datasets.Image(decode=False))

    def rows() -> Iterator[dict[str, Any]]:
        for batch in coded.iter(batch_size=_ROWS):
            yield from (value or {} for value in batch[column])

    first = next(rows(), {})
    if first.get("path") and not first.get("bytes"):
        files = [row.get("path") or "" for row in rows()]
        check_files(str(folder), files, "save the data set again with its images in it")
        return files
    state = sorted(path for path in folder.iterdir() if path.suffix in (".arrow", ".json"))
    facts = [identity(*state), column]
    files = image_files_of(facts, str(folder), lambda: (row.get("bytes") for row in rows()))
    if len(files) != len(coded):
        raise DataError(f"{Path(files[0]).parent} is damaged; remove that folder, and it will be made anew")
    return files
