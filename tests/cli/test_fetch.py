"""`vit datasets fetch`, `verify` and `remove`: a set is there whole and marked, or not there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.cli.running import here, snapshot
from tests.cli.sets import LAYOUTS, photos, release, serving, tgz, unpinned
from tests.fetch.archives import written
from tests.fetch.hostile import HOSTILE
from vitcli.commands import fetch
from vitcli.core.reporter import Silent
from vitcli.data.catalogue import CATALOGUE, lookup
from vitcli.data.install import choose, install
from vitcli.data.installed import MARKER
from vitcli.data.releases import Release

NETTE = {name.removeprefix("imagenette2-160/"): data for name, data in photos("imagenette2-160").items()}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where sets go; afterwards nothing may lie there but what is named without a dot, and kept archives."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("VIT_DATA", str(tmp_path / "sets"))
    monkeypatch.setattr(os, "sync", lambda: None)  # other processes' data need not be on the disk
    for proxy in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
        monkeypatch.delenv(proxy.upper(), raising=False)
    for name, layout in LAYOUTS.items():
        publish(monkeypatch, name, release(*layout))
    yield tmp_path / "sets"
    if (tmp_path / "sets").is_dir():
        assert {name for name in os.listdir(tmp_path / "sets") if name.startswith(".")} <= {".fetch"}


def publish(monkeypatch: pytest.MonkeyPatch, name: str, made: Release) -> None:
    """Puts a release in the place of what the catalogue knows of a name."""
    known = lookup(name)
    assert known is not None
    sizes = {**known.entry.sizes, known.size: made}
    monkeypatch.setitem(CATALOGUE, known.entry.name, replace(known.entry, sizes=sizes))


def held(folder: Path) -> dict[str, bytes]:
    """The files below a folder, without the hidden ones."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def archives(folder: Path, name: str) -> list[str]:
    """A set's archives as files, as options."""
    found: list[str] = []
    for file, data in LAYOUTS[name][0].items():
        found += ["--from-file", str(written(folder / file, data))]
    return found


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_set_of_each_layout_from_a_mirror(name: str, root: Path) -> None:
    files, count, _ = LAYOUTS[name]
    with serving(files) as (url, asked):
        said = here("datasets", "fetch", name, "--url", url)
        assert (said.code, said.out) == (0, f"{root / name} written\n"), said.err
        assert said.err.endswith(f"next: vit train folder --data {name}\n")
        assert sorted(asked) == sorted(f"/sets/{file}" for file in files)
    assert os.listdir(root) == [name]
    marker = json.loads((root / name / MARKER).read_text())
    assert marker["set"] == name
    assert [(a["name"], a["bytes"], a["sha256"], a["from"]) for a in marker["archives"]] == [
        (file, len(data), hashlib.sha256(data).hexdigest(), f"{url}/{file}") for file, data in files.items()
    ]
    found = held(root / name)
    assert (marker["files"], marker["bytes"]) == (len(found), sum(map(len, found.values())))
    assert len(found) >= count
    assert json.loads(here("datasets", "verify", name, "--json").out)["files"] == len(found)
    listed = {row["name"]: row for row in json.loads(here("datasets", "list", "--json").out)}
    assert (listed[name]["state"], listed[name]["place"]) == ("fetched", str(root / name))
    assert listed["stl10"]["state"] == "absent"
    # A second time: no network, no server even, and nothing is touched.
    before = snapshot(root)
    again = here("datasets", "fetch", name)
    assert (again.code, again.out) == (0, f"{name} is already there: {root / name}\n")
    assert json.loads(here("datasets", "fetch", name, "--json").out)["already"] is True
    assert snapshot(root) == before


def test_what_comes_out_of_each_layout(tmp_path: Path, root: Path) -> None:
    for name in LAYOUTS:
        assert here("datasets", "fetch", name, *archives(tmp_path, name)).code == 0
    assert held(root / "imagenette-160") == NETTE
    assert len(held(root / "imagenette")) == 13
    assert held(root / "pets") == {"images/a_1.jpg": b"1", "annotations/list.txt": b"a_1 1 1 1\n"}
    assert held(root / "flowers102") == {
        "jpg/image_1.jpg": b"1",
        "imagelabels.mat": b"MAT1",
        "setid.mat": b"MAT2",
    }
    assert held(root / "mnist") == LAYOUTS["mnist"][0]
    assert sorted(held(root / "cifar10")) == [f"{number}.bin" for number in range(1, 7)]


