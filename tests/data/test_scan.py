"""A scan finds what decoding would: the same faults, sides and remarks; it is kept, and looked at again in time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cli.bad_inputs import NAMED, PICTURES
from tests.data.stores import Notes, part, spoil
from vitcli.core.errors import DataError
from vitcli.core.reporter import Silent
from vitcli.data import decode as decode_module
from vitcli.data.cache import scanned
from vitcli.data.dataset import Examples
from vitcli.data.decode import Geometry, Seen, examine, look
from vitcli.data.scan import PIECE, Notebook, Scan, attempts, scan, tell

CROP = Geometry(fit="crop", size=9, channels=3)
SHAPES = [
    CROP,
    Geometry(fit="squash", size=9, channels=1, fast=True),
    Geometry(fit="aspect", size=9, channels=3),
    # A strip of 1 x 30,000 would grow beyond what is allowed.
    Geometry(fit="aspect", size=60, channels=3, fast=True),
]


def _found(work: Callable[[Path, Geometry], Any], path: Path, geometry: Geometry) -> Seen | str:
    try:
        found = work(path, geometry)
    except DataError as error:
        return str(error)
    seen: Seen = found if isinstance(found, Seen) else found[1]
    return seen


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning", "ignore:Corrupt EXIF data")
@pytest.mark.parametrize("name", [*PICTURES, *NAMED])
def test_a_look_finds_what_decoding_finds(name: str, tmp_path: Path) -> None:
    picture = {**PICTURES, **NAMED}[name]
    path = tmp_path / picture.name
    path.write_bytes(picture.data())
    for geometry in SHAPES:
        seen = _found(look, path, geometry)
        assert seen == _found(examine, path, geometry)
        assert isinstance(seen, Seen) or all(part in seen for part in picture.told)
        assert isinstance(seen, str) == (bool(picture.told) or ("strip" in name and geometry.size == 60))
        if isinstance(seen, Seen) and geometry.fit == "aspect":
            pixels = examine(path, geometry)[0]
            assert (pixels.shape[0] > pixels.shape[1]) == (seen.sides[0] > seen.sides[1])


def test_sides_are_those_of_the_upright_image(tmp_path: Path) -> None:
    for suffix in ("jpg", "png", "tif", "webp"):
        for orientation in range(1, 9):
            exif = Image.Exif()
            exif[0x0112] = orientation
            Image.new("RGB", (7, 11)).save(tmp_path / f"a.{suffix}", exif=exif)
            expected = (11, 7) if orientation < 5 else (7, 11)
            pixels, seen = examine(tmp_path / f"a.{suffix}", Geometry(fit="aspect", size=7, channels=3))
            assert look(tmp_path / f"a.{suffix}", CROP) == seen
            assert pixels.shape[:2] == seen.sides == expected


def _many(folder: Path, count: int) -> list[Path]:
    """Images of which each has a width of its own; every seventh is none."""
    paths = [folder / f"{i}.png" for i in range(count)]
    for i, path in enumerate(paths):
        Image.new("L", (3 + i, 5)).save(path)
        if i % 7 == 3:
            path.write_bytes(b"")
    return paths


def test_a_scan_tells_of_each_image_in_order(tmp_path: Path) -> None:
    paths = _many(tmp_path, 5 * PIECE + 3)
    found = scan(paths, CROP, Silent(), "")
    bad = [i for i in range(len(paths)) if i % 7 == 3]
    assert dict(found.faults) == {i: f"{paths[i]} is an empty file" for i in bad}
    good = [i for i in range(len(paths)) if i % 7 != 3]
    assert found.good.tolist() == good
    assert found.sides[good].tolist() == [[5, 3 + i] for i in good]
    assert (found.sides[bad] == 0).all()
    assert (found.digests[bad] == 0).all()
    assert [int(digest).to_bytes(8, "little") for digest in found.digests[good]] == [
        hashlib.blake2b(paths[i].read_bytes(), digest_size=8).digest() for i in good
    ]


def test_remarks_are_counted(tmp_path: Path) -> None:
    paths = []
    for i, name in enumerate(("PNG named .jpg", "JPEG named .png", "animated GIF", "one pixel", "greys")):
        paths.append(tmp_path / f"{i}{PICTURES[name].name}")
        paths[-1].write_bytes(PICTURES[name].data())
    found = scan(paths, CROP, Silent(), "")
    assert found.remarks == {"format": 2, "frames": 1, "tiny": 1}
    notes = Notes()
    tell(found.remarks, "some images", notes)
    assert notes.told == [
        "some images: 2 of another format than their names say: read by their content",
        "some images: 1 with several frames or pages: the first is read",
        "some images: 1 one pixel wide or high",
    ]


@pytest.mark.parametrize("faulty", [True, False])
def test_a_scan_is_read_as_it_was_written(faulty: bool, tmp_path: Path) -> None:
    notebook = Notebook()
    notebook.add(Seen((3, 4), 2**64 - 1, ("tiny", "format")))
    if faulty:
        notebook.add(DataError(f"{os.fsdecode(b'a/' + bytes([255]) + b'.png')} is \U0001f980 no image"))
        notebook.add(DataError("another, which is longer by far, is none either"))
    notebook.add(Seen((5, 6), 0, ("tiny",)))
    written = notebook.scan()
    written.save(tmp_path)
    found = Scan.load(tmp_path)
    np.testing.assert_array_equal(found.sides, written.sides)
    np.testing.assert_array_equal(found.digests, written.digests)
    assert found.sides.dtype == np.int32
    assert found.digests.dtype == np.uint64
    assert found.faults == written.faults
    assert found.remarks == {"tiny": 2, "format": 1}
    assert list(found.faults) == ([1, 2] if faulty else [])


def test_a_scan_of_nothing_is_one_too(tmp_path: Path) -> None:
    Notebook().scan().save(tmp_path)
    found = Scan.load(tmp_path)
    assert (found.sides.shape, found.digests.shape, len(found.good)) == ((0, 2), (0,), 0)
    assert not found.faults
    assert not found.remarks


def test_a_second_scan_reads_no_good_image(tmp_path: Path) -> None:
    paths = _many(tmp_path, 9)
    notes = Notes()
    first = scanned(paths, CROP, notes, "scanning")
    for i in first.good:
        spoil(paths[i])
    again = scanned(paths, CROP, notes, "scanning")
    assert notes.titles == ["scanning"]
    assert again.faults == first.faults
    np.testing.assert_array_equal(again.sides, first.sides)
    assert len(scanned(paths, SHAPES[1], notes, "other").faults) == 9  # each geometry has faults of its own


@pytest.mark.parametrize("cache", ["square", "ragged", "none"])
def test_a_fault_that_has_gone_is_told_no_more(
    cache: str, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Permissions and disks: neither the file's size nor its time tells that it can be read again.
    shut = Path(str(examples.images[1]))
    read = decode_module._bytes

    def denied(path: Path) -> bytes:
        if path == shut:
            raise DataError(f"cannot read image {path}: Permission denied")
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(decode_module, "_bytes", denied)
        for _ in range(2):
            left = part(examples, cache=cache, skip_bad="1")
            assert (len(left), len(left.faults)) == (3, 1)
        with pytest.raises(DataError, match=r"1\.png: Permission denied"):
            part(examples, cache=cache)
    assert len(part(examples, cache=cache)) == 4


@pytest.mark.parametrize("cache", ["square", "none"])
def test_an_absent_file_is_a_fault_until_it_is_there(cache: str, examples: Examples) -> None:
    gone = Path(str(examples.images[2]))
    data = gone.read_bytes()
    gone.unlink()
    gone.symlink_to("nowhere")
    left = part(examples, cache=cache, skip_bad="1")
    assert left.faults == (f"cannot read image {gone}: a link that leads nowhere",)
    assert left.labels.tolist() == [0, 1, 3]
    gone.unlink()
    gone.write_bytes(data)
    assert len(part(examples, cache=cache)) == 4


@pytest.mark.parametrize("count", [0, 1, PIECE, PIECE + 1, 9 * PIECE + 1])
def test_every_image_is_tried_once_and_in_order(count: int) -> None:
    pixels = np.arange(count, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 2, 2, 1), np.uint8)
    found = list(attempts(pixels, lambda item: int(np.asarray(item).max()), Silent(), ""))
    assert found == list(range(count))
