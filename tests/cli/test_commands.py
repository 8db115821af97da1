"""The ordinary paths of `vit`, on both backends: files that come out, numbers that fit together."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file

import vitcli
from tests.cli.conftest import Trained
from tests.cli.inputs import image
from tests.cli.running import PARAMETERS, TINY, here, snapshot
from vitcli.data.digits import digits

pytestmark = pytest.mark.usefixtures("one_thread")
Words = tuple[str | Path, ...]
# Class names that are no plain words: markup of the table's library, a space, an accent.
CLASSES = ("[red]cat", "big dog", "élan")
OTHER = {"torch": "jax", "jax": "torch"}


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five digits of the test part as PNG files."""
    folder = tmp_path_factory.mktemp("pictures")
    pixels = digits().parts["test"].images
    assert isinstance(pixels, np.ndarray)
    paths = [folder / f"{number} {name}.png" for number, name in enumerate(("a", "b", "c", "d", "é"))]
    for path, square in zip(paths, pixels, strict=False):
        Image.fromarray(square[..., 0]).save(path)
    return paths


def test_train_prints_its_result(trained: Trained) -> None:
    result = json.loads(trained.said.out)
    assert set(result) == {"run", "best", "seconds", "images_per_second"}
    assert result["run"] == str(trained.run)
    assert set(result["best"]) == {"epoch", "step", "loss", "top1"}
    assert (result["best"]["epoch"], result["best"]["step"]) == (1, 19)
    hits = 180 * result["best"]["top1"]  # the digits hold out 180 images
    assert hits == pytest.approx(round(hits), abs=1e-9)
    # Steps are a part of the run's time, so the speed is at least this.
    assert result["images_per_second"] * result["seconds"] >= 1257
    for part in (
        f"digits on {trained.backend} (cpu, float32)",
        f"{PARAMETERS:,} parameters",
        "1,257 training",
    ):
        assert part in trained.said.err
    assert f"results go to {trained.run}/" in trained.said.err
    assert "epoch   1/1" in trained.said.err


def test_run_folder(trained: Trained) -> None:
    assert {path.name for path in trained.run.iterdir()} == {
        "recipe.toml",
        "metrics.jsonl",
        "model.safetensors",
        "curves.png",
    }
    recipe = tomllib.loads((trained.run / "recipe.toml").read_text(encoding="utf-8"))
    assert recipe["model"]["num_classes"] == 10
    assert recipe["model"]["mlp_dim"] == 32
    assert recipe["train"]["epochs"] == 1
    records = [json.loads(line) for line in (trained.run / "metrics.jsonl").read_text().splitlines()]
    assert [record["event"] for record in records] == ["data"] * 2 + ["step"] * 20 + ["epoch", "finished"]
    steps, epoch, finished = records[2:22], records[22], records[23]
    assert all(set(step) == {"event", "step", "lr", "loss", "gradient_norm"} for step in steps)
    assert [step["step"] for step in steps] == list(range(20))
    # A warm-up of 2 epochs rises linearly to lr at its 40th step; a fresh model guesses among 10 classes.
    assert [step["lr"] for step in steps] == pytest.approx([2e-3 * (step + 1) / 40 for step in range(20)])
    assert steps[0]["loss"] == pytest.approx(math.log(10), abs=0.1)
    assert epoch["loss"] == pytest.approx(np.mean([step["loss"] for step in steps]))
    assert finished["best"] == json.loads(trained.said.out)["best"]
    assert {"epoch": 1, "step": 19, **epoch["validation"]} == finished["best"]


