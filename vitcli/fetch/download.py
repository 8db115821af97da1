"""Downloads that resume, wait, and end with a whole and verified file, or with none and one line why."""

from __future__ import annotations

import random
import re
import shutil
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from vitcli.core.errors import RequestError, VerificationError, VitError
from vitcli.core.reporter import Reporter
from vitcli.fetch.lock import only_one
from vitcli.fetch.partial import Origin, Partial, claim, partial_path, writing
from vitcli.fetch.remote import Remote, check_file
from vitcli.fetch.web import (
    ELSEWHERE,
    PATIENCE,
    PassingError,
    Patience,
    answer,
    check_url,
    new_client,
    offline,
    shown,
)

if TYPE_CHECKING:
    import httpx

__all__ = ["PATIENCE", "Patience", "Remote", "check_file", "download"]

# Seconds after which a first try without any connection is the last: a user without network waits no longer.
_SOON = 3.0
_MARKUP = re.compile(rb"(\xef\xbb\xbf)?\s*<[!?a-zA-Z]")
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")


def download(
    remote: Remote,
    folder: Path,
    reporter: Reporter,
    *,
    patience: Patience = PATIENCE,
    needed: int = 0,
    elsewhere: str = ELSEWHERE,
) -> Path:
    """Returns `folder/remote.name`, whole and verified; at once where it is there already.

    What an earlier run has brought is kept in the folder and not fetched again.

    Args:
        remote: What is published.
        folder: Made if absent.
        reporter: Is told what is waited for, and how far the download is.
        patience: How long to wait and how often to try.
        needed: Further bytes of room that will be wanted, as for unpacking.
        elsewhere: Where else the user may get the file; the end of messages.

    Raises:
        VitError: the network or the disk fails, or is not to be used; what came is kept for the next run.
        VerificationError: what is served is not what is published.
        RequestError: the URL is not allowed, or nothing can be written in the folder.
    """
    target = folder / remote.name
    with writing(folder):
        if _there(target, remote):
            return target
        check_url(remote.url)
        if variable := offline():
            raise VitError(
                f"{target} is not here, and {variable} is set: {shown(remote.url)} is not asked; unset it, or "
                f"{elsewhere}"
            )
        part = partial_path(target)
        kept = part.stat().st_size if part.is_file() else 0
        _check_room(folder, (remote.size or 0) - kept + needed)
        folder.mkdir(parents=True, exist_ok=True)
    with only_one(target, reporter):
        if not _there(target, remote):
            with claim(target, remote) as partial:
                _Download(remote, partial, reporter, patience, needed, elsewhere).run()
                partial.finish(target)
    return target


