"""A run's curves: loss while training and on validation above, accuracy on validation below.

Over epochs, so that runs of other batch sizes can be laid over each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from vitcli.core.errors import RequestError
from vitcli.report.canvas import COLOURS, INK, MARKERS, PALE, WIDTH, headline, new_figure, one_line, styled

Reals = NDArray[np.float64]
# Markers on a line, of more epochs than these only every few.
_MARKED = 20
# Least distance between two labels at the right edge, as a fraction of a panel's height.
_APART = 0.075
MOST_RUNS = len(COLOURS)
_ENDINGS = {"finished": "", "interrupted": ", interrupted"}


class Pen(NamedTuple):
    """How a line looks: told apart by more than its colour."""

    colour: str
    marker: str
    line: str


@dataclass(frozen=True, kw_only=True)
class History:
    """What a run recorded, in order of time.

    Attributes:
        name: of the run.
        ending: what a title adds to the name: nothing, or `, interrupted` or `, not finished`.
        steps: (n,) epochs done after each step.
        step_loss: (n,) training loss of each step.
        epochs: (E,) epochs done at each evaluation; 0 before the first step.
        loss: (E,) mean training loss since the evaluation before; NaN at 0 epochs.
        validation_loss: (E,).
        top1: (E,) fraction of the validation images.
    """

    name: str
    ending: str
    steps: Reals
    step_loss: Reals
    epochs: Reals
    loss: Reals
    validation_loss: Reals
    top1: Reals

    @property
    def best(self) -> int:
        """Position of the best evaluation after training began: highest top-1, then lowest loss."""
        return int(np.lexsort((self.validation_loss, -self.top1, self.epochs == 0))[0])


def history(name: str, records: Sequence[Mapping[str, Any]]) -> History:
    """Returns the records of a metrics.jsonl as arrays; of a step told twice, the later record holds.

    Raises:
        RequestError: no evaluation has been recorded, or a record lacks what it should hold.
    """
    try:
        steps = {int(row["step"]): float(row["loss"]) for row in records if row["event"] == "step"}
        told = {int(row["epoch"]): row for row in records if row["event"] == "epoch"}
        if not told:
            raise RequestError(f"{name} has no evaluation in its metrics yet: nothing to draw")
        rows = [told[epoch] for epoch in sorted(told)]
        per_epoch = next(((row["step"] + 1) / row["epoch"] for row in rows if row["epoch"] > 0), 1.0)
        return History(
            name=name,
            ending=_ENDINGS.get(str(records[-1]["event"]), ", not finished"),
            steps=np.array([(step + 1) / per_epoch for step in sorted(steps)]),
            step_loss=np.array([steps[step] for step in sorted(steps)]),
            epochs=np.array([(row["step"] + 1) / per_epoch if row["epoch"] > 0 else 0.0 for row in rows]),
            loss=np.array([_or_nan(row.get("loss")) for row in rows]),
            validation_loss=np.array([_or_nan(row["validation"]["loss"]) for row in rows]),
            top1=np.array([_or_nan(row["validation"]["top1"]) for row in rows]),
        )
    except KeyError as error:
        raise RequestError(f"the metrics of {name} are damaged: a record has no {error}") from error
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise RequestError(f"the metrics of {name} are damaged: {error}") from error


@styled
def curves(histories: Sequence[History]) -> Figure:
    """Returns a figure of two panels: loss (training solid, validation dashed), and top-1 on validation.

    Of one run, the losses of its steps are faint behind. Of several, each has its colour and its marker.

    Raises:
        RequestError: more runs than can be told apart.
    """
    if len(histories) > MOST_RUNS:
        raise RequestError(
            f"{len(histories)} runs in one picture cannot be told apart; at most {MOST_RUNS} can"
        )
    figure = new_figure(WIDTH, 6.0)
    upper, lower = figure.subplots(2, 1, sharex=True)
    for axes, name in ((upper, "loss"), (lower, "top-1 on validation")):
        axes.set_ylabel(name)
        axes.grid(axis="y", color=PALE)
        axes.set_axisbelow(True)
    lower.yaxis.set_major_formatter(PercentFormatter(1.0))
    lower.set_xlabel("epochs")
    lower.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))
    single = len(histories) == 1
    said = _draw_one(upper, lower, histories[0]) if single else _draw_many(upper, lower, histories)
    headline(figure, said)
    last = max(float(np.concatenate([run.epochs, run.steps]).max()) for run in histories)
    lower.set_xlim(0, 1.02 * last or 1)  # at 0 epochs there is one evaluation and no width
    return figure


def _draw_one(upper: Axes, lower: Axes, run: History) -> str:
    """Draws a run's losses in two colours, circles its best evaluation, and returns the headline."""
    upper.plot(run.steps, run.step_loss, color=COLOURS[0], alpha=0.25, linewidth=0.8)
    pens = [Pen(COLOURS[0], "o", "-"), Pen(COLOURS[1], "s", "--")]
    for pen, values in zip(pens, (run.loss, run.validation_loss), strict=True):
        _line(upper, run.epochs, values, pen)
    _line(lower, run.epochs, run.top1, pens[1])
    best = run.epochs[run.best], run.top1[run.best]
    lower.plot(*best, "o", markersize=11, markerfacecolor="none", markeredgecolor=INK)
    _label_ends(
        upper,
        [
            (pens[0], run.loss, f"training {_last(run.loss):.3g}"),
            (pens[1], run.validation_loss, f"validation {_last(run.validation_loss):.3g}"),
        ],
    )
    _label_ends(lower, [(pens[1], run.top1, f"validation {_last(run.top1):.1%}")])
    named = f"{one_line(run.name, 22)}{run.ending}"  # so that a headline holds all that follows
    return f"{named}: best top-1 {best[1]:.2%} (epoch {best[0]:.3g}, circled)"


