"""`vit weights`, and names of published weights where other commands take a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from tests.cli.inputs import image, weights_file
from tests.cli.running import here
from tests.fetch.child import Told
from tests.fetch.server import Server
from tests.hub.conftest import GOLDEN, MODEL
from tests.hub.server import Hub
from vitcli.core.errors import WeightsError
from vitcli.hub.releases import RELEASES
from vitcli.jobs.pretrained import find
from vitcli.weights.file import read_weights
from vitcli.weights.header import Header, read_header


def test_list_tells_which_are_here(hub: Hub, files: dict[str, bytes]) -> None:
    hub.models["facebook/deit-tiny-patch16-224"] = files
    found = here("weights", "fetch", "deit-tiny-patch16-224")
    assert found.code == 0, found.err
    path = found.out.removesuffix("\n")
    assert Path(path).read_bytes() == files["model.safetensors"]
    rows = json.loads(here("weights", "list", "--json").out)
    assert [row["name"] for row in rows] == list(RELEASES)
    assert {row["name"]: row["path"] for row in rows if row["path"]} == {"deit-tiny-patch16-224": path}
    table = here("weights", "list").out
    assert [line.split()[1] for line in table.splitlines() if " here " in line] == ["deit-tiny-patch16-224"]


def test_info_of_a_name(hub: Hub) -> None:
    told = json.loads(here("weights", "info", "facebook/dinov2-small", "--json").out)
    assert told == {
        "name": "dinov2-small",
        "from": "facebook/dinov2-small",
        "path": None,
        "layout": "huggingface",
        "parameters": 22_056_576,
        "image_size": 518,
        "license": "apache-2.0",
    }
    assert json.loads(here("weights", "info", MODEL, "--json").out) == {
        "name": MODEL,
        "from": MODEL,
        "path": None,
    }
    assert hub.asked == []
    lines = here("weights", "info", "dinov2-small").out.splitlines()
    assert "parameters  22,056,576" in lines


def test_info_of_a_file() -> None:
    path = GOLDEN / "hf_vit" / "model.safetensors"
    found = here("weights", "info", path, "--json")
    assert found.code == 0, found.err
    told = json.loads(found.out)
    config = json.loads((path.parent / "config.json").read_text())
    assert (told["layout"], told["tensors"]) == ("huggingface", 40)
    assert told["parameters"] == sum(value.size for value in read_weights(path).values())
    assert told["model"]["embed_dim"] == config["hidden_size"]
    assert told["classes"] == list(config["id2label"].values())
    assert told["preprocess"]["size"] == config["image_size"]
    assert here("weights", "info", path).out.splitlines()[1] == "layout      huggingface"


def test_info_of_a_file_that_does_not_say_all(tmp_path: Path) -> None:
    path = GOLDEN / "timm_cls" / "model.safetensors"
    refused = here("weights", "info", path)
    assert (refused.code, len(refused.errors)) == (2, 1)
    heads = json.loads((path.parent / "config.json").read_text())["num_heads"]
    found = here("weights", "info", path, f"model.num_heads={heads}", "--json")
    assert json.loads(found.out)["model"]["num_heads"] == heads


def test_fetch_says_where_it_put_things(hub: Hub, tmp_path: Path) -> None:
    found = here("weights", "fetch", MODEL, "--root", tmp_path / "mine", "--json")
    assert found.code == 0, found.err
    told = json.loads(found.out)
    assert (told["name"], told["source"], told["size"]) == (MODEL, MODEL, Path(told["path"]).stat().st_size)
    assert Path(told["path"]).is_relative_to(tmp_path / "mine")
    assert here("weights", "fetch", MODEL, "--root", tmp_path / "mine").out == f"{told['path']}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (("weights", "fetch", "dinov2-smal"), 2, ("'dinov2-small'", "owner/name", "vit weights list")),
        (("weights", "fetch", "someone/gone"), 2, ("no model someone/gone",)),
        (("weights", "fetch", MODEL, "--revision", "v9"), 2, ("no revision v9",)),
        (("weights", "info", "nothing"), 2, ("'nothing' is no known release",)),
        (
            ("weights", "info", "dinov2-base", "model.num_heads=3"),
            2,
            ("'model.num_heads=3'", "dinov2-base is no file"),
        ),
        (("convert", "weights", "someone/gone", "new.safetensors"), 2, ("no model someone/gone",)),
        (("predict", "image.png", "--weights", "someone/gone"), 2, ("no model someone/gone",)),
        (("evaluate", "someone/gone"), 2, ("no model someone/gone",)),
        (("convert", "weights", MODEL, "new.onnx"), 2, ("must end in one of",)),
    ],
)
def test_refusals(
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    parts: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    result = here(*arguments)
    assert (result.code, result.out, len(result.errors)) == (code, "", 1), result.err
    for part in parts:
        assert part in result.errors[0]
    assert hub.bodies == []


def test_a_model_of_the_hub_is_converted(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = GOLDEN / "hf_vit" / "model.safetensors"
    expected = _converted(golden, tmp_path / "local.safetensors")
    _same(_converted(MODEL, tmp_path / "fetched.safetensors"), expected)
    bodies = list(hub.bodies)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    _same(_converted(MODEL, tmp_path / "again.safetensors"), expected)
    assert hub.bodies == bodies == ["config.json", "model.safetensors"]


def test_training_starts_from_a_published_name(
    hub: Hub, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is what the recipe keeps, so that the run can be trained again wherever the name is known."""
    monkeypatch.chdir(tmp_path)
    hub.models["facebook/deit-tiny-patch16-224"] = files
    short = ("train.epochs=1", "train.batch_size=512", "--backend", "torch", "--device", "cpu")
    for number, name in enumerate((MODEL, "deit-tiny-patch16-224")):
        found = here("train", "digits", "--init", name, "tune.probe=true", *short, "--name", f"run{number}")
        assert found.code == 0, found.err
        assert f"starting from {tmp_path / 'huggingface'}" in found.err
        assert f'file = "{name}"' in (tmp_path / f"runs/run{number}/recipe.toml").read_text()
    asked = list(hub.bodies)
    assert asked == 2 * ["config.json", "model.safetensors"]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = here("train", "runs/run0/recipe.toml", *short, "--name", "again")
    assert again.code == 0, again.err
    assert hub.bodies == asked
    one, other = (read_weights(tmp_path / f"runs/{run}/model.safetensors") for run in ("run0", "again"))
    assert all(value.tobytes() == other[name].tobytes() for name, value in one.items())
    base = read_weights(GOLDEN / "hf_vit" / "model.safetensors")
    assert np.array_equal(one["cls_token"], base["vit.embeddings.cls_token"])  # a probe: the rest stays


