"""One answer from the network: https alone, redirects followed by hand, failures that may pass told apart."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

from vitcli.core.errors import RequestError, VitError

if TYPE_CHECKING:
    import httpx

ELSEWHERE = "use --url MIRROR, or --from-file FILE with a copy"
_REDIRECTS = 10
# The server may do better later (RFC 9110, section 15; RFC 6585, section 4).
_PASSING = frozenset({408, 429, *range(500, 600)})


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to wait for a network, in seconds, and how often to try.

    Args:
        connect: From the name of a host to a connection with it.
        stall: Between two pieces of an answer.
        tries: In a row that bring nothing new.
        pause: Before the second try; doubled before each further one.
        longest: What a server may ask us to wait (Retry-After).
    """

    connect: float = 10.0
    stall: float = 30.0
    tries: int = 5
    pause: float = 1.0
    longest: float = 60.0


PATIENCE = Patience()


class PassingError(Exception):
    """A failure that another try may not meet.

    Args:
        reason: What happened.
        wait: Seconds that the server asks for.
        reached: Whether anything had answered.
    """

    def __init__(self, reason: str, *, wait: float = 0.0, reached: bool = True) -> None:
        super().__init__(reason)
        self.wait, self.reached = wait, reached


def new_client(patience: Patience) -> httpx.Client:
    """Returns a client that asks for bytes as they are, through the proxies that the environment names.

    Raises:
        RequestError: the environment names a proxy or a certificate that cannot be used.
    """
    import httpx

    # A host may have two addresses of which the first one is a black hole: half of the time for each.
    limits = httpx.Timeout(patience.stall, connect=patience.connect / 2)
    headers = {"Accept-Encoding": "identity", "User-Agent": "vitcli"}
    try:
        return httpx.Client(timeout=limits, headers=headers)
    except (ValueError, ImportError, OSError, httpx.InvalidURL) as error:
        names = [name for name in os.environ if name.lower().endswith(("_proxy", "ssl_cert_file"))]
        raise RequestError(
            f"cannot go to the network as the environment says ({', '.join(sorted(names))}): {error}"
        ) from error


def check_url(url: str) -> None:
    """Refuses what is neither https nor http on this machine.

    Raises:
        RequestError: with the URL and what is allowed.
    """
    import httpx

    try:
        # Read by the library that will connect: two readers may find different hosts in one text.
        parts = httpx.URL(url)
        allowed = bool(parts.host) and (parts.scheme == "https" or (parts.scheme == "http" and _here(parts)))
    except httpx.InvalidURL:
        allowed = False
    if not allowed:
        raise RequestError(f"url={shown(url)}: expected https://HOST/PATH (http only on this machine)")


def offline() -> str | None:
    """Returns the name of the variable that forbids to use the network, where it is set."""
    said = os.environ.get("VIT_OFFLINE", "").strip().lower()
    return None if said in ("", "0", "false", "no", "off") else "VIT_OFFLINE"


def shown(url: str) -> str:
    """Returns a URL as it may be told: without a user's name, password, or the tokens of a query."""
    bare = url.partition("#")[0].partition("?")[0]
    scheme, mark, rest = bare.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"


@contextmanager
def answer(
    client: httpx.Client,
    url: str,
    headers: Mapping[str, str],
    patience: Patience,
    elsewhere: str = ELSEWHERE,
) -> Iterator[httpx.Response]:
    """Yields what a server answers: status 200, or 206 or 416 where a range was asked for; its body unread.

    `elsewhere` says where else the user may get it.

    Raises:
        PassingError: no connection, no whole answer, or a status that may pass.
        VitError: any other answer, or a redirect to where we do not go.
    """
    import httpx

    try:
        response = _followed(client, url, headers, patience, elsewhere)
        with contextlib.closing(response):
            _check_status(response, url, patience, elsewhere, ranged="Range" in headers)
            yield response
    except (httpx.TimeoutException, httpx.NetworkError, httpx.ProxyError, httpx.RemoteProtocolError) as error:
        raise _passing(error, patience, elsewhere) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise VitError(f"cannot fetch {shown(url)}: {error}; {elsewhere}") from error


