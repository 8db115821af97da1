"""`--skip-bad`: so many images that cannot be read are left out, told and recorded; one more ends the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.bad_world import EVALUATE, TRAIN, check_refused, records
from tests.cli.running import here, snapshot

pytestmark = pytest.mark.usefixtures("one_thread", "no_curves")

# Of six images in each part: two that cannot be read to train on, one to validate on.
BAD = ("set/train/a/1.png", "set/train/b/0.png", "set/val/b/2.png")


def _spoil(good: Path) -> None:
    for name in BAD:
        (good / name).write_bytes(b"no image")


@pytest.mark.parametrize("allowed", ["3", "25%", "99", "100%"])
def test_training_leaves_them_out(allowed: str, good: Path) -> None:
    _spoil(good)
    before = snapshot(good)
    result = here(*TRAIN.split(), "--data", "set", "--skip-bad", allowed)
    assert result.code == 0, result
    assert snapshot(good) == before
    for part, count in (("train", 2), ("validation", 1)):
        assert f"{count} unreadable {part} images are left out; metrics.jsonl lists them" in result.err
    run = good.parent / "runs" / "x"
    train, validation, *rest = records(run)
    assert (train["event"], train["split"], train["images"]) == ("data", "train", 4)
    assert (validation["event"], validation["split"], validation["images"]) == ("data", "validation", 5)
    told = [*train["skipped"], *validation["skipped"]]
    assert len(told) == 3
    assert all(line.startswith(f"{name} is not an image") for name, line in zip(BAD, told, strict=True))
    assert f'skip_bad = "{allowed}"' in (run / "recipe.toml").read_text()
    # What is left is learnt as it would be if the others had never been there.
    for name in BAD:
        (good / name).unlink()
    assert here(*TRAIN.split()[:-1], "y", "--data", "set").code == 0
    alone = records(run.with_name("y"))
    assert [record for record in rest if record["event"] in ("step", "epoch")] == [
        record for record in alone if record["event"] in ("step", "epoch")
    ]
    assert [record["skipped"] for record in alone[:2]] == [[], []]


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize(
    ("allowed", "said"),
    [("2", " (not 2)"), ("24%", " (not 24%)"), ("0", ""), (None, ""), ("0%", " (not 0%)")],
)
def test_one_more_ends_training(allowed: str | None, said: str, good: Path) -> None:
    _spoil(good)
    result = here(*TRAIN.split(), "--data", "set", *(["--skip-bad", allowed] if allowed else []))
    told = ("3 of 12 images cannot be read", *BAD, f"take it out, or say --skip-bad 3{said}")
    check_refused(result, told, good.parent / "runs")
    assert result.errors[0].endswith(told[-1])


@pytest.mark.usefixtures("no_engine")
def test_a_part_of_which_nothing_is_left_ends_training(good: Path) -> None:
    for path in (good / "set" / "val").rglob("*.png"):
        path.write_bytes(b"")
    result = here(*TRAIN.split(), "--data", "set", "--skip-bad", "6")
    told = ("none of the 6 validation images can be read", "set/val/a/0.png is an empty file")
    check_refused(result, told, good.parent / "runs")


@pytest.mark.parametrize("allowed", ["2", "34%"])
def test_evaluation_leaves_them_out(allowed: str, good: Path) -> None:
    _spoil(good)
    before = snapshot(good)
    asked = (*EVALUATE.split(), "--data", "set")
    result = here(*asked, "--skip-bad", allowed)
    assert result.code == 0, result
    assert "on 4 train images (2 unreadable ones left out) of set" in result.err
    assert snapshot(good) == before
    for name in BAD[:2]:
        (good / name).unlink()
    found, alone = json.loads(result.out), json.loads(here(*asked).out)
    assert found["count"] == 4
    assert [sum(row) for row in found["confusion"]] == [2, 2]
    assert found == alone


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize("allowed", [(), ("--skip-bad", "1"), ("--skip-bad", "33%")])
def test_one_more_ends_evaluation(allowed: tuple[str, ...], good: Path) -> None:
    _spoil(good)
    result = here(*EVALUATE.split(), "--data", "set", *allowed)
    check_refused(result, ("2 of 6 images cannot be read", *BAD[:2], "--skip-bad 2"), good.parent / "runs")


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize("command", [TRAIN, EVALUATE], ids=["train", "evaluate"])
@pytest.mark.parametrize("allowed", ["x", "-1", "1.5", "101%", "", "%", "1 %"])
def test_what_is_no_number_is_refused(command: str, allowed: str, good: Path) -> None:
    result = here(*command.split(), "--data", "set", f"--skip-bad={allowed}")
    check_refused(result, ("skip", "number of images, or a part as in", "1%"), good.parent / "runs")
