"""Recipes as they are written: TOML, overrides, errors that name the place, and back to TOML."""

from __future__ import annotations

import tomllib
from types import NoneType
from typing import Any, get_args

import pytest

from vitcli.core.draft import Draft, format_value, known_keys, override, parse, resolve, to_toml
from vitcli.core.errors import RecipeError
from vitcli.core.recipe import Recipe
from vitcli.core.recipes import folder, names
from vitcli.core.recipes import text as recipe_text

TEXT = """\
# a comment with model.lr = 3
[model]
image_size = 15
patch_size = 5
num_classes = 6
embed_dim = 14
depth = 2
num_heads = 2
mlp_dim = 22
tokens = { registers = 3 }
drop.path = 0.25

[data]
mean = [0.1, 0.2, 0.3]

[train]
epochs = 4
lr = 2e-3
"""


def draft(*overrides: str, text: str = TEXT) -> Draft:
    return override(parse(text, "a.toml"), overrides)


def recipe(*overrides: str, text: str = TEXT) -> Recipe:
    return resolve(draft(*overrides, text=text))


def test_a_recipe_says_what_its_toml_says() -> None:
    made = recipe()
    assert (made.model.image_size, made.model.tokens.registers, made.model.drop.path) == (15, 3, 0.25)
    assert (made.train.epochs, made.train.lr, made.data.mean) == (4, 0.002, (0.1, 0.2, 0.3))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "[train]\nepoch = 4",
            r"unknown key 'train.epoch' \(a.toml, line 2\) \(did you mean 'train.epochs'\?\)",
        ),
        (
            "[model]\n\nnum_head = 3",
            r"'model.num_head' \(a.toml, line 3\) \(did you mean 'model.num_heads'\?\)",
        ),
        (
            "[model.tokens]\nregister = 3",
            r"'model.tokens.register' \(a.toml, line 2\).*'model.tokens.registers'",
        ),
        (
            "[model]\ntokens.register = 3",
            r"'model.tokens.register' \(a.toml, line 2\).*'model.tokens.registers'",
        ),
        ("[ train ]\n  lr2=3", r"'train.lr2' \(a.toml, line 2\).*'train.lr'"),
        ("lr = 3", r"unknown key 'lr' \(a.toml, line 1\) \(did you mean 'train.lr'\?\)"),
        ("[train]\nxyzzy = 3", r"unknown key 'train.xyzzy' \(a.toml, line 2\).*all keys: vit recipes keys"),
        ("model = 3", r"model is a section, not a key \(a.toml, line 1\); it has model.image_size"),
        ("[model\ndepth = 1", r"a.toml is not valid TOML: .*line 1"),
        ("[train]\nlr = 1\nlr = 2", r"a.toml is not valid TOML: .*line 3"),
    ],
)
def test_a_wrong_key_is_told_with_its_line_and_the_nearest_key(line: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse(line + "\n", "a.toml")


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("train.lr=1e-3", 0.001),
        ("train.lr=1", 1),
        ("train.epochs=7", 7),
        ("train.drop_last=true", True),
        ("train.compile=false", False),
        ("train.clip=none", None),
        ("train.clip=None", None),
        ("train.warmup=none", None),
        ("train.warmup=5 epochs", "5 epochs"),
        ("train.optimizer=lion", "lion"),
        ("train.milestones=['1 epoch', '2 epochs']", ["1 epoch", "2 epochs"]),
        ("data.mean=[0.5, 0.25, 0.125]", [0.5, 0.25, 0.125]),
        ("data.source=a=b=c.csv", "a=b=c.csv"),
        ("data.source=none", "none"),
        ("data.source=3", "3"),
        ("data.source=true", "true"),
        ("data.source=", ""),
        ("data.label_column = my label ", "my label"),
        ("data.cache_size=none", None),
        ("data.validation=.25", 0.25),
        ("data.validation=test", "test"),
        ('data.validation="test"', "test"),
        ("model.variant=S/16", "S/16"),
        ("model.mlp_ratio=2.5", 2.5),
        ("model.depth=three", "three"),
    ],
)
def test_an_override_takes_the_type_of_its_key(assignment: str, value: Any) -> None:
    key = assignment.partition("=")[0].strip()
    found = override(Draft(values={}), [assignment])
    assert found.values == {key: value}
    assert type(found.values[key]) is type(value)
    assert found.origins == {key: "command line"}


