"""Weights made those of a model of other sizes, channels and classes: what changes, what stays, what is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.models import OPTIONS, random_weights, spec_of
from vitcli.core.errors import RecipeError, WeightsError
from vitcli.core.initial import InitSpec
from vitcli.core.spec import ModelSpec
from vitcli.weights.adapt import adapt, adapted_card, channels, shared_rows
from vitcli.weights.header import Card, Preprocess
from vitcli.weights.initial import initial_weights
from vitcli.weights.resample import KERNELS, POSITIONS, resized_kernel, resized_positions

NAMES = ("ant", "bee", "cat", "dog", "eel", "fox")
SEEN = Preprocess(fit="crop", size=20, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


def card_of(spec: ModelSpec, classes: tuple[str, ...] = NAMES, seen: Preprocess = SEEN) -> Card:
    """The card of a model of six classes."""
    return Card(spec=spec, classes=classes, preprocess=seen, source="test")


@pytest.mark.parametrize("option", OPTIONS)
def test_nothing_changes_where_nothing_is_asked(option: str) -> None:
    spec = spec_of(option)
    weights = random_weights(spec)
    found, notes = adapt(weights, card_of(spec), card_of(spec))
    assert notes == []
    assert list(found) == list(weights)
    assert all(found[name] is value for name, value in weights.items())


@pytest.mark.parametrize("option", sorted(set(OPTIONS) - {"whole sequence", "whole sequence, otherwise"}))
def test_only_what_a_size_touches_changes(option: str) -> None:
    spec = spec_of(option)
    weights, before = (
        random_weights(spec),
        card_of(spec, seen=SEEN.model_copy(update={"mean": (0.5,), "std": (0.5,)})),
    )
    changes = [
        "model.image_size=28",
        "model.patch_size=7",
        f"model.in_channels={3 if spec.in_channels == 1 else 1}",
    ]
    wanted = adapted_card(before, changes)
    found, notes = adapt(weights, before, wanted)
    assert {name: value.shape for name, value in found.items()} == {
        name: value.shape for name, value in initial_weights(wanted.spec, 0).items()
    }
    changed = {name for name, value in found.items() if value is not weights[name]}
    learned = spec.tokens.positions == "learned"
    assert changed == {"patch_embed.proj.weight"} | ({"pos_embed"} if learned else set())
    assert sum(note.startswith("positions: 3x3 -> 4x4, ") for note in notes) == (
        spec.tokens.positions != "none"
    )
    assert len(notes) == 3 + (spec.tokens.positions != "none")
    assert wanted.preprocess.size == round(20 * 28 / 15)
    if learned:
        prefix = spec.position_slots - 9
        expected = resized_positions(weights["pos_embed"], prefix, 4, POSITIONS["timm"])
        np.testing.assert_array_equal(found["pos_embed"], expected)
        np.testing.assert_array_equal(found["pos_embed"][:, :prefix], weights["pos_embed"][:, :prefix])
    kernel = channels(
        resized_kernel(weights["patch_embed.proj.weight"], 7, KERNELS["timm"]), wanted.spec.in_channels
    )
    np.testing.assert_array_equal(found["patch_embed.proj.weight"], kernel)


def test_the_variant_is_that_of_the_recipe() -> None:
    spec = spec_of("registers")
    weights, before = random_weights(spec), card_of(spec)
    wanted = adapted_card(before, ["model.image_size=25", "model.patch_size=5"])
    found, notes = adapt(weights, before, wanted, init=InitSpec(resample="torchvision"))
    expected = resized_positions(weights["pos_embed"], 4, 5, POSITIONS["torchvision"])
    np.testing.assert_array_equal(found["pos_embed"], expected)
    assert notes == [
        "positions: 3x3 -> 5x5, resampled as torchvision does, 4 in front kept",
        "images: size 20 -> 33",
    ]
    bilinear = adapted_card(before, ["model.patch_size=3"])
    found, _ = adapt(weights, before, bilinear, init=InitSpec(resample="big_vision"))
    kernel = resized_kernel(weights["patch_embed.proj.weight"], 3, KERNELS["bilinear"])
    np.testing.assert_array_equal(found["patch_embed.proj.weight"], kernel)


@pytest.mark.parametrize("count", [1, 2, 4, 5, 6, 7])
def test_channels_equal_timm(count: int) -> None:
    torch, peer = pytest.importorskip("torch"), pytest.importorskip("timm.models._manipulate")
    kernel = np.random.default_rng(0).standard_normal((5, 3, 4, 4)).astype(np.float32)
    expected = peer.adapt_input_conv(count, torch.tensor(kernel)).numpy()
    np.testing.assert_allclose(channels(kernel, count), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("old", "new"), [(3, 1), (1, 3), (1, 4), (3, 6), (4, 1), (2, 6)])
def test_a_grey_image_gives_the_tokens_that_it_gave(old: int, new: int) -> None:
    random = np.random.default_rng(0)
    kernel, grey = random.standard_normal((5, old, 4, 4)), random.standard_normal((1, 4, 4))
    before = np.einsum("dchw,chw->d", kernel, grey.repeat(old, axis=0))
    after = np.einsum("dchw,chw->d", channels(kernel, new), grey.repeat(new, axis=0))
    np.testing.assert_allclose(after, before, atol=1e-12)


@pytest.mark.parametrize("option", ["standard", "pre-logits", "class token beside mean", "map head"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_equal_names_are_kept(option: str, dtype: Any) -> None:
    spec, classes = spec_of(option), ("eel", "gnu", "bee", "hen", "Cat")
    weights = {name: value.astype(dtype) for name, value in random_weights(spec).items()}
    after = spec.model_copy(update={"num_classes": 5})
    init = InitSpec(head="normal 0.3")
    found, notes = adapt(weights, card_of(spec), card_of(after, classes), init=init, seed=9)
    drawn = initial_weights(after, 9, init)
    for name in ("head.weight", "head.bias"):
        assert found[name].dtype == dtype
        for row, there in enumerate((4, None, 1, None, None)):
            expected = drawn[name][row] if there is None else weights[name][there]
            np.testing.assert_array_equal(found[name][row], expected.astype(dtype))
    assert notes == ["head: 6 -> 5 classes, 2 kept by name (eel, bee), 3 drawn anew"]
    assert all(found[name] is value for name, value in weights.items() if not name.startswith("head"))


def test_classes_in_another_order_are_other_classes() -> None:
    spec = spec_of("standard")
    weights, turned = random_weights(spec), NAMES[::-1]
    found, notes = adapt(weights, card_of(spec), card_of(spec, turned))
    np.testing.assert_array_equal(found["head.weight"], weights["head.weight"][::-1])
    assert notes == ["head: 6 -> 6 classes, 6 kept by name (fox, eel, dog, cat, bee, ...)"]


def test_a_name_that_stands_twice_is_no_name() -> None:
    assert shared_rows(("crane", "fox", "crane", "owl"), ("owl", "crane", "fox")) == [(3, 0), (1, 2)]
    assert shared_rows(("crane", "fox"), ("fox", "crane", "crane")) == [(1, 0)]
    assert shared_rows(("", "", ""), ("a", "")) == []


def test_pre_logits_of_another_width_are_drawn() -> None:
    spec, other, without = (
        spec_of("pre-logits"),
        spec_of("pre-logits", head={"pre_logits": 13}),
        spec_of("standard"),
    )
    weights = random_weights(spec)
    found, notes = adapt(weights, card_of(spec), card_of(other), seed=3)
    drawn = initial_weights(other, 3)
    for name in ("pre_logits.weight", "pre_logits.bias", "head.weight", "head.bias"):
        np.testing.assert_array_equal(found[name], drawn[name])
    assert notes == [
        "drawn anew: pre_logits.weight, pre_logits.bias",
        "head: 6 -> 6 classes, all drawn anew",
    ]
    found, notes = adapt(weights, card_of(spec), card_of(without))
    assert "pre_logits.weight" not in found
    assert "left out: pre_logits.weight, pre_logits.bias" in notes
    found, notes = adapt(found, card_of(without), card_of(spec), seed=3)
    np.testing.assert_array_equal(found["pre_logits.weight"], initial_weights(spec, 3)["pre_logits.weight"])


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("registers", "model.tokens.registers is 0 in the weights and 3 "),
        ("layer scale", "model.layer_scale is None in the weights and 0.1 "),
        ("mean", "model.pool is cls in the weights and mean "),
        ("qk norm", "model.attention.qk_norm is False in the weights and True "),
        ("eps", "model.norm.eps is 1e-06 in the weights and 0.001 "),
        ("sincos2d", "model.tokens.registers is 0 in the weights and 1 "),
    ],
)
def test_another_architecture_is_refused(option: str, told: str) -> None:
    spec = spec_of("standard")
    with pytest.raises(WeightsError) as error:
        adapt(random_weights(spec), card_of(spec), card_of(spec_of(option)))
    assert str(error.value).startswith(told)


def test_adapters_and_a_head_are_added() -> None:
    plain, bare = spec_of("standard"), spec_of("standard", num_classes=0)
    lora = spec_of("standard", lora={"rank": 2, "targets": ["q", "fc1"]})
    weights, drawn = random_weights(plain), initial_weights(lora, 4)
    found, notes = adapt(weights, card_of(plain), card_of(lora), seed=4)
    assert list(found) == list(drawn)
    assert all(found[name] is value for name, value in weights.items())
    added = [name for name in found if name not in weights]
    assert len(added) == 8 and notes == [f"drawn anew: {', '.join(added[:3])} and 5 more"]
    assert all(np.array_equal(found[name], drawn[name]) for name in added)
    with pytest.raises(WeightsError, match="model.lora.rank is 2 in the weights and 0 "):
        adapt(found, card_of(lora), card_of(plain))
    body = {name: value for name, value in weights.items() if not name.startswith("head")}
    found, notes = adapt(body, card_of(bare, ()), card_of(plain), seed=4)
    assert np.array_equal(found["head.weight"], initial_weights(plain, 4)["head.weight"])
    assert notes == ["head: 0 -> 6 classes, all drawn anew"]
    assert adapt(weights, card_of(plain), card_of(bare, ()))[1] == ["left out: head.weight, head.bias"]


def test_what_is_history_or_a_rate_may_differ() -> None:
    spec = spec_of("layer scale")
    other = spec_of("layer scale", layer_scale=1e-5, drop={"path": 0.2})
    found, notes = adapt(weights := random_weights(spec), card_of(spec), card_of(other))
    assert notes == [] and found["blocks.0.ls1.gamma"] is weights["blocks.0.ls1.gamma"]


@pytest.mark.parametrize(
    ("option", "changes", "error", "told"),
    [
        (
            "whole sequence",
            ["model.image_size=20"],
            WeightsError,
            "cannot be made to map 4x4; keep model.image_size=15",
        ),
        ("standard", ["model.image_size=16"], RecipeError, "is not a multiple of patch_size=5"),
        (
            "standard",
            ["model.depth=3"],
            RecipeError,
            "model.depth cannot be adapted; allowed: model.image_size, ",
        ),
        ("standard", ["data.fit=crop"], RecipeError, "data.fit cannot be adapted"),
        ("standard", ["model.imagesize=20"], RecipeError, "did you mean 'model.image_size'"),
        ("standard", ["20"], RecipeError, "write key=value"),
    ],
)
def test_impossible_adaptations_are_refused(option: str, changes: list[str], error: Any, told: str) -> None:
    with pytest.raises(error, match=told.replace("(", r"\(")):
        adapted_card(card_of(spec_of(option)), changes)


def test_a_sequence_of_the_same_length_may_have_other_patches() -> None:
    spec = spec_of("whole sequence")
    wanted = adapted_card(card_of(spec), ["model.image_size=21", "model.patch_size=7"])
    found, notes = adapt(random_weights(spec), card_of(spec), wanted)
    assert found["patch_embed.proj.weight"].shape == (16, 3, 7, 7)
    assert [note.partition(":")[0] for note in notes] == ["patch kernels", "images"]


def test_colours_become_one_number_for_other_channels() -> None:
    wanted = adapted_card(card_of(spec_of("standard")), ["model.in_channels=1"])
    assert (wanted.preprocess.mean, wanted.preprocess.std) == ((0.5,), (0.3,))
    assert wanted.preprocess.size == 20
