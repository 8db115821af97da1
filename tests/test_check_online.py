"""The check of the table of releases, against a server on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from bench.check_online import main
from tests.cli.sets import LAYOUTS, release, serving
from vitcli.data.catalogue import CATALOGUE


def checked(monkeypatch: pytest.MonkeyPatch, served: Mapping[str, bytes] | None, *arguments: str) -> int:
    """Runs the check of flowers102, whose files lie on a server here (or, None, on one that is gone)."""
    made = release(*LAYOUTS["flowers102"])
    with serving(served or {}) as (url, _):
        here = tuple(replace(file, url=f"{url}/{file.name}") for file in made.files)
        entry = replace(CATALOGUE["flowers102"], sizes={"": replace(made, files=here)})
        monkeypatch.setitem(CATALOGUE, "flowers102", entry)
        if served is not None:
            return main(["flowers102", *arguments])
    return main(["flowers102", *arguments])


def test_check_online(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    files = LAYOUTS["flowers102"][0]
    assert (checked(monkeypatch, files), checked(monkeypatch, files, "--full")) == (0, 0)
    assert capsys.readouterr().out.count("as published") == 6
    other = {**files, "setid.mat": b"MAT?"}
    assert (checked(monkeypatch, other), checked(monkeypatch, other, "--full")) == (0, 3)
    assert "sha256" in capsys.readouterr().out
    longer = {**files, "setid.mat": b"longer"}
    assert (checked(monkeypatch, longer), checked(monkeypatch, longer, "--full")) == (3, 3)
    assert "the server has 6 bytes" in capsys.readouterr().out
    del longer["setid.mat"]
    assert (checked(monkeypatch, longer), checked(monkeypatch, longer, "--full")) == (3, 3)
    assert "the server answers 404" in capsys.readouterr().out
    assert checked(monkeypatch, None) == 1
    assert "no server was reached" in capsys.readouterr().err
