"""Bad inputs of which a table cannot tell: memory, permissions, files that change, lists, full disks, leaving out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli import bad_pictures as make
from tests.cli.bad_inputs import PICTURES
from tests.cli.bad_world import PREDICT, TRAIN, asked, check_refused, put, records
from tests.cli.inputs import image
from tests.cli.running import ENGINES, VIT, Result, child, environment, here, snapshot
from vitcli.jobs import metrics
from vitcli.weights.file import read_weights

pytestmark = pytest.mark.usefixtures("one_thread", "no_curves")


def test_promises_take_no_memory(tmp_path: Path) -> None:
    # 13,000 squared are more than are read, but few enough that Pillow would only warn.
    for side in (13_000, 15_000, 65_000):
        for name, promise in make.PROMISES.items():
            (tmp_path / f"{side}.{name}").write_bytes(promise(side, side))
    (tmp_path / "good.png").write_bytes(make.png())
    code = (
        "import pathlib, resource, sys\n"
        "from vitcli.core.errors import DataError\n"
        "from vitcli.data.decode import Geometry, decode\n"
        "def used(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "folder, shape = pathlib.Path(sys.argv[1]), Geometry(fit='crop', size=8, channels=3)\n"
        "decode(folder / 'good.png', shape)\n"
        "before = used()\n"
        "for path in sorted(folder.glob('*000.*')):\n"
        "    try: decode(path, shape)\n"
        "    except DataError as error: print(error)\n"
        "print(used() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True, timeout=60
    )
    *told, grown = done.stdout.splitlines()
    assert len(told) == 12
    assert all("is too large" in line for line in told), told
    assert int(grown) < 50_000  # kilobytes; the pixels of the smallest would take ten times as much


@pytest.mark.parametrize("command", ["train", "evaluate", "predict"])
def test_an_image_that_may_not_be_read(command: str, good: Path) -> None:
    path = put(good, PICTURES["PNG named .jpg"])
    (good / path).chmod(0)
    before = snapshot(good)
    result = child(*asked(command, path), cwd=good, ordinary=True)
    check_refused(result, (f"cannot read image {path}: Permission denied",), good.parent / "runs")
    assert not result.loaded & ENGINES
    assert snapshot(good) == before


def test_a_pipe_or_a_device_is_no_image(good: Path) -> None:
    # As a process, which is ended where it waits for bytes.
    os.mkfifo(good / "pipe.png")
    (good / "zero.jpg").symlink_to("/dev/zero")
    (good / "gone.jpg").symlink_to("nowhere.jpg")
    result = child(*PREDICT.split(), "pipe.png", "zero.jpg", "gone.jpg", cwd=good)
    assert (result.code, result.out) == (2, "")
    assert result.errors == [
        "error: cannot read image pipe.png: a pipe or a device, not a file",
        "error: cannot read image zero.jpg: a pipe or a device, not a file",
        "error: cannot read image gone.jpg: a link that leads nowhere",
    ]
    assert not result.loaded & ENGINES


def _replace(path: Path) -> None:
    image(path, seed=99)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize(
    ("change", "told"),
    [(Path.unlink, "No such file"), (_replace, "has changed since"), (_empty, "is an empty file")],
    ids=["vanished", "replaced", "emptied"],
)
def test_an_image_that_changes_during_training(
    split: str, change: Callable[[Path], Any], told: str, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = good / "set" / split / "b" / "1.png"
    evaluated = metrics.evaluate_logits

    def after_an_epoch(*given: Any) -> Any:
        if victim.exists():
            change(victim)
        return evaluated(*given)

    monkeypatch.setattr("vitcli.jobs.train.evaluate_logits", after_an_epoch)
    settings = ("data.cache=none", "data.threads=0", "train.batch_size=2", "train.epochs=9")
    result = here(*TRAIN.split(), "--data", "set", *settings)
    assert (result.code, result.out, len(result.errors)) == (1, "", 1), result
    assert "Traceback" not in result.err
    run = Path("../runs/x")
    for part in (
        str(victim.relative_to(good)), told, f"last weights are in {run}/last", "best weights so far (epoch 1)"
    ):  # fmt: skip
        assert part in result.errors[0]
    steps = [record["step"] for record in records(run) if record["event"] == "step"]
    # Three steps an epoch: images of training are met in the second one, those of validation at its end.
    step = int(result.errors[0].split("step ")[1].split(":")[0])
    assert steps == list(range(len(steps)))
    assert 3 <= step <= 5
    assert len(steps) <= step + 1
    for kept in ("last", "model"):
        assert read_weights(run / f"{kept}.safetensors").keys() == read_weights(good / "w.safetensors").keys()
    assert not list(run.glob("*.tmp"))


def test_images_of_training_among_those_of_validation(good: Path) -> None:
    told = "validation images are also among the training images, byte for byte"
    assert told not in here(*TRAIN.split(), "--data", "set").err
    for number in (0, 2):
        shutil.copy(good / f"set/train/a/{number}.png", good / f"set/val/b/twin{number}.png")
    result = here(*TRAIN.split(), "--data", "set", "--name", "y")
    assert result.code == 0, result
    assert f"\n2 {told}\n" in f"\n{result.err}"


def test_fewer_images_than_a_batch(good: Path) -> None:
    result = here(*TRAIN.split(), "--data", "set", "train.batch_size=500")
    assert result.code == 0, result
    assert sum(record["event"] == "step" for record in records(Path("../runs/x"))) == 1


@pytest.mark.parametrize("how", [["--json"], ["--csv"], []], ids=" ".join)
def test_a_list_with_missing_images(how: list[str], good: Path) -> None:
    (good / "empty").mkdir()
    bad = put(good, PICTURES["half a PNG"])
    listed = [
        "none.png",
        "set/val/a/0.png",
        bad,
        "empty",
        "set/val/b/2.png",
        "n" * 300,
        "set/val/a/1.png/x.png",
    ]
    before = snapshot(good)
    result = here("predict", "-w", "w.safetensors", "-b", "torch", *how, "-", stdin="\n".join(listed))
    assert result.code == 1
    told = ["No such file", "is truncated", "no images in empty", "too long", "Not a directory"]
    assert len(result.errors) == len(told)
    assert all(part in line for part, line in zip(told, result.errors, strict=True))
    assert "Traceback" not in result.err
    if how == ["--json"]:
        entries = json.loads(result.out)
        assert [entry["path"] for entry in entries] == listed
        assert ["error" in entry for entry in entries] == [True, False, True, True, False, True, True]
    else:
        for path in listed:
            assert (path in result.out) == (path in ("set/val/a/0.png", "set/val/b/2.png"))
    assert snapshot(good) == before


def test_a_list_that_is_not_there(good: Path) -> None:
    for stdin, told in (("<&-", "which is closed"), ("</dev/null", "which lists none")):
        done = subprocess.run(
            ["/bin/sh", "-c", f'exec "$0" predict -w w.safetensors - {stdin}', VIT],
            capture_output=True,
            text=True,
            cwd=good,
            env=environment(),
            timeout=60,
        )
        result = Result(code=done.returncode, out=done.stdout, err=done.stderr)
        check_refused(result, ("'-' reads paths from stdin", told), good.parent / "runs")


@pytest.mark.parametrize("how", ["--json", "--csv"])
def test_predictions_without_room(how: str, good: Path) -> None:
    asked = ("predict", "-w", "w.safetensors", "-b", "torch", how, "set/val")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [VIT, *asked],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=good,
            env=environment(),
            timeout=60,
        )
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if not line.startswith("weights ")] == [
        "error: No space left on device (vit --debug shows where)"
    ]
