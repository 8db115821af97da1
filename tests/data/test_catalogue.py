"""The table of known sets is complete and says nothing twice; names and sizes lead where they should."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vitcli.core.errors import DataError
from vitcli.core.recipe import DataSpec
from vitcli.data.catalogue import CATALOGUE, Known, lookup
from vitcli.data.releases import packed
from vitcli.data.sources import open_source
from vitcli.jobs.drafts import provisional, recipe_draft

FETCHED = [
    Known(entry=e, size=size, release=made) for e in CATALOGUE.values() for size, made in e.sizes.items()
]


def test_what_is_fetched() -> None:
    assert {known.entry.name for known in FETCHED} == {
        *("imagenette", "imagewoof", "cifar10", "cifar100", "mnist", "fashion-mnist"),
        *("pets", "flowers102", "food101", "stl10", "tiny-imagenet"),
    }
    assert [known.name for known in FETCHED if known.size] == [
        *("imagenette", "imagenette-160", "imagenette-full", "imagewoof", "imagewoof-160", "imagewoof-full")
    ]


@pytest.mark.parametrize("known", FETCHED, ids=lambda known: known.name)
def test_a_release_is_pinned(known: Known) -> None:
    release = known.release
    assert release is not None
    for file in release.files:
        assert file.url.startswith("https://")
        assert file.url.endswith(f"/{file.name}")
        assert file.size is not None and file.size > 0
        assert re.fullmatch("[0-9a-f]{64}", file.sha256 or "")
    assert len({file.name for file in release.files}) == len(release.files)
    archives = [file for file in release.files if packed(file.name)]
    # Everything that comes out was in, so less than all cannot come out but by compression below one half.
    assert release.size * 0.9 < release.unpacked < 2 * release.size
    assert release.suffix == release.suffix.lower()
    assert release.count == len(release.files) if not archives else release.count > 0
    assert known.entry.license and known.entry.citation
    assert known.obtain == f"vit datasets fetch {known.name}"


def test_no_checksum_is_there_twice() -> None:
    found = [file.sha256 for known in FETCHED if known.release for file in known.release.files]
    assert len(set(found)) == len(found) == 24


def test_counts_agree_with_the_text() -> None:
    for name, parts in {
        "imagenette": (9469, 3925),
        "imagewoof": (9025, 3929),
        "food101": (75750, 25250),
    }.items():
        entry = CATALOGUE[name]
        assert all(release.count == sum(parts) for release in entry.sizes.values())
        assert all(f"{part:,}" in entry.images for part in parts)


@pytest.mark.parametrize(
    ("source", "name", "size"),
    [
        ("imagenette", "imagenette", "320"),
        ("imagenette-320", "imagenette", "320"),
        ("imagenette-160", "imagenette-160", "160"),
        ("imagewoof-full", "imagewoof-full", "full"),
        ("fashion-mnist", "fashion-mnist", ""),
        ("tiny-imagenet", "tiny-imagenet", ""),
        ("digits", "digits", ""),
    ],
)
def test_lookup(source: str, name: str, size: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIT_DATA", str(tmp_path))
    known = lookup(source)
    assert known is not None
    assert (known.name, known.size, known.folder) == (name, size, tmp_path / name)
    assert known.release is known.entry.sizes.get(size)


@pytest.mark.parametrize(
    "source", ["", "-", "imagenette-", "imagenette-64", "cifar10-", "cifar10-160", "-160"]
)
def test_what_is_not_known(source: str) -> None:
    assert lookup(source) is None


def test_a_size_is_read_from_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIT_DATA", str(tmp_path / "sets"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        DataError, match=r"not at .*/sets/imagenette-160; .* vit datasets fetch imagenette-160"
    ):
        open_source(DataSpec(source="imagenette-160"), seed=0)
    for part in ("train", "val"):
        for label in ("n01440764", "n02102040"):
            (tmp_path / "sets" / "imagenette-160" / part / label).mkdir(parents=True)
            (tmp_path / "sets" / "imagenette-160" / part / label / "1.JPEG").touch()
    found = open_source(DataSpec(source="imagenette-160"), seed=0)
    assert {part: len(examples) for part, examples in found.parts.items()} == {"train": 2, "validation": 2}
    assert not (tmp_path / "sets" / "imagenette").exists()


def test_a_size_tells_the_number_of_classes() -> None:
    assert provisional(recipe_draft("folder", [], data="imagewoof-160")).model.num_classes == 10
    assert provisional(recipe_draft("folder", [], data="pets")).model.num_classes == 37
