"""Models of the Hub: what is asked, what is kept, and one line for each way to fail."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.fetch.child import Told
from tests.hub.conftest import MODEL
from tests.hub.server import COMMIT, Hub
from vitcli.core.errors import RequestError, VerificationError, VitError
from vitcli.hub.huggingface import _bars, cached, fetch, is_id

WEIGHTS = "model.safetensors"


def test_weights_come_with_what_describes_them(
    hub: Hub, told: Told, files: dict[str, bytes], hub_cache: Path
) -> None:
    path = fetch(MODEL, told)
    assert path == hub_cache / "models--someone--vit-tiny" / "snapshots" / COMMIT / WEIGHTS
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == files
    assert hub.bodies == ["config.json", WEIGHTS]
    assert hub.tokens == {None}
    # The first file says which commit the branch is at; all others are of that one.
    assert set(hub.revisions[:3]) == {"main"}
    assert set(hub.revisions[3:]) == {COMMIT}
    # One bar a file, in our reporter; none of theirs (which would write to stderr).
    sizes = [(f"{MODEL}: {name}", len(content), "bytes") for name, content in files.items()]
    assert told.tracks == sizes
    assert told.advanced == sum(map(len, files.values()))


def test_one_bar_where_the_library_would_draw_two(told: Told) -> None:
    """For chunked storage (Xet) it makes one of bytes on their way and one of bytes written, at the same time."""
    with ExitStack() as stack:
        kind = _bars("a file", told, stack)
        first, second = kind(desc="theirs", total=10, unit="B"), kind(total=10, position=1)
        with first:
            first.update(4)
            second.update(4)
            first.update_transfer(4)
            first.set_postfix_str("4 B/s", refresh=False)
            first.close()
    assert (told.tracks, told.advanced) == ([("a file", 10, "bytes")], 4)
    assert callable(kind.update_transfer)  # by which it knows that one bar is enough


def test_the_cache_is_enough(hub: Hub, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cached(MODEL) is None
    path = fetch(MODEL, told)
    asked = len(hub.asked)
    assert cached(MODEL) == path
    assert len(hub.asked) == asked
    monkeypatch.setenv("VIT_OFFLINE", "1")
    assert fetch(MODEL, told) == path
    monkeypatch.delenv("VIT_OFFLINE")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(MODEL, told) == path
    assert len(hub.asked) == asked


def test_half_a_model_in_the_cache_is_completed(hub: Hub, told: Told, files: dict[str, bytes]) -> None:
    from huggingface_hub import hf_hub_download

    hf_hub_download(MODEL, WEIGHTS)  # as another program does
    assert cached(MODEL) is None
    path = fetch(MODEL, told)
    assert (path.parent / "config.json").read_bytes() == files["config.json"]
    assert hub.bodies == [WEIGHTS, "config.json"]


def test_what_is_whole_serves_where_the_hub_is_gone(
    hub: Hub, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fetch(MODEL, told)
    hub.faults.update(dict.fromkeys(("config.json", WEIGHTS), "busy"))
    assert fetch(MODEL, told) == path


def test_another_place_and_revision(hub: Hub, told: Told, tmp_path: Path, hub_cache: Path) -> None:
    path = fetch(MODEL, told, revision="v1", root=tmp_path / "mine")
    assert path.is_relative_to(tmp_path / "mine")
    assert not hub_cache.exists()
    assert cached(MODEL, revision="v1", root=tmp_path / "mine") == path
    assert cached(MODEL, root=tmp_path / "mine") is None


@pytest.mark.parametrize(
    "name", ["adapter_model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin"]
)
def test_other_names_of_weights(hub: Hub, told: Told, name: str) -> None:
    described = {"adapter_model": "adapter_config.json", "open_clip_model": "open_clip_config.json"}
    beside = {text: b"{}" for stem, text in described.items() if name.startswith(stem)}
    hub.models["someone/other"] = {name: b"weights" * 1000, **beside}
    path = fetch("someone/other", told)
    assert path.read_bytes() == b"weights" * 1000
    assert {file.name for file in path.parent.iterdir()} == {name, *beside}
    assert cached("someone/other") == path


def test_a_broken_connection_is_gone_on_with(
    hub: Hub,
    told: Told,
    files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.faults[WEIGHTS] = "cut"
    path = fetch(MODEL, told)
    assert path.read_bytes() == files[WEIGHTS]
    whole = len(files[WEIGHTS]) // 2 // 1000
    asked = [wanted for method, name, wanted in hub.asked if (method, name) == ("GET", WEIGHTS)]
    assert asked == [None, f"bytes={1000 * whole}-"]
    assert told.advanced == sum(map(len, files.values()))
    assert capfd.readouterr() == ("", "")  # the library has its own words for it


def test_other_bytes_than_the_hub_says(hub: Hub, told: Told, files: dict[str, bytes]) -> None:
    hub.faults[WEIGHTS] = "other"
    with pytest.raises(VerificationError) as caught:
        fetch(MODEL, told)
    size = len(files[WEIGHTS])
    for part in (hashlib.sha256(bytes(size)).hexdigest(), hashlib.sha256(files[WEIGHTS]).hexdigest(), MODEL):
        assert part in str(caught.value)
    del hub.faults[WEIGHTS]
    assert fetch(MODEL, told).read_bytes() == files[WEIGHTS]  # nothing of the first try is left


@pytest.mark.parametrize(
    ("fault", "kind", "parts"),
    [
        ("page", VitError, ("login page", "HF_ENDPOINT")),
        ("short", VitError, ("incomplete", "again")),
    ],
)
def test_wrong_answers(
    hub: Hub, told: Told, fault: str, kind: type[VitError], parts: tuple[str, ...]
) -> None:
    hub.faults[WEIGHTS] = fault
    _refused(kind, told, MODEL, WEIGHTS, *parts)
    assert cached(MODEL) is None


def test_models_that_cannot_be_had(hub: Hub, told: Told) -> None:
    _refused(
        RequestError, told, "someone/gone", "no model someone/gone", "HF_TOKEN", hub.url, repo="someone/gone"
    )
    hub.gated = frozenset({MODEL})
    _refused(RequestError, told, MODEL, "terms", f"{hub.url}/{MODEL}", "HF_TOKEN")
    hub.models["someone/empty"] = {"README.md": b"nothing"}
    _refused(RequestError, told, "holds none of model.safetensors", "pytorch_model.bin", repo="someone/empty")


def test_an_unknown_revision(hub: Hub, told: Told) -> None:
    with pytest.raises(RequestError, match=f"{MODEL} has no revision v7; "):
        fetch(MODEL, told, revision="v7")


@pytest.mark.parametrize("variable", ["VIT_OFFLINE", "HF_HUB_OFFLINE"])
def test_no_network_is_used_where_that_is_said(
    hub: Hub, told: Told, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", variable == "HF_HUB_OFFLINE")
    _refused(VitError, told, f"{MODEL} is not in the cache", variable, f"vit weights fetch {MODEL}")
    assert hub.asked == []


def test_a_cache_that_cannot_be_written(hub: Hub, told: Told, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RequestError, match="cannot write .*file/cache"):
        fetch(MODEL, told, root=tmp_path / "file" / "cache")


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("google/vit-base-patch16-224", True),
        ("timm/vit_base_patch16_224.augreg2_in21k_ft_in1k", True),
        ("vit-base", False),
        ("a/b/c", False),
        ("/a/b", False),
        ("../b", False),
        ("a/..", False),
        ("a/b..c", False),
        ("./b", False),
        ("a/", False),
        ("a b/c", False),
        ("a/" + 95 * "b", False),
    ],
)
def test_ids(text: str, is_one: bool) -> None:
    assert is_id(text) == is_one


def _refused(kind: type[VitError], told: Told, *parts: str, repo: str = MODEL) -> None:
    with pytest.raises(kind) as caught:
        fetch(repo, told)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message
