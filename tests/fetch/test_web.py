"""Where a download may go, and how it ends where no network is."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fetch.child import Told
from tests.fetch.server import Act, Server
from vitcli.core.errors import RequestError, VitError
from vitcli.fetch.download import Patience, Remote, download
from vitcli.fetch.web import check_url, shown

Made = Callable[[Server], Remote]


def to(place: str, status: int = 302) -> Act:
    """A redirect."""
    return Act(status=status, headers={"Location": place})


@contextmanager
def closed_port() -> Iterator[int]:
    """A port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that never answers: its queue of waiting connections is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        time.sleep(0.05)
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/x.tgz",
        "https://example.org:8443/x?y=1",
        "http://127.0.0.1:8000/x",
        "http://127.9.9.9/x",
        "http://[::1]:80/x",
        "http://localhost/x",
        "HTTP://LOCALHOST/x",
    ],
)
def test_https_and_this_machine_are_allowed(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/x",
        "http://localhost.example.org/x",
        "http://127.0.0.1.example.org/x",
        "http://127.0.0.1@example.org/x",
        "http://10.0.0.1/x",
        "http://0.0.0.0/x",
        "ftp://example.org/x",
        "file:///etc/passwd",
        "example.org/x",
        "https://",
        "https:///x",
        "https://example.org:port/x",
        "",
    ],
)
def test_other_urls_are_refused(url: str, folder: Path, told: Told) -> None:
    with pytest.raises(
        RequestError, match=r"^url=.*: expected https://HOST/PATH \(http only on this machine\)"
    ):
        download(Remote(name="x", url=url), folder, told)
    assert not folder.exists()


def test_what_is_told_of_a_url_holds_no_secret() -> None:
    assert shown("https://user:secret@example.org/a/b.tgz?token=secret#x") == "https://example.org/a/b.tgz"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(content: bytes, remote: Made, folder: Path, told: Told, status: int) -> None:
    with Server(content, to("/a", status), to("b?c=1", status), Act(cut=50_000)) as server:
        server.acts.extend([to("//127.0.0.1:%d/d" % server.port, status)])  # noqa: UP031 - as it is written
        patience = Patience(stall=0.3, pause=0)
        assert download(remote(server), folder, told, patience=patience).read_bytes() == content
        assert [request.path for request in server.requests] == [
            "/file.bin",
            "/a",
            "/b?c=1",
            "/file.bin",
            "/d",
        ]
        assert server.ranges == [None, None, None, "bytes=50000-", "bytes=50000-"]


def test_redirects_end(content: bytes, remote: Made, folder: Path, told: Told) -> None:
    with Server(content, *[to(f"/{number}") for number in range(10)]) as server:
        assert download(remote(server), folder, told).read_bytes() == content
    (folder / "file.bin").unlink()
    with Server(content, usual=to("/again")) as server:
        with pytest.raises(VitError, match=r"redirects more than 10 times; use --url MIRROR"):
            download(remote(server), folder, told)
        assert len(server.requests) == 11


