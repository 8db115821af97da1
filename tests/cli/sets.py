"""Small archives laid out as the real ones are, known to the catalogue for one test, and a server on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from tests.fetch.archives import PACKERS, tar_of, zip_of
from vitcli.data.releases import Release
from vitcli.fetch.remote import Remote


def photos(root: str, suffix: str = "JPEG") -> dict[str, bytes]:
    """Twelve files in class folders; their content is their name."""
    names = [
        f"{root}/{part}/n{label}/{n}.{suffix}" for part in ("train", "val") for label in "012" for n in "ab"
    ]
    return {name: name.encode() for name in names}


def tgz(files: Mapping[str, bytes]) -> bytes:
    """A tar.gz."""
    return PACKERS["gz"](tar_of(files))


# Of each kind of layout one set: the name of the catalogue, its files, how many must come out, and their ending.
LAYOUTS: dict[str, tuple[dict[str, bytes], int, str]] = {
    "imagenette": (
        {"imagenette2-320.tgz": tgz({**photos("imagenette2-320"), "imagenette2-320/noisy.csv": b"x"})},
        12,
        ".jpeg",
    ),
    "imagenette-160": ({"imagenette2-160.tgz": tgz(photos("imagenette2-160"))}, 12, ".jpeg"),
    "cifar10": ({"cifar-10-binary.tar.gz": tgz({f"cifar/{n}.bin": b"1" for n in "123456"})}, 6, ".bin"),
    "mnist": ({f"{n}-ubyte.gz": PACKERS["gz"](n.encode()) for n in ("ti", "tl", "ei", "el")}, 4, ".gz"),
    "pets": (
        {
            "images.tar.gz": tgz({"images/a_1.jpg": b"1", "images/._a_1.jpg": b"2"}),
            "annotations.tar.gz": tgz({"annotations/list.txt": b"a_1 1 1 1\n"}),
        },
        1,
        ".jpg",
    ),
    "flowers102": (
        {"102flowers.tgz": tgz({"jpg/image_1.jpg": b"1"}), "imagelabels.mat": b"MAT1", "setid.mat": b"MAT2"},
        1,
        ".jpg",
    ),
    "tiny-imagenet": ({"tiny-imagenet-200.zip": zip_of(photos("tiny-imagenet-200"))}, 12, ".jpeg"),
}


def release(files: Mapping[str, bytes], count: int, suffix: str) -> Release:
    """What would be published of some files, at an address that does not exist."""
    remotes = [
        Remote(
            name=name,
            url=f"https://sets.invalid/{name}",
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        )
        for name, data in files.items()
    ]
    return Release(files=tuple(remotes), unpacked=1_000_000, count=count, suffix=suffix)


def unpinned(made: Release) -> Release:
    """A release of which neither size nor checksum is published."""
    return replace(made, files=tuple(replace(file, size=None, sha256=None) for file in made.files))


@contextmanager
def serving(files: Mapping[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """A server of files at `/sets/NAME`: its address, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            data = files.get(self.path.removeprefix("/sets/"))
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/sets", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