def test_recipe_of_a_run_repeats_it(trained: Trained, tmp_path: Path) -> None:
    again = here(
        "train", trained.run / "recipe.toml", "-b", trained.backend, "--runs", tmp_path, "--name", "x"
    )
    assert again.code == 0, again.err
    assert len(again.out.splitlines()) == 1
    assert str(tmp_path / "x") in again.out
    assert "next: vit evaluate" in again.err
    first, second = (load_file(run / "model.safetensors") for run in (trained.run, tmp_path / "x"))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_weights_kept_by_the_running_loss_are_those_after_their_window(backend: str, tmp_path: Path) -> None:
    common: Words = ("train", "digits", "-b", backend, "--runs", tmp_path, *TINY[1:])
    wanted = ("train.keep=loss", "train.loss_window=8", "train.evaluate_first=true", "train.epochs=1")
    said = here(*common, "--name", "kept", *wanted)
    assert said.code == 0, said.err
    records = [json.loads(line) for line in (tmp_path / "kept" / "metrics.jsonl").read_text().splitlines()]
    before, steps, after, finished = records[2], records[3:23], records[23], records[24]
    # Ten classes, and weights that know nothing of them.
    assert {key: before[key] for key in before if key != "validation"} == {"event": "epoch", "epoch": 0}
    assert before["validation"]["loss"] == pytest.approx(math.log(10), abs=0.1)
    assert "epoch   0/1  validation loss 2." in said.err
    means = [np.mean([step["loss"] for step in steps[at : at + 8]]) for at in (0, 8)]
    assert means[1] < means[0]
    assert finished["best"] == {
        "epoch": 1, "step": 15, "train_loss": pytest.approx(means[1]), **after["validation"]
    }  # fmt: skip
    assert f"lowest training loss {means[1]:.4f} (epoch 1, step 15), last top-1 " in said.out
    # The warm-up takes 40 steps, so a run of 16 makes the same steps as the first 16 of a longer one.
    assert here(*common, "--name", "short", "train.steps=16").code == 0
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("kept", "short"))
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_default_names_count_up(tmp_path: Path) -> None:
    for name in ("digits-torch", "digits-torch-2", "digits-jax"):
        (tmp_path / name).mkdir()
    made = here("train", "-b", "torch", "--runs", tmp_path, "--json", *TINY[1:], "train.steps=1")
    assert made.code == 0, made.err
    assert json.loads(made.out)["run"] == str(tmp_path / "digits-torch-3")


def test_evaluate_adds_up(untouched: Trained) -> None:
    found = _evaluate(untouched, "--split", "test")
    assert set(found) == {
        "weights", "data", "split", "loss", "top1", "top5", "count", "per_class", "confusion"
    }  # fmt: skip
    assert (found["data"], found["split"], found["count"]) == ("digits", "test", 360)
    confusion = np.array(found["confusion"])
    test = digits().parts["test"]
    assert confusion.sum(axis=1).tolist() == np.bincount(test.labels).tolist()
    assert found["top1"] == pytest.approx(np.trace(confusion) / 360)
    assert list(found["per_class"]) == list("0123456789")
    own = np.diag(confusion) / confusion.sum(axis=1)
    assert list(found["per_class"].values()) == pytest.approx(own.tolist())
    # Loss and top 5 once more, by their definitions, from the logits that the Python API gives.
    logits = _logits(untouched, test.images)
    chosen = logits[np.arange(360), test.labels]
    assert found["loss"] == pytest.approx(np.mean(np.log(np.exp(logits).sum(axis=1)) - chosen), rel=1e-6)
    best = np.argsort(logits, axis=1)[:, -5:]
    assert found["top5"] == pytest.approx(
        np.mean([label in row for label, row in zip(test.labels, best, strict=True)])
    )


def test_evaluate_agrees_with_training_and_with_the_other_engine(untouched: Trained) -> None:
    best = json.loads(untouched.said.out)["best"]
    for backend in (untouched.backend, OTHER[untouched.backend]):
        found = _evaluate(untouched, "--backend", backend)
        assert found["split"] == "validation"
        assert found["top1"] == pytest.approx(best["top1"])
        # float32: sums in another order, through the softmax of one small block.
        assert found["loss"] == pytest.approx(best["loss"], rel=1e-6)


def test_evaluate_in_words(untouched: Trained) -> None:
    found, said = _evaluate(untouched), here("evaluate", untouched.run, "-b", untouched.backend)
    assert said.code == 0
    assert (
        f"validation of digits, 180 images: loss {found['loss']:.4f}, top-1 {found['top1']:.2%}" in said.out
    )
    assert f"model.safetensors on 180 validation images of digits, {untouched.backend}, float32" in said.err


