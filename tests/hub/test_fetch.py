"""Weights at an address: kept by address, held to the digits in their name, gone on with."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.fetch.child import Told
from tests.fetch.server import Act, Server
from vitcli.core.errors import RequestError, VerificationError, VitError
from vitcli.data.places import cache_root
from vitcli.fetch.download import Patience, Remote, download
from vitcli.hub.fetch import cached, choose, fetch, find_wanted
from vitcli.hub.releases import RELEASES

CONTENT = b"not weights, but bytes " * 4000
DIGITS = hashlib.sha256(CONTENT).hexdigest()[:8]
WRONG = "0" * 8 if DIGITS != "0" * 8 else "1" * 8


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    patience = Patience(connect=2, stall=0.3, tries=2, pause=0.005)
    monkeypatch.setitem(download.__kwdefaults__ or {}, "patience", patience)


def test_a_file_is_kept_in_the_cache_by_its_address(told: Told) -> None:
    with Server(CONTENT) as server:
        first, second = choose(server.url("/a/B_16.npz")), choose(server.url("/b/B_16.npz"))
        assert cached(first) is None
        found = fetch(first, told)
        assert found.path.name == "B_16.npz"
        assert found.path.is_relative_to(cache_root() / "weights")
        assert (found.path.read_bytes(), found.size) == (CONTENT, len(CONTENT))
        assert cached(first) == found.path
        assert cached(second) is None
        assert fetch(first, told) == found
        assert len(server.requests) == 1
        assert fetch(second, told).path != found.path


def test_another_place(told: Told, tmp_path: Path) -> None:
    with Server(CONTENT) as server:
        wanted = choose(server.url("/B_16.npz"))
        path = fetch(wanted, told, root=tmp_path).path
    assert path.is_relative_to(tmp_path)
    assert cached(wanted, root=tmp_path) == path
    assert cached(wanted) is None


def test_digits_in_a_name_are_those_of_the_file(told: Told) -> None:
    with Server(CONTENT) as server:
        right, wrong = choose(server.url(f"/vit-{DIGITS}.pth")), choose(server.url(f"/vit-{WRONG}.pth"))
        assert fetch(right, told).path.read_bytes() == CONTENT
        with pytest.raises(VerificationError) as caught:
            fetch(wrong, told)
        assert cached(wrong) is None
    message = str(caught.value)
    assert hashlib.sha256(CONTENT).hexdigest() in message
    assert f"{WRONG} is published" in message
    assert message.endswith("give the path of a copy where a name is asked for")


@pytest.mark.parametrize(
    "name", ["vit-base.pth", "vit-1234567.pth", "deadbeefcafe.pth", "ti_16-i21k-lr_0.001.npz"]
)
def test_other_names_hold_no_digits(told: Told, name: str) -> None:
    with Server(CONTENT) as server:
        assert fetch(choose(server.url(f"/{name}")), told).size == len(CONTENT)


def test_a_download_is_gone_on_with(told: Told) -> None:
    with Server(CONTENT, Act(cut=30_000), Act(cut=0)) as server:
        wanted = choose(server.url("/B_16.npz"))
        with pytest.raises(VitError, match="are kept, from which the same command goes on"):
            fetch(wanted, told)
        assert cached(wanted) is None
        assert fetch(wanted, told).path.read_bytes() == CONTENT
        assert server.ranges[-1] == "bytes=30000-"


@pytest.mark.parametrize(
    ("act", "parts"),
    [
        (Act(status=404), ("answers 404", "give the path of a copy")),
        (Act(body=b"<html>log in</html>"), ("a web page instead of B_16.npz", "give the path of a copy")),
        (Act(status=302, headers={"Location": "ftp://x/y"}), ("only https", "give the path of a copy")),
        (Act(cut=0), ("cannot fetch B_16.npz", "give the path of a copy")),
    ],
)
def test_wrong_answers(told: Told, act: Act, parts: tuple[str, ...]) -> None:
    with Server(CONTENT, usual=act) as server:
        wanted = choose(server.url("/B_16.npz"))
        with pytest.raises(VitError) as caught:
            fetch(wanted, told)
        assert cached(wanted) is None
    assert type(caught.value) is VitError
    for part in parts:
        assert part in str(caught.value)
    assert "--url" not in str(caught.value)


def test_no_network_is_used_where_that_is_said(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(CONTENT) as server:
        wanted, other = choose(server.url("/B_16.npz")), choose(server.url("/other.npz"))
        path = fetch(wanted, told).path
        monkeypatch.setenv("VIT_OFFLINE", "1")
        assert fetch(wanted, told).path == path
        with pytest.raises(VitError, match="other.npz is not here, and VIT_OFFLINE is set: .*give the path"):
            fetch(other, told)
        assert len(server.requests) == 1
        monkeypatch.setenv("VIT_OFFLINE", "0")
        fetch(other, told)


def test_data_sets_stay_off_the_network_too(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIT_OFFLINE", "yes")
    with Server(CONTENT) as server, pytest.raises(VitError, match="VIT_OFFLINE is set.*--from-file"):
        download(Remote(name="set.tgz", url=server.url()), tmp_path, told)
    assert server.requests == []


def test_what_a_name_stands_for() -> None:
    for name in ("vit_base_patch16_224.dino", "timm/vit_base_patch16_224.dino"):
        assert choose(name).release == RELEASES["vit_base_patch16_224.dino"]
    address = RELEASES["vit_b_16.IMAGENET1K_V1"].source
    assert choose(address).name == "vit_b_16.IMAGENET1K_V1"
    assert find_wanted("someone/else") is not None
    assert find_wanted("nobody") is None
    with pytest.raises(
        RequestError, match=r"'dinov2-bse' is no known release \(did you mean 'dinov2-base'\?\)"
    ):
        choose("dinov2-bse")
    with pytest.raises(RequestError, match=r"mean 'vit_b_32.IMAGENET1K_V1'\?"):
        choose("vit_b_32")
    with pytest.raises(
        RequestError, match=r"mean 'vit_small_patch16_224\.\w+' or 'vit_small_patch16_224.dino'\?"
    ):
        choose("vit_small_patch16_224")


@pytest.mark.parametrize(
    "url", ["http://example.com/a.npz", "ftp://example.com/a.npz", "https://example.com/"]
)
def test_addresses_that_are_not_followed(told: Told, url: str) -> None:
    with pytest.raises(RequestError):
        fetch(choose(url), told)


def test_a_file_has_no_revisions(told: Told) -> None:
    with pytest.raises(RequestError, match="--revision v1"):
        fetch(choose("https://example.com/a.npz"), told, revision="v1")
