"""Archives of images are unpacked once, into the cache, and read as the folder that they hold."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.data.sources.opened import content, labels, opened, pixels
from tests.data.sources.test_idx import FILES
from vitcli.core.errors import DataError, VitError
from vitcli.data.sources import archives
from vitcli.fetch.unpack import unpack

NAMES = [f"{part}/{label}/{i}.jpg" for part in ("train", "val") for label in "ab" for i in range(2)]


def tarred(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, raw in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return path


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, raw in files.items():
            archive.writestr(name, raw)
    return path


@pytest.mark.parametrize("top", ["", "photos-2/"])
@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.xz", "tar.bz2", "zip"])
def test_an_archive_is_read_as_its_folder(tmp_path: Path, kind: str, top: str) -> None:
    files = {f"{top}{name}": name.encode() for name in NAMES}
    path = tmp_path / f"set.{kind}"
    if kind == "zip":
        zipped(path, files)
    else:
        tarred(path, files, f"w:{kind.partition('.')[2]}")
    path = path.rename(tmp_path / "no suffix")  # content tells
    found = opened(path)
    assert (found.name, found.classes) == (str(path), ("a", "b"))
    for part, name in (("train", "train"), ("validation", "val")):
        assert content(found, part) == [("0.jpg", "a"), ("1.jpg", "a"), ("0.jpg", "b"), ("1.jpg", "b")]
        texts = [file.read_text() for file in found.parts[part].images]  # type: ignore[index]
        assert texts == [member for member in NAMES if member.startswith(name)]
    assert {file.parents[3].name for file in found.parts["train"].images} == {"unpacked"}


def test_it_is_unpacked_once_unless_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []

    def counted(archive: Path, *rest: Any) -> Any:
        calls.append(archive)
        return unpack(archive, *rest)

    monkeypatch.setattr(archives, "unpack", counted)
    path = tarred(tmp_path / "a.tar", dict.fromkeys(NAMES, b""))
    first = opened(path).parts["train"].images
    assert opened(path).parts["train"].images == first
    assert len(calls) == 1
    os.utime(path, ns=(0, 0))
    assert opened(path).parts["train"].images != first
    tarred(path, {f"{name}.png": b"" for name in NAMES})
    assert content(opened(path), "train")[0] == ("0.jpg.png", "a")
    assert len(calls) == 3


def test_what_another_process_unpacked_meanwhile_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(archive: Path, folder: Path, *rest: Any) -> Any:
        unpack(archive, folder, *rest)
        return unpack(archive, folder, *rest)

    monkeypatch.setattr(archives, "unpack", late)
    assert len(opened(tarred(tmp_path / "a.tar", dict.fromkeys(NAMES, b""))).parts["train"]) == 4


def test_other_kinds_may_be_in_an_archive(tmp_path: Path) -> None:
    found = opened(zipped(tmp_path / "mnist.zip", {f"raw/{name}": raw for name, raw in FILES.items()}))
    assert found.name == str(tmp_path / "mnist.zip")
    assert pixels(found, "test").shape == (5, 6, 5, 1)
    assert labels(found, "test") == [9, 0, 3, 3, 8]


CLASSES = dict.fromkeys(NAMES, b"x" * 999)


@pytest.mark.parametrize(
    ("files", "length", "message"),
    [
        (CLASSES, 1800, "a.tar cannot be unpacked: "),
        ({"../up.jpg": b"", **CLASSES}, None, "leads out of its folder"),
        ({}, None, "holds NUL bytes; by its content it is neither Parquet, an .npz, a tar nor a zip"),
    ],
)
def test_a_wrong_archive_is_refused_and_leaves_nothing(
    tmp_path: Path, files: dict[str, bytes], length: int | None, message: str
) -> None:
    path = tarred(tmp_path / "a.tar", files)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match=message):
        opened(path)
    assert not list(Path(os.environ["VIT_CACHE"]).rglob("*.jpg"))
    assert not (tmp_path / "up.jpg").exists()


def test_an_archive_without_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 images directly in it"):
        opened(tarred(tmp_path / "a.tar", {"a.jpg": b""}))


def test_gzip_of_no_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(b"\x1f\x8b" + struct.pack("<20x"))
    with pytest.raises(DataError):
        opened(tmp_path / "a.gz")


def test_no_room_in_the_cache_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tarred(tmp_path / "a.tar", dict.fromkeys(NAMES, b""))
    monkeypatch.setenv("VIT_CACHE", str(path))
    with pytest.raises(VitError, match="cannot write in .*: Not a directory; set VIT_CACHE") as caught:
        opened(path)
    assert caught.value.exit_code == 1
