"""Curves hold the numbers that were recorded, and runs can be told apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from numpy.typing import NDArray

from tests.report.looking import assert_legible, pixels
from vitcli.core.errors import RequestError
from vitcli.report.curves import MOST_RUNS, curves, history

Records = list[dict[str, Any]]


def _records(epochs: int = 3, *, per_epoch: int = 4, shift: float = 0.0) -> Records:
    """What training writes: every step, every epoch, and that it finished."""
    made: Records = []
    for epoch in range(1, epochs + 1):
        for step in range((epoch - 1) * per_epoch, epoch * per_epoch):
            made.append({"event": "step", "step": step, "lr": 0.1, "loss": 2 - 0.01 * step + shift})
        validation = {"loss": 1.9 - 0.1 * epoch + shift, "top1": 0.1 * epoch + 0.01 * shift}
        made.append({
            "event": "epoch", "epoch": epoch, "step": epoch * per_epoch - 1, "loss": 2 - 0.03 * epoch + shift,
            "validation": validation,
        })  # fmt: skip
    return [*made, {"event": "finished", "seconds": 1.0}]


def _data(axes: Axes) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """The lines in data coordinates; the marks beside labels are not among them."""
    return [
        (np.asarray(line.get_xdata()), np.asarray(line.get_ydata()))
        for line in axes.lines
        if line.get_transform() == axes.transData
    ]


def _words(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_lines_are_the_records() -> None:
    figure = curves([history("mine", _records())])
    upper, lower = figure.axes
    steps, training, validation = _data(upper)
    assert steps[0].tolist() == pytest.approx([(step + 1) / 4 for step in range(12)])
    assert steps[1].tolist() == pytest.approx([2 - 0.01 * step for step in range(12)])
    assert training[0].tolist() == validation[0].tolist() == [1, 2, 3]
    assert training[1].tolist() == pytest.approx([1.97, 1.94, 1.91])
    assert validation[1].tolist() == pytest.approx([1.8, 1.7, 1.6])
    top1, best = _data(lower)
    assert top1[0].tolist() == [1, 2, 3]
    assert top1[1].tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert (best[0].tolist(), best[1].tolist()) == ([3], pytest.approx([0.3]))
    assert _words(upper) == ["training 1.91", "validation 1.6"]
    assert _words(lower) == ["validation 30.0%"]
    assert figure.get_suptitle() == "mine: best top-1 30.00% (epoch 3, circled)"
    assert (upper.get_ylabel(), lower.get_ylabel(), lower.get_xlabel()) == (
        "loss", "top-1 on validation", "epochs",
    )  # fmt: skip
    assert pixels(figure).shape == (900, 1080, 4)
    assert_legible(figure)


def test_best_is_the_highest_top1_then_the_lowest_loss() -> None:
    records = _records(4)
    for record, (top1, loss) in zip(
        [record for record in records if record["event"] == "epoch"],
        [(0.5, 1.0), (0.7, 0.9), (0.7, 0.8), (0.6, 0.1)],
        strict=True,
    ):
        record["validation"] = {"loss": loss, "top1": top1}
    run = history("mine", records)
    assert run.epochs[run.best] == 3
    assert curves([run]).axes[1].lines[1].get_xdata() == [3]


def test_an_evaluation_before_training() -> None:
    start = {"event": "epoch", "epoch": 0, "validation": {"loss": 2.3, "top1": 0.9}}
    run = history("mine", [start, *_records(2)])
    assert run.epochs.tolist() == [0, 1, 2]
    assert np.isnan(run.loss[0])
    assert run.loss[1:].tolist() == pytest.approx([1.97, 1.94])
    assert run.validation_loss[0] == 2.3
    assert run.best == 2  # no training, no merit
    assert_legible(curves([run]))
    alone = curves([history("only that", [start])])
    assert _words(alone.axes[0]) == ["validation 2.3"]
    assert_legible(alone)


def test_last_epoch_cut_short() -> None:
    records = _records(2)[:-1]
    records += [{"event": "step", "step": 8, "loss": 1.5}]
    records += [
        {"event": "epoch", "epoch": 3, "step": 8, "loss": 1.5, "validation": {"loss": 1, "top1": 0.4}}
    ]
    run = history("mine", records)
    assert run.epochs.tolist() == [1, 2, 2.25]
    assert run.steps[-1] == 2.25


def test_steps_and_epochs_told_twice_hold_as_told_last() -> None:
    records = _records(2)
    again = [{**record, "loss": 9.0} for record in records if record.get("step", 0) >= 4]
    run = history("mine", [*records, *again])
    assert run.step_loss.tolist() == pytest.approx([2, 1.99, 1.98, 1.97, 9, 9, 9, 9])
    assert run.loss.tolist() == pytest.approx([1.97, 9])


@pytest.mark.parametrize(
    ("last", "ending"), [("finished", ""), ("interrupted", ", interrupted"), ("epoch", ", not finished")]
)
def test_title_says_how_it_ended(last: str, ending: str) -> None:
    records = _records(1)[:-1] + ([{"event": last, "step": 3}] if last != "epoch" else [])
    assert curves([history("mine", records)]).get_suptitle().startswith(f"mine{ending}: best")


def test_title_of_a_long_name_says_all_the_rest() -> None:
    records = _records(1)[:-1]
    records[-1] = {**records[-1], "validation": {"loss": 1.0, "top1": 1.0}}
    records += [{**records[-1], "epoch": 333, "step": 1330, "validation": {"loss": 0.5, "top1": 1.0}}]
    title = curves([history("imagenette-s16-jax-with-a-name-that-goes-on", records)]).get_suptitle()
    assert title == "imagenette-…at-goes-on, not finished: best top-1 100.00% (epoch 333, circled)"


def test_several_runs_are_told_apart() -> None:
    runs = [
        history(f"a run with quite a long name, {i}", _records(i + 2, shift=0.01 * i))
        for i in range(MOST_RUNS)
    ]
    figure = curves(runs)
    upper, lower = figure.axes
    losses, top1 = _data(upper), _data(lower)
    for i, run in enumerate(runs):
        assert losses[2 * i][1].tolist() == run.loss.tolist()
        assert losses[2 * i + 1][1].tolist() == run.validation_loss.tolist()
        assert top1[i][1].tolist() == run.top1.tolist()
    lines = lower.lines[:MOST_RUNS]
    assert (
        len({line.get_color() for line in lines}) == len({line.get_marker() for line in lines}) == MOST_RUNS
    )
    assert upper.lines[0].get_linestyle() == "-"
    assert upper.lines[1].get_linestyle() == "--"
    assert _words(lower)[0] == "a run with q…ong name, 0 20.0%"
    assert_legible(figure)
    with pytest.raises(RequestError, match=f"{MOST_RUNS + 1} runs .* at most {MOST_RUNS}"):
        curves([*runs, runs[0]])


def test_equal_runs_have_labels_side_by_side() -> None:
    assert_legible(curves([history(f"run {i}", _records()) for i in range(MOST_RUNS)]))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda records: [], "mine has no evaluation"),
        (lambda records: records[:3], "mine has no evaluation"),
        (lambda records: [{"event": "epoch", "epoch": 1, "step": 3, "loss": 1.0}], "damaged.*'validation'"),
        (lambda records: [{**record, "step": "x"} for record in records], "metrics of mine are damaged"),
        (lambda records: [{**record, "validation": None} for record in records], "damaged"),
    ],
)
def test_records_that_cannot_be_drawn(spoil: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        history("mine", spoil(_records()))


@pytest.mark.filterwarnings("error")
def test_a_loss_that_is_no_number_is_a_gap() -> None:
    records = _records()
    records[-2]["validation"]["loss"] = float("nan")
    run = history("mine", records)
    figure = curves([run])
    assert _words(figure.axes[0])[1] == "validation 1.7"
    assert_legible(figure)
