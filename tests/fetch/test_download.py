"""A download ends with the published file, or with none and one line that says why."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from tests.fetch.child import Told
from tests.fetch.server import Act, Server
from vitcli.core.errors import RequestError, VerificationError, VitError
from vitcli.fetch.download import PATIENCE, Patience, Remote, check_file, download

Made = Callable[[Server], Remote]
HINT = "use --url MIRROR, or --from-file FILE with a copy"


def test_a_file_comes_whole(
    content: bytes, remote: Made, folder: Path, told: Told, patience: Patience
) -> None:
    with Server(content) as server:
        path = download(remote(server), folder, told, patience=patience)
        assert path == folder / "file.bin"
        assert path.read_bytes() == content
        umask = os.umask(0)
        os.umask(umask)
        assert path.stat().st_mode & 0o777 == 0o666 & ~umask
        assert list(folder.iterdir()) == [path]
        assert server.requests[0].headers["Accept-Encoding"] == "identity"
        assert (told.notes, told.tracks, told.advanced) == (
            [],
            [("file.bin", len(content), "bytes")],
            len(content),
        )
        # A second time nothing is asked.
        assert download(remote(server), folder, told, patience=patience) == path
        assert len(server.requests) == 1


@pytest.mark.parametrize("known", ["md5", "size", "nothing"])
@pytest.mark.parametrize("length", [-1, None])
def test_what_is_not_published_is_not_needed(
    content: bytes, remote: Made, folder: Path, told: Told, known: str, length: int | None
) -> None:
    with Server(content, Act(length=length)) as server:
        asked = replace(
            remote(server),
            sha256=None,
            md5=hashlib.md5(content).hexdigest() if known == "md5" else None,
            size=len(content) if known == "size" else None,
        )
        path = download(asked, folder, told)
        assert path.read_bytes() == content
        assert download(asked, folder, told) == path
        assert len(server.requests) == 1


def test_an_empty_file_is_a_file(folder: Path, told: Told) -> None:
    with Server(b"") as server:
        asked = Remote(name="x", url=server.url(), size=0, sha256=hashlib.sha256(b"").hexdigest())
        assert download(asked, folder, told).read_bytes() == b""


def test_another_file_of_that_name_is_replaced_when_the_new_one_is_whole(
    content: bytes, remote: Made, folder: Path, told: Told, patience: Patience
) -> None:
    folder.mkdir(parents=True)
    (folder / "file.bin").write_bytes(b"old")
    with Server(content, Act(status=404)) as server:
        with pytest.raises(VitError):
            download(remote(server), folder, told, patience=patience)
        assert (folder / "file.bin").read_bytes() == b"old"
        assert download(remote(server), folder, told, patience=patience).read_bytes() == content


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 204, 304])
def test_a_refusal_is_told_and_not_tried_again(
    content: bytes, remote: Made, folder: Path, told: Told, status: int
) -> None:
    with Server(content, usual=Act(status=status, body=b"")) as server:
        with pytest.raises(VitError, match=rf"^{server.url()} answers {status} .*{HINT}$") as error:
            download(remote(server), folder, told)
        assert (error.value.exit_code, len(server.requests), told.notes) == (1, 1, [])


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_server_that_is_busy_is_asked_again(
    content: bytes, remote: Made, folder: Path, told: Told, patience: Patience, status: int
) -> None:
    with Server(content, *[Act(status=status)] * 3) as server:
        path = download(remote(server), folder, told, patience=patience)
        assert path.read_bytes() == content
        assert len(server.requests) == 4
        assert len(told.notes) == 3
        assert f"file.bin: {server.url()} answers {status}" in told.notes[0]


def test_pauses_double_and_tries_end(
    content: bytes, remote: Made, folder: Path, told: Told, patience: Patience
) -> None:
    patient = replace(patience, pause=0.04)
    with Server(content, usual=Act(status=503)) as server:
        with pytest.raises(
            VitError, match=r"^cannot fetch file.bin from .* answers 503 Service Unavailable; or"
        ):
            download(remote(server), folder, told, patience=patient)
        times = [request.time for request in server.requests]
    gaps = [after - before for before, after in pairwise(times)]
    assert len(gaps) == 4
    for gap, least in zip(gaps, [0.04, 0.08, 0.16, 0.32], strict=True):
        assert least <= gap < 1.25 * least + 0.2
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("asked", ["1", "99", "date"])
def test_a_server_says_when_to_come_back(
    content: bytes, remote: Made, folder: Path, told: Told, patience: Patience, asked: str
) -> None:
    if asked == "date":
        asked = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 60))
    longest = 1.3 if asked == "1" else 0.2
    with Server(content, Act(status=503, headers={"Retry-After": asked})) as server:
        download(remote(server), folder, told, patience=replace(patience, longest=longest))
        first, second = server.requests
    # One second as asked; more than we wait is cut to that.
    least = 1.0 if asked == "1" else 0.2
    assert least <= second.time - first.time < least + 0.25


def test_the_defaults_are_those_that_are_documented() -> None:
    assert Patience(connect=10, stall=30, tries=5, pause=1, longest=60) == PATIENCE


@pytest.mark.parametrize("act", [Act(cut=40_000), Act(cut=40_000, reset=True), Act(stall=40_000)])
def test_what_broke_off_goes_on(
    content: bytes, remote: Made, folder: Path, told: Told, patience: Patience, act: Act
) -> None:
    with Server(content, act) as server:
        begin = time.monotonic()
        assert download(remote(server), folder, told, patience=patience).read_bytes() == content
        assert time.monotonic() - begin < 1.5
        assert server.total <= len(content) + 40_000 * act.reset  # a reset may take bytes back
        assert len(server.requests) == 2
    assert len(told.notes) == 1


def test_tries_that_bring_something_are_not_counted(
    content: bytes, remote: Made, folder: Path, told: Told, patience: Patience
) -> None:
    with Server(content, usual=Act(cut=9_000)) as server:
        assert download(remote(server), folder, told, patience=patience).read_bytes() == content
        assert len(server.requests) == 12
        assert server.total == len(content)
    assert told.advanced == len(content)


def test_tries_that_bring_the_same_again_are_counted(
    content: bytes, remote: Made, folder: Path, told: Told, patience: Patience
) -> None:
    with Server(content, usual=Act(cut=9_000, ranges=False)) as server:
        with pytest.raises(VitError, match=r"cannot fetch file.bin .*; 0.0 MB are kept, from which"):
            download(remote(server), folder, told, patience=patience)
        assert len(server.requests) == 5


@pytest.mark.parametrize("declared", [SHORT := 99_000, LONG := 123_456])
def test_a_wrong_length_is_refused_before_it_is_read(
    content: bytes, remote: Made, folder: Path, told: Told, declared: int
) -> None:
    with Server(content, usual=Act(length=declared, pause=0.05)) as server:
        with pytest.raises(
            VerificationError, match=rf"sends {declared:,} bytes, where .* with 100,003; {HINT}"
        ):
            download(remote(server), folder, told)
        assert len(server.requests) == 1
        assert server.total < len(content) / 2
    assert not (folder / "file.bin").exists()


def test_bytes_beyond_the_end_are_refused(
    content: bytes, remote: Made, folder: Path, told: Told, patience: Patience
) -> None:
    with Server(content + bytes(2_000_000), usual=Act(length=None, pause=0.001)) as server:
        asked = replace(remote(server), size=len(content))
        with pytest.raises(VerificationError, match=r"sends more than the 100,003 bytes of file\.bin"):
            download(asked, folder, told, patience=patience)
        assert server.total < 1_000_000
    assert list(folder.iterdir()) == []


def test_too_few_bytes_of_an_unsaid_length_are_too_few(
    content: bytes, remote: Made, folder: Path, told: Told, patience: Patience
) -> None:
    with (
        Server(content[:-1], usual=Act(length=None, validators=False)) as server,
        pytest.raises(VitError, match="the answer ended after 100,002 of 100,003 bytes"),
    ):
        download(remote(server), folder, told, patience=patience)


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_wrong_checksum_is_tried_once_more(
    content: bytes, remote: Made, folder: Path, told: Told, kind: str
) -> None:
    wrong = bytes([content[0] ^ 1]) + content[1:]
    digest = getattr(hashlib, kind)
    with Server(wrong) as server:
        asked = replace(remote(server), **{"sha256": None, kind: digest(content).hexdigest()})
        with pytest.raises(VerificationError) as error:
            download(asked, folder, told)
        assert server.ranges == [None, None]
    assert error.value.exit_code == 3
    for value in (digest(content).hexdigest(), digest(wrong).hexdigest(), "100,003 bytes"):
        assert value in str(error.value)
    assert not (folder / "file.bin").exists()
    assert list(folder.iterdir()) == []


def test_one_wrong_checksum_is_forgiven(content: bytes, remote: Made, folder: Path, told: Told) -> None:
    with Server(content, Act(body=bytes(len(content)))) as server:
        assert download(remote(server), folder, told).read_bytes() == content
        assert len(server.requests) == 2
    assert len(told.notes) == 1
    assert "fetching it once more" in told.notes[0]


PAGE = b"<!DOCTYPE html><html><body>please log in</body></html>"


@pytest.mark.parametrize(
    "act",
    [
        Act(body=PAGE, headers={"Content-Type": "text/html; charset=utf-8"}),
        Act(body=PAGE + bytes(100_003 - len(PAGE))),
        Act(body=b"\xef\xbb\xbf\r\n " + PAGE, length=None),
    ],
)
def test_a_web_page_is_no_archive(content: bytes, remote: Made, folder: Path, told: Told, act: Act) -> None:
    with Server(content, usual=act) as server:
        with pytest.raises(
            VitError,
            match=r"^the server sent a web page instead of file\.bin: .*; is there a login page or proxy",
        ) as error:
            download(remote(server), folder, told)
        assert len(server.requests) == 1
    assert error.value.exit_code == 1
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("begin", [b"<", b" < 3", b"\x00<html>", b"<\x00a"])
def test_bytes_that_begin_somewhat_like_a_page_are_none(begin: bytes, folder: Path, told: Told) -> None:
    with Server(begin + bytes(10)) as server:
        path = download(Remote(name="x.bin", url=server.url()), folder, told)
        assert path.read_bytes() == begin + bytes(10)


def test_a_page_may_be_what_is_wanted(folder: Path, told: Told) -> None:
    with Server(PAGE, Act(headers={"Content-Type": "text/html"})) as server:
        assert download(Remote(name="a.html", url=server.url()), folder, told).read_bytes() == PAGE


def test_a_checked_file_is_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "copy"
    path.write_bytes(content)
    good = Remote(
        name="file.bin", url="", size=len(content), sha256=hashlib.sha256(content).hexdigest(), md5="0" * 32
    )
    check_file(path, good)
    check_file(path, replace(good, sha256=None, md5=hashlib.md5(content).hexdigest().upper()))
    for bad, both in (
        (replace(good, size=5), ["100,003", "5 are published"]),
        (replace(good, sha256="ab"), [good.sha256 or "", "ab is published"]),
        (replace(good, sha256=None), ["md5", "0" * 32]),
    ):
        with pytest.raises(VerificationError, match=re.escape(str(path))) as error:
            check_file(path, bad)
        assert all(value in str(error.value) for value in both)
    assert path.read_bytes() == content
    with pytest.raises(RequestError, match=r"cannot read .*absent: No such file"):
        check_file(tmp_path / "absent", good)


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc/passwd", "a\0b"])
def test_a_name_is_that_of_a_file_in_the_folder(name: str) -> None:
    with pytest.raises(RequestError, match="is no file name"):
        Remote(name=name, url="https://example.org/x")
