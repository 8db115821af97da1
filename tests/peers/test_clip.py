"""CLIP's visual tower is what timm and transformers make of the same tensors, and goes out bit for bit."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models.vision_transformer import checkpoint_filter_fn

os.environ.setdefault("HF_HUB_OFFLINE", "1")
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from tests.peers.random import Notes, assert_same, converted, randomized, randoms
from vitcli.core.errors import WeightsError
from vitcli.jobs.model import open_weights

D, M, OUT = 24, 40, 10
TOLD = "model.num_heads=3"


def tower(prefix: str = "visual.") -> dict[str, torch.Tensor]:
    """Random tensors under the names of OpenAI's and OpenCLIP's VisionTransformer; 4 x 4 patches of 8 pixels."""
    shapes: dict[str, tuple[int, ...]] = {
        "class_embedding": (D,),
        "positional_embedding": (17, D),
        "proj": (D, OUT),
        "conv1.weight": (D, 3, 8, 8),
    }
    for name in ("ln_pre", "ln_post", *(f"transformer.resblocks.{i}.ln_{k}" for i in (0, 1) for k in (1, 2))):
        shapes |= {f"{name}.weight": (D,), f"{name}.bias": (D,)}
    for i in (0, 1):
        block = f"transformer.resblocks.{i}"
        shapes |= {f"{block}.attn.in_proj_weight": (3 * D, D), f"{block}.attn.in_proj_bias": (3 * D,)}
        for name, shape in {"attn.out_proj": (D, D), "mlp.c_fc": (M, D), "mlp.c_proj": (D, M)}.items():
            shapes |= {f"{block}.{name}.weight": shape, f"{block}.{name}.bias": shape[:1]}
    return randoms({prefix + name: shape for name, shape in shapes.items()})


TEXT = {
    "transformer.resblocks.0.ln_1.weight": torch.ones(5),
    "token_embedding.weight": torch.ones(9, 5),
    "positional_embedding": torch.ones(7, 5),
    "ln_final.bias": torch.ones(5),
    "text_projection": torch.ones(5, 4),
    "logit_scale": torch.tensor(4.6),
    "context_length": torch.tensor(77),
}


def timms(state: dict[str, torch.Tensor], kind: str) -> Any:
    """timm's model, filled by timm's own conversion."""
    model: Any = timm.create_model(
        f"vit_base_patch16_{kind}_224",
        img_size=32,
        patch_size=8,
        embed_dim=D,
        depth=2,
        num_heads=3,
        mlp_ratio=M / D,
        num_classes=OUT,
    )
    model.load_state_dict(checkpoint_filter_fn(dict(state), model), strict=True)
    return model.eval()


@pytest.mark.parametrize(("kind", "told"), [("clip_quickgelu", ()), ("clip", ("model.mlp.activation=gelu",))])
def test_towers_are_timms(kind: str, told: tuple[str, ...], tmp_path: Path) -> None:
    theirs = tower()
    torch.save(theirs | TEXT, tmp_path / "whole.pth")
    notes = Notes()
    file = assert_same(tmp_path / "whole.pth", timms(theirs, kind), TOLD, *told, reporter=notes)
    assert file.layout == "clip"
    first = ", ".join(list(TEXT)[:3])
    assert f"{file.path}: {first} and 4 more left out: logits do not depend on them" in notes.told
    assert file.card.preprocess.mean == (0.48145466, 0.4578275, 0.40821073)
    ours = converted(file.path, tmp_path / "ours.safetensors", "native", TOLD, *told)
    again = torch.load(converted(ours, tmp_path / "again.pth", "clip"), weights_only=True)
    assert again.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in again.items())
    target = converted(ours, tmp_path / "timm" / "model.safetensors", "timm")
    assert_same(target, timm.create_model(f"local-dir:{target.parent}", pretrained=True).eval())


def test_that_the_activation_is_assumed_is_said(tmp_path: Path) -> None:
    torch.save(tower(), tmp_path / "a.pth")
    said, silent = Notes(), Notes()
    open_weights(tmp_path / "a.pth", [TOLD], reporter=said)
    open_weights(tmp_path / "a.pth", [TOLD, "model.mlp.activation=gelu"], reporter=silent)
    assert any('model.mlp.activation="quick_gelu" assumed' in text for text in said.told)
    assert not any("model.mlp.activation" in text for text in silent.told)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_tower_alone_of_half_the_width_is_read(dtype: torch.dtype, tmp_path: Path) -> None:
    narrow = {name: value.to(dtype) for name, value in tower("").items()}
    torch.save(narrow, tmp_path / "a.pth")
    notes = Notes()
    peer = timms({f"visual.{name}": value.float() for name, value in narrow.items()}, "clip_quickgelu")
    assert_same(tmp_path / "a.pth", peer, TOLD, reporter=notes)
    name = str(dtype).removeprefix("torch.")
    assert f"{tmp_path / 'a.pth'}: {name} numbers become float32, which holds them exactly" in notes.told


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_towers_are_transformers(activation: str, tmp_path: Path) -> None:
    config = CLIPVisionConfig(
        hidden_size=D,
        intermediate_size=M,
        projection_dim=OUT,
        num_hidden_layers=2,
        num_attention_heads=3,
        image_size=32,
        patch_size=8,
        hidden_act=activation,
    )
    peer = randomized(CLIPVisionModelWithProjection(config))
    torch.save(openai(peer), tmp_path / "a.pth")

    class Embedding(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> Any:
            return peer.double()(pixels).image_embeds

    assert_same(tmp_path / "a.pth", Embedding(), TOLD, f"model.mlp.activation={activation}")


def openai(peer: Any) -> dict[str, torch.Tensor]:
    """The weights of transformers' tower under OpenAI's names."""
    state = {name.replace("vision_model.", ""): value for name, value in peer.state_dict().items()}
    found = {
        "visual.class_embedding": state["embeddings.class_embedding"],
        "visual.positional_embedding": state["embeddings.position_embedding.weight"],
        "visual.conv1.weight": state["embeddings.patch_embedding.weight"],
        "visual.proj": state["visual_projection.weight"].T.contiguous(),
    }
    for i in range(2):
        old, new = f"encoder.layers.{i}", f"visual.transformer.resblocks.{i}"
        for leaf in ("weight", "bias"):
            qkv = [state[f"{old}.self_attn.{part}_proj.{leaf}"] for part in "qkv"]
            found[f"{new}.attn.in_proj_{leaf}"] = torch.cat(qkv)
            found[f"{new}.attn.out_proj.{leaf}"] = state[f"{old}.self_attn.out_proj.{leaf}"]
            found[f"{new}.mlp.c_fc.{leaf}"] = state[f"{old}.mlp.fc1.{leaf}"]
            found[f"{new}.mlp.c_proj.{leaf}"] = state[f"{old}.mlp.fc2.{leaf}"]
            for k in (1, 2):
                found[f"{new}.ln_{k}.{leaf}"] = state[f"{old}.layer_norm{k}.{leaf}"]
    for leaf in ("weight", "bias"):
        found[f"visual.ln_pre.{leaf}"] = state[f"pre_layrnorm.{leaf}"]
        found[f"visual.ln_post.{leaf}"] = state[f"post_layernorm.{leaf}"]
    return found


def test_a_program_is_refused_and_the_way_out_told(tmp_path: Path) -> None:
    jit: Any = torch.jit
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        jit.save(jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), tmp_path / "ViT-B-32.pt")
    with pytest.raises(
        WeightsError, match=r"is a TorchScript archive.*torch.jit.load\('ViT-B-32.pt'\).state_dict"
    ):
        open_weights(tmp_path / "ViT-B-32.pt")


def test_another_tensor_is_refused_by_name(tmp_path: Path) -> None:
    torch.save(tower() | {"visual.other.weight": torch.ones(2)}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"visual.other.weight is not part of this model"):
        open_weights(tmp_path / "a.pth", [TOLD])
