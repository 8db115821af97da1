"""A spec is valid once it is built, and knows its sizes."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from vitcli.core.spec import ModelSpec

# All sizes differ: S 15, P 5, N 9 and 4 prefix tokens, D 14, H 2, K 7, M 22.
BASE: dict[str, Any] = {
    "image_size": 15,
    "patch_size": 5,
    "num_classes": 6,
    "embed_dim": 14,
    "depth": 4,
    "num_heads": 2,
    "mlp_dim": 22,
    "tokens": {"registers": 3},
}


def spec(**changes: Any) -> ModelSpec:
    return ModelSpec.model_validate({**BASE, **changes})


def test_sizes_follow_from_the_fields() -> None:
    made = spec()
    assert (made.grid, made.prefix_tokens, made.num_tokens) == (3, 4, 13)
    assert (made.head_dim, made.patch_dim) == (7, 75)
    assert spec(in_channels=1).patch_dim == 25
    assert spec(tokens={"class_token": False}, pool="mean").num_tokens == 9


@pytest.mark.parametrize(("slots", "rows"), [("all", 13), ("class", 10), ("patches", 9)])
def test_position_slots_count_the_tokens_that_have_one(slots: str, rows: int) -> None:
    assert spec(tokens={"registers": 3, "position_slots": slots}).position_slots == rows


def test_gated_mlp_has_twice_the_first_outputs() -> None:
    assert spec().fc1_dim == 22
    assert spec(mlp={"activation": "swiglu"}).fc1_dim == 44


def test_class_token_beside_the_mean_is_twice_as_wide() -> None:
    assert [spec(pool=pool).pool_dim for pool in ("cls", "mean", "cls_mean", "map")] == [14, 14, 28, 14]


def test_drop_path_rises_linearly_to_the_last_block() -> None:
    made = spec(drop={"path": 0.3})
    # Tolerance: two roundings in float64.
    assert [made.drop_path_rate(block) for block in range(4)] == pytest.approx([0, 0.1, 0.2, 0.3], abs=1e-15)
    assert spec(depth=1, drop={"path": 0.3}).drop_path_rate(0) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 17}, "image_size=17 is not a multiple of patch_size=5.*15 or 20"),
        ({"image_size": 3}, "image_size=3 is not a multiple of patch_size=5.*sizes: 5"),
        ({"embed_dim": 15}, "embed_dim=15 is not a multiple of num_heads=2.*14 or 16"),
        ({"tokens": {"class_token": False}}, "pool='cls' reads the class token.*pool='mean'"),
        ({"tokens": {"class_token": False}, "pool": "cls_mean"}, "pool='cls_mean' reads the class token"),
        ({"tokens": {"positions": "sincos2d"}}, "sincos2d.*not 14; nearest widths: 12 or 16"),
        ({"embed_dim": 4, "tokens": {"positions": "sincos2d"}}, "sincos2d.*at least 8, not 4"),
        (
            {"attention": {"output_projection": False}, "lora": {"rank": 2, "targets": ["proj"]}},
            "lora.targets: 'proj' is left out by attention.output_projection=false",
        ),
        ({"linear": "sequence"}, "'sequence' needs attention.output_projection=false, not true"),
        (
            {"linear": "sequence", "attention": {"output_projection": False, "merge": "raw"}},
            "'sequence' needs attention.merge=feature, not raw",
        ),
    ],
)
def test_impossible_combinations_are_told_with_what_is_possible(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        spec(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 14},
        {"tokens": {"register": 3}},
        {"depth": 0},
        {"depth": -1},
        {"depth": True},
        {"depth": "4"},
        {"depth": 4.0},
        {"in_channels": 0},
        {"pool": "max"},
        {"mlp": {"activation": "silu"}},
        {"drop": {"path": 1.0}},
        {"drop": {"path": -0.1}},
        {"drop": {"path": float("nan")}},
        {"norm": {"eps": 0.0}},
        {"norm": {"eps": 1.0}},
        {"layer_scale": float("inf")},
        {"head": {"pre_logits": 0}},
        {"tokens": {"registers": -1}},
    ],
    ids=str,
)
def test_unknown_keys_and_wrong_values_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        spec(**changes)


@pytest.mark.parametrize("field", [name for name in BASE if name != "tokens"])
def test_the_sizes_have_no_default(field: str) -> None:
    with pytest.raises(ValidationError, match=f"{field}\n *Field required"):
        ModelSpec.model_validate({key: value for key, value in BASE.items() if key != field})


def test_a_whole_number_serves_as_a_real_one() -> None:
    assert spec(layer_scale=1).layer_scale == 1.0


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        spec().depth = 5  # type: ignore[misc]
