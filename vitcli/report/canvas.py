"""What all pictures share: look, colours, words, and how a figure becomes a PNG file.

Figures are made by matplotlib's objects alone, never by pyplot: nothing is kept between two pictures, and
whatever style a user has set up holds again as soon as a picture is done.
"""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vitcli.core.errors import RequestError, VitError
from vitcli.core.targets import check_place

# Pixels per inch: 7.2 inches, the width of most pictures, are 1080 pixels.
DPI = 150
WIDTH = 7.2
# Okabe & Ito 2008, Color Universal Design, without the yellow, which white paper swallows.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK, PALE = "#222222", "#E6E6E6"
# Characters that a headline of usual words has room for.
_HEADLINE = 80
# How matplotlib's PNG writer stores {"Software": "vit"}: near the start of the file, as it stands.
_MARK = b"tEXtSoftware\0vit"
_STYLE = {
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.parse_math": False,  # a '$' in a class name is a '$'
}
# Decorates whatever draws or saves: matplotlib's own defaults and ours, not the user's matplotlibrc.
styled = style.context(["default", _STYLE])


def new_figure(width: float, height: float) -> Figure:
    """Returns an empty figure of these inches, whose parts make room for each other's text."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def one_line(text: str, limit: int) -> str:
    """Returns any name as one printable line of at most `limit` characters, the middle left out."""
    printable = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    words = " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", printable).split())
    if len(words) <= limit:
        return words
    head = limit // 2
    return f"{words[:head]}…{words[len(words) - (limit - head - 1) :]}"


def headline(figure: Figure, text: str) -> None:
    """Writes one line above everything."""
    figure.suptitle(one_line(text, _HEADLINE), fontsize=10)


def check_target(target: Path) -> None:
    """Checks, before any work, that a picture may be written here.

    A picture replaces an older picture of ours, and never anything else.

    Raises:
        RequestError: not named .png, no folder or a closed one, or something else is there.
    """
    if target.suffix != ".png":
        raise RequestError(f"{target} must end in .png: that is the only format written")
    check_place(target)
    if target.exists() and not _is_ours(target):
        raise RequestError(f"{target} exists and is not a picture that vit drew; choose another name")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise RequestError(f"{target.parent} cannot be written; choose another place for {target.name}")


@styled
def save(figure: Figure, target: Path) -> None:
    """Writes a figure as an opaque PNG, under a temporary name that becomes `target` when it is whole.

    Raises:
        RequestError: as `check_target`.
        VitError: the disk is full or refuses; what was there before is still there.
    """
    check_target(target)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.tmp")
    try:
        with warnings.catch_warnings():
            # A script that the font lacks is drawn as boxes, which tells enough.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(temporary, format="png", metadata={"Software": "vit"})
        temporary.replace(target)
    except OSError as error:
        raise VitError(
            f"cannot write {target}: {error.strerror}; make room, or choose another disk"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _is_ours(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _MARK in file.read(512)
    except OSError:
        return False
