"""Names stand for the published sizes."""

from __future__ import annotations

import pytest

from vitcli.core.errors import RecipeError
from vitcli.core.parameters import count
from vitcli.core.spec import ModelSpec
from vitcli.core.variants import variant


# Totals with 1,000 classes. B, L, H: `num_params` of torchvision's weights (vision_transformer.py);
# Ti, S: timm's results/model_metadata-in1k.csv and DeiT's table 1 (5.7 M, 22.1 M).
@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("Ti/16", 5_717_416),
        ("S/16", 22_050_664),
        ("B/16", 86_567_656),
        ("B/32", 88_224_232),
        ("L/16", 304_326_632),
        ("L/32", 306_535_400),
        ("H/14", 632_045_800),
    ],
)
def test_a_variant_has_the_published_number_of_parameters(name: str, total: int) -> None:
    assert count(ModelSpec(image_size=224, num_classes=1000, **variant(name))) == total


def test_g14_has_the_published_size() -> None:
    # Zhai et al. 2022 (arXiv:2106.04560), table 2: width 1408, depth 40, MLP 6144, heads 16, 1011 M parameters
    # without the ImageNet head; ours has a head of 1,000 classes (1.4 M) and a class token.
    total = count(ModelSpec(image_size=224, num_classes=1000, **variant("g/14")))
    assert total == pytest.approx(1011e6, rel=2e-3)


def test_the_number_behind_the_slash_is_the_patch() -> None:
    assert variant("S/7") == {**variant("S/16"), "patch_size": 7}


@pytest.mark.parametrize("name", ["S", "S/", "S/0", "S/x", "S/-1", "S/1.5", "S/１６", "S/16/2"])
def test_a_variant_needs_a_patch_size(name: str) -> None:
    with pytest.raises(RecipeError, match=r"needs a patch size, as in S/16"):
        variant(name)


def test_an_unknown_size_is_told_with_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"variant 'XL/16' is not known.*Ti, S, B, L, H, g"):
        variant("XL/16")
