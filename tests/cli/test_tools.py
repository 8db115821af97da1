"""The commands around training: convert, parity, recipes, datasets, backends, summary."""

from __future__ import annotations

import json
import math
import sys
import tomllib
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file, save_file

import vitcli
from tests.cli.conftest import Trained
from tests.cli.inputs import image, tiny_recipe
from tests.cli.running import PARAMETERS, TINY, here
from tests.weights.kinds import KINDS
from vitcli.core import recipes, registry
from vitcli.core.recipe import DataSpec
from vitcli.data.catalogue import CATALOGUE
from vitcli.data.sources import open_source
from vitcli.weights.file import write_weights
from vitcli.weights.header import Card
from vitcli.weights.initial import initial_weights

pytestmark = pytest.mark.usefixtures("one_thread")


def test_convert_there_and_back_is_bit_equal(untouched: Trained, tmp_path: Path) -> None:
    start, backend = untouched.run / "model.safetensors", ("-b", untouched.backend)
    steps = (("jax", "1.safetensors"), ("torch", "2.safetensors"), ("native", "3.safetensors"))
    source = start
    for layout, name in steps:
        said = here("convert", "weights", source, tmp_path / name, "--to", layout, *backend)
        assert (said.code, said.errors) == (0, [])
        assert f"logits on {untouched.backend}: float64 difference 0, float32 0 (relative)" in said.out
        assert f"{len(load_file(start))} tensors, {PARAMETERS:,} values" in said.out
        source = tmp_path / name
    ours, jax, torch, back = (load_file(path) for path in (start, *(tmp_path / name for _, name in steps)))
    assert np.array_equal(jax["blocks/0/attn/qkv/kernel"], ours["blocks.0.attn.qkv.weight"].T)
    assert np.array_equal(
        jax["patch_embed/proj/kernel"], ours["patch_embed.proj.weight"].transpose(2, 3, 1, 0)
    )
    assert np.array_equal(jax["norm/scale"], ours["norm.weight"])
    for other in (torch, back):
        assert other.keys() == ours.keys()
        assert all(other[name].tobytes() == ours[name].tobytes() for name in ours)
    assert sorted(path.name for path in tmp_path.iterdir()) == [name for _, name in steps]
    evaluated = [
        json.loads(here("evaluate", path, *backend, "--json").out)["confusion"]
        for path in (untouched.run, tmp_path / "1.safetensors")
    ]
    assert evaluated[0] == evaluated[1]


