"""What tests of downloads share."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path

import certifi
import pytest

from tests.fetch.child import Told
from tests.fetch.server import Server
from vitcli.fetch.download import Patience, Remote

SIZE = 100_003


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One authority to trust: to read the hundred of the usual file takes longer than a download here."""
    path = tmp_path_factory.mktemp("tls") / "one.pem"
    first, end, _ = Path(certifi.where()).read_text(encoding="utf-8").partition("-----END CERTIFICATE-----\n")
    path.write_text(first + end, encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def _plain_network(authority: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def content() -> bytes:
    return random.Random(0).randbytes(SIZE)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def patience() -> Patience:
    """Short waits, so that a failure costs milliseconds."""
    return Patience(connect=2.0, stall=0.3, tries=5, pause=0.005, longest=0.2)


@pytest.fixture
def remote(content: bytes) -> Callable[[Server], Remote]:
    """The file as a server offers it, with all that is published of it."""

    def made(server: Server) -> Remote:
        return Remote(
            name="file.bin",
            url=server.url(),
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )

    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that does not exist yet."""
    return tmp_path / "data" / "file"