def _draw_many(upper: Axes, lower: Axes, runs: Sequence[History]) -> str:
    """Draws each run in its colour, its best beside its line, and returns the headline."""
    pens = [Pen(colour, marker, "--") for colour, marker in zip(COLOURS, MARKERS, strict=True)][: len(runs)]
    for pen, run in zip(pens, runs, strict=True):
        _line(upper, run.epochs, run.loss, Pen(pen.colour, "", "-"))
        _line(upper, run.epochs, run.validation_loss, pen)
        _line(lower, run.epochs, run.top1, pen)
    names = [one_line(run.name, 24) for run in runs]
    _label_ends(upper, list(zip(pens, (run.validation_loss for run in runs), names, strict=True)))
    bests = [f"{name} {run.top1[run.best]:.1%}" for name, run in zip(names, runs, strict=True)]
    _label_ends(lower, list(zip(pens, (run.top1 for run in runs), bests, strict=True)))
    return f"{len(runs)} runs: training solid, validation dashed; in percent, the best top-1"


def _line(axes: Axes, x: Reals, y: Reals, pen: Pen) -> None:
    every = max(1, -(-len(x) // _MARKED))
    axes.plot(
        x,
        y,
        color=pen.colour,
        marker=pen.marker,
        linestyle=pen.line,
        markevery=every,
        markersize=4,
        linewidth=1.6,
    )


def _label_ends(axes: Axes, ends: Sequence[tuple[Pen, Reals, str]]) -> None:
    """Writes a text beside the right end of each line, behind a mark like the line's own, none over another."""
    ends = [end for end in ends if np.isfinite(_last(end[1]))]
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    wanted = np.array([np.clip((_last(values) - low) / (high - low), 0, 1) for _, values, _ in ends])
    for (pen, _, text), y in zip(ends, _spread(wanted, _APART), strict=True):
        axes.plot(1.02, y, color=pen.colour, marker=pen.marker, transform=axes.transAxes, clip_on=False)
        axes.annotate(
            text, (1.02, y), xycoords="axes fraction", xytext=(7, 0), textcoords="offset points", va="center"
        )


def _spread(places: Reals, apart: float) -> Reals:
    """Returns places within 0 to 1 moved so little that neighbours are `apart`, their order kept."""
    order = np.argsort(places, kind="stable")
    moved = places[order].copy()
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + apart)
    for i in range(len(moved)):
        moved[i] = min(moved[i], 1 - (len(moved) - 1 - i) * apart)
    result = np.empty_like(moved)
    result[order] = moved
    return result


def _last(values: Reals) -> float:
    """Returns the last finite value, or NaN."""
    finite = values[np.isfinite(values)]
    return float(finite[-1]) if finite.size else np.nan


def _or_nan(value: object) -> float:
    return np.nan if value is None else float(value)  # type: ignore[arg-type]