class _Download:
    """One file on its way: what is asked, how often it failed, how far it came."""

    def __init__(
        self,
        remote: Remote,
        partial: Partial,
        reporter: Reporter,
        patience: Patience,
        needed: int,
        elsewhere: str,
    ) -> None:
        self._remote, self._partial, self._reporter = remote, partial, reporter
        self._patience, self._needed, self._elsewhere = patience, needed, elsewhere
        self._failures, self._furthest, self._reached = 0, partial.size, False
        self._began = time.monotonic()

    def run(self) -> None:
        """Completes the partial file; bytes that are not the published ones are fetched once more."""
        if self._partial.size:
            self._reporter.note(f"{self._remote.name}: going on after {_megabytes(self._partial.size)}")
        if fault := self._completed():
            self._reporter.note(
                f"{self._remote.name} is not the published one: {fault}; fetching it once more"
            )
            self._partial.restart()
            self._furthest = 0
            if fault := self._completed():
                self._partial.restart()
                raise VerificationError(
                    f"{self._remote.name} from {shown(self._remote.url)} is not the published one: {fault}, twice; "
                    f"{self._elsewhere}"
                )

    def _completed(self) -> str | None:
        """Receives until all is there; returns how it differs from what is published, if it does."""
        partial = self._partial
        if partial.size == 0 or partial.size != partial.total:
            with new_client(self._patience) as client:
                while True:
                    try:
                        if self._receive(client):
                            break
                    except PassingError as failure:
                        self._pause(failure)
        return self._remote.mismatch(partial.size, partial.digest)

    def _pause(self, failure: PassingError) -> None:
        """Waits before the next try.

        Raises:
            VitError: there is none.
        """
        patience, name = self._patience, self._remote.name
        self._reached |= failure.reached
        if self._partial.size > self._furthest:
            self._failures, self._furthest = 0, self._partial.size
        self._failures += 1
        late = time.monotonic() - self._began > _SOON
        tries = patience.tries if self._reached else 1 if late else min(2, patience.tries)
        if self._failures >= tries:
            kept = self._partial.size if self._partial.shared else 0
            raise VitError(
                f"cannot fetch {name} from {shown(self._remote.url)}: {failure}"
                f"{f'; {_megabytes(kept)} are kept, from which the same command goes on' if kept else ''}; "
                f"or {self._elsewhere}"
            ) from failure
        seconds = patience.pause * 2 ** (self._failures - 1) * random.uniform(1, 1.25)
        seconds = max(seconds, failure.wait)
        self._reporter.note(f"{name}: {failure}; trying again in {seconds:.0f} s")
        time.sleep(seconds)

    def _receive(self, client: httpx.Client) -> bool:
        """Asks for what is missing and takes it; returns False where it has to be asked for from the start."""
        partial, remote = self._partial, self._remote
        headers = {}
        if not partial.worth_keeping(partial.size):
            partial.restart()
        if partial.size:
            headers["Range"] = f"bytes={partial.size}-"
            if partial.validator:
                headers["If-Range"] = partial.validator
        with answer(client, remote.url, headers, self._patience, self._elsewhere) as response:
            self._reached = True
            begin, total = _extent(response)
            if response.status_code == 416:
                if partial.size == total == (partial.total or total):
                    return True
                partial.restart()
                return False
            self._check_page(response.headers.get("Content-Type", ""))
            self._check_total(total)
            if response.status_code == 206 and not self._goes_on(response, begin, total):
                partial.restart()
                return False
            if response.status_code == 200:
                partial.begin(_origin(remote, response, total))
                self._check_room_for(total)
            self._take(response, total if partial.total is None else partial.total)
            return True

    def _take(self, response: httpx.Response, total: int | None) -> None:
        """Writes the body; no more of it than is expected."""
        partial, name = self._partial, self._remote.name
        left = max(0, (total or 0) - partial.size)
        with self._reporter.track(name, left, "bytes") as advance:
            for piece in response.iter_raw():
                if partial.size == 0:
                    self._check_page(piece=piece)
                if total is not None and partial.size + len(piece) > total:
                    partial.restart()
                    raise VerificationError(
                        f"{shown(self._remote.url)} sends more than the {total:,} bytes of {name}; {self._elsewhere}"
                    )
                partial.append(piece)
                advance(len(piece))
        if total is not None and partial.size < total:
            raise PassingError(f"the answer ended after {partial.size:,} of {total:,} bytes")

    def _goes_on(self, response: httpx.Response, begin: int | None, total: int | None) -> bool:
        """Whether a part of a file is the one that was asked for, and of the same file."""
        partial = self._partial
        tag, ours = response.headers.get("ETag"), partial.origin
        same = not (partial.validator and ours and ours.etag and tag) or tag == ours.etag
        return begin == partial.size and same and (None in (total, partial.total) or total == partial.total)

    def _check_total(self, total: int | None) -> None:
        """Refuses a file of another size before any of it is fetched."""
        if self._remote.size is not None and total is not None and total != self._remote.size:
            raise VerificationError(
                f"{shown(self._remote.url)} sends {total:,} bytes, where {self._remote.name} was published with "
                f"{self._remote.size:,}; {self._elsewhere}"
            )

    def _check_page(self, kind: str = "", piece: bytes = b"") -> None:
        """Refuses the page of a login or of an error that comes as if it were the file."""
        name = self._remote.name
        page = kind.partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml")
        markup = _MARKUP.match(piece) is not None
        if (page or markup) and not name.lower().endswith((".html", ".htm", ".xhtml", ".xml", ".svg")):
            raise VitError(
                f"the server sent a web page instead of {name}: {shown(self._remote.url)}; "
                f"is there a login page or proxy between? Else {self._elsewhere}"
            )

    def _check_room_for(self, total: int | None) -> None:
        if self._remote.size is None and total is not None:
            _check_room(self._partial.path.parent, total + self._needed)


def _there(target: Path, remote: Remote) -> bool:
    """Whether a file is there already; by its size alone where that is published."""
    try:
        if target.is_dir():
            raise RequestError(f"{target} is a folder, where the file {remote.name} is to be; move it away")
        if not target.is_file():
            return False
        if remote.size is not None:
            return target.stat().st_size == remote.size
        check_file(target, remote)
    except VerificationError:
        return False
    return True


def _extent(response: httpx.Response) -> tuple[int | None, int | None]:
    """Returns where an answer begins in the file, and the bytes of the whole file, as far as it says."""
    if response.status_code == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if found is None:
        return None, None
    begin, total = found.groups()
    return int(begin) if begin else None, None if total == "*" else int(total)


def _origin(remote: Remote, response: httpx.Response, total: int | None) -> Origin:
    headers = response.headers
    return Origin(
        url=remote.url,
        size=remote.size if remote.size is not None else total,
        etag=headers.get("ETag"),
        last_modified=headers.get("Last-Modified"),
        host=socket.gethostname(),
    )


def _check_room(folder: Path, needed: int) -> None:
    """Refuses to begin what cannot end.

    Raises:
        VitError: with the bytes that are needed and those that are free.
    """
    place = folder.absolute()
    while not place.is_dir() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > free:
        raise VitError(
            f"{folder} needs {_megabytes(needed)} more, {_megabytes(free)} are free; "
            f"make room, or choose another folder"
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
