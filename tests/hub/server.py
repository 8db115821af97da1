"""The part of the Hub's protocol that a download speaks, on this machine, with the faults it is told to have.

HEAD and GET of /OWNER/NAME/resolve/REVISION/FILE; large files redirect to /cdn/SHA256, as on the Hub.
"""

from __future__ import annotations

import hashlib
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 4096


@dataclass
class Hub:
    """Models by id, each with its files; faults by the name of a file.

    faults: `page` (a web page instead of the Hub), `short` (a body that ends too soon, and says so), `cut` (one
        whose connection ends once, in the middle), `other` (other bytes, as many), `busy` (status 500)
    gated: models whose terms nobody has accepted
    """

    models: dict[str, dict[str, bytes]]
    faults: dict[str, str] = field(default_factory=dict)
    gated: frozenset[str] = frozenset()
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    revisions: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """What HF_ENDPOINT is to be."""
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def storage(self) -> str:
        """Where large files are: another host, whose redirects a client does not follow when it asks for a head."""
        return f"http://localhost:{self._http.server_port}"

    @property
    def bodies(self) -> list[str]:
        """The files whose bytes were asked for, in order."""
        return [name for method, name, _ in self.asked if method == "GET"]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def _serve(self) -> None:
        self.close_connection = True
        path = self.path.partition("?")[0]
        if found := re.fullmatch(r"/cdn/([0-9a-f]{64})/(.+)", path):
            model = next(m for m in self.hub.models.values() if found[2] in m)
            self._send(found[2], model[found[2]])
            return
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if found is None:
            self._answer(404, b"")
            return
        repo, revision, name = found.groups()
        self.hub.revisions.append(revision)
        self.hub.tokens.add(self.headers.get("Authorization"))
        if self.hub.faults.get(name) == "page":
            self.hub.asked.append((self.command, name, None))
            self._answer(200, b"<!doctype html><p>Please log in</p>", {"Content-Type": "text/html"})
        elif self.hub.faults.get(name) == "busy":
            self.hub.asked.append((self.command, name, None))
            self._answer(500, b"")
        elif repo not in self.hub.models:
            self._answer(401, b"", {"X-Error-Code": "RepoNotFound"})
        elif repo in self.hub.gated:
            self._answer(403, b"", {"X-Error-Code": "GatedRepo"})
        elif revision not in ("main", "v1", COMMIT):
            self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif name not in self.hub.models[repo]:
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        else:
            self._file(name, self.hub.models[repo][name])

    def _file(self, name: str, content: bytes) -> None:
        headers = {"X-Repo-Commit": COMMIT}
        if len(content) < LARGE:
            headers["ETag"] = f'"{hashlib.sha1(content).hexdigest()}"'
            self._send(name, content, headers)
            return
        digest = hashlib.sha256(content).hexdigest()
        headers |= {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        if self.command == "HEAD":
            self.hub.asked.append(("HEAD", name, None))
        self._answer(302, b"", {**headers, "Location": f"{self.hub.storage}/cdn/{digest}/{name}"})

    def _send(self, name: str, content: bytes, headers: dict[str, str] | None = None) -> None:
        wanted = self.headers.get("Range")
        self.hub.asked.append((self.command, name, wanted))
        begin = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        body = content[begin:]
        headers = dict(headers or {})
        if wanted:
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        fault = self.hub.faults.get(name) if self.command == "GET" else None
        cut = None
        if fault == "short":
            body = body[:-7]
        elif fault == "other":
            body = bytes(len(body))
        elif fault == "cut" and not wanted:
            cut = len(body) // 2
            del self.hub.faults[name]
        self._answer(206 if wanted else 200, body, headers, cut)

    def _answer(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, cut: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body if cut is None else body[:cut])

    def log_message(self, format: str, *args: object) -> None:
        """Tells nothing."""