def test_a_name_that_nobody_knows_is_told_before_training(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = here("train", "digits", "--init", "someone/gone")
    assert (refused.code, len(refused.errors)) == (2, 1)
    assert "no model someone/gone" in refused.errors[0]
    assert not (tmp_path / "runs").exists()


def test_exports_of_a_name_need_a_place(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused = here("export", MODEL, "--format", "torch-export")
    assert (refused.code, len(refused.errors)) == (2, 1)
    assert "add the file to write, as model.pt2" in refused.errors[0]
    assert here("export", MODEL, "model.pt2").code == 0
    assert (tmp_path / "model.pt2").is_file()


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_folders_of_other_libraries_are_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    Path("theirs").mkdir()
    Path("theirs/config.json").write_bytes((GOLDEN / "hf_vit" / "config.json").read_bytes())
    tensors = read_weights(GOLDEN / "hf_vit" / "model.safetensors")
    if name.endswith(".bin"):
        torch.save({name: torch.tensor(value) for name, value in tensors.items()}, Path("theirs", name))
    else:
        Path("theirs", name).write_bytes((GOLDEN / "hf_vit" / name).read_bytes())
    assert find("theirs", Told()) == Path("theirs", name)
    _same(
        _converted("theirs", tmp_path / "a.safetensors"),
        _converted(f"theirs/{name}", tmp_path / "b.safetensors"),
    )
    assert here("weights", "info", "theirs").code == 0
    said = here("summary", "theirs")
    assert said.err.endswith("next: vit predict IMAGE --weights theirs\n")


def test_what_may_follow_for_a_file_of_another_program(tmp_path: Path) -> None:
    theirs = GOLDEN / "hf_vit"
    said = here("predict", image(tmp_path / "a.png"), "--weights", theirs, "-b", "torch")
    assert said.err.endswith(f"next: vit evaluate {theirs} --data DIR\n")
    ours = weights_file(tmp_path / "ours.safetensors")
    said = here("predict", image(tmp_path / "a.png"), "--weights", ours, "-b", "torch")
    assert said.err.endswith(f"next: vit evaluate {ours}\n")  # it says itself what it was trained on
    bare = GOLDEN / "timm_cls" / "model.safetensors"
    said = here("summary", bare, "model.num_heads=3")
    assert said.err.endswith(f"next: vit convert weights {bare} model.safetensors model.num_heads=3\n")


def test_models_in_several_files_are_refused_as_such(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"several files \(model.safetensors.index.json\).*max_shard_size"):
        find(tmp_path, Told())


def test_an_archive_is_converted_from_its_address(tmp_path: Path) -> None:
    golden = GOLDEN / "gr_vit_token" / "params.npz"
    with Server(golden.read_bytes()) as server:
        found = _converted(server.url("/augreg/B_16.npz"), tmp_path / "fetched.safetensors")
    _same(found, _converted(golden, tmp_path / "local.safetensors"))


def test_what_is_here_is_found_without_asking(hub: Hub) -> None:
    path = find(MODEL, Told())
    asked = len(hub.asked)
    assert find(MODEL, Told()) == path
    assert len(hub.asked) == asked > 0


def test_paths_win_over_names(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("someone").mkdir()
    Path(MODEL).write_bytes(b"here")
    assert find(MODEL, Told()) == Path(MODEL)
    Path("dinov2-small").write_bytes(b"here")
    assert find("dinov2-small", Told()) == Path("dinov2-small")
    run = Path("run")
    run.mkdir()
    (run / "model.safetensors").write_bytes(b"trained")
    assert find(run, Told()) == run / "model.safetensors"
    assert hub.asked == []


@pytest.mark.parametrize(
    "text", ["someone/vit-tiny", "none.safetensors", "a/none.pth", "a/b/c", "runs", "vit-bas"]
)
def test_missing_paths_ask_nobody(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("someone").mkdir()  # so that someone/vit-tiny is a file or a run that is missing
    with pytest.raises(
        WeightsError, match="no run folder or weights file at .*nor is it a known release or a Hub id"
    ):
        find(text, Told())
    assert hub.asked == []


def test_known_names_win_over_folders_of_the_same_owner(
    hub: Hub, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("facebook").mkdir()
    hub.models["facebook/deit-tiny-patch16-224"] = files
    assert find("facebook/deit-tiny-patch16-224", Told()).read_bytes() == files["model.safetensors"]


def test_as_a_user_runs_it(hub: Hub, tmp_path: Path) -> None:
    """The variables are read by the library as it is imported: only a new process shows that they hold."""
    command = [sys.executable, "-m", "vitcli", "weights", "fetch", MODEL]

    def run(**environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, **environment}
        )

    hub.faults["model.safetensors"] = "cut"  # of which the library would tell in words of its own
    first = run()
    assert first.returncode == 0, first.stderr
    assert first.stdout == f"{next((tmp_path / 'huggingface').rglob('model.safetensors'))}\n"
    assert first.stderr == f"next: vit convert weights {MODEL} model.safetensors\n"
    asked = len(hub.asked)
    second = run(HF_HUB_OFFLINE="1")
    assert (second.returncode, second.stdout) == (0, first.stdout)
    third = run(HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "empty"))
    assert (third.returncode, third.stdout, third.stderr.count("\n")) == (1, "", 1)
    assert "HF_HUB_OFFLINE is set" in third.stderr
    assert len(hub.asked) == asked


def _converted(source: str | Path, target: Path) -> Header:
    result = here("convert", "weights", source, target, "--backend", "torch")
    assert result.code == 0, result.err
    return read_header(target)


def _same(found: Header, expected: Header) -> None:
    """Compares spec, class names, preprocessing and every value of two files."""
    assert found.card is not None
    assert expected.card is not None
    assert replace(found.card, source="") == replace(expected.card, source="")
    first, second = read_weights(found.path), read_weights(expected.path)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
