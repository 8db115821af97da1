"""What tests of pretrained weights share: the Hub on this machine, and a cache of the test's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.fetch.child import Told
from tests.hub.server import Hub

GOLDEN = Path(__file__).parents[1] / "golden" / "peers"
MODEL = "someone/vit-tiny"


@pytest.fixture(autouse=True)
def _plain_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("HF_TOKEN", "VIT_OFFLINE"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hugging Face's cache, read from the environment once for a process: told to the library, and to children."""
    home = tmp_path / "huggingface"
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    return home / "hub"


@pytest.fixture
def files() -> dict[str, bytes]:
    """A model as Hugging Face's library writes one, without a `preprocessor_config.json`."""
    return {name: (GOLDEN / "hf_vit" / name).read_bytes() for name in ("config.json", "model.safetensors")}


@pytest.fixture
def hub(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub({MODEL: files}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield hub


@pytest.fixture
def told() -> Told:
    return Told()
