"""A folder of good images among which bad ones are put, and the commands that meet them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cli.bad_inputs import Picture
from tests.cli.inputs import folders, image, tiny_recipe
from tests.cli.running import Result
from vitcli.core.draft import to_toml
from vitcli.weights.file import write_weights
from vitcli.weights.header import Card
from vitcli.weights.initial import initial_weights

TRAIN = "train tiny.toml -b torch --runs ../runs --name x"
EVALUATE = "evaluate w.safetensors -b torch --split train --json"
PREDICT = "predict -w w.safetensors -b torch --json"


def fill(place: Path) -> None:
    """Six images to train on and six to validate, a recipe, and weights that tell pictures well apart."""
    folders(place / "set" / "train", "ab")
    for number, name in enumerate("aaabbb"):
        image(place / "set" / "val" / name / f"{number % 3}.png", seed=1000 + number)
    recipe = tiny_recipe(2, "set")
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"in_channels": 3})})
    text = to_toml(recipe).replace("num_classes = 2\n", "")  # as many as the data have
    (place / "tiny.toml").write_text(text, encoding="utf-8")
    weights = {name: 4 * value for name, value in initial_weights(recipe.model, seed=0).items()}
    write_weights(place / "w.safetensors", weights, Card.of(recipe, ("a", "b")), "native")


def put(place: Path, picture: Picture, split: str = "train") -> str:
    """Makes a picture one of class a; returns its path as seen from there."""
    path = place / "set" / split / "a" / picture.name
    path.write_bytes(picture.data())
    return str(path.relative_to(place))


def asked(command: str, picture: str) -> list[str]:
    """The command line that meets a picture."""
    return {
        "train": [*TRAIN.split(), "--data", "set"],
        "evaluate": [*EVALUATE.split(), "--data", "set"],
        "predict": [*PREDICT.split(), picture],
    }[command]


def check_refused(result: Result, told: tuple[str, ...], runs: Path) -> None:
    """Checks that a request was refused in one line that has these parts, and that no run was begun."""
    assert result.code == 2, result
    assert result.out == ""
    assert len(result.errors) == 1, result.err
    assert "Traceback" not in result.err
    assert "this is a bug" not in result.err
    for part in told:
        assert part in result.errors[0]
    assert not runs.exists()


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
