"""`vit train --init` and `vit convert weights --adapt`, end to end on models of the digits' size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file, save_file

from tests.cli.inputs import weights_file
from tests.cli.running import Result, here
from tests.models import random_pixels, random_weights, spec_of
from vitcli.core.initial import InitSpec
from vitcli.data.digits import digits
from vitcli.jobs.model import load
from vitcli.weights.adapt import adapt, adapted_card
from vitcli.weights.file import read_weights, write_weights
from vitcli.weights.header import Card, Preprocess, read_header
from vitcli.weights.initial import initial_weights
from vitcli.weights.resample import POSITIONS, resized_positions

pytestmark = pytest.mark.usefixtures("one_thread", "no_curves")
# One update, so small that it leaves every value of the head's size where it was.
STILL = ("train.steps=1", "train.lr=1e-12", "train.weight_decay=0")


def told(run: Path, event: str = "init") -> list[dict[str, Any]]:
    """The records of one kind that a run has left."""
    records = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [record for record in records if record["event"] == event]


def losses(run: Path) -> list[float]:
    return [record["loss"] for record in told(run, "step")]


def photos(root: Path, classes: str, images: int = 12) -> Path:
    """Digits of some classes as a folder of class folders."""
    part = digits().parts["train"]
    assert isinstance(part.images, np.ndarray)
    for name in classes:
        (root / name).mkdir(parents=True)
        for number in np.flatnonzero(part.labels == int(name))[:images]:
            Image.fromarray(part.images[number][..., 0]).save(root / name / f"{number}.png")
    return root


def train(place: Path, name: str, init: Path, *options: str | Path) -> Result:
    """A short run of the digits' recipe from a file."""
    said = here("train", "digits", "--runs", place, "--name", name, "--init", init, *options)
    assert said.code == 0, said.err
    return said


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """First weights of a tiny model of the ten digits, none of them zero."""
    path = weights_file(tmp_path_factory.mktemp("start") / "start.safetensors")
    card, random = read_header(path).card, np.random.default_rng(0)
    assert card is not None
    values = {
        name: (value + 0.02 * random.standard_normal(value.shape)).astype(np.float32)
        for name, value in read_weights(path).items()
    }
    write_weights(path, values, card, "native")
    return path


def last(run: Path) -> dict[str, NDArray[Any]]:
    return load_file(run / "model.safetensors")


def close(found: NDArray[Any], expected: NDArray[Any]) -> bool:
    """Whether values of size one or less are equal but for the last digit of float32 and a step of 1e-12."""
    return found.shape == expected.shape and bool(np.abs(found - expected).max() < 1e-7)


def test_other_classes_keep_the_rows_of_equal_names(start: Path, tmp_path: Path) -> None:
    data = photos(tmp_path / "photos", "3579")
    said = train(tmp_path, "a", start, "--data", data, *STILL)
    assert "head: 10 -> 4 classes, 4 kept by name (3, 5, 7, 9)" in said.err
    before, after = read_weights(start), last(tmp_path / "a")
    assert close(after["head.weight"], before["head.weight"][[3, 5, 7, 9]])
    assert all(close(after[name], value) for name, value in before.items() if not name.startswith("head"))
    (record,) = told(tmp_path / "a")
    assert record["file"] == str(start)
    assert "head: 10 -> 4 classes, 4 kept by name (3, 5, 7, 9)" in record["notes"]
    assert all(note in said.err.replace("\n", " ") for note in record["notes"])
    model = load(tmp_path / "a")
    assert (model.classes, model.spec.embed_dim) == (("3", "5", "7", "9"), 12)


def test_the_model_is_the_files_and_recipe_values_yield(start: Path, tmp_path: Path) -> None:
    said = train(tmp_path, "a", start, *STILL)
    for words in ("patch_size=4 (recipe: 2)", "embed_dim=12 (recipe: 64)", "depth=1 (recipe: 4)"):
        assert words in said.err
    assert "image_size=" not in said.err.partition("the model is that of")[2].partition("\n")[0]
    spec = load(tmp_path / "a").spec
    file = read_header(start).card
    assert file is not None
    # Rates of dropping are the recipe's: they are about training.
    assert spec == file.spec.model_copy(update={"drop": spec.drop})
    assert spec.drop.path == 0.1


