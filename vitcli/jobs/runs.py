"""A run is a folder: recipe.toml, model.safetensors, metrics.jsonl."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from vitcli.core.draft import resolve, to_toml
from vitcli.core.errors import RequestError, VitError, WeightsError, nearest
from vitcli.core.recipe import Recipe
from vitcli.core.recipes import draft
from vitcli.hub.huggingface import WEIGHTS

RECIPE, MODEL, LAST, METRICS = "recipe.toml", "model.safetensors", "last.safetensors", "metrics.jsonl"
CURVES = "curves.png"
# Beside MODEL, which has them merged: the low-rank adapters of a run that trained some.
ADAPTER = "adapter.safetensors"


class RunFolder:
    """Writes one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._metrics: Any = None

    def create(self, recipe: Recipe, heading: str) -> None:
        """Makes the folder and writes the resolved recipe.

        Raises:
            RequestError: the folder exists or cannot be made.
            VitError: the disk is full; the folder has been removed.
        """
        try:
            self.path.mkdir(parents=True)
        except OSError as error:
            raise RequestError(
                f"cannot make run folder {self.path}: {error.strerror}; choose another with --runs or --name"
            ) from error
        try:
            (self.path / RECIPE).write_text(to_toml(recipe, heading), encoding="utf-8")
            self._metrics = (self.path / METRICS).open("a", encoding="utf-8")
        except OSError as error:
            shutil.rmtree(self.path, ignore_errors=True)
            raise VitError(
                f"cannot write into run folder {self.path}: {error.strerror}; "
                f"make room, or choose another disk with --runs DIR"
            ) from error

    def record(self, event: str, **values: Any) -> None:
        """Appends one line to metrics.jsonl."""
        try:
            self._metrics.write(json.dumps({"event": event, **values}) + "\n")
            if event != "step":
                self._metrics.flush()
        except OSError as error:
            raise VitError(
                f"cannot write {self.path / METRICS}: {error.strerror}; "
                f"make room, or choose another disk with --runs DIR"
            ) from error

    def close(self) -> None:
        """Closes metrics.jsonl."""
        with suppress(OSError):  # lines that a full disk does not take: `record` has told it
            self._metrics.close()


def free_path(root: Path, name: str | None, default: str) -> Path:
    """Returns the folder of a new run: the name given, or the default with a number where it is taken.

    Raises:
        RequestError: the name is taken, is not a plain name, or the folder of runs cannot be one.
    """
    for folder in (root, *root.absolute().parents):
        if os.path.exists(folder):  # not Path.exists, which raises where the folder above is closed to us
            if not folder.is_dir():
                raise RequestError(
                    f"--runs {root}: {folder} is a file, not a folder; choose another with --runs DIR"
                )
            if not os.access(folder, os.W_OK | os.X_OK):
                raise RequestError(
                    f"--runs {root}: {folder} cannot be written; choose another with --runs DIR"
                )
            break
    if name is not None:
        if not name or name.startswith((".", "-")) or Path(name).name != name:
            raise RequestError(
                f"--name {name!r} is not a plain folder name; use letters, digits, '-', '_' and '.'"
            )
        if (root / name).exists():
            raise RequestError(f"run {root / name} exists; choose another --name, or leave it out")
        return root / name
    number = 1
    while (root / (default if number == 1 else f"{default}-{number}")).exists():
        number += 1
    return root / (default if number == 1 else f"{default}-{number}")


def newest_finished(root: Path) -> Path:
    """Returns the run folder that finished last.

    Raises:
        WeightsError: there is none.
    """
    finished = [path for path in root.glob("*/") if (path / MODEL).is_file() and _is_finished(path / METRICS)]
    if not finished:
        raise WeightsError(f"no finished run in {root}/; train one with vit train, or say --weights FILE")
    return max(finished, key=lambda path: (path / METRICS).stat().st_mtime_ns)


def weights_of(place: Path) -> Path:
    """Returns the weights file of a run, or of a folder that other libraries keep a model in, or the file itself.

    Raises:
        WeightsError: none is there.
    """
    if place.is_dir():
        if found := next((place / name for name in WEIGHTS if (place / name).is_file()), None):
            return found
        if shards := next(place.glob("*.index.json"), None):
            raise WeightsError(
                f"{place} holds a model in several files ({shards.name}); vit reads one: save it with save_pretrained("
                f"FOLDER, max_shard_size='100GB') first"
            )
        raise WeightsError(
            f"{place} is a folder without {MODEL} (or {', '.join(WEIGHTS[1:])}); give a run folder, a model's or a "
            f"weights file"
        )
    if not place.is_file():
        beside = [path.name for path in place.parent.glob("*")]
        raise WeightsError(
            f"no run folder or weights file at {place}{nearest(place.name, beside)}; vit train makes a run"
        )
    return place


def recipe_of(weights: Path) -> Recipe | None:
    """Returns the recipe beside a weights file, or None where there is none."""
    path = weights.parent / RECIPE
    if not path.is_file():
        return None
    return resolve(draft(str(path)))


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Returns the records of a run, finished or not; a last line that was cut short is left out.

    Raises:
        RequestError: no run is there, or its metrics cannot be read.
    """
    path = run / METRICS
    if not path.is_file():
        beside = [folder.parent.name for folder in run.parent.glob(f"*/{METRICS}")]
        raise RequestError(
            f"no run at {run}{nearest(run.name, beside)}: a run is a folder with {METRICS}, as vit train makes it"
        )
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"cannot read {path}: {error}") from error
    records = []
    for number, line in enumerate(
        lines[:-1], 1
    ):  # after the last line feed: nothing, or the beginning of a record
        try:
            record = json.loads(line)
            record["event"]
        except (ValueError, TypeError, KeyError) as error:
            raise RequestError(f"{path}, line {number}: not a record of a run") from error
        records.append(record)
    return records


def _is_finished(metrics: Path) -> bool:
    try:
        with metrics.open("rb") as file:
            file.seek(max(0, metrics.stat().st_size - 4096))
            lines = file.read().splitlines()
        return bool(lines) and json.loads(lines[-1])["event"] == "finished"
    except (OSError, ValueError, KeyError):
        return False
