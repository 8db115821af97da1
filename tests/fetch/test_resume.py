"""What an earlier run has brought is kept, as long as it is a part of the same file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.fetch.child import Told
from tests.fetch.server import Act, Server
from vitcli.core.errors import VerificationError, VitError
from vitcli.fetch.download import Patience, Remote, download
from vitcli.fetch.lock import try_lock

Made = Callable[[Server], Remote]
ONCE = Patience(connect=2, stall=0.3, tries=1, pause=0)


def cut(asked: Remote, folder: Path) -> None:
    """Runs a download that breaks off."""
    with pytest.raises(VitError, match="from which the same command goes on"):
        download(asked, folder, Told(), patience=ONCE)


@pytest.mark.parametrize("tenths", range(1, 10))
def test_a_later_run_goes_on_where_the_first_was_cut(
    content: bytes, remote: Made, folder: Path, told: Told, tenths: int
) -> None:
    at = len(content) * tenths // 10
    with Server(content, Act(cut=at)) as server:
        cut(remote(server), folder)
        assert not (folder / "file.bin").exists()
        path = download(remote(server), folder, told)
        assert path.read_bytes() == content
        assert server.total == len(content)
        assert server.ranges == [None, f"bytes={at}-"]
        assert server.requests[1].headers["If-Range"] == '"first"'
    assert told.notes == [f"file.bin: going on after {at / 1e6:,.1f} MB"]
    assert told.advanced == len(content) - at
    assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize("size_known", [True, False])
def test_a_file_that_changed_begins_anew(
    content: bytes, remote: Made, folder: Path, told: Told, size_known: bool
) -> None:
    changed = content[::-1]
    with Server(content, Act(cut=50_000)) as server:
        asked = replace(remote(server), sha256=None, size=len(content) if size_known else None)
        cut(asked, folder)
        server.content, server.etag = changed, '"second"'
        assert download(asked, folder, told).read_bytes() == changed
        assert server.requests[1].headers["If-Range"] == '"first"'
        assert len(server.requests) == 2


def test_another_tag_in_the_answer_begins_anew(
    content: bytes, remote: Made, folder: Path, told: Told
) -> None:
    # The server pays no heed to If-Range.
    with Server(content, Act(cut=50_000)) as server:
        asked = replace(remote(server), sha256=None)
        cut(asked, folder)
        server.content = content[::-1]
        server.acts.append(Act(headers={"ETag": '"second"'}))
        assert download(asked, folder, told).read_bytes() == content[::-1]
        assert server.ranges == [None, "bytes=50000-", None]


def test_without_checksum_and_tag_it_begins_anew(
    content: bytes, remote: Made, folder: Path, told: Told, patience: Patience
) -> None:
    plain = Act(validators=False)
    with Server(content, replace(plain, cut=50_000), usual=plain) as server:
        asked = replace(remote(server), sha256=None)
        assert download(asked, folder, told, patience=patience).read_bytes() == content
        assert server.ranges == [None, None]


def test_a_part_of_a_whole_of_unsaid_size_is_not_the_whole(
    content: bytes, remote: Made, folder: Path, told: Told, patience: Patience
) -> None:
    short = Act(headers={"Content-Range": "bytes 50000-100002/*"}, length=10_000, cut=10_000)
    with Server(content, Act(cut=50_000), short) as server:
        asked = replace(remote(server), sha256=None, size=None)
        assert download(asked, folder, told, patience=patience).read_bytes() == content
        assert server.ranges == [None, "bytes=50000-", "bytes=60000-"]


def test_a_part_of_another_whole_is_not_taken(content: bytes, remote: Made, folder: Path, told: Told) -> None:
    with Server(content, Act(cut=50_000)) as server:
        asked = replace(remote(server), sha256=None, size=None)
        cut(asked, folder)
        server.acts.append(Act(headers={"Content-Range": "bytes 50000-100002/100099"}))
        assert download(asked, folder, told).read_bytes() == content
        assert server.ranges == [None, "bytes=50000-", None]


def test_a_server_without_ranges_begins_anew(content: bytes, remote: Made, folder: Path, told: Told) -> None:
    with Server(content, Act(cut=50_000), usual=Act(ranges=False)) as server:
        cut(remote(server), folder)
        assert download(remote(server), folder, told).read_bytes() == content
        assert server.total == len(content) + 50_000


@pytest.mark.parametrize(
    "act",
    [
        Act(shift=-10),
        Act(shift=10),
        Act(headers={"Content-Range": None}),
        Act(headers={"Content-Range": "bytes x"}),
    ],
)
def test_a_part_from_elsewhere_is_not_taken(
    content: bytes, remote: Made, folder: Path, told: Told, act: Act
) -> None:
    with Server(content, Act(cut=50_000), act) as server:
        cut(remote(server), folder)
        assert download(remote(server), folder, told).read_bytes() == content
        assert server.ranges == [None, "bytes=50000-", None]
    assert len(told.notes) == 1  # it was no wrong checksum that told


def test_a_part_of_a_file_of_another_size_is_refused(
    content: bytes, remote: Made, folder: Path, told: Told
) -> None:
    with Server(content, Act(cut=50_000)) as server:
        cut(remote(server), folder)
        server.content = content + b"more"
        with pytest.raises(VerificationError, match=r"sends 100,007 bytes, .* with 100,003"):
            download(remote(server), folder, told)
    assert (folder / ".file.bin.part").stat().st_size == 50_000


@pytest.mark.parametrize("state", ["whole", "too long", "spoilt"])
def test_a_partial_file_of_the_whole_size_is_judged_by_its_checksum(
    content: bytes, remote: Made, folder: Path, told: Told, state: str
) -> None:
    folder.mkdir(parents=True)
    kept = {"whole": content, "too long": content + b"x", "spoilt": content[:-1] + b"?"}[state]
    (folder / ".file.bin.part").write_bytes(kept)
    with Server(content) as server:
        assert download(remote(server), folder, told).read_bytes() == content
        assert server.ranges == ([] if state == "whole" else [None])


@pytest.mark.parametrize("kept", [0, 5])
def test_416_verifies_or_begins_anew(
    content: bytes, remote: Made, folder: Path, told: Told, kept: int
) -> None:
    # Of a size that nobody knows, all or more than all may be there.
    folder.mkdir(parents=True)
    (folder / ".file.bin.part").write_bytes(content + bytes(kept))
    with Server(content) as server:
        asked = replace(remote(server), size=None)
        assert download(asked, folder, told).read_bytes() == content
        assert server.ranges == [f"bytes={100_003 + kept}-", *([None] if kept else [])]


def test_another_server_goes_on_with_the_same_file(
    content: bytes, remote: Made, folder: Path, told: Told
) -> None:
    with Server(content, Act(cut=50_000)) as first, Server(content) as second:
        cut(remote(first), folder)
        second.etag = '"its own"'
        assert download(remote(second), folder, told).read_bytes() == content
        assert second.ranges == ["bytes=50000-"]
        assert "If-Range" not in second.requests[0].headers


def test_without_a_checksum_another_server_begins_anew(
    content: bytes, remote: Made, folder: Path, told: Told
) -> None:
    with Server(content, Act(cut=50_000)) as first, Server(content[::-1]) as second:
        cut(replace(remote(first), sha256=None), folder)
        asked = replace(remote(second), sha256=None)
        assert download(asked, folder, told).read_bytes() == content[::-1]
        assert second.ranges == [None]


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"ETag": 'W/"weak"'}, None),
        (
            {"ETag": 'W/"weak"', "Last-Modified": "Mon, 01 Feb 2021 00:00:00 GMT"},
            "Mon, 01 Feb 2021 00:00:00 GMT",
        ),
    ],
)
def test_a_weak_tag_is_no_condition(
    content: bytes, remote: Made, folder: Path, told: Told, headers: dict[str, str], validator: str | None
) -> None:
    with Server(content, Act(cut=50_000, headers=headers)) as server:
        cut(remote(server), folder)
        download(remote(server), folder, told)
        assert server.requests[1].headers.get("If-Range") == validator


@pytest.mark.parametrize("note", ["", "{", "[]", '{"url": 1}', '{"size": "1", "url": "x"}', '{"other": 1}'])
def test_a_spoilt_note_does_no_harm(
    content: bytes, remote: Made, folder: Path, told: Told, note: str
) -> None:
    with Server(content, Act(cut=50_000)) as server:
        cut(remote(server), folder)
        said = json.loads((folder / ".file.bin.part.json").read_text())
        assert (said["url"], said["size"], said["etag"]) == (server.url(), len(content), '"first"')
        (folder / ".file.bin.part.json").write_text(note)
        assert download(remote(server), folder, told).read_bytes() == content
        assert server.ranges == [None, "bytes=50000-"]


def test_a_stop_keeps_what_came(content: bytes, remote: Made, folder: Path, told: Told) -> None:
    class Stopping(Told):
        def note(self, text: str) -> None:
            raise KeyboardInterrupt

    with Server(content, Act(cut=50_000)) as server:
        with pytest.raises(KeyboardInterrupt):
            download(remote(server), folder, Stopping())
        assert (folder / ".file.bin.part").read_bytes() == content[:50_000]
        assert download(remote(server), folder, told).read_bytes() == content
        assert server.total == len(content)


def test_a_writer_on_another_machine_is_left_alone(
    content: bytes, remote: Made, folder: Path, told: Told
) -> None:
    # Its lock may not reach us: a file written to lately is in use, an old one is not.
    with Server(content, Act(cut=50_000)) as server:
        cut(remote(server), folder)
        part, note = folder / ".file.bin.part", folder / ".file.bin.part.json"
        note.write_text(json.dumps({**json.loads(note.read_text()), "host": "elsewhere"}))
        assert download(remote(server), folder, told).read_bytes() == content
        assert server.ranges == [None, None]
        assert part.read_bytes() == content[:50_000]
        (folder / "file.bin").unlink()
        os.utime(part, (1, 1))
        assert download(remote(server), folder, told).read_bytes() == content
        assert server.ranges[2:] == ["bytes=50000-"]
        assert sorted(folder.iterdir()) == [folder / "file.bin"]


def test_private_parts_of_killed_processes_are_removed(
    content: bytes, remote: Made, folder: Path, told: Told
) -> None:
    folder.mkdir(parents=True)
    old, new, other = (
        folder / f".file.bin.{word}.part" for word in ("0" * 16, "1" * 16, "not of this kind at all")
    )
    for path in (old, new, other):
        path.write_bytes(b"x")
    for path in (old, other):
        os.utime(path, (1, 1))
    with Server(content) as server:
        download(remote(server), folder, told)
    assert sorted(folder.iterdir()) == sorted([folder / "file.bin", new, other])


def test_room_is_asked_for_before_anything_is_fetched(
    content: bytes, remote: Made, folder: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_of = []

    def usage(path: Path) -> SimpleNamespace:
        asked_of.append(path)
        return SimpleNamespace(free=1_100_000)

    monkeypatch.setattr("shutil.disk_usage", usage)
    with Server(content, Act(cut=50_000)) as server:
        with pytest.raises(VitError, match=rf"^{folder} needs 1\.2 MB more, 1\.1 MB are free"):
            download(remote(server), folder, told, needed=1_100_000)
        assert asked_of == [folder.parent.parent]
        assert not folder.exists()
        with pytest.raises(VitError, match=r"needs 1\.2 MB more"):  # the server said how long
            download(replace(remote(server), size=None), folder, told, needed=1_050_000)
        assert len(server.requests) == 1
        # What is there already takes no further room.
        (folder / ".file.bin.part").write_bytes(content[:50_000])
        download(remote(server), folder, told, needed=1_040_000)


def test_a_part_that_got_its_name_meanwhile_is_not_written(
    content: bytes, remote: Made, folder: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Between our opening it and our locking it, its writer finishes.
    folder.mkdir(parents=True)
    part, finished = folder / ".file.bin.part", folder / "finished"
    part.write_bytes(content[:50_000])

    def finishing(handle: int) -> bool | None:
        if not finished.exists():
            part.rename(finished)
        return try_lock(handle)

    monkeypatch.setattr("vitcli.fetch.partial.try_lock", finishing)
    with Server(content) as server:
        assert download(remote(server), folder, told).read_bytes() == content
        assert server.ranges == [None]
    assert finished.read_bytes() == content[:50_000]


def test_a_disk_may_take_less_than_it_is_given(
    content: bytes, remote: Made, folder: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, data, at: write(handle, data[:999], at))
    with Server(content) as server:
        assert download(remote(server), folder, told).read_bytes() == content
        assert len(server.requests) == 1


def test_a_file_is_on_the_disk_before_it_has_its_name(
    content: bytes, remote: Made, folder: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush, seen = os.fsync, []

    def watched(handle: int) -> None:
        seen.append((Path(f"/dev/fd/{handle}").resolve().name, (folder / "file.bin").exists()))
        flush(handle)

    monkeypatch.setattr(os, "fsync", watched)
    with Server(content) as server:
        download(remote(server), folder, told)
    assert seen == [(".file.bin.part", False), (folder.name, True)]