def test_sizes_roots_and_the_file_itself(tmp_path: Path, root: Path) -> None:
    data = LAYOUTS["imagenette-160"][0]["imagenette2-160.tgz"]
    elsewhere = tmp_path / "elsewhere"
    with serving({"other.tgz": data}) as (url, asked):
        asking = ("imagenette", "--size", "160", "--root", elsewhere, "--url", f"{url}/other.tgz")
        said = json.loads(here("datasets", "fetch", *asking, "--json").out)
        assert asked == ["/sets/other.tgz"]
    place = elsewhere / "imagenette-160"
    assert said == {"name": "imagenette-160", "place": str(place), "already": False, "archives": None}
    assert held(place) == NETTE
    assert not root.exists()
    assert here("datasets", "verify", "imagenette-160", "--root", elsewhere).code == 0
    assert here("datasets", "remove", "imagenette", "--size", "160", "--root", elsewhere, "--yes").code == 0
    assert os.listdir(elsewhere) == []


def test_a_kept_archive_serves_again(root: Path) -> None:
    files = LAYOUTS["pets"][0]
    with serving(files) as (url, asked):
        said = here("datasets", "fetch", "pets", "--url", url, "--keep-archive")
        kept = root / ".fetch" / "pets"
        assert said.out.splitlines()[1] == f"{kept} keeps what was downloaded"
        assert held(kept) == files
        assert here("datasets", "remove", "pets", "--yes").code == 0
        asked.clear()
        assert here("datasets", "fetch", "pets", "--url", url).code == 0
        assert asked == []
    assert os.listdir(root) == ["pets"]
    # Kept, but spoilt since: seen before it is unpacked.
    shutil.rmtree(root / "pets")
    kept.mkdir(parents=True)
    for file, data in files.items():
        written(kept / file, data[:-1] + b"?")
    said = here("datasets", "fetch", "pets", "--url", url)
    assert (said.code, "sha256" in said.errors[0]) == (3, True)


@pytest.mark.parametrize(
    ("spoil", "part"), [(lambda d: d + b"?", "bytes"), (lambda d: d[:-1] + b"?", "sha256")]
)
def test_a_wrong_archive_is_not_unpacked(spoil: Any, part: str, tmp_path: Path, root: Path) -> None:
    archive = written(tmp_path / "x.tgz", spoil(LAYOUTS["imagenette-160"][0]["imagenette2-160.tgz"]))
    before = snapshot(tmp_path / "x.tgz")
    said = here("datasets", "fetch", "imagenette-160", "--from-file", archive)
    assert (said.code, said.out, len(said.errors)) == (3, "", 1)
    assert str(archive) in said.errors[0] and part in said.errors[0]
    assert os.listdir(root) == []
    assert snapshot(archive) == before


@pytest.mark.parametrize(
    "case",
    [
        "upwards",
        "upwards by a pax record",
        "sole folder of dots",
        "absolute",
        "a drive",
        "a link and a write through it",
        "a hard link",
        "a pipe",
        "a device",
        "twice",
        "twins of case",
        "too deep",
        "a bomb",
        "a bomb in a zip",
        "a zip that says more",
        "encrypted",
        "a page",
        "no files",
    ],
)
def test_a_hostile_archive_of_a_set_without_a_checksum(
    case: str, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, "imagenette-160", unpinned(release({"imagenette2-160.tgz": b""}, 1, "")))
    data = HOSTILE[case][0] if case != "too deep" else tgz({"a/" * 12 + "x": b"1"})
    archive = written(tmp_path / "x.tgz", data)
    root.mkdir()
    before = snapshot(tmp_path / "work"), snapshot(archive), os.listdir(tmp_path)
    said = here("datasets", "fetch", "imagenette-160", "--from-file", archive)
    assert (said.code, said.out, len(said.errors)) == (2, "", 1), said
    assert f"{archive} cannot be unpacked: " in said.errors[0]
    assert os.listdir(root) == []
    assert (snapshot(tmp_path / "work"), snapshot(archive), os.listdir(tmp_path)) == before


def test_an_archive_without_a_checksum_is_recorded_by_its_own(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, "imagenette-160", unpinned(release({"imagenette2-160.tgz": b""}, 12, ".jpeg")))
    data = tgz(photos("any"))
    assert here("datasets", "fetch", "imagenette-160", "--from-file", written(tmp_path / "x", data)).code == 0
    (found,) = json.loads((root / "imagenette-160" / MARKER).read_text())["archives"]
    assert (found["sha256"], found["from"]) == (hashlib.sha256(data).hexdigest(), str(tmp_path / "x"))


def test_too_few_files_are_no_set(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, "pets", replace(release(*LAYOUTS["pets"]), count=2))
    said = here("datasets", "fetch", "pets", *archives(tmp_path, "pets"))
    assert (said.code, "1 files of type .jpg" in said.errors[0]) == (3, True)
    assert os.listdir(root) == []


