"""`vit convert weights --verify`: every engine, and the library itself, on both files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
import transformers
from torchvision.models.vision_transformer import VisionTransformer

from tests.cli.running import here
from tests.models import spec_of
from vitcli.jobs.verify import pixels

GOLDEN = Path(__file__).parents[1] / "golden" / "peers"


@pytest.fixture
def state_dict(tmp_path: Path) -> Path:
    """A small random VisionTransformer of torchvision's, as a .pth file."""
    torch.manual_seed(0)
    peer = VisionTransformer(16, 4, 2, 3, 24, 40, num_classes=5)
    torch.nn.init.normal_(peer.heads.head.weight)
    torch.save(peer.state_dict(), tmp_path / "peer.pth")
    return tmp_path / "peer.pth"


def test_both_engines_and_the_library_agree(state_dict: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.safetensors"
    result = here("convert", "weights", state_dict, target, "model.num_heads=3", "--verify", "--json")
    assert result.code == 0, result.err
    evidence = json.loads(result.out)["evidence"]
    library = f"torchvision {torchvision.__version__.partition('+')[0]}"
    said = [(Path(row["file"]).name, row["engine"], row["against"].partition("+")[0]) for row in evidence]
    assert said == [
        ("peer.pth", "jax", "torch"),
        ("peer.pth", "torch", library),
        ("peer.pth", "jax", library),
        ("out.safetensors", "jax", "torch"),
    ]
    assert all(row["float64"] <= 1e-9 and row["float32"] <= 2e-5 for row in evidence)
    # What is compared are logits, whose difference is not nothing.
    assert any(row["float32"] > 0 for row in evidence)


@pytest.mark.parametrize("layout", ["timm", "huggingface"])
def test_what_we_write_is_run_by_its_library(layout: str, state_dict: Path, tmp_path: Path) -> None:
    target = tmp_path / "there" / "model.safetensors"
    target.parent.mkdir()
    library = {"timm": "timm", "huggingface": "transformers"}[layout]
    native = tmp_path / "native.safetensors"
    assert here("convert", "weights", state_dict, native, "model.num_heads=3").code == 0
    result = here("convert", "weights", native, target, "--to", layout, "--verify", "--json")
    assert result.code == 0, result.err
    evidence = json.loads(result.out)["evidence"]
    assert [row["engine"] for row in evidence if row["against"].startswith(library)] == ["torch", "jax"]
    assert all(row["float64"] <= 1e-9 for row in evidence)
    # And from there: the configuration beside the file is what the library reads.
    back = here("convert", "weights", target, tmp_path / "back.safetensors", "--verify", "--json")
    assert back.code == 0, back.err
    assert any(row["against"].startswith(library) for row in json.loads(back.out)["evidence"])


@pytest.mark.parametrize(
    "kind", ["ViTMAEForPreTraining", "ViTForMaskedImageModeling", "ViTModel", "DeiTModel"]
)
def test_models_without_a_classifier_are_run(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {
        "image_size": 16,
        "patch_size": 4,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 40,
        "encoder_stride": 4,
    }
    described: Any = getattr(transformers, kind).config_class(**sizes)
    built: Any = getattr(transformers, kind)(described)
    built.save_pretrained(tmp_path / "theirs")
    source = tmp_path / "theirs" / "model.safetensors"
    result = here("convert", "weights", source, tmp_path / "out.safetensors", "--verify", "--json")
    assert result.code == 0, result.err
    evidence = json.loads(result.out)["evidence"]
    assert sum(row["against"].startswith("transformers") for row in evidence) == 2


def test_an_encoder_of_a_masked_autoencoder_goes_out_again(tmp_path: Path) -> None:
    torch.manual_seed(1)
    sizes: dict[str, Any] = {"image_size": 16, "patch_size": 4, "hidden_size": 24, "num_hidden_layers": 2}
    config = transformers.ViTMAEConfig(**sizes, num_attention_heads=3, intermediate_size=40, mask_ratio=0.0)
    peer: Any = transformers.ViTMAEModel(config)
    peer.save_pretrained(tmp_path / "theirs")
    ours, again = tmp_path / "ours.safetensors", tmp_path / "again" / "model.safetensors"
    again.parent.mkdir()
    assert here("convert", "weights", tmp_path / "theirs", ours).code == 0
    result = here("convert", "weights", ours, again, "--to", "huggingface-mae", "--verify")
    assert result.code == 0, result.err
    kind: Any = transformers.ViTMAEModel
    loaded, report = kind.from_pretrained(again.parent, mask_ratio=0.0, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    theirs = peer.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in loaded.state_dict().items())
    assert json.loads((again.parent / "config.json").read_text())["model_type"] == "vit_mae"


def test_a_difference_ends_with_exit_code_3(
    state_dict: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitcli_torch import runtime
    from vitcli_torch.peers import peer_logits as exact

    def other(*arguments: object) -> np.ndarray:
        return exact(*arguments) * (1 + 1e-8)  # type: ignore[arg-type]

    monkeypatch.setattr(runtime, "peer_logits", other)
    target = tmp_path / "out.safetensors"
    result = here("convert", "weights", state_dict, target, "model.num_heads=3", "--verify")
    assert result.code == 3
    assert len(result.errors) == 1 and "torchvision" in result.errors[0] and "1e-09" in result.errors[0]
    assert not target.exists()


def test_a_configuration_of_another_program_is_not_the_librarys(tmp_path: Path) -> None:
    """A `config.json` without an architecture is not timm's; the model is known by its tensors all the same."""
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((GOLDEN / "timm_cls" / name).read_bytes())
    source, target = tmp_path / "model.safetensors", tmp_path / "out.safetensors"
    result = here("convert", "weights", source, target, "model.num_heads=3", "--verify")
    assert result.code == 0, result.err
    assert f"{source}: torch and timm" in result.out


def test_large_images_are_fewer() -> None:
    found = {
        size: len(pixels(spec_of("standard", image_size=size, patch_size=8)))
        for size in (16, 224, 256, 384, 512)
    }
    assert found == {16: 4, 224: 4, 256: 3, 384: 1, 512: 1}


@pytest.mark.parametrize("classes", [0, 3])
def test_the_library_runs_a_file_whose_tensors_are_not_all_read(
    tmp_path: Path, classes: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """DINOv2's files hold a mask token, without which transformers would draw one and say so."""
    from transformers import Dinov2Config, Dinov2ForImageClassification, Dinov2Model

    sizes: dict[str, Any] = {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "image_size": 28,
    }
    kind: Any = Dinov2ForImageClassification if classes else Dinov2Model
    kind(Dinov2Config(**sizes)).save_pretrained(tmp_path / "theirs")
    capfd.readouterr()
    result = here("convert", "weights", tmp_path / "theirs", tmp_path / "out.safetensors", "--verify")
    assert result.code == 0, result.err
    assert "theirs/model.safetensors: torch and transformers" in result.out
    assert "MISSING" not in result.err
    assert "|" not in capfd.readouterr().err  # no table and no bar of theirs


@pytest.mark.parametrize("changed", [False, True])
def test_engines_run_equal_tensors_once(
    state_dict: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: bool
) -> None:
    from vitcli.jobs import verify

    ran: list[int] = []
    exact = verify.logits_of

    def counted(*arguments: Any) -> Any:
        ran.append(arguments[1].image_size)
        return exact(*arguments)

    monkeypatch.setattr(verify, "logits_of", counted)
    larger = ("--adapt", "model.image_size=24") if changed else ()
    target = tmp_path / "out.safetensors"
    result = here("convert", "weights", state_dict, target, "model.num_heads=3", "--verify", *larger)
    assert result.code == 0, result.err
    assert ran == ([16, 16, 24, 24] if changed else [16, 16])
