"""Pictures that commands draw: what is in them, where they go, and what they never overwrite."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tests.cli.conftest import Trained
from tests.cli.inputs import finished_run, folders, image
from tests.cli.running import ENGINES, TINY, child, here
from vitcli.core.errors import DivergedError, Interrupted
from vitcli.data.digits import digits
from vitcli.jobs.runs import read_metrics
from vitcli.report import canvas

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[Figure]]:
    """An empty current folder, and the figures that are saved."""
    figures: list[Figure] = []
    save = canvas.save

    def remember(figure: Figure, target: Path) -> None:
        figures.append(figure)
        save(figure, target)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(canvas, "save", remember)
    yield figures
    assert not list(tmp_path.rglob("*.tmp"))


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert len(set(picture.convert("L").resize((90, 90)).tobytes())) > 5  # not blank
        return picture.size


def _line(figure: Figure, panel: int, number: int) -> list[float]:
    found: list[float] = np.asarray(figure.axes[panel].lines[number].get_ydata()).tolist()
    return found


def test_train_leaves_its_curves(trained: Trained) -> None:
    assert _size(trained.run / "curves.png") == (1080, 900)
    assert f"curves: {trained.run}/curves.png\n" in trained.said.err


def test_report_draws_a_run_again(trained: Trained, drawn: list[Figure], tmp_path: Path) -> None:
    run = tmp_path / "mine"
    shutil.copytree(trained.run, run)
    before = (run / "curves.png").read_bytes()
    (run / "curves.png").unlink()
    for _ in range(2):  # the second time over the first picture
        said = here("report", run)
        assert (said.code, said.out) == (0, f"{run}/curves.png written\n")
        assert said.err == f"next: vit evaluate {run} --confusion confusion.png\n"
        assert _size(run / "curves.png") == (1080, 900)
    assert before.startswith(b"\x89PNG")
    records = read_metrics(run)
    assert _line(drawn[0], 0, 0) == [row["loss"] for row in records if row["event"] == "step"]
    (epoch,) = (row for row in records if row["event"] == "epoch")
    assert _line(drawn[0], 0, 1) == [epoch["loss"]]
    assert _line(drawn[0], 0, 2) == [epoch["validation"]["loss"]]
    assert _line(drawn[0], 1, 0) == [epoch["validation"]["top1"]]
    assert drawn[0].get_suptitle().startswith("mine: best top-1 ")
    assert here("report", run, "-o", "else.png", "--json").out == json.dumps(
        {"picture": "else.png", "runs": [str(run)]}, indent=2
    ) + "\n"  # fmt: skip
    assert _size(tmp_path / "else.png") == (1080, 900)


def test_report_lays_runs_over_each_other(drawn: list[Figure], tmp_path: Path) -> None:
    runs = [_recorded(tmp_path / place, top1) for place, top1 in (("a/x", 0.25), ("b/x", 0.5), ("b/y", 0.75))]
    assert here("report", *runs, "-o", "all.png").code == 0
    assert [_line(drawn[0], 1, i) for i in range(3)] == [[0.25], [0.5], [0.75]]
    labels = [text.get_text() for text in drawn[0].axes[1].texts]
    assert [label.rpartition("/")[2] for label in labels] == ["x 25.0%", "x 50.0%", "y 75.0%"]
    assert len({text.get_text() for text in drawn[0].axes[0].texts}) == 3  # their folders are told
    assert here("report", *runs[1:], "-o", "two.png").code == 0  # names that differ stand alone
    assert [text.get_text() for text in drawn[1].axes[1].texts] == ["x 50.0%", "y 75.0%"]


def test_report_of_a_run_that_is_being_written(drawn: list[Figure], tmp_path: Path) -> None:
    run = _recorded(tmp_path / "x", 0.25)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"event": "step", "st')
    assert here("report", run).code == 0
    assert drawn[0].get_suptitle().startswith("x, not finished: best top-1 25.00%")


@pytest.mark.parametrize(
    ("error", "code"),
    [(Interrupted("stopped after step 9", 143), 143), (DivergedError("step 9: loss nan"), 1)],
    ids=["interrupted", "diverged"],
)
@pytest.mark.parametrize("recorded", [True, False])
def test_a_run_that_stops_early_leaves_its_curves(
    error: Interrupted | DivergedError,
    code: int,
    recorded: bool,
    drawn: list[Figure],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        error.run = _recorded(tmp_path / "x", 0.25) if recorded else finished_run(tmp_path / "x")
        raise error

    monkeypatch.setattr("vitcli.jobs.train.train", stopped)
    said = here("train")
    assert (said.code, said.out, len(said.errors)) == (code, "", 1)
    assert said.errors[0] == f"error: {error}"
    assert (tmp_path / "x" / "curves.png").exists() == recorded == bool(drawn)
    assert ("no curves: x has no evaluation" in said.err) == (not recorded)


def test_a_picture_that_fails_does_not_fail_the_training(
    drawn: list[Figure], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Figure, target: Path, **_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    said = here("train", "-b", "torch", *TINY[1:], "train.steps=1", "--name", "x")
    assert (said.code, said.errors) == (0, [])
    assert "no curves: cannot write runs/x/curves.png: No space left on device" in said.err
    assert {path.name for path in (tmp_path / "runs" / "x").iterdir()} == {
        "recipe.toml", "metrics.jsonl", "model.safetensors",
    }  # fmt: skip


@pytest.mark.parametrize("normalise", [False, True])
def test_confusion_matrix(untouched: Trained, normalise: bool, drawn: list[Figure], tmp_path: Path) -> None:
    options = ("--confusion", "c.png", *(["--normalise"] if normalise else []), "-b", untouched.backend)
    said = here("evaluate", untouched.run, "--split", "test", "--json", *options)
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["picture"] == "c.png"
    counts = np.array(found["confusion"])
    expected = counts / counts.sum(axis=1, keepdims=True) if normalise else counts
    axes = drawn[0].axes[0]
    assert np.asarray(axes.images[0].get_array()) == pytest.approx(expected)
    assert [label.get_text() for label in axes.get_yticklabels()] == list("0123456789")
    assert drawn[0].get_suptitle() == f"test of digits, 360 images: top-1 {found['top1']:.2%}"
    assert _size(tmp_path / "c.png") == (1080, 993)
    words = here("evaluate", untouched.run, *options)
    assert words.code == 0
    assert words.out.endswith("c.png written\n")


def test_show_a_folder(drawn: list[Figure], tmp_path: Path) -> None:
    folders(tmp_path / "my pets.d", ("cat", "dog", "$cow$"), images=4)
    said = here("datasets", "show", "my pets.d", "--count", "6", "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert (found["picture"], found["data"], found["split"]) == ("my pets.d.png", "my pets.d", "train")
    classes = [shown["class"] for shown in found["images"]]
    assert classes == ["$cow$"] * 2 + ["cat"] * 2 + ["dog"] * 2
    for axes, shown in zip(drawn[0].axes, found["images"], strict=True):
        with Image.open(shown["path"]) as picture:
            assert np.array_equal(np.asarray(axes.images[0].get_array()), np.asarray(picture))
        assert axes.get_title() == shown["class"] == Path(shown["path"]).parent.name
    assert drawn[0].get_suptitle() == "my pets.d, train: 6 of 11 images, 3 classes"
    assert _size(tmp_path / "my pets.d.png")[0] == 1080
    again = [json.loads(here("datasets", "show", "my pets.d", "--count", "6", "--seed", seed, "--json").out)
             for seed in ("0", "1")]  # fmt: skip
    assert [shown["images"] == found["images"] for shown in again] == [True, False]


def test_show_a_csv_with_columns_of_its_own(drawn: list[Figure], tmp_path: Path) -> None:
    for name in "ab":
        image(tmp_path / f"{name}.png", seed=ord(name))
    (tmp_path / "list.csv").write_text("path,species\na.png,cat\nb.png,dog\na.png,cat\n")
    said = here("datasets", "show", "list.csv", "data.label_column=species", "-o", "x.png")
    assert (said.code, said.out, said.err) == (
        0, "x.png written\n", "next: vit train folder --data list.csv data.label_column=species\n"
    )  # fmt: skip
    assert [axes.get_title() for axes in drawn[0].axes] in (["cat", "dog"], ["cat", "cat"])


def test_show_the_digits_without_an_engine(tmp_path: Path) -> None:
    result = child("datasets", "show", "digits", "--split", "test", cwd=tmp_path)
    assert (result.code, result.out, result.err) == (0, "digits.png written\n", "next: vit train digits\n")
    assert not result.loaded & ENGINES
    assert "matplotlib.pyplot" not in result.loaded
    assert _size(tmp_path / "digits.png") == (1080, 1305)


def test_digits_are_shown_as_they_are(drawn: list[Figure]) -> None:
    found = json.loads(here("datasets", "show", "digits", "--split", "test", "--count", "7", "--json").out)
    test = digits().parts["test"]
    assert len(found["images"]) == 7
    for axes, shown in zip(drawn[0].axes, found["images"], strict=False):
        pixels = test.images[shown["index"]]
        assert isinstance(pixels, np.ndarray)
        assert np.array_equal(np.asarray(axes.images[0].get_array()), pixels[..., 0])
        assert axes.get_title() == shown["class"] == str(test.labels[shown["index"]])
        assert shown["path"] is None


def _recorded(run: Path, top1: float) -> Path:
    """A run folder of one epoch, which has not ended."""
    finished_run(run)
    rows: list[dict[str, Any]] = [{"event": "step", "step": step, "loss": 2.0} for step in range(4)]
    validation = {"loss": 1.5, "top1": top1}
    rows.append({"event": "epoch", "epoch": 1, "step": 3, "loss": 2.0, "validation": validation})
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run
