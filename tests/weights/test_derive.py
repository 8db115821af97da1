"""What shapes tell about a model is found, what they cannot tell is asked for, contradictions are refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.models import OPTIONS, spec_of
from tests.weights.specs import random_spec
from vitcli.core.draft import format_value
from vitcli.core.errors import RecipeError, RequestError, WeightsError
from vitcli.core.parameters import parameter_table
from vitcli.core.reporter import Silent
from vitcli.core.spec import ModelSpec
from vitcli.weights.derive import derive_spec, describe
from vitcli.weights.header import Card, Header, Preprocess
from vitcli.weights.names import file_shapes


def shapes_of(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    return {name: parameter.shape for name, parameter in parameter_table(spec).items()}


def unsaid(spec: ModelSpec) -> list[str]:
    """Assignments of the keys that no shape tells."""
    values: dict[str, Any] = {"num_heads": spec.num_heads, "norm.eps": spec.norm.eps, "pool": spec.pool}
    if spec.mlp.activation != "swiglu":
        values["mlp.activation"] = spec.mlp.activation
    if spec.lora.rank:
        values["lora.alpha"] = spec.lora.alpha
    if spec.layer_scale is not None:
        values["layer_scale"] = spec.layer_scale
    if spec.tokens.positions != "learned":
        values |= {"tokens.positions": spec.tokens.positions, "image_size": spec.image_size}
    # Slots are told by the shapes, unless two squares fit: 5 rows are 2 x 2 and 1, or 1 and 4.
    values["tokens.position_slots"] = spec.tokens.position_slots
    return [f"model.{key}={value}" for key, value in values.items()]


@pytest.mark.parametrize("seed", range(80))
def test_shapes_and_what_they_cannot_tell_give_the_spec(seed: int) -> None:
    spec = random_spec(seed)
    assert derive_spec(shapes_of(spec), unsaid(spec), "a file") == spec


@pytest.mark.parametrize("option", OPTIONS)
def test_the_number_of_heads_is_enough_for_the_same_tensors(option: str) -> None:
    spec = spec_of(option)
    said = ["model.num_heads=2"]
    if spec.lora.rank:
        said += [f"model.lora.alpha={spec.lora.scale * spec.lora.rank}"]
    if spec.tokens.positions != "learned":
        said += [f"model.tokens.positions={spec.tokens.positions}", "model.image_size=15"]
    found = derive_spec(shapes_of(spec), said, "a file")
    assert shapes_of(found) == shapes_of(spec)
    assert (found.image_size, found.patch_size, found.in_channels) == (15, 5, spec.in_channels)


@pytest.mark.parametrize(
    ("option", "pool"),
    [
        ("standard", "cls"),
        ("no class token", "mean"),
        ("norm after pooling", "mean"),
        ("norm after pooling twice as wide", "cls_mean"),
        ("class token beside mean", "cls_mean"),
        ("map head", "map"),
        ("pre-logits", "cls"),
    ],
)
def test_where_nothing_is_said_the_pool_is_the_usual_one(option: str, pool: str) -> None:
    assert derive_spec(shapes_of(spec_of(option)), ["model.num_heads=2"], "a file").pool == pool


def test_of_two_squares_that_fit_the_one_that_was_said_is_taken() -> None:
    # A class token, 3 registers and 5 rows: 2 x 2 patches and the class token, or 1 patch and all 4.
    spec = spec_of("registers", image_size=10, tokens={"registers": 3, "position_slots": "class"})
    shapes = shapes_of(spec)
    for said in ("model.image_size=10", "model.tokens.position_slots=class"):
        assert derive_spec(shapes, ["model.num_heads=2", said], "a file") == spec
    assert derive_spec(shapes, ["model.num_heads=2"], "a file").image_size == 5


def test_missing_heads_are_asked_for_with_those_that_fit() -> None:
    with pytest.raises(
        WeightsError, match=r"a file does not say how many heads.*num_heads=N \(N one of 1, 2, 4, 8, 16\)"
    ):
        derive_spec(shapes_of(spec_of("standard")), [], "a file")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            "model.embed_dim=32",
            r"model.embed_dim=32 \(command line\) contradicts the tensors of a file.* it 16",
        ),
        ("model.depth=3", "model.depth=3 .* contradicts"),
        ("model.image_size=20", "model.image_size=20 .* contradicts"),
        ("model.tokens.registers=1", "model.tokens.registers=1 .* contradicts"),
        ("model.mlp.width=3", "unknown key 'model.mlp.width'"),
        ("model.num_heads=3", "embed_dim=16 is not a multiple of num_heads=3"),
        ("model.pool=max", "is not one of 'cls'"),
    ],
)
def test_what_contradicts_the_shapes_is_refused(said: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        derive_spec(shapes_of(spec_of("standard")), ["model.num_heads=2", said], "a file")


def test_what_agrees_with_the_shapes_is_accepted() -> None:
    spec = spec_of("standard")
    said = [
        "model.num_heads=2",
        "model.embed_dim=16",
        "model.depth=2",
        "model.image_size=15",
        "model.pool=cls",
    ]
    assert derive_spec(shapes_of(spec), said, "a file") == spec


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"patch_embed.proj.weight": None},
            "not a Vision Transformer with the names of timm, or of .* reads: 'patch_embed.proj.weight'",
        ),
        ({"blocks.0.mlp.fc2.weight": None}, "fc2.weight' is missing; it holds cls_token, pos_embed"),
        ({"patch_embed.proj.weight": (16, 75)}, "is not a Vision Transformer: a tensor has other axes"),
        ({"head.weight": (6,)}, "a tensor has other axes"),
        ({"pos_embed": (10,)}, "a tensor has other axes"),
        (
            {"pos_embed": (1, 12, 16)},
            "^a file has 12 positions: no square grid of patches after 0 to 1 others",
        ),
    ],
)
def test_what_is_no_vision_transformer_is_refused(changes: dict[str, Any], message: str) -> None:
    shapes = {**shapes_of(spec_of("standard")), **changes}
    with pytest.raises(WeightsError, match=message):
        derive_spec({name: shape for name, shape in shapes.items() if shape}, ["model.num_heads=2"], "a file")


@pytest.mark.parametrize("layout", ["native", "torch", "jax"])
def test_a_foreign_file_is_described_from_its_shapes(layout: Any) -> None:
    spec = spec_of("all at once")
    shapes = file_shapes(spec, layout)
    header = Header(path=Path("dir/a.safetensors"), shapes=shapes, metadata={})
    card = describe(header, layout, ["model.num_heads=2", "model.layer_scale=0.5"])
    assert card.spec == spec
    assert card.classes == ("0", "1", "2", "3", "4", "5")
    assert (card.preprocess.size, card.preprocess.fit, card.source) == (15, "crop", "")


@pytest.mark.parametrize(
    "name", ["blocks.1.attn.extra.weight", "blocks.x.weight", "blocks.7.norm1.weight", "fc.bias"]
)
def test_a_tensor_too_many_is_refused(name: str) -> None:
    shapes = {**shapes_of(spec_of("standard")), name: (16,)}
    header = Header(path=Path("a.safetensors"), shapes=shapes, metadata={})
    with pytest.raises(WeightsError, match="does not fit its spec: .*(is not part of this model|is missing)"):
        describe(header, "torch", ["model.num_heads=2"])


@pytest.mark.parametrize(
    ("layout", "names", "told"),
    [
        (
            "timm",
            {"blocks.0.attn.q_bias": (16,), "rope.freqs": (2,)},
            "blocks.0.attn.q_bias is not .* rope.freqs",
        ),
        (
            "timm",
            {f"patch_embed.backbone.{i}": (1,) for i in range(9)},
            r"backbone.0 is not .*\(and 6 more\)",
        ),
        ("huggingface", {}, "not a model that vit knows as huggingface: pos_embed is not part"),
    ],
)
def test_tensors_that_a_layout_has_not_are_named_before_anything_is_assumed(
    layout: Any, names: dict[str, tuple[int, ...]], told: str
) -> None:
    shapes = shapes_of(spec_of("standard"))
    del shapes["cls_token"]
    notes = Notes()
    with pytest.raises(WeightsError, match=told):
        derive_spec({**shapes, **names}, [], "a file", layout, reporter=notes)
    assert notes.told == []


def test_another_layout_is_proposed_only_where_it_helps() -> None:
    spec = spec_of("standard", pool="cls_mean")
    for shapes, helps in ((shapes_of(spec), True), ({**shapes_of(spec), "norm.bias": (3,)}, False)):
        header = Header(path=Path("a.safetensors"), shapes=shapes, metadata={})
        with pytest.raises(WeightsError) as refused:
            describe(header, "timm", ["model.num_heads=2"])
        assert ("--from torch" in str(refused.value)) == helps


def test_a_class_token_that_decides_no_pooling_is_told() -> None:
    notes, said = Notes(), ["model.num_heads=2", "model.norm.eps=1e-6", "model.mlp.activation=gelu"]
    shapes = shapes_of(spec_of("standard"))
    assert derive_spec(shapes, said, "a.pth", "timm", reporter=notes).pool == "cls"
    assert notes.told == [
        'a.pth: model.pool="cls" assumed, as is usual for its names; if it has others, say so'
    ]
    assert derive_spec(shapes, [*said, "model.pool=mean"], "a.pth", "timm", reporter=notes).pool == "mean"
    assert len(notes.told) == 1


def own(spec: ModelSpec, shapes: dict[str, tuple[int, ...]]) -> Header:
    """The header of a file with a card."""
    preprocess = Preprocess(fit="squash", size=17, mean=(0.1,), std=(0.2,))
    metadata = {
        "vit.schema": "1",
        "vit.layout": "native",
        "vit.spec": spec.model_dump_json(exclude_none=True),
        "vit.classes": '["a", "b", "c", "d", "e", "f"]',
        "vit.preprocess": preprocess.model_dump_json(),
        "vit.source": "digits",
    }
    return Header(path=Path("own.safetensors"), shapes=shapes, metadata=metadata)


def test_a_files_own_card_counts_and_needs_no_words() -> None:
    spec = spec_of("eps")
    card = describe(own(spec, shapes_of(spec)), "native", [])
    assert card == Card(
        spec=spec,
        classes=("a", "b", "c", "d", "e", "f"),
        preprocess=Preprocess(fit="squash", size=17, mean=(0.1,), std=(0.2,)),
        source="digits",
    )
    assert describe(own(spec, shapes_of(spec)), "native", ["model.norm.eps=0.001", "model.depth=2"]) == card


@pytest.mark.parametrize(
    ("key", "value"), [("model.num_heads", 4), ("model.norm.eps", 1e-6), ("model.pool", "mean")]
)
def test_words_against_a_files_own_card_are_refused(key: str, value: Any) -> None:
    spec = spec_of("eps")
    message = f"{key}={format_value(value)} (command line) contradicts the metadata of own.safetensors"
    with pytest.raises(RecipeError, match=re.escape(message)):
        describe(own(spec, shapes_of(spec)), "native", [f"{key}={value}"])


def test_tensors_must_be_those_of_the_card() -> None:
    spec = spec_of("standard")
    shapes = {**shapes_of(spec), "head.bias": (7,), "more": (1,)}
    del shapes["cls_token"]
    with pytest.raises(WeightsError) as caught:
        describe(own(spec, shapes), "native", [])
    assert str(caught.value) == (
        "own.safetensors does not fit its spec: cls_token is missing; more is not part of this model; "
        "head.bias is [7], not [6]"
    )


def test_only_the_model_can_be_described() -> None:
    spec = spec_of("standard")
    with pytest.raises(
        RequestError, match=r"'train.lr=1': only model.key=value says what a weights file holds"
    ):
        describe(own(spec, shapes_of(spec)), "native", ["train.lr=1"])


class Notes(Silent):
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)


# The variants' heads (the H and g of the papers have wider ones), and 64 features a head elsewhere (DINOv2's g).
@pytest.mark.parametrize(
    ("width", "heads"),
    [(192, 3), (768, 12), (1024, 16), (1280, 16), (1408, 16), (1152, 16), (1664, 16), (1536, 24), (128, 2)],
)
def test_the_usual_number_of_heads_is_assumed_and_said(width: int, heads: int) -> None:
    values: dict[str, Any] = {"image_size": 8, "patch_size": 4, "num_classes": 3, "depth": 1, "mlp_dim": 6}
    shapes = shapes_of(ModelSpec(embed_dim=width, num_heads=heads, **values))
    notes = Notes()
    assert derive_spec(shapes, [], "a.pth", reporter=notes).num_heads == heads
    assert notes.told == [
        f"a.pth does not say how many heads it has: model.num_heads={heads} assumed, as is usual for its width; "
        "if it has others, say model.num_heads=N"
    ]
    notes.told.clear()
    assert derive_spec(shapes, ["model.num_heads=1"], "a.pth", reporter=notes).num_heads == 1
    assert notes.told == []
