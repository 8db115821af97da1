"""`vit convert weights` with adapters, and what else takes an adapter file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import load_file

import vitcli
from tests.cli.inputs import folders, image
from tests.cli.running import TINY, Result, here
from tests.models import random_pixels, spec_of
from tests.weights.adapters import card_of, files
from vitcli.core.spec import ModelSpec
from vitcli.jobs.adapters import complete, open_adapter
from vitcli.weights import lora as adapters
from vitcli.weights.file import read_weights, write_weights
from vitcli.weights.header import read_header
from vitcli.weights.initial import initial_weights
from vitcli.weights.lora import merged, plain

SPEC = spec_of("standard", norm={"eps": 1e-12}, lora={"rank": 2, "alpha": 3.0, "targets": ["q", "v", "fc1"]})


def convert(*arguments: str | Path) -> Result:
    return here("convert", "weights", *arguments, "--backend", "torch", "--device", "cpu")


def spec_in(path: Path) -> ModelSpec:
    card = read_header(path).card
    assert card is not None
    assert card.base is None
    return card.spec


@pytest.mark.parametrize("layout", ["native", "jax", "huggingface"])
def test_an_adapter_is_merged_into_any_layout(tmp_path: Path, layout: str) -> None:
    _, adapter, whole = files(tmp_path, SPEC)
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / "model.safetensors"
    said = convert(adapter, target, "--merge", "--to", layout)
    assert said.code == 0, said.err
    assert f"adapter -> {layout}" in said.out
    assert convert(target, tmp_path / "again.safetensors").code == 0
    expected, bare = merged(whole, SPEC)
    assert spec_in(tmp_path / "again.safetensors") == bare
    found = read_weights(tmp_path / "again.safetensors")
    assert all(found[name].tobytes() == value.tobytes() for name, value in expected.items())


def test_a_base_is_a_folder_as_other_libraries_keep_it(tmp_path: Path) -> None:
    """Whichever of the names is in it that a folder is read by elsewhere."""
    base, adapter, _ = files(tmp_path, SPEC)
    (tmp_path / "theirs").mkdir()
    torch.save(load_file(base), tmp_path / "theirs" / "pytorch_model.bin")
    base.unlink()
    said = convert(adapter, tmp_path / "model.safetensors", "--merge", "--base", tmp_path / "theirs")
    assert said.code == 0, said.err


def test_a_whole_file_with_adapters_is_merged(tmp_path: Path) -> None:
    _, _, whole = files(tmp_path, SPEC)
    apart, target = tmp_path / "apart.safetensors", tmp_path / "model.safetensors"
    write_weights(apart, whole, card_of(SPEC), "native")
    said = convert(apart, target, "--to", "torchvision")
    assert said.code == 2
    assert "merge them (--merge)" in said.err
    said = convert(apart, target, "--merge", "--json")
    assert said.code == 0, said.err
    facts = json.loads(said.out)
    assert 1e-12 < facts["difference_float64"] < 1e-6
    assert spec_in(target) == plain(SPEC)


def test_a_wrong_merge_is_not_written(tmp_path: Path) -> None:
    """The logits of both are compared, not what was written with itself."""
    _, adapter, _ = files(tmp_path, SPEC)
    target = tmp_path / "model.safetensors"

    def wrong(weights: Any, spec: ModelSpec) -> Any:
        return merged(weights, spec.model_copy(update={"lora": spec.lora.model_copy(update={"alpha": 3.01})}))

    with mock.patch("vitcli.jobs.convert.merged", wrong):
        said = convert(adapter, target, "--merge")
    assert said.code == 3
    assert "has not been written" in said.err
    assert {path.name for path in tmp_path.iterdir()} == {"base.safetensors", "adapter.safetensors"}


def test_an_adapter_predicts_and_is_evaluated_with_its_base(tmp_path: Path) -> None:
    base, adapter, _ = files(tmp_path, SPEC)
    picture = image(tmp_path / "a.png")
    assert convert(adapter, tmp_path / "model.safetensors", "--merge").code == 0
    said = here("predict", picture, "--weights", adapter, "--json", "--device", "cpu")
    assert said.code == 0, said.err
    alone = here("predict", picture, "--weights", tmp_path / "model.safetensors", "--json", "--device", "cpu")
    ours, theirs = (json.loads(result.out)[0]["predictions"] for result in (said, alone))
    assert [row["class"] for row in ours] == [row["class"] for row in theirs]
    np.testing.assert_allclose(
        [row["probability"] for row in ours], [row["probability"] for row in theirs], atol=1e-5
    )
    model, pixels = vitcli.load(adapter, device="cpu"), random_pixels(SPEC)
    assert model.spec == SPEC
    assert model.logits(pixels).shape == (3, 6)
    folders(tmp_path / "six", "abcdef")
    said = here("evaluate", adapter, "--data", tmp_path / "six", "--device", "cpu")
    assert said.code == 0, said.err
    base.unlink()
    said = here("predict", picture, "--weights", adapter)
    assert said.code == 2
    assert "--merge --base FILE" in said.err


def test_an_adapter_is_exported_with_its_base(tmp_path: Path) -> None:
    _, adapter, whole = files(tmp_path, SPEC)
    said = here("export", adapter, tmp_path / "a.stablehlo")
    assert said.code == 0, said.err
    assert f"{adapter} (adapter) -> {tmp_path / 'a.stablehlo'}" in said.err.replace("\n", " ")
    expected, spec = merged(whole, SPEC)
    with np.load(tmp_path / "a.stablehlo") as file:
        found = {name.removeprefix("weights/"): file[name] for name in file.files if "weights/" in name}
        assert ModelSpec.model_validate_json(file["vit.spec"]) == spec
    assert found.keys() == expected.keys()
    assert all(found[name].tobytes() == value.tobytes() for name, value in expected.items())


def test_peft_adapters_predict_too(tmp_path: Path) -> None:
    base, adapter, whole = files(tmp_path, SPEC)
    (tmp_path / "peft").mkdir()
    target = tmp_path / "peft" / "adapter_model.safetensors"
    said = convert(adapter, target.parent, "--to", "peft")
    assert said.code == 0, said.err
    assert "adapter -> peft" in said.out
    assert "tensors alone" in said.out
    assert here("predict", image(tmp_path / "a.png"), "--weights", target, "--device", "cpu").code == 0
    # A folder of PEFT's is a source, too; it comes back as it was.
    assert convert(tmp_path / "peft", tmp_path / "again.safetensors").code == 0
    again = complete(open_adapter(tmp_path / "again.safetensors"))
    assert all(again[name].tobytes() == value.tobytes() for name, value in whole.items())
    assert read_header(tmp_path / "again.safetensors").metadata == read_header(adapter).metadata
    # What we wrote says all of its base that is needed to be carried.
    base.unlink()
    assert convert(tmp_path / "peft", tmp_path / "again.safetensors").code == 0


WRONG: dict[str, tuple[str, tuple[str, ...]]] = {
    "a layout that holds no adapter": ("adapter.safetensors new.safetensors --to jax", ("--merge", "jax")),
    "a state dict": ("adapter.safetensors new.pth", ("new.pth", ".safetensors")),
    "nothing to merge": ("base.safetensors new.safetensors --merge", ("--merge", "no adapters")),
    "a base of a whole model": (
        "base.safetensors new.safetensors --base adapter.safetensors",
        ("--base adapter.safetensors", "needs none"),
    ),
    "a whole model to PEFT": (
        "base.safetensors peft/adapter_model.safetensors --to peft",
        ("--to peft", "whole model", "adapter.safetensors"),
    ),
    "merged to PEFT": (
        "adapter.safetensors peft/adapter_model.safetensors --merge --to peft",
        ("--to peft", "--merge", "choose one"),
    ),
    "another name than PEFT's": (
        "adapter.safetensors new.safetensors --to peft",
        ("adapter_model.safetensors",),
    ),
    "over PEFT's": (
        "adapter.safetensors taken/adapter_model.safetensors --to peft",
        ("adapter_config.json exists",),
    ),
    "an unknown layout": ("adapter.safetensors new.safetensors --to petf", ("--to petf", "peft-timm")),
    "no base there": (
        "adapter.safetensors new.safetensors --merge --base no.safetensors",
        ("no.safetensors",),
    ),
    "an adapter as base": (
        "adapter.safetensors new.safetensors --merge --base adapter.safetensors",
        ("is an adapter of", "--merge"),
    ),
    "another base": (
        "adapter.safetensors new.safetensors --merge --base other.safetensors",
        ("other.safetensors is not the base", "--base"),
    ),
    "an override": (
        "adapter.safetensors new.safetensors model.num_heads=2",
        ("model.num_heads=2", "says itself"),
    ),
    "PEFT's without its base": ("alone new.safetensors", ("alone", "does not say where", "--base FILE")),
    "PEFT's without its configuration": (
        "bare/adapter_model.safetensors new.safetensors --base base.safetensors",
        ("adapter_config.json", "beside it"),
    ),
    "a configuration that is no JSON": (
        "bad new.safetensors --base base.safetensors",
        ("bad/adapter_config.json", "JSON"),
    ),
    "another rank": ("rank new.safetensors --base base.safetensors", ("of rank 3",)),
    "a pattern that could take for ever": (
        "slow new.safetensors --base base.safetensors",
        ("the pattern", "(a*)*b"),
    ),
    "an alpha that is no number": (
        "alpha new.safetensors --base base.safetensors",
        ("adapter_config.json", "cannot be understood"),
    ),
    "another width": ("peft_ new.safetensors --base wide.safetensors", ("16 features", "24")),
    "a head of another width": ("head new.safetensors --base base.safetensors", ("head.weight", "[6, 9]")),
    "another depth": ("peft_ new.safetensors --base flat.safetensors", ("blocks.1", "another model")),
}


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the cases name."""
    root = tmp_path_factory.mktemp("wrong")
    _, adapter, _ = files(root, SPEC)
    for name, changes, seed in (
        ("other", {}, 5),
        ("wide", {"embed_dim": 24}, 0),
        ("flat", {"depth": 1}, 0),
    ):
        spec = ModelSpec.model_validate({**plain(SPEC).model_dump(), **changes})
        write_weights(root / f"{name}.safetensors", initial_weights(spec, seed), card_of(spec), "native")
    (root / "peft").mkdir()
    (root / "taken").mkdir()
    (root / "taken" / "adapter_config.json").write_text("{}")
    (root / "made").mkdir()
    assert convert(adapter, root / "made" / "adapter_model.safetensors", "--to", "peft").code == 0
    tensors = read_weights(root / "made" / "adapter_model.safetensors")
    config = json.loads((root / "made" / "adapter_config.json").read_text())
    (root / "head").mkdir()
    save_file(
        {**tensors, "base_model.model.classifier.weight": np.ones((6, 9), np.float32)},
        root / "head" / "adapter_model.safetensors",
    )
    (root / "head" / "adapter_config.json").write_text(json.dumps(config))
    for name, change in (
        ("alone", {"base_model_name_or_path": None}),
        ("peft_", {}),
        ("bare", None),
        ("bad", "{"),
        ("rank", {"r": 3}),
        ("slow", {"alpha_pattern": {"(a*)*b": 3}}),
        ("alpha", {"lora_alpha": [3]}),
    ):
        (root / name).mkdir()
        save_file(tensors, root / name / "adapter_model.safetensors")
        if change is not None:
            text = change if isinstance(change, str) else json.dumps(config | change)
            (root / name / "adapter_config.json").write_text(text)
    return root


