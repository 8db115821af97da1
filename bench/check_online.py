"""Compares the table of releases with what is served: every address and size, and with --full every checksum.

    make check-online            a few kilobytes
    make check-online FULL=1     all archives, 13 GB: each is read once, and none is kept

Exit code 0: all as in the table; 3: something differs; 1: no network.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import httpx

from vitcli.data.catalogue import CATALOGUE
from vitcli.fetch.remote import Remote

_WAIT = httpx.Timeout(30.0, connect=10.0)


def main(arguments: list[str] | None = None) -> int:
    """Prints a row for each file, and returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="download everything and compare checksums")
    parser.add_argument("names", nargs="*", metavar="NAME", help="these sets alone")
    options = parser.parse_args(arguments)
    wrong = unreached = rows = 0
    headers = {"Accept-Encoding": "identity"}
    with httpx.Client(follow_redirects=True, timeout=_WAIT, headers=headers) as client:
        for name, remote in _files(options.names):
            rows += 1
            try:
                fault = checksum_fault(client, remote) if options.full else size_fault(client, remote)
            except httpx.TransportError as error:
                fault = f"not reached ({type(error).__name__}: {error})"
                unreached += 1
            wrong += fault is not None
            print(
                f"{name:<16} {remote.name:<28} {remote.size or 0:>13,}  {fault or 'as published'}", flush=True
            )
    if rows and unreached == rows:
        print("no server was reached: is there a network here?", file=sys.stderr)
        return 1
    print(f"{rows} files, {wrong} not as in the table")
    return 3 if wrong else 0


def size_fault(client: httpx.Client, remote: Remote) -> str | None:
    """Returns how what is served differs in size, asked for without its content."""
    answer = client.head(remote.url)
    length = answer.headers.get("Content-Length")
    if answer.status_code != 200 or length is None:  # some servers answer no HEAD: ask for one byte
        with client.stream("GET", remote.url, headers={"Range": "bytes=0-0"}) as answer:
            whole = answer.headers.get("Content-Range", "").rpartition("/")[2]
            length = whole or answer.headers.get("Content-Length")
    if answer.status_code not in (200, 206):
        return f"the server answers {answer.status_code}"
    if answer.url.scheme != "https" and answer.url.host != "127.0.0.1":
        return f"sent on to {answer.url}, without encryption"
    if length != str(remote.size):
        return f"the server has {length} bytes"
    return None


def checksum_fault(client: httpx.Client, remote: Remote) -> str | None:
    """Returns how what is served differs in content, read to its end."""
    digest, size = remote.new_digest(), 0
    with client.stream("GET", remote.url) as answer:
        if answer.status_code != 200:
            return f"the server answers {answer.status_code}"
        for piece in answer.iter_raw():
            digest.update(piece)
            size += len(piece)
    return remote.mismatch(size, digest)


def _files(names: list[str]) -> Iterator[tuple[str, Remote]]:
    for entry in CATALOGUE.values():
        for release in entry.sizes.values():
            if not names or entry.name in names:
                yield from ((entry.name, remote) for remote in release.files)


if __name__ == "__main__":
    sys.exit(main())