def test_convert_file_of_another_program(untouched: Trained, tmp_path: Path) -> None:
    start, plain = untouched.run / "model.safetensors", tmp_path / "plain.safetensors"
    save_file(load_file(start), plain)
    target = tmp_path / "told.safetensors"
    told = ("model.num_heads=2", "model.pool=mean")
    said = here("convert", "weights", plain, target, *told, "-b", untouched.backend, "--json")
    assert said.code == 0, said.err
    result = json.loads(said.out)
    assert (result["layout_from"], result["layout_to"]) == ("timm", "native")
    assert (result["difference_float64"], result["difference_float32"]) == (0, 0)
    pixels = np.random.default_rng(3).standard_normal((2, 1, 8, 8)).astype(np.float32)
    ours, theirs = (vitcli.load(path, backend=untouched.backend).logits(pixels) for path in (start, target))
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("exists", [False, True], ids=["new target", "old target"])
def test_conversion_that_changes_logits_is_refused(
    exists: bool, untouched: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "new.safetensors"
    if exists:
        target.write_bytes(b"what was there before")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    engine, loads = registry.load(untouched.backend), []

    class Drifting:
        """An engine whose third model (the copy, in float64) is a little off."""

        def load(self, *given: Any, **named: Any) -> Any:
            model = engine.load(*given, **named)
            loads.append(named["precision"])
            if len(loads) != 3:
                return model

            class Off:
                def logits(self, pixels: NDArray[Any]) -> NDArray[Any]:
                    return model.logits(pixels) * (1 + 1e-8)

            return Off()

    monkeypatch.setattr(registry, "load", lambda name: Drifting())
    said = here("convert", "weights", untouched.run / "model.safetensors", target, "--to", "jax")
    assert loads == ["float64", "float32"] * 2
    assert (said.code, said.out) == (3, "")
    assert len(said.errors) == 1
    for part in ("1e-08 relative in float64", "allowed: 1e-09", f"{target} has not been written"):
        assert part in said.errors[0]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_parity() -> None:
    said = here("parity", "digits", *TINY, "--steps", "2", "--json")
    assert (said.code, said.errors) == (0, [])
    found = json.loads(said.out)
    assert {"steps", "max_loss_difference", "ok"} <= set(found)
    assert found["ok"] is True
    assert [step["step"] for step in found["steps"]] == [0, 1]
    differences = [abs(step["loss"]["jax"] - step["loss"]["torch"]) for step in found["steps"]]
    assert found["max_loss_difference"] == max(differences)
    assert found["precision"] == "float32"
    words = here("parity", "digits", *TINY, "--steps", "1", "train.precision=float64")
    assert words.code == 0
    assert "digits, float64, 1 steps: largest loss difference" in words.out


def test_parity_finds_a_wrong_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.nn import functional

    right = functional.gelu
    monkeypatch.setattr(functional, "gelu", lambda x: right(x, approximate="tanh"))
    said = here("parity", "digits", *TINY, "--steps", "1", "--json")
    assert said.code == 3
    assert json.loads(said.out)["ok"] is False
    assert len(said.errors) == 1
    assert "the engines differ: step 0:" in said.errors[0]
    assert "allowed:" in said.errors[0]


def test_recipes_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    listed = json.loads(here("recipes", "list", "--json").out)
    assert listed[0]["name"] == "digits"
    assert "8 x 8 digits" in listed[0]["what"]
    assert all(row["name"] in here("recipes", "list").out for row in listed)
    shown = here("recipes", "show", "digits").out
    assert shown.startswith("# ")
    assert tomllib.loads(shown)["train"]["optimizer"] == "adamw"
    resolved = tomllib.loads(here("recipes", "show", "digits", "--resolved", "train.lr=0.25").out)
    assert (resolved["train"]["lr"], resolved["model"]["num_classes"]) == (0.25, 10)
    copied = here("recipes", "copy", "digits")
    assert (copied.out, copied.err) == ("digits.toml written\n", "next: vit train digits.toml\n")
    assert here("recipes", "copy", "digits", "mine.toml").code == 0
    assert (tmp_path / "mine.toml").read_text(encoding="utf-8") == shown
    (tmp_path / "mine.toml").write_text("# changed\n")
    assert here("recipes", "copy", "digits", "mine.toml", "--force").code == 0
    assert (tmp_path / "mine.toml").read_text(encoding="utf-8") == shown
    valid = here("recipes", "validate", "mine.toml", *TINY)
    assert valid.out == f"mine.toml: valid, {PARAMETERS:,} parameters\n"
    assert valid.err == "next: vit train mine.toml\n"


def test_recipe_keys_with_defaults_and_choices() -> None:
    rows = {}
    for line in here("recipes", "keys").out.splitlines():
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        if len(cells) == 3:
            rows[cells[0]] = (cells[1], cells[2])
    assert rows["train.lr"] == ("0.001", "number")
    assert rows["model.depth"] == ("required", "whole number")
    assert rows["data.fit"] == ('"crop"', "squash, crop")
    assert rows["train.clip"][0] == "none"
    assert "model.variant" in rows


@pytest.mark.parametrize("recipe", recipes.names())
def test_every_recipe_is_valid(recipe: str) -> None:
    said = here("recipes", "validate", recipe)
    assert (said.code, said.err) == (0, f"next: vit train {recipe}\n")


def test_datasets_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIT_DATA", str(tmp_path))
    (tmp_path / "cifar10").mkdir()
    listed = {row["name"]: row["place"] for row in json.loads(here("datasets", "list", "--json").out)}
    assert listed["digits"] == "built in"
    assert listed["cifar10"] == str(tmp_path / "cifar10")
    assert listed["imagenette"] == "absent"
    assert all(name in here("datasets", "list").out for name in listed)
    facts = json.loads(here("datasets", "info", "digits", "--json").out)
    counts = [facts[f"{part}_images"] for part in ("train", "validation", "test")]
    assert (counts, sum(counts)) == ([1257, 180, 360], 1797)
    assert facts["license"] == "CC BY 4.0"
    assert "validation images  180" in here("datasets", "info", "digits").out
    for name in ("x", "y"):
        for number in range(10):
            image(tmp_path / "own" / "train" / name / f"{number}.png")
        image(tmp_path / "own" / "test" / name / "0.png")
    own = json.loads(here("datasets", "info", tmp_path / "own", "--json").out)
    assert own == {"classes": ["x", "y"], "train_images": 18, "test_images": 2, "validation_images": 2}


def test_known_set_of_a_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIT_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cassava").mkdir()  # unpacked elsewhere: what is told must still be told
    before = here("datasets", "info", "cassava")
    for part in (
        "21,397",
        "Mosaic Disease (CMD)",
        "kaggle.com",
        "data.path_column=image_id",
        "\n\nThe images",
    ):
        assert part in before.out
    assert "kaggle competitions download -c cassava-leaf-disease-classification\n" in before.out
    facts = json.loads(here("datasets", "info", "cassava", "--json").out)
    assert facts["place"] == str(tmp_path / "cassava" / "train.csv")
    assert facts["steps"].count("\n") > 5
    assert "train_images" not in facts
    folder, diseases = tmp_path / "cassava", ("CBB", "CBSD", "CGM", "CMD", "Healthy")
    for number in range(20):
        image(folder / "train_images" / f"{number}.jpg", seed=number)
    rows = "".join(f"{number}.jpg,{number % 5}\n" for number in range(20))
    (folder / "train.csv").write_text("image_id,label\n" + rows)
    (folder / "label_num_to_disease_map.json").write_text(json.dumps(dict(enumerate(diseases))))
    facts = json.loads(here("datasets", "info", "cassava", "--json").out)
    assert (facts["classes"], facts["train_images"], facts["validation_images"]) == ([*diseases], 18, 2)
    listed = {row["name"]: row["place"] for row in json.loads(here("datasets", "list", "--json").out)}
    assert (listed["cassava"], listed["coco5"]) == (str(folder / "train.csv"), "absent")
    # A recipe that says how the CSV is read needs no more than its path; the name alone needs no such keys.
    keys = [f"data.{key}={value}" for key, value in facts["reading"].items()]
    tiny = (*TINY[1:], "train.steps=1", "model.image_size=8", "model.in_channels=3", "-b", "torch")
    for asked in (("--data", "cassava/train.csv", *keys), ("--data", "cassava")):
        made = here("train", "digits", *asked, *tiny, "--json")
        assert made.code == 0, made.err
        found = json.loads(here("evaluate", json.loads(made.out)["run"], "-b", "torch", "--json").out)
        assert list(found["per_class"]) == [*diseases]


def test_the_script_of_a_known_set_makes_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["airplane", "bus", "cat", "dog", "hot dog", "pizza"]
    # Image n shows category n % 6, and every tenth a bus beside it.
    shown = {number: {names[number % 6], *(["bus"] if number % 10 == 0 else [])} for number in range(90)}

    class Coco:
        """COCO's Python interface, as far as the script needs it."""

        def __init__(self, file: str) -> None:
            assert file == "annotations/instances_train2017.json"

        def getCatIds(self, catNms: list[str]) -> list[int]:
            return [number for number, name in enumerate(names) if name in catNms]

        def getImgIds(self, catIds: list[int]) -> list[int]:
            (category,) = catIds
            return [number for number, inside in shown.items() if names[category] in inside]

        def loadImgs(self, ids: list[int]) -> list[dict[str, str]]:
            return [{"file_name": f"{number:012}.jpg"} for number in ids]

    monkeypatch.setitem(sys.modules, "pycocotools", ModuleType("pycocotools"))
    monkeypatch.setitem(sys.modules, "pycocotools.coco", SimpleNamespace(COCO=Coco))
    monkeypatch.chdir(tmp_path)
    for number in shown:
        image(tmp_path / "train2017" / f"{number:012}.jpg", seed=number)
    steps = CATALOGUE["coco5"].steps
    script = steps[steps.index("from pathlib") : steps.index("\n\n3. ")]
    assert "TRAIN, TEST = " in script
    exec(script.replace("1500, 500", "8, 3"), {})
    made = open_source(DataSpec(source="coco5", validation="test"), seed=0)
    assert made.classes == ("airplane", "bus", "cat", "dog", "pizza")
    assert np.bincount(made.parts["train"].labels).tolist() == [8] * 5
    assert np.bincount(made.parts["test"].labels).tolist() == [3] * 5
    for part in ("train", "test"):
        for file in (tmp_path / "coco5" / part).rglob("*.jpg"):
            assert shown[int(file.stem)] - {"hot dog"} == {file.parent.name}
            assert Image.open(file).size == (64, 64)


def test_backends_command() -> None:
    found = {row["name"]: row for row in json.loads(here("backends", "--json").out)}
    assert list(found) == ["torch", "jax"]
    for name, row in found.items():
        assert (row["installed"], row["version"], row["devices"]) == (True, version(name), None)
        assert row["install"] == f"pip install 'vitcli[{name}]'"
    asked = {row["name"]: row["devices"] for row in json.loads(here("backends", "--devices", "--json").out)}
    assert all("cpu" in devices for devices in asked.values())
    assert version("torch") in here("backends").out


def test_summary_command(trained: Trained) -> None:
    found = json.loads(here("summary", "digits", *TINY, "--json").out)
    assert {"parameters", "flops", "layers"} <= set(found)
    assert found["parameters"] == PARAMETERS
    assert sum(math.prod(shape) for shape in found["tensors"].values()) == PARAMETERS
    assert found["weight_bytes"] == 4 * PARAMETERS
    # Multiply-adds by hand: 16 patches of 4 pixels, 17 tokens, one block, 10 classes; two operations each.
    products = 16 * 4 * 16 + 17 * 16 * 48 + 2 * 17 * 17 * 16 + 17 * 16 * 16 + 2 * 17 * 16 * 32 + 16 * 10
    assert found["flops"] == 2 * products
    of_file = json.loads(here("summary", trained.run / "model.safetensors", "--json").out)
    of_run = json.loads(here("summary", trained.run, "--json").out)
    for key in ("parameters", "flops", "layers", "tensors"):
        assert of_file[key] == of_run[key] == found[key]
    words = here("summary", "digits", *TINY).out
    assert f"{PARAMETERS:,} parameters" in words
    batch = here("summary", "digits", *TINY, "--batch", "16")
    assert "16 x 17 x 16" in batch.out
    assert f"16 images: {16 * products / 1e6:.2f} M multiply-adds, input 0.00 MB" in batch.out
    # Dosovitskiy et al. 2021, table 1, gives ViT-B as 86 million parameters.
    assert json.loads(here("summary", "B/16", "--json").out)["parameters"] == pytest.approx(86e6, rel=0.01)


@pytest.mark.parametrize(
    ("kind", "told", "following"),
    [
        ("clip", ["model.num_heads=3"], "vit convert weights {} model.safetensors model.num_heads=3"),
        ("dinov2", ["model.num_heads=3"], "vit convert weights {} model.safetensors model.num_heads=3"),
        ("google", [], "vit predict IMAGE --weights {}"),
    ],
)
def test_summary_of_a_foreign_file(kind: str, told: list[str], following: str, tmp_path: Path) -> None:
    """Whatever the commands that follow can open, by the names that those would find in it."""
    path = KINDS[kind].write(tmp_path)
    if path.suffix == ".safetensors":
        save_file({f"module.{name}": value for name, value in load_file(path).items()}, path)
    said = here("summary", path, *told)
    assert said.code == 0, said.err
    assert said.err.splitlines()[-1] == f"next: {following.format(path)}"


@pytest.mark.parametrize("kind", ["google", "timm", "state dict"])
@pytest.mark.parametrize("name", ["a.safetensors", "a.npz", "without"])
def test_a_file_is_known_by_its_content(kind: str, name: str, tmp_path: Path) -> None:
    if kind == "state dict":
        spec = tiny_recipe().model.model_copy(update={"embed_dim": 64, "num_heads": 1})  # as is assumed
        torch.save(
            {key: torch.tensor(value) for key, value in initial_weights(spec, 0).items()}, tmp_path / name
        )
    else:
        KINDS[kind].write(tmp_path).rename(tmp_path / name)
    for command in (("predict", image(tmp_path / "a.png"), "--weights"), ("weights", "info"), ("summary",)):
        said = here(*command, tmp_path / name)
        assert (said.code, said.errors) == (0, []), said.err
        assert said.err.splitlines()[-1].startswith("next: vit ")


def test_what_follows_a_model_without_classifier(tmp_path: Path) -> None:
    path, recipe = tmp_path / "features.safetensors", tiny_recipe()
    spec = recipe.model.model_copy(update={"num_classes": 0})
    card = replace(Card.of(recipe, ()), spec=spec)
    write_weights(path, initial_weights(spec, seed=0), card, "native")
    said = here("summary", path)
    assert said.err.splitlines()[-1] == f"next: vit train folder --data DIR --init {path}"
