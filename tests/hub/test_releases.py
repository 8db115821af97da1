"""The table of releases agrees with itself and with the libraries that publish the facts in it."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from vitcli.hub.fetch import _remote
from vitcli.hub.huggingface import is_id
from vitcli.hub.releases import RELEASES, Named, Release, lookup


def test_names_and_sources_are_unique() -> None:
    assert all(name == release.name for name, release in RELEASES.items())
    assert len({release.source for release in RELEASES.values()}) == len(RELEASES)
    assert len(RELEASES) == 44 + 26 + 19 + 8 + 10


@pytest.mark.parametrize("release", RELEASES.values(), ids=RELEASES)
def test_rows_are_sound(release: Release) -> None:
    assert is_id(release.source) or re.fullmatch(r"https://[\w.]+/[\w./-]+\.(npz|pth)", release.source)
    assert release.layout in get_args(Named)
    assert 5_000_000 < release.parameters < 1_200_000_000
    assert release.image_size in (224, 384, 512, 518)
    assert not is_id(release.name)
    assert lookup(release.source) == release


def test_timm_publishes_the_same() -> None:
    models = pytest.importorskip("timm.models")
    rows = [release for release in RELEASES.values() if release.layout == "timm"]
    known = set(models.list_pretrained())
    for release in rows:
        assert release.name in known
        told = models.get_pretrained_cfg(release.name)
        assert told.hf_hub_id == release.source
        assert told.hf_hub_filename is None
        assert (told.input_size[1], told.license) == (release.image_size, release.license)


def test_google_and_dinov2_are_where_timm_says() -> None:
    models = pytest.importorskip("timm.models")
    told = {models.get_pretrained_cfg(name).url for name in models.list_pretrained()}
    rows = [release for release in RELEASES.values() if release.layout in ("google", "dinov2")]
    assert len(rows) == 27
    assert {release.source for release in rows} <= told


def test_torchvision_publishes_the_same() -> None:
    module = pytest.importorskip("torchvision.models.vision_transformer")
    told = {
        weights.url: weights
        for name in dir(module)
        if name.endswith("_Weights")
        for weights in getattr(module, name)
    }
    rows = {release.source: release for release in RELEASES.values() if release.layout == "torchvision"}
    assert set(rows) == set(told)
    for url, release in rows.items():
        weights = told[url]
        model = weights.__class__.__name__.removesuffix("_Weights").lower()
        assert release.name == f"{model}.{weights.name}"
        assert release.parameters == weights.meta["num_params"]
        assert release.image_size == weights.meta["min_size"][0]
        assert bool(release.license) == ("license" in weights.meta)
        digits = _remote(url).sha256
        assert digits and len(digits) == 8 and url.endswith(f"-{digits}.pth")


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
        "vit_base_patch16_siglip_224.webli",
        "vit_base_patch16_clip_224.openai",
        "vit_small_patch14_reg4_dinov2.lvd142m",
    ],
)
def test_parameters_are_counted(name: str) -> None:
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    with torch.device("meta"):
        model = timm.create_model(name, pretrained=False)
    assert sum(values.numel() for values in model.parameters()) == RELEASES[name].parameters


def test_one_model_counts_the_same_wherever_it_is_published() -> None:
    same = [
        ("vit_base_patch16_224.augreg_in21k_ft_in1k", "augreg-b16-in21k-ft-in1k-224", "vit-base-patch16-224"),
        ("vit_base_patch16_224.augreg_in21k", "augreg-b16-in21k"),
        ("dinov2_vitb14_reg", "dinov2-with-registers-base"),
        ("dinov2_vitg14", "dinov2-giant"),
        ("vit_base_patch16_224.mae", "vit-mae-base"),
        ("deit_tiny_patch16_224.fb_in1k", "deit-tiny-patch16-224", "augreg-ti16-in21k-ft-in1k-224"),
    ]
    for names in same:
        assert len({RELEASES[name].parameters for name in names}) == 1, names