def test_sizes_and_channels_are_adapted(start: Path, tmp_path: Path) -> None:
    options = ("model.image_size=12", "model.in_channels=3", "model.drop.path=0.2")
    said = train(tmp_path, "a", start, *options, *STILL)
    for words in ("positions: 2x2 -> 3x3, resampled as timm", "first layer: 1 -> 3 channels, repeated"):
        assert words in said.err
    before, after = read_weights(start), last(tmp_path / "a")
    assert close(after["pos_embed"], resized_positions(before["pos_embed"], 1, 3, POSITIONS["timm"]))
    assert close(after["patch_embed.proj.weight"], before["patch_embed.proj.weight"].repeat(3, axis=1) / 3)
    # And back again, from the run: a grey image was one of three equal channels.
    said = train(tmp_path, "b", tmp_path / "a", "model.in_channels=1", *STILL)
    assert "first layer: 3 -> 1 channels, summed" in said.err
    assert close(last(tmp_path / "b")["patch_embed.proj.weight"], before["patch_embed.proj.weight"])
    assert load(tmp_path / "b").spec.image_size == 12


def test_images_are_seen_as_the_file_says(start: Path, tmp_path: Path) -> None:
    card, values = read_header(start).card, read_weights(start)
    assert card is not None
    seen = card.preprocess.model_copy(update={"fit": "squash", "size": 10, "mean": (0.2,), "std": (0.3,)})
    other = tmp_path / "other.safetensors"
    write_weights(
        other, values, Card(spec=card.spec, classes=card.classes, preprocess=seen, source=""), "native"
    )
    train(tmp_path, "a", other, *STILL)
    found = read_header(tmp_path / "a" / "model.safetensors").card
    assert found is not None and found.preprocess == seen
    said = train(tmp_path, "b", other, "model.image_size=16", "data.std=[0.4]", *STILL)
    found = read_header(tmp_path / "b" / "model.safetensors").card
    assert found is not None
    assert found.preprocess == seen.model_copy(update={"size": 20, "std": (0.4,)})
    assert (
        'data.fit="squash", data.eval_size=20, data.mean=[0.2], data.interpolation="bilinear"\n' in said.err
    )


def test_both_engines_start_alike_and_go_on_alike(start: Path, tmp_path: Path) -> None:
    data, options = photos(tmp_path / "photos", "2468"), ("train.steps=5", "model.image_size=12")
    for engine in ("torch", "jax"):
        train(tmp_path, engine, start, "--data", data, "-b", engine, "train.evaluate_first=true", *options)
    ours, theirs = losses(tmp_path / "torch"), losses(tmp_path / "jax")
    assert len(ours) == 5 and ours[0] != ours[4]
    np.testing.assert_allclose(ours, theirs, rtol=2e-6)
    assert told(tmp_path / "torch") == told(tmp_path / "jax")


