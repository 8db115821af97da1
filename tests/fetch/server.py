"""A web server on this machine that fails in the ways it is told, and counts the bytes it sends."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

# Bytes written at a time: what a killed client leaves unread is little.
PIECE = 8192
_AHEAD = 8 * PIECE


@dataclass(frozen=True, kw_only=True)
class Act:
    """How one request is answered; by default as it should be.

    status, body: another answer than the file; headers: added, or (None) left out
    cut: bytes of the body after which the connection ends; reset: by a reset
    stall: bytes of the body after which nothing comes any more
    ranges: whether Range is obeyed; shift: bytes by which a part begins elsewhere
    length: what Content-Length says, None for chunks of a length unknown
    pause: seconds between pieces
    """

    status: int | None = None
    body: bytes | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    cut: int | None = None
    reset: bool = False
    stall: int | None = None
    ranges: bool = True
    validators: bool = True
    shift: int = 0
    length: int | None = -1
    pause: float = 0.0


@dataclass(frozen=True)
class Request:
    """What was asked, and when."""

    path: str
    headers: Mapping[str, str]
    time: float


class Server:
    """Serves one content at every path; the acts are played in order, then the last `usual` one for ever."""

    def __init__(self, content: bytes, *acts: Act, usual: Act | None = None, tls: Path | None = None) -> None:
        self.content, self.etag = content, '"first"'
        self.acts, self.usual = deque(acts), usual or Act()
        self.requests: list[Request] = []
        self.sent: defaultdict[str, int] = defaultdict(int)
        self.over, self.gate = threading.Event(), threading.Event()
        self.gate.set()  # cleared by a test that wants all bodies to wait
        # What a client has of a path: no more than _AHEAD bytes are then under way to it.
        self.has: Callable[[str], int] | None = None
        self.lock = threading.Lock()
        self._http = _Threads(("127.0.0.1", 0), _handler(self))
        self._scheme = "http"
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
            self._scheme = "https"
        self.port = self._http.server_port
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def url(self, path: str = "/file.bin", *, host: str = "127.0.0.1") -> str:
        """Where a path is served."""
        return f"{self._scheme}://{host}:{self.port}{path}"

    @property
    def total(self) -> int:
        """Bytes of bodies sent so far."""
        with self.lock:
            return sum(self.sent.values())

    @property
    def ranges(self) -> list[str | None]:
        """What each request asked for."""
        return [request.headers.get("Range") for request in self.requests]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self._http.shutdown()
        self._http.server_close()


class _Threads(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news."""


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            # Bytes that wait in a buffer of the system would count as sent.
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE)
            super().setup()

        def do_GET(self) -> None:
            with server.lock:
                server.requests.append(Request(self.path, dict(self.headers), time.monotonic()))
                act = server.acts.popleft() if server.acts else server.usual
            self.close_connection = True
            status, body, headers = self._answer(act)
            self.send_response(status)
            for name, value in {**headers, **act.headers}.items():
                if value is not None:
                    self.send_header(name, value)
            self.end_headers()
            self._send(act, body, chunked=act.length is None)

        def _answer(self, act: Act) -> tuple[int, bytes, dict[str, str]]:
            content, headers = server.content, {"Connection": "close"}
            if act.status is not None or act.body is not None:
                body = b"no" if act.body is None else act.body
                return act.status or 200, body, {**headers, **self._length(act, body)}
            if act.validators:
                headers["ETag"] = server.etag
            found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            same = self.headers.get("If-Range", server.etag) == server.etag
            if not (found and act.ranges and same):
                return 200, content, {**headers, **self._length(act, content)}
            begin = int(found[1]) + act.shift
            if begin >= len(content):
                return (
                    416,
                    b"",
                    {**headers, "Content-Range": f"bytes */{len(content)}", "Content-Length": "0"},
                )
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            return 206, content[begin:], {**headers, **self._length(act, content[begin:])}

        def _length(self, act: Act, body: bytes) -> dict[str, str]:
            if act.length is None:
                return {"Transfer-Encoding": "chunked"}
            return {"Content-Length": str(len(body) if act.length == -1 else act.length)}

        def _send(self, act: Act, body: bytes, *, chunked: bool) -> None:
            server.gate.wait(20)
            at = len(server.content) - len(body)
            for piece in _pieces(body, [stop for stop in (act.cut, act.stall) if stop is not None]):
                self._wait_for_client(at)
                at += len(piece)
                with server.lock:
                    server.sent[self.path] += len(piece)
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
                if act.pause:
                    time.sleep(act.pause)
            if act.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            elif act.stall is not None:
                server.over.wait(20)
            elif chunked and act.cut is None:
                self.wfile.write(b"0\r\n\r\n")

        def _wait_for_client(self, at: int) -> None:
            end = time.monotonic() + 1  # it may have been killed
            while server.has and at - server.has(self.path) > _AHEAD and time.monotonic() < end:
                time.sleep(0.002)

        def log_message(self, format: str, *args: object) -> None:
            """Tells nothing."""

    return Handler


def _pieces(body: bytes, stops: list[int]) -> Iterable[bytes]:
    end = min([len(body), *stops])
    return (body[at : min(at + PIECE, end)] for at in range(0, end, PIECE))
