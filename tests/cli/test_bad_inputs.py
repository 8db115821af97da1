"""Bad and odd inputs: each is refused in one line or read as it should be, alike by all commands; none is touched."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from tests.cli.bad_inputs import ALONE, NAMED, PICTURES, SAME, TREES
from tests.cli.bad_world import PREDICT, TRAIN, asked, check_refused, put, records
from tests.cli.inputs import folders
from tests.cli.running import ENGINES, Result, child, here, snapshot
from tests.cli.wrong import CASES

pytestmark = [
    pytest.mark.usefixtures("one_thread", "no_curves"),
    # Pillow's, which pytest collects; `vitcli.data.decode` keeps them from users.
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning", "ignore:Corrupt EXIF data"),
]

REFUSED = [name for name, picture in PICTURES.items() if picture.told]
ACCEPTED = [name for name, picture in PICTURES.items() if not picture.told]
# The ones that also run as processes.
AS_PROCESSES = (
    ("train", "no bytes"),
    ("train", "half a JPEG"),
    ("train", "PNG with altered pixels"),
    ("train", "promise of 225 megapixels"),
    ("evaluate", "HTML"),
    ("evaluate", "half a packed TIFF"),
    ("evaluate", "too much text"),
    ("predict", "beginning of a JPEG"),
    ("predict", "100 megapixels"),
    ("predict", "EPS"),
    ("predict", "EPS by name"),
)
SECONDS = 5


def test_all_rows_are_there() -> None:
    rows = {case.row for table in (PICTURES, NAMED, TREES) for case in table.values()}
    assert rows | SAME.keys() | ALONE.keys() == set(range(1, 49))
    assert CASES.keys() >= {name for names in SAME.values() for name in names}
    for place in (place for places in ALONE.values() for place in places):
        file, _, test = place.partition("::")
        assert f"\ndef {test}(" in (Path(__file__).with_name(file)).read_text(encoding="utf-8")


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize("command", ["train", "evaluate", "predict"])
@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_image_is_refused(name: str, command: str, good: Path) -> None:
    path = put(good, PICTURES[name])
    before = snapshot(good)
    result = here(*asked(command, path))
    advice = () if command == "predict" else ("--skip-bad 1",)
    check_refused(result, (path, *PICTURES[name].told, *advice), good.parent / "runs")
    assert snapshot(good) == before


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize("name", NAMED)
def test_a_file_of_another_kind_is_refused_by_name(name: str, good: Path) -> None:
    path = put(good, NAMED[name])
    check_refused(here(*asked("predict", path)), (path, *NAMED[name].told), good.parent / "runs")


@pytest.mark.parametrize(("command", "name"), AS_PROCESSES, ids=str)
def test_a_bad_image_is_refused_as_a_process(command: str, name: str, good: Path) -> None:
    picture = {**PICTURES, **NAMED}[name]
    path = put(good, picture)
    before, begin = snapshot(good), time.monotonic()
    result = child(*asked(command, path), cwd=good)
    assert time.monotonic() - begin < SECONDS
    check_refused(result, (path, *picture.told), good.parent / "runs")
    assert not result.loaded & ENGINES
    assert snapshot(good) == before


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_odd_image_is_read_as_the_picture_it_shows(name: str, good: Path) -> None:
    picture = PICTURES[name]
    told, figures = _figures(good, put(good, picture))
    (good / "set" / "train" / "a" / picture.name).unlink()
    picture.like().convert("RGB").save(good / "set" / "train" / "a" / "z.png")
    _, expected = _figures(good, "set/train/a/z.png")
    # Of a lossy picture, some pixels are off by a level or two, which the first loss shows in its fourth digit.
    np.testing.assert_allclose(figures, expected, rtol=1e-2 if picture.lossy else 1e-6)
    for command, heading in (("train", "train images"), ("evaluate", "train images"), ("predict", "images")):
        notes = [line for line in told[command].err.splitlines() if "images: " in line]
        assert notes == ([f"{heading}: {picture.note}"] if picture.note else [])


def _figures(good: Path, picture: str) -> tuple[dict[str, Result], list[float]]:
    """What the commands say, and what depends on the pixels: probabilities, two losses, the gradient's norm."""
    before = snapshot(good)
    told = {command: here(*asked(command, picture)) for command in ("train", "evaluate", "predict")}
    assert snapshot(good) == before
    for result in told.values():
        assert result.code == 0, result
        assert result.errors == []
    run = good.parent / "runs" / "x"
    (step,) = (record for record in records(run) if record["event"] == "step")
    run.rename(run.with_name(f"{len(list(run.parent.iterdir()))}"))
    (predicted,) = json.loads(told["predict"].out)
    assert predicted["path"] == picture
    evaluated = json.loads(told["evaluate"].out)
    assert evaluated["count"] == 7
    probabilities = {found["class"]: found["probability"] for found in predicted["predictions"]}
    assert sum(probabilities.values()) == pytest.approx(1)
    return told, [probabilities["a"], evaluated["loss"], step["loss"], step["gradient_norm"]]


@pytest.mark.parametrize("name", TREES)
def test_an_odd_folder(name: str, good: Path) -> None:
    tree = TREES[name]
    tree.fill(folders(good / "odd", "ab"))
    before = snapshot(good)
    result = here(*TRAIN.split(), "--data", "odd", *tree.overrides)
    if tree.told:
        for refused in (result, here(*PREDICT.split(), "odd")):
            check_refused(refused, tree.told, good.parent / "runs")
    else:
        assert result.code == 0, result
        assert tree.note in result.err
        found = [record for record in records(good.parent / "runs" / "x") if record["event"] == "data"]
        assert sum(record["images"] for record in found) == tree.images
        assert not any(record["skipped"] for record in found)
        predicted = json.loads(here(*PREDICT.split(), "odd").out)
        assert len(predicted) == tree.images
        assert all(len(entry["predictions"]) == 2 for entry in predicted)
    assert snapshot(good) == before