def test_an_archive_may_not_hold_a_marker(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tgz({f"s/{MARKER}": b"{}", "s/a.jpeg": b"1"})
    publish(monkeypatch, "imagenette", release({"imagenette2-320.tgz": data}, 1, ".jpeg"))
    said = here("datasets", "fetch", "imagenette", "--from-file", written(tmp_path / "x", data))
    assert (said.code, MARKER in said.errors[0]) == (2, True)
    assert os.listdir(root) == []


@pytest.mark.parametrize("kind", ["empty", "filled", "file", "link"])
def test_what_is_there_without_a_marker_is_left_alone(kind: str, root: Path, tmp_path: Path) -> None:
    root.mkdir()
    place = root / "pets"
    if kind == "file":
        place.touch()
    elif kind == "link":
        place.symlink_to("nowhere")
    else:
        place.mkdir()
        if kind == "filled":
            (place / "images").mkdir()
    before = sorted(root.rglob("*"))
    said = here("datasets", "fetch", "pets", *archives(tmp_path, "pets"))
    assert said.code == 2
    assert f"{place} was not made by vit datasets fetch; move it away" in said.errors[0]
    assert "--root" in said.errors[0]
    said = here("datasets", "remove", "pets", "--yes")
    assert (said.code, "left alone" in said.errors[0]) == (2, True)
    assert here("datasets", "verify", "pets").code == 2
    assert sorted(root.rglob("*")) == before


REFUSED = {
    "unknown set": ("fetch imagenete", ("'imagenete'", "(did you mean 'imagenette'?)", "vit datasets list")),
    "a set that comes with vit": ("fetch digits", ("digits comes with vit",)),
    "a set that is made by hand": ("fetch cassava", ("Cassava", "vit datasets info cassava")),
    "unknown size": ("fetch imagenette --size 64", ("'64'", "320, 160, full")),
    "a size where there is one": ("fetch pets --size 160", ("pets has no size '160'", "but one")),
    "two sizes": ("fetch imagenette-160 --size full", ("imagenette-160", "full", "say one")),
    "two sources": ("fetch pets --url https://x/y --from-file z", ("--url and --from-file",)),
    "no such file": ("fetch imagenette --from-file none.tgz", ("none.tgz", "No such file")),
    "a file of another name": ("fetch pets --from-file x", ("pets needs images.tar.gz, annotations.tar.gz",)),
    "two files for one": ("fetch imagenette --from-file x --from-file y", ("imagenette2-320.tgz",)),
    "a mirror without encryption": ("fetch pets --url http://192.0.2.1/", ("http://192.0.2.1/", "https://")),
    "nothing to verify": ("verify pets", ("pets is not at", "vit datasets fetch pets")),
    "nothing to remove": ("remove imagenette-160 --yes", ("vit datasets fetch imagenette-160",)),
    "to verify what comes with vit": ("verify digits", ("digits comes with vit",)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    request, parts = REFUSED[case]
    said = here("datasets", *request.split())
    assert (said.code, said.out, len(said.errors)) == (2, "", 1), said
    assert all(part in said.errors[0] for part in parts), said.errors
    assert os.listdir(tmp_path / "work") == []


def test_no_network_is_a_failed_job(root: Path) -> None:
    with serving({}) as (url, _):
        assert here("datasets", "fetch", "pets", "--url", url).code == 1  # 404
    assert here("datasets", "list").code == 0
    assert not (root / "pets").exists()


def test_room_is_asked_for_first(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = archives(tmp_path, "pets")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10**9, used=0, free=999_999))
    with serving(LAYOUTS["pets"][0]) as (url, asked):
        for source in (given, ["--url", url]):
            said = here("datasets", "fetch", "pets", *source)
            assert (said.code, len(said.errors), "free" in said.errors[0]) == (1, 1, True)
        assert asked == []
    assert not (root / "pets").exists()


def test_verify_names_what_is_changed(root: Path, tmp_path: Path) -> None:
    here("datasets", "fetch", "imagenette-160", *archives(tmp_path, "imagenette-160"))
    folder = root / "imagenette-160"
    said = here("datasets", "verify", "imagenette-160")
    total = sum(map(len, NETTE.values()))
    assert (said.code, said.out) == (0, f"{folder}: 12 files, {total} bytes, as they were unpacked\n")
    (folder / "train" / "n0" / ".DS_Store").touch()
    assert here("datasets", "verify", "imagenette-160").code == 0
    (folder / "train" / "n0" / "a.JPEG").unlink()
    (folder / "val" / "n1" / "b.JPEG").write_bytes(b"other")
    (folder / "val" / "n1" / "new.jpg").touch()
    said = here("datasets", "verify", "imagenette-160")
    assert (said.code, said.out) == (3, "")
    for part in (
        "1 missing (train/n0/a.JPEG)",
        "1 of another size (val/n1/b.JPEG)",
        "1 added (val/n1/new.jpg)",
        "vit datasets remove imagenette-160",
    ):
        assert part in said.errors[0]
    shutil.rmtree(folder / "val")
    assert "7 missing" in here("datasets", "verify", "imagenette-160").errors[0]
    (folder / ".vit-files.tsv").write_text("nonsense\n")
    assert here("datasets", "verify", "imagenette-160").code == 3


def test_remove_asks(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here("datasets", "fetch", "mnist", *archives(tmp_path, "mnist"))
    (tmp_path / "kept").write_text("kept")
    (root / "mnist" / "link").symlink_to(tmp_path / "kept")
    said = here("datasets", "remove", "mnist")
    assert (said.code, "--yes" in said.errors[0], (root / "mnist").is_dir()) == (2, True, True)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    monkeypatch.setattr(fetch, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    assert here("datasets", "remove", "mnist").out == "nothing was removed\n"
    assert (root / "mnist").is_dir()
    monkeypatch.setattr("typer.confirm", lambda *_, **__: True)
    assert here("datasets", "remove", "mnist").out == f"{root / 'mnist'} removed\n"
    assert os.listdir(root) == []
    assert (tmp_path / "kept").read_text() == "kept"


def test_a_link_to_a_set_is_verified_but_not_removed(root: Path, tmp_path: Path) -> None:
    here("datasets", "fetch", "mnist", "--root", tmp_path / "disk", *archives(tmp_path, "mnist"))
    root.mkdir()
    (root / "mnist").symlink_to(tmp_path / "disk" / "mnist")
    assert here("datasets", "verify", "mnist").code == 0
    assert "already there" in here("datasets", "fetch", "mnist").out
    said = here("datasets", "remove", "mnist", "--yes")
    assert (said.code, "is a link to" in said.errors[0]) == (2, True)
    assert (tmp_path / "disk" / "mnist" / MARKER).is_file()


def test_two_at_once_make_one_set(root: Path) -> None:
    with serving(LAYOUTS["flowers102"][0]) as (url, asked), ThreadPoolExecutor(4) as pool:
        done = [
            pool.submit(install, choose("flowers102"), Silent(), mirror=url) for _ in range(4)
        ]  # fmt: skip
        assert sorted(job.result().already for job in done) == [False, True, True, True]
        assert len(asked) == 3
    assert here("datasets", "verify", "flowers102").code == 0


KILLED = """
import sys, time
from pathlib import Path
from tests.cli.sets import LAYOUTS, release
from vitcli.commands import fetch
from vitcli.core.reporter import Silent
from vitcli.data import install as module
from vitcli.data.catalogue import Known, lookup
from vitcli.fetch import unpack, whole
known = lookup("imagenette-160")
known = Known(entry=known.entry, size="160", release=release(*LAYOUTS["imagenette-160"]))
def stop(*_):
    print("ready", flush=True)
    time.sleep(60)
place, name = sys.argv[2:]
setattr({"unpack": unpack._Writer, "whole": whole.os, "install": module}[place], name, stop)
module.install(known, Silent(), given=[Path(sys.argv[1])])
"""


@pytest.mark.parametrize("where", ["unpack _copy", "install lift", "install mark", "whole sync"])
def test_killed_anywhere_it_is_not_there_and_comes_the_next_time(
    where: str, root: Path, tmp_path: Path
) -> None:
    """SIGKILL within the first file, before the marker, and between the marker and the folder's name."""
    option, archive = archives(tmp_path, "imagenette-160")
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, archive, *where.split()],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    left = [name for name in os.listdir(root) if name.endswith(".tmp")]
    assert left == [f".imagenette-160.{process.pid}.tmp"]
    assert not (root / "imagenette-160").exists()
    listed = {row["name"]: row["state"] for row in json.loads(here("datasets", "list", "--json").out)}
    assert listed["imagenette-160"] == "absent"
    assert here("datasets", "fetch", "imagenette-160", option, archive).code == 0
    assert os.listdir(root) == ["imagenette-160"]
    assert held(root / "imagenette-160") == NETTE


def test_info_tells_what_is_published_and_the_terms(tmp_path: Path) -> None:
    said = here("datasets", "info", "imagenette-160")
    for part in ("research, not commercial", "320, 160, full", "https://sets.invalid/imagenette2-160.tgz"):
        assert part in said.out
    assert said.err == "next: vit datasets fetch imagenette-160\n"
    facts = json.loads(here("datasets", "info", "flowers102", "--json").out)
    assert [file["name"] for file in facts["files"]] == list(LAYOUTS["flowers102"][0])
    assert (facts["state"], facts["obtain"]) == ("absent", "vit datasets fetch flowers102")
    assert here("datasets", "info", "cassava").err == "next: vit train folder --data cassava\n"