@pytest.mark.parametrize(
    "place",
    ["http://example.invalid/x", "http://10.0.0.1/x", "ftp://127.0.0.1/x", "file:///etc/passwd", "http://["],
)
def test_a_redirect_to_anything_but_https_is_refused(
    content: bytes, remote: Made, folder: Path, told: Told, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(content, to(place)) as server:
        connect, hosts = socket.create_connection, []

        def watched(address: tuple[str, int], *rest: object, **more: object) -> object:
            hosts.append(address[0])
            return connect(address, *rest, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(socket, "create_connection", watched)
        with pytest.raises(VitError, match=r"redirects to .*, where only https is followed"):
            download(remote(server), folder, told)
        assert hosts == ["127.0.0.1"]
    assert told.notes == []


def test_a_refusal_after_a_redirect_names_both(
    content: bytes, remote: Made, folder: Path, told: Told
) -> None:
    with Server(content, to("/gone?token=secret"), Act(status=404)) as server:
        with pytest.raises(VitError, match=r"/gone, to which .*/file.bin redirects answers 404") as error:
            download(remote(server), folder, told)
        assert "secret" not in str(error.value)


def test_a_proxy_of_the_environment_is_used(
    content: bytes, remote: Made, folder: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(content) as proxy, closed_port() as port:
        monkeypatch.setenv("http_proxy", proxy.url(""))
        asked = replace(remote(proxy), url=f"http://localhost:{port}/x")
        assert download(asked, folder, told).read_bytes() == content
        assert proxy.requests[0].path == f"http://localhost:{port}/x"


@pytest.mark.parametrize("proxy", ["foo://127.0.0.1", "http://127.0.0.1:port"])
def test_a_proxy_that_is_none_is_told(
    content: bytes, remote: Made, folder: Path, told: Told, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with (
        Server(content) as server,
        pytest.raises(RequestError, match=r"^cannot go to the network as the environment says \(.*ALL_PROXY"),
    ):
        download(remote(server), folder, told)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate that no authority has signed."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    )
    extra = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(path), "-out", f"{path}.crt"]
    try:
        subprocess.run([*command.split(), *extra], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"openssl makes no certificate here: {error}")
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


def test_a_certificate_that_nobody_signed_is_refused(
    content: bytes, remote: Made, folder: Path, told: Told, certificate: Path
) -> None:
    with Server(content, tls=certificate) as server:
        asked = replace(remote(server), url=server.url(host="localhost"))
        with pytest.raises(
            VitError, match=r"^localhost cannot be trusted: self.signed certificate.*SSL_CERT_FILE"
        ):
            download(asked, folder, told)
        assert server.requests == []
    assert told.notes == []


def test_https_is_never_left_for_http(
    content: bytes, remote: Made, folder: Path, told: Told, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
    with Server(content, tls=certificate) as server, Server(content) as plain:
        asked = replace(remote(server), url=server.url(host="localhost"))
        server.acts.append(to(plain.url()))
        with pytest.raises(VitError, match=r"redirects to http://.*, where only https is followed"):
            download(asked, folder, told)
        assert plain.requests == []
        plain.acts.append(to(asked.url))  # the other way is an improvement
        assert download(replace(asked, url=plain.url()), folder, told).read_bytes() == content


def test_without_network_it_ends_soon(folder: Path, told: Told) -> None:
    for_all = "; or use --url MIRROR, or --from-file FILE with a copy"
    begin = time.monotonic()
    with closed_port() as port, pytest.raises(VitError) as error:
        download(Remote(name="x.tgz", url=f"http://127.0.0.1:{port}/x"), folder, told)
    assert time.monotonic() - begin < 3
    assert error.value.exit_code == 1
    assert str(error.value) == (
        f"cannot fetch x.tgz from http://127.0.0.1:{port}/x: "
        f"cannot connect with 127.0.0.1: Connection refused{for_all}"
    )
    assert told.notes == ["x.tgz: cannot connect with 127.0.0.1: Connection refused; trying again in 1 s"]


def test_an_unknown_name_ends_soon(folder: Path, told: Told) -> None:
    begin = time.monotonic()
    with pytest.raises(
        VitError, match=r"cannot connect with name\.invalid: |no connection with name\.invalid"
    ):
        download(
            Remote(name="x.tgz", url="https://name.invalid/x"), folder, told, patience=Patience(pause=0.1)
        )
    assert time.monotonic() - begin < 14
    assert len(told.notes) <= 1


@pytest.mark.parametrize("slow", ["connection", "name"])
def test_a_black_hole_is_left_in_time(
    folder: Path, told: Told, slow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if slow == "name":
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(2))
    # The default is to give up after 3 seconds; here a thousandth.
    monkeypatch.setattr("vitcli.fetch.download._SOON", 0.003)
    begin = time.monotonic()
    with black_hole() as port, pytest.raises(VitError, match=r"no connection with 127\.0\.0\.1 in 0\.4 s"):
        download(
            Remote(name="x", url=f"http://127.0.0.1:{port}/x"), folder, told, patience=Patience(connect=0.4)
        )
    assert time.monotonic() - begin < 0.9
    assert told.notes == []


def test_a_connection_once_made_is_worth_all_tries(
    content: bytes, remote: Made, folder: Path, told: Told, patience: Patience
) -> None:
    with Server(content, Act(cut=50_000)) as server:
        asked = remote(server)

        class Ending(Told):
            def note(self, text: str) -> None:
                super().note(text)
                server.__exit__(None, None, None)

        ending = Ending()
        with pytest.raises(VitError, match=r"0\.1 MB are kept, from which the same command goes on"):
            download(asked, folder, ending, patience=patience)
        assert len(ending.notes) == 4
    assert (folder / ".file.bin.part").read_bytes() == content[:50_000]