def test_overrides_are_applied_in_order() -> None:
    assert recipe("train.lr=0.5", "train.lr=0.25").train.lr == 0.25


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("train.lr", "'train.lr' is not an override; write key=value"),
        ("train.lr2=1", r"unknown key 'train.lr2' \(command line\) \(did you mean 'train.lr'"),
        ("depth=3", r"unknown key 'depth' \(command line\) \(did you mean 'model.depth'\?\)"),
        ("=3", "unknown key ''"),
        ("train=3", "train is a section"),
    ],
)
def test_a_wrong_override_is_refused(assignment: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        draft(assignment)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("model.depth=three", r'^model.depth="three" \(command line\): input should be a valid integer'),
        ("model.depth=0", r"^model.depth=0 \(command line\): input should be greater than or equal to 1"),
        ("model.depth=true", r"^model.depth=true \(command line\): input should be a valid integer"),
        ("model.depth=2.0", r"^model.depth=2.0 \(command line\): input should be a valid integer"),
        ("model.pool=max", r'^model.pool="max" \(command line\) is not one of \'cls\', \'mean\''),
        ("train.lr=nan", r"^train.lr=nan \(command line\): "),
        ("data.mean=0.5", r"^data.mean=0.5 \(command line\): input should be a valid tuple"),
        ("data.mean=['a']", r'^data.mean="a" \(command line\): input should be a valid number'),
        ("model.image_size=16", r"^model: image_size=16 is not a multiple of patch_size=5"),
        ("data.mean=[1, 2]", r"^data.mean has 2 numbers; model.in_channels=3 needs 1 or 3"),
        ("train.warmup=soon", r"^train: warmup: 'soon' is not a duration"),
    ],
)
def test_a_wrong_value_is_told_in_one_line_with_key_value_and_place(assignment: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        recipe(assignment)
    assert "\n" not in str(caught.value)


def test_a_wrong_value_in_a_file_is_told_with_its_line() -> None:
    with pytest.raises(RecipeError, match=r"^train.epochs=-4 \(a.toml, line 17\): "):
        recipe(text=TEXT.replace("epochs = 4", "epochs = -4"))


def test_a_missing_key_is_told_with_what_to_say() -> None:
    with pytest.raises(RecipeError, match=r"^model.num_classes is missing; say model.num_classes=\.\.\.$"):
        recipe(text=TEXT.replace("num_classes = 6\n", ""))


def test_further_faults_are_counted() -> None:
    with pytest.raises(RecipeError, match=r"^model.depth=0 .* \(and 2 more\)$"):
        recipe("model.depth=0", "model.mlp_dim=0", "train.lr=0")


@pytest.mark.parametrize(
    ("overrides", "length"),
    [
        ((), (4, None)),
        (("train.steps=9",), (None, 9)),
        (("train.epochs=5",), (5, None)),
        (("train.steps=none",), (4, None)),
        (("train.epochs=none", "train.steps=9"), (None, 9)),
        (("train.steps=9", "train.epochs=none"), (None, 9)),
    ],
)
def test_the_length_that_is_said_last_counts(
    overrides: tuple[str, ...], length: tuple[int | None, int | None]
) -> None:
    made = recipe(*overrides)
    assert (made.train.epochs, made.train.steps) == length


def test_both_lengths_on_the_command_line_contradict_each_other() -> None:
    with pytest.raises(RecipeError, match=r"give one of them \(epochs=5, steps=9\)"):
        recipe("train.steps=9", "train.epochs=5")


def test_a_variant_fills_what_is_not_said() -> None:
    text = "[model]\nvariant = 'S/16'\nimage_size = 32\nnum_classes = 6\nmlp_dim = 22\n[train]\nsteps = 1\n"
    model = recipe("model.depth=3", text=text).model
    assert (model.embed_dim, model.num_heads, model.patch_size) == (384, 6, 16)
    assert (model.depth, model.mlp_dim) == (3, 22)


@pytest.mark.parametrize(("ratio", "width"), [("4", 56), ("2.5", 35), ("0.32", 4), ("1.99", 28)])
def test_a_ratio_becomes_the_nearest_whole_width(ratio: str, width: int) -> None:
    text = TEXT.replace("mlp_dim = 22\n", "")
    assert recipe(f"model.mlp_ratio={ratio}", text=text).model.mlp_dim == width


def test_a_width_that_is_said_wins_over_a_ratio() -> None:
    assert recipe("model.mlp_ratio=4").model.mlp_dim == 22


def test_a_ratio_must_be_a_number() -> None:
    with pytest.raises(RecipeError, match="model.mlp_ratio='wide' is not a number"):
        recipe("model.mlp_ratio=wide", text=TEXT.replace("mlp_dim = 22\n", ""))


def test_derived_values_complete_a_draft_and_may_not_contradict_it() -> None:
    made = draft().derived({"model.num_classes": 6, "model.in_channels": 1}, "the data")
    assert (made.get("model.num_classes"), made.get("model.in_channels")) == (6, 1)
    assert made.origins["model.in_channels"] == "the data"
    with pytest.raises(RecipeError) as caught:
        draft("model.depth=3").derived({"model.depth": 2}, "the file")
    assert str(caught.value) == (
        "model.depth=3 (command line) contradicts the file, which makes it 2; leave model.depth out, "
        "or say model.depth=2"
    )
    with pytest.raises(RecipeError, match=r"model.num_classes=6 \(a.toml, line 5\) contradicts the data"):
        draft().derived({"model.num_classes": 10}, "the data")


@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        3,
        -4,
        0.1,
        1e-8,
        1e16,
        2.5e300,
        "",
        "a\\b\"c'd",
        "line\nbreak\ttab",
        "ünï→😀",
        [1, [2.5, "x"]],
    ],
    ids=repr,
)
def test_a_value_comes_back_from_toml(value: Any) -> None:
    found = tomllib.loads(f"v = {format_value(value)}")["v"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("name", names())
def test_every_recipe_of_the_project_is_valid_and_comes_back_from_toml(name: str) -> None:
    said = parse(*recipe_text(name))
    made = resolve(said.derived({"model.num_classes": said.get("model.num_classes", 10)}, "the data"))
    again = resolve(parse(to_toml(made, "a heading\nof two lines"), "again.toml"))
    assert again == made


def test_the_recipes_are_found() -> None:
    assert folder().is_dir()
    assert names()[0] == "digits"


def test_a_recipe_with_every_key_changed_comes_back_from_toml() -> None:
    made = recipe(
        "model.layer_scale=1e-5",
        "model.head.pre_logits=11",
        "model.mlp.activation=swiglu",
        "model.norm.final=after_pool",
        'data.source=C:\\data "x" = ü',
        "data.label_names=names.json",
        "data.validation=test",
        "augment.crop_scale=[0.25, 1]",
        "train.milestones=['1 epoch', '300 steps']",
        "train.betas=[0.8, 0.95]",
        "train.seed=9223372036854775807",
        "train.clip=1",
        "train.ema=0.999",
        "train.compile=false",
    )
    assert resolve(parse(to_toml(made), "again.toml")) == made


def test_what_is_none_may_be_left_out_of_toml() -> None:
    # to_toml writes no key that is none, so none must be what such a key is when nothing is said.
    for key, annotation in known_keys().items():
        if NoneType in get_args(annotation):
            record: Any = Recipe
            *path, name = key.split(".")
            for part in path:
                record = record.model_fields[part].annotation
            assert record.model_fields[name].default is None, key


def test_known_keys_are_the_leaves_of_the_recipe() -> None:
    keys = known_keys()
    assert {"model.image_size", "model.tokens.registers", "data.mean", "augment.flip", "train.lr"} <= set(
        keys
    )
    assert not {"model", "model.tokens", "train"} & set(keys)
