"""The frame of every picture: names, files, and a style of its own."""

from __future__ import annotations

import os
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib import style
from matplotlib.figure import Figure
from PIL import Image

from tests.report.looking import pixels
from vitcli.core.errors import RequestError, VitError
from vitcli.report.canvas import check_target, new_figure, one_line, save, styled


@styled
def _figure(width: float = 4.0, title: str = "", label: str = "") -> Figure:
    figure = new_figure(width, 2.0)
    axes = figure.subplots()
    axes.plot([0, 1], [1, 0])
    axes.set_title(title)
    axes.set_xlabel(label)
    return figure


def test_a_picture_is_opaque_white_of_its_size(tmp_path: Path) -> None:
    save(_figure(), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert (image.format, image.size) == ("PNG", (600, 300))
        shown = np.asarray(image.convert("RGBA"))
    assert (shown[..., 3] == 255).all()
    assert (shown[0, 0] == 255).all()
    assert len(np.unique(shown.reshape(-1, 4), axis=0)) > 10
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_the_users_style_is_neither_used_nor_changed(tmp_path: Path) -> None:
    plain = pixels(_figure())
    with style.context(["dark_background", {"font.size": 30, "lines.linewidth": 9}]):
        before = dict(matplotlib.rcParams)
        assert np.array_equal(pixels(_figure()), plain)
        save(_figure(), tmp_path / "a.png")
        assert dict(matplotlib.rcParams) == before
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image.convert("RGBA")), plain)


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("cat", 3, "cat"),
        ("cats", 3, "c…s"),
        ("Komodo dragon", 8, "Komo…gon"),
        ("two\nlines \t here", 20, "two lines here"),
        (os.fsdecode(b"\xff.jpg"), 20, "\ufffd.jpg"),
        ("犬", 5, "犬"),
    ],
)
def test_one_line(text: str, limit: int, shown: str) -> None:
    assert one_line(text, limit) == shown


@pytest.mark.filterwarnings("error")
def test_odd_class_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    figure = _figure(title="$x_1$", label=r"$\frac{$ 犬")
    assert not figure.axes[0].title.get_parse_math()
    save(figure, tmp_path / "a.png")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a.jpg", ("a.jpg", "must end in .png")),
        ("a", ("must end in .png",)),
        ("folder.png", ("folder.png is a folder", "give a file name")),
        ("nowhere/a.png", ("no folder", "nowhere", "make it first")),
        ("photo.png", ("photo.png exists", "not a picture that vit drew", "another name")),
        ("empty.png", ("empty.png exists",)),
    ],
)
def test_targets_that_are_refused(name: str, parts: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty.png").touch()
    Image.new("RGB", (9, 9)).save(tmp_path / "photo.png")
    before = (tmp_path / "photo.png").read_bytes()
    for attempt in (check_target, lambda target: save(_figure(), target)):
        with pytest.raises(RequestError) as caught:
            attempt(tmp_path / name)
        assert all(part in str(caught.value) for part in parts)
    assert (tmp_path / "photo.png").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.png", "folder.png", "photo.png"]


def test_a_picture_of_ours_is_replaced(tmp_path: Path) -> None:
    save(_figure(), tmp_path / "a.png")
    save(_figure(width=5.0), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (750, 300)


def test_what_fails_leaves_the_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(_figure(), tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    figure = _figure()

    def full(target: Path, **settings: object) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure, "savefig", full)
    with pytest.raises(VitError, match=r"a\.png: No space left on device"):
        save(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