@pytest.mark.parametrize(("line", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_in_one_line(
    wrong: Path, monkeypatch: pytest.MonkeyPatch, line: str, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(wrong)
    said = convert(*line.split())
    assert said.code == 2, said.err
    assert len(said.errors) == 1
    assert all(word in said.errors[0] for word in words), said.err
    assert not list(wrong.glob("new.*"))
    assert not list((wrong / "peft").iterdir())


def test_what_takes_whole_models_alone_says_so_of_pefts(wrong: Path) -> None:
    for command in (("summary",), ("train", "digits", "--init")):
        said = here(*command, wrong / "peft_")
        assert said.code == 2
        assert "is an adapter of PEFT's, not a whole model; merge it first: vit convert weights" in said.err
        assert len(said.err.splitlines()) == 1


def test_a_run_keeps_its_adapters_apart_and_a_merged_model(tmp_path: Path) -> None:
    lora = ("model.lora.rank=2", "model.lora.alpha=4")
    arguments = ("train", "digits", *TINY, *lora, "--backend", "torch", "--device", "cpu", "--runs", tmp_path)
    said = here(*arguments, "--name", "alone")
    assert said.code == 0, said.err
    run = tmp_path / "alone"
    spec = spec_in(run / "model.safetensors")
    assert spec.lora.rank == 0
    # From first weights that no file has: there is nothing that an adapter could be added to.
    assert not (run / "adapter.safetensors").exists()
    base, path = initial_weights(spec, 0), tmp_path / "base.safetensors"
    write_weights(path, base, card_of(spec), "native")
    with mock.patch.object(adapters, "digest", wraps=adapters.digest) as digest:
        said = here(*arguments, "--name", "from", "--init", path, "train.epochs=3")
    assert said.code == 0, said.err
    assert digest.call_count == 1  # though several epochs were the best so far
    run = tmp_path / "from"
    adapter = open_adapter(run / "adapter.safetensors")
    assert (adapter.card.spec.lora.rank, adapter.card.spec.lora.alpha) == (2, 4.0)
    kept = read_weights(run / "model.safetensors")
    together, bare = merged(complete(adapter), adapter.card.spec)
    assert bare == spec
    assert all(kept[name].tobytes() == value.tobytes() for name, value in together.items())
    assert here("evaluate", run, "--device", "cpu").code == 0
    assert here("evaluate", run / "adapter.safetensors", "--device", "cpu").code == 0