def test_predict_in_words(untouched: Trained, pictures: list[Path]) -> None:
    said = here("predict", *pictures, "--weights", untouched.run, "-b", untouched.backend)
    assert (said.code, said.errors) == (0, [])
    lines = said.out.splitlines()
    assert len(lines) == len(pictures)
    test = digits().parts["test"]
    logits = _logits(untouched, test.images[: len(pictures)])
    for line, path, row in zip(lines, pictures, logits, strict=True):
        named, _, rest = line.partition(": ")
        assert named == str(path)
        shares = np.exp(row) / np.exp(row).sum()
        best = np.argsort(-shares)[:5]
        assert rest == "  ".join(f"{label} {shares[label]:.1%}" for label in best)


def test_predict_in_json_and_csv(untouched: Trained, pictures: list[Path]) -> None:
    wanted: Words = ("predict", *pictures, "-w", untouched.run / "model.safetensors", "-b", untouched.backend)
    found = json.loads(here(*wanted, "--json", "--top", "10").out)
    assert [entry["path"] for entry in found] == [str(path) for path in pictures]
    for entry in found:
        assert set(entry) == {"path", "predictions"}
        shares = [prediction["probability"] for prediction in entry["predictions"]]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1)
        assert sorted(prediction["index"] for prediction in entry["predictions"]) == list(range(10))
        assert all(str(prediction["index"]) == prediction["class"] for prediction in entry["predictions"])
    rows = list(csv.DictReader(io.StringIO(here(*wanted, "--csv", "--top", "2").out)))
    assert [row["path"] for row in rows] == [str(path) for path in pictures for _ in range(2)]
    assert [row["rank"] for row in rows] == ["1", "2"] * len(pictures)
    expected = [prediction for entry in found for prediction in entry["predictions"][:2]]
    assert [(row["class"], int(row["index"])) for row in rows] == [(p["class"], p["index"]) for p in expected]
    assert [float(row["probability"]) for row in rows] == pytest.approx(
        [p["probability"] for p in expected], abs=1e-6
    )
    most = json.loads(here(*wanted, "--json", "--top", "99").out)
    assert most == found