@pytest.mark.slow
def test_parity_starts_from_the_file(start: Path) -> None:
    said = here("parity", "digits", f"init.file={start}", "model.image_size=12", "--steps", "3", "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["ok"]
    assert "positions: 2x2 -> 3x3" in said.err


def test_a_run_knows_its_start_from_any_folder(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(start.parent)
    train(tmp_path, "a", Path(start.name), *STILL)
    monkeypatch.chdir(tmp_path)
    assert f'file = "{start}"' in Path("a/recipe.toml").read_text()
    assert told(Path("a"))[0]["file"] == str(start)
    said = here("train", "a/recipe.toml", "--runs", tmp_path, "--name", "b")
    assert said.code == 0, said.err


def test_a_recipe_of_a_run_starts_from_the_same_file_again(start: Path, tmp_path: Path) -> None:
    file = tmp_path / "file.safetensors"
    file.write_bytes(start.read_bytes())
    options = ("train.steps=3", "model.image_size=12", "init.head=normal 0.3", "data.mean=[0.25]")
    data = photos(tmp_path / "photos", "019")
    train(tmp_path, "a", file, "--data", data, *options)
    recipe = tmp_path / "a" / "recipe.toml"
    said = here("train", recipe, "--runs", tmp_path, "--name", "b")
    assert said.code == 0, said.err
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert (tmp_path / "b" / "recipe.toml").read_text().partition("\n")[2] == recipe.read_text().partition(
        "\n"
    )[2]
    assert told(tmp_path / "a")[0]["file"] == str(file)
    said = here("train", recipe, "--runs", tmp_path, "--name", "c", "model.embed_dim=24")
    assert (said.code, "model.embed_dim=24 (command line) contradicts" in said.err) == (2, True)
    # A file that has changed is another one, unless it is said anew.
    weights_file(file)
    said = here("train", recipe, "--runs", tmp_path, "--name", "c")
    assert said.code == 3
    assert "it has changed; say --init" in said.err
    said = here("train", recipe, "--runs", tmp_path, "--name", "d", "--init", file)
    assert said.code == 0, said.err
    file.unlink()
    said = here("train", recipe, "--runs", tmp_path, "--name", "c")
    assert said.code == 2
    assert f"no run folder or weights file at {file}" in said.err
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("model.embed_dim=24",),
            "model.embed_dim=24 (command line) contradicts the metadata of {start}, which makes it 12",
        ),
        (
            ("model.variant=S/4",),
            "model.embed_dim=384 (command line) contradicts the metadata of {start}, which makes it 12",
        ),
        (("model.mlp_ratio=4",), "model.mlp_dim=48 (command line) contradicts {start}, which makes it 20"),
        (("model.tokens.registers=1",), "model.tokens.registers=1 (command line) contradicts"),
        (("model.image_size=10",), "image_size=10 is not a multiple of patch_size=4"),
        (("model.image_size=big",), 'model.image_size="big" (command line): '),
        (("init.resample=pillow",), 'init.resample="pillow" (command line) is not one of'),
        (("data.mean=[0.1, 0.2, 0.3]",), "data.mean has 3 numbers; model.in_channels=1 needs 1 or 1"),
        (("init.sha256=abc",), "init.sha256 is abc... (command line)"),
    ],
)
@pytest.mark.usefixtures("no_engine")
def test_contradictions_are_told(start: Path, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    said = here("train", "digits", "--runs", tmp_path / "runs", "--init", start, *options)
    assert said.code == (3 if "sha256" in options[0] else 2)
    assert len(said.errors) == 1
    assert message.format(start=start) in said.errors[0]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("wrong", ["nothing", "text", "short", "nan", "stranger", "folder"])
@pytest.mark.usefixtures("no_engine")
def test_wrong_files_leave_no_run(start: Path, tmp_path: Path, wrong: str) -> None:
    path = tmp_path / wrong
    if wrong == "text":
        path.write_text("these are no weights")
    elif wrong == "short":
        path.write_bytes(start.read_bytes()[:-5])
    elif wrong == "nan":
        values = {name: np.full_like(value, np.nan) for name, value in read_weights(start).items()}
        weights_file(path, values=values)
    elif wrong == "stranger":
        save_file({"layer1.0.weight": np.zeros((2, 2), np.float32)}, path)
    elif wrong == "folder":
        path.mkdir()
    said = here("train", "digits", "--runs", tmp_path / "runs", "--init", path)
    assert said.code == 2
    assert len(said.errors) == 1 and str(path) in said.errors[0], said.err
    assert not (tmp_path / "runs").exists()


def test_torchvisions_file_is_a_start(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    peer = pytest.importorskip("torchvision.models.vision_transformer")
    torch.manual_seed(0)
    sizes = {
        "image_size": 8,
        "patch_size": 4,
        "num_layers": 1,
        "num_heads": 3,
        "hidden_dim": 12,
        "mlp_dim": 20,
    }
    model = peer.VisionTransformer(**sizes, num_classes=20)
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.3)
    torch.save(model.state_dict(), tmp_path / "theirs.pth")
    wanted = (
        "model.num_heads=3",
        "model.image_size=12",
        "init.resample=torchvision",
        "init.linear=xavier",
        "train.seed=7",
    )
    said = train(tmp_path, "a", tmp_path / "theirs.pth", *wanted, *STILL)
    # Its classes have no names, so the ten digits are not its first ten.
    assert "head: 20 -> 10 classes, all drawn anew" in said.err
    assert 'data.fit="crop", data.eval_size=14, data.mean=[0.485, 0.456, 0.406]' in said.err
    drawn = initial_weights(load(tmp_path / "a").spec, 7, InitSpec(linear="xavier"))
    assert close(last(tmp_path / "a")["head.weight"], drawn["head.weight"])
    # Its own resizing, and the same pixels in its own code.
    state = peer.interpolate_embeddings(12, 4, model.state_dict(), reset_heads=True)
    twin = peer.VisionTransformer(**{**sizes, "image_size": 12}, num_classes=10)
    head = {
        f"heads.head.{name}": torch.tensor(last(tmp_path / "a")[f"head.{name}"])
        for name in ("weight", "bias")
    }
    twin.load_state_dict({**state, **head}, strict=True)
    pixels = np.random.default_rng(0).standard_normal((3, 3, 12, 12)).astype(np.float32)
    with torch.inference_mode():
        expected = twin.eval()(torch.tensor(pixels)).numpy()
    np.testing.assert_allclose(load(tmp_path / "a").logits(pixels), expected, atol=1e-5)
    # The recipe of that run holds what the file could not say.
    said = here("train", tmp_path / "a" / "recipe.toml", "--runs", tmp_path, "--name", "b")
    assert said.code == 0, said.err


def test_numbers_are_names_where_all_are_equal(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    timm = pytest.importorskip("timm.models.vision_transformer")
    torch.manual_seed(0)
    sizes = {"img_size": 8, "patch_size": 4, "in_chans": 1, "embed_dim": 12, "depth": 1, "num_heads": 3}
    model = timm.VisionTransformer(**sizes, num_classes=10)
    torch.save(model.state_dict(), tmp_path / "theirs.pth")
    said = train(tmp_path, "a", tmp_path / "theirs.pth", "model.num_heads=3", *STILL)
    assert "head:" not in said.err
    assert close(last(tmp_path / "a")["head.weight"], model.head.weight.detach().numpy())


def test_convert_writes_other_sizes(start: Path, tmp_path: Path) -> None:
    target, changes = (
        tmp_path / "larger.safetensors",
        ("model.image_size=15", "model.patch_size=5", "model.in_channels=3"),
    )
    options = [text for change in changes for text in ("--adapt", change)]
    said = here("convert", "weights", start, target, *options, "--resample", "bilinear", "model.patch_size=4")
    assert said.code == 0, said.err
    assert "positions: 2x2 -> 3x3, resampled as bilinear does, 1 in front kept" in said.err
    assert "patch kernels: 4x4 -> 5x5 pixels" in said.err
    before, header = read_header(start).card, read_header(target)
    assert before is not None and header.card is not None
    assert header.card == adapted_card(before, changes)
    expected, _ = adapt(read_weights(start), before, header.card, init=InitSpec(resample="bilinear"))
    found = read_weights(target)
    assert all(np.array_equal(found[name], value) for name, value in expected.items())
    for wrong, message in (
        (("--adapt", "model.depth=2"), "model.depth cannot be adapted"),
        (("--adapt", "model.image_size=9"), "image_size=9 is not a multiple of patch_size=4"),
        (("--resample", "nearest"), 'resample="nearest" is not one of'),
        (("--resample", "dinov2"), "--resample dinov2 says how sizes change, and none does; add --adapt"),
        (("model.image_size=12",), "model.image_size=12 (command line) contradicts"),
    ):
        said = here("convert", "weights", start, tmp_path / "other.safetensors", *wrong)
        assert said.code == 2 and message in said.err
    assert not (tmp_path / "other.safetensors").exists()


def test_a_converted_file_is_what_transformers_makes_of_the_original(tmp_path: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    spec = spec_of("standard")
    seen = Preprocess(fit="squash", size=15, mean=(0.5,), std=(0.5,))
    card = Card(spec=spec, classes=tuple("abcdef"), preprocess=seen, source="test")
    for name, options in (
        ("old", ()),
        ("new", ("--adapt", "model.image_size=25", "--resample", "huggingface")),
    ):
        (tmp_path / name).mkdir()
        write_weights(tmp_path / "ours.safetensors", random_weights(spec), card, "native")
        target = tmp_path / name / "model.safetensors"
        said = here(
            "convert", "weights", tmp_path / "ours.safetensors", target, "--to", "huggingface", *options
        )
        assert said.code == 0, said.err
    pixels = torch.tensor(random_pixels(spec.model_copy(update={"image_size": 25})))
    old, new = (
        transformers.ViTForImageClassification.from_pretrained(tmp_path / name) for name in ("old", "new")
    )
    assert new.config.image_size == 25
    with torch.inference_mode():
        expected = old.eval()(pixels, interpolate_pos_encoding=True).logits.numpy()
        found = new.eval()(pixels).logits.numpy()
    np.testing.assert_allclose(found, expected, atol=2e-6)