def _followed(
    client: httpx.Client, url: str, headers: Mapping[str, str], patience: Patience, elsewhere: str
) -> httpx.Response:
    at = url
    for _ in range(_REDIRECTS + 1):
        check_url(at)
        response = _sent(client, client.build_request("GET", at, headers=headers), patience.connect)
        if not response.has_redirect_location:
            return response
        response.close()
        at = _next(at, response.headers["Location"], elsewhere)
    raise VitError(f"{shown(url)} redirects more than {_REDIRECTS} times; {elsewhere}")


def _next(at: str, location: str, elsewhere: str) -> str:
    """Returns where a redirect leads."""
    import httpx

    url = location
    try:
        url = str(httpx.URL(at).join(location))
        check_url(url)
        # What comes from elsewhere may not send us to this machine's own plain http either.
        safe = url.startswith("https:") or at.startswith("http:")
    except (httpx.InvalidURL, RequestError):
        safe = False
    if not safe:
        raise VitError(f"{shown(at)} redirects to {shown(url)}, where only https is followed; {elsewhere}")
    return url


def _sent(client: httpx.Client, request: httpx.Request, limit: float) -> httpx.Response:
    """Returns the head of an answer; `limit` seconds may pass until there is a connection.

    By a thread, since the resolver of names knows no time limit and does not hear Ctrl-C.
    """
    import httpx

    told: SimpleQueue[httpx.Response | Exception | None] = SimpleQueue()

    def trace(event: str, _: Mapping[str, Any]) -> None:
        if event.endswith("send_request_headers.started"):
            told.put(None)

    def send() -> None:
        try:
            told.put(client.send(request, stream=True))
        except Exception as error:
            told.put(error)

    request.extensions["trace"] = trace
    Thread(target=send, daemon=True).start()
    try:
        got = told.get(timeout=limit)
    except Empty as error:
        raise httpx.ConnectTimeout("", request=request) from error
    while got is None:  # connected: from here on the client's own limits hold
        got = told.get()
    if isinstance(got, Exception):
        raise got
    return got


def _check_status(
    response: httpx.Response, url: str, patience: Patience, elsewhere: str, *, ranged: bool
) -> None:
    status = response.status_code
    if status == 200 or (ranged and status in (206, 416)):
        return
    told = f"{status} {response.reason_phrase}".rstrip()
    if status in _PASSING:
        asked = _seconds(response.headers.get("Retry-After", ""))
        raise PassingError(
            f"{shown(str(response.url))} answers {told}", wait=min(max(0.0, asked), patience.longest)
        )
    at = shown(str(response.url))
    by = "" if at == shown(url) else f", to which {shown(url)} redirects"
    raise VitError(f"{at}{by} answers {told}; {elsewhere}")


def _seconds(retry_after: str) -> float:
    """Returns the seconds that a Retry-After header asks for: a number or a date (RFC 9110, section 10.2.3)."""
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        return parsedate_to_datetime(retry_after).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _passing(error: httpx.RequestError, patience: Patience, elsewhere: str) -> PassingError | VitError:
    """Returns a failed transfer in words."""
    import httpx

    host, causes = error.request.url.host, list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return VitError(
                f"{host} cannot be trusted: {cause.verify_message}; behind a proxy with certificates of its own "
                f"set SSL_CERT_FILE, else {elsewhere}"
            )
    if isinstance(error, httpx.ConnectTimeout):
        return PassingError(f"no connection with {host} in {patience.connect:g} s", reached=False)
    if isinstance(error, httpx.TimeoutException):
        return PassingError(f"nothing came from {host} for {patience.stall:g} s")
    if isinstance(error, httpx.ConnectError | httpx.ProxyError):
        return PassingError(f"cannot connect with {host}: {_reason(causes)}", reached=False)
    return PassingError(f"the connection with {host} broke: {_reason(causes)}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reason(causes: list[BaseException]) -> str:
    for cause in causes:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return str(causes[0]) or type(causes[0]).__name__


def _here(url: httpx.URL) -> bool:
    """Whether a URL's host is this machine, by its name or number."""
    try:
        return ipaddress.ip_address(url.host).is_loopback
    except ValueError:
        return url.host == "localhost"