def test_predict_searches_folders_and_reads_lists(
    untouched: Trained, pictures: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "album"
    for place in ("b.png", "deep/er/a.PNG", ".hidden.png", "notes.txt"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(pictures[0], folder / place)
    common: Words = ("--weights", untouched.run, "-b", untouched.backend, "--json")
    found = json.loads(here("predict", folder, *common).out)
    assert [entry["path"] for entry in found] == [str(folder / "b.png"), str(folder / "deep/er/a.PNG")]
    listed = here("predict", "-", *common, stdin=f"{pictures[3]}\n\n{folder}\n")
    both = [pictures[3], folder / "b.png", folder / "deep/er/a.PNG"]
    assert [entry["path"] for entry in json.loads(listed.out)] == [str(path) for path in both]
    mixed = here("predict", pictures[1], "-", *common, stdin=f"{pictures[3]}\n")
    assert [entry["path"] for entry in json.loads(mixed.out)] == [str(pictures[1]), str(pictures[3])]


def test_one_bad_image_among_good_ones(untouched: Trained, pictures: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_text("no picture", encoding="utf-8")
    wanted: Words = ("predict", pictures[0], bad, pictures[1], "-w", untouched.run, "-b", untouched.backend)
    said = here(*wanted)
    assert said.code == 1
    assert [line.partition(": ")[0] for line in said.out.splitlines()] == [str(pictures[0]), str(pictures[1])]
    assert len(said.errors) == 1
    assert f"{bad} is not an image" in said.errors[0]
    as_json = here(*wanted, "--json")
    good, wrong, other = json.loads(as_json.out)
    assert as_json.code == 1
    assert set(wrong) == {"path", "error"}
    assert wrong["path"] == str(bad)
    assert "not an image" in wrong["error"]
    assert "predictions" in good
    assert "predictions" in other
    as_csv = here(*wanted, "--csv", "--top", "1")
    assert (as_csv.code, len(as_csv.out.splitlines())) == (1, 3)


def test_newest_finished_run_is_taken_and_named(
    trained: Trained, pictures: list[Path], tmp_path: Path
) -> None:
    for age, name in ((300, "old"), (200, "new"), (100, "unfinished")):
        run = shutil.copytree(trained.run, tmp_path / name)
        metrics = run / "metrics.jsonl"
        if name == "unfinished":
            metrics.write_text(metrics.read_text().rpartition('{"event": "finished"')[0])
        time = metrics.stat().st_mtime - age
        os.utime(metrics, (time, time))
    (tmp_path / "stray.txt").touch()
    said = here("predict", pictures[0], "--runs", tmp_path, "-b", trained.backend)
    assert said.code == 0
    assert said.err.splitlines() == [
        f"weights {tmp_path}/new/model.safetensors: 10 classes, trained on digits; {trained.backend}",
        "next: vit evaluate RUN",
    ]


def test_own_folder_from_training_to_prediction(trained: Trained, tmp_path: Path) -> None:
    for label, name in enumerate(CLASSES):
        for number in range(8):
            image(tmp_path / "photos" / name / f"{number}.png", seed=100 * label + number)
    before = snapshot(tmp_path / "photos")
    common: Words = ("-b", trained.backend, "--runs", tmp_path / "runs")
    sizes = ("model.image_size=8", "model.in_channels=3", "train.batch_size=4")
    made = here("train", "--data", tmp_path / "photos", *common, "--name", "own", "--json", *TINY, *sizes)
    assert made.code == 0, made.err
    run = tmp_path / "runs" / "own"
    found = json.loads(here("predict", tmp_path / "photos" / CLASSES[1] / "0.png", *common, "--json").out)
    assert {p["class"] for p in found[0]["predictions"]} == set(CLASSES)
    tested = json.loads(here("evaluate", run, "--split", "train", "-b", trained.backend, "--json").out)
    assert tested["count"] == 22  # 24 images less a tenth
    assert list(tested["per_class"]) == list(CLASSES)
    words = here("evaluate", run, "-b", trained.backend)
    assert all(name in words.out for name in CLASSES)
    assert snapshot(tmp_path / "photos") == before


def test_aspect_kept_for_training_alone(tmp_path: Path) -> None:
    for label, name in enumerate(CLASSES):
        for number in range(8):
            image(tmp_path / "photos" / name / f"{number}.png", seed=100 * label + number)
    wanted = ("data.cache=ragged", "data.fit=squash", "augment.crop=resized", "data.validation=0.5")
    sizes = ("model.image_size=8", "model.in_channels=3", "train.batch_size=4", "-b", "torch")
    common: Words = ("--data", tmp_path / "photos", "--runs", tmp_path, "--name", "own", "--json")
    made = here("train", *common, *TINY, *sizes, *wanted)
    assert made.code == 0, made.err
    best = json.loads(made.out)["best"]
    found = json.loads(here("evaluate", tmp_path / "own", "-b", "torch", "--json").out)
    assert (found["loss"], found["top1"]) == pytest.approx((best["loss"], best["top1"]), rel=1e-6)
    # What prediction sees: the whole picture, pressed into a square.
    model = vitcli.load(tmp_path / "own", backend="torch")
    assert (model.geometry.fit, model.geometry.size) == ("squash", 9)


def _evaluate(trained: Trained, *options: str) -> dict[str, Any]:
    given = options if "--backend" in options else ("--backend", trained.backend, *options)
    said = here("evaluate", trained.run, *given, "--json")
    assert said.code == 0, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


def _logits(trained: Trained, images: Any) -> NDArray[np.float64]:
    """Logits of uint8 images (n, 8, 8, 1), normalised as the recipe says: (x / 255 - 0.5) / 0.5."""
    pixels = (images.astype(np.float64) / 255 - 0.5) / 0.5
    model = vitcli.load(trained.run, backend=trained.backend)
    logits: NDArray[np.float64] = model.logits(pixels.transpose(0, 3, 1, 2).astype(np.float32)).astype(
        np.float64
    )
    return logits
