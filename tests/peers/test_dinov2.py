"""DINOv2's backbones come in as timm's own conversion makes them, and go out bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models.vision_transformer import checkpoint_filter_fn

from tests.models import spec_of
from tests.peers.random import Notes, assert_same, converted, randoms
from vitcli.core.errors import WeightsError
from vitcli.weights.file import read_weights
from vitcli.weights.names import file_shapes

D, M, HEADS = 24, 32, 3


def published(registers: int, gated: bool, chunks: bool) -> dict[str, torch.Tensor]:
    """Random tensors under the names of dinov2/models/vision_transformer.py; 5 x 5 patches of 8 pixels."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, D),
        "pos_embed": (1, 26, D),
        "mask_token": (1, D),
        "patch_embed.proj.weight": (D, 3, 8, 8),
        "patch_embed.proj.bias": (D,),
    }
    if registers:
        shapes["register_tokens"] = (1, registers, D)
    first, second = ("w12", "w3") if gated else ("fc1", "fc2")
    for i in range(2):
        block = f"blocks.{i}.{i}" if chunks else f"blocks.{i}"
        layers = {"attn.qkv": (3 * D, D), "attn.proj": (D, D), f"mlp.{second}": (D, M)}
        layers[f"mlp.{first}"] = (2 * M if gated else M, D)
        for name, shape in layers.items():
            shapes |= {f"{block}.{name}.weight": shape, f"{block}.{name}.bias": shape[:1]}
        for name in ("norm1", "norm2"):
            shapes |= {f"{block}.{name}.weight": (D,), f"{block}.{name}.bias": (D,)}
        shapes |= {f"{block}.ls1.gamma": (D,), f"{block}.ls2.gamma": (D,)}
    return randoms(shapes | {"norm.weight": (D,), "norm.bias": (D,)})


@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize("gated", [False, True], ids=["mlp", "swiglu"])
def test_backbones_are_timms(registers: int, gated: bool, tmp_path: Path) -> None:
    theirs = published(registers, gated, chunks=False)
    torch.save(theirs, tmp_path / "a.pth")
    size = "giant" if gated else "base"
    arguments: dict[str, Any] = {
        "img_size": 40,
        "patch_size": 8,
        "embed_dim": D,
        "depth": 2,
        "num_heads": HEADS,
    }
    arguments |= {"mlp_ratio": (2 * M if gated else M) / D, "num_classes": 0, "init_values": 1e-5}
    arguments |= {"reg_tokens": registers, "no_embed_class": bool(registers)}
    # In float64, since timm adds the first position to the class token.
    peer: Any = timm.create_model(f"vit_{size}_patch14_dinov2", **arguments).eval().double()
    wide = {name: value.double() for name, value in theirs.items()}
    peer.load_state_dict(checkpoint_filter_fn(wide, peer), strict=True)
    notes = Notes()
    told = f"model.num_heads={HEADS}"
    file = assert_same(tmp_path / "a.pth", peer, told, reporter=notes)
    assert file.layout == "dinov2"
    assert notes.told == [
        f"{tmp_path / 'a.pth'} does not say how images are seen: the short side bicubic to 45, mean 0.485/0.456/0.406, "
        "std 0.229/0.224/0.225, as is usual",
        f"{tmp_path / 'a.pth'}: mask_token left out: logits do not depend on them",
    ]
    ours = converted(file.path, tmp_path / "ours.safetensors", "native", told)
    again = torch.load(converted(ours, tmp_path / "again.pth", "dinov2"), weights_only=True)
    assert again.keys() == theirs.keys()
    assert not again.pop("mask_token").any()
    assert all(torch.equal(value, theirs[name]) for name, value in again.items())


def test_chunked_blocks_are_read(tmp_path: Path) -> None:
    for name, chunks in (("flat", False), ("chunked", True)):
        torch.save(published(4, True, chunks), tmp_path / f"{name}.pth")
        converted(tmp_path / f"{name}.pth", tmp_path / f"{name}.safetensors", "native", "model.num_heads=3")
    one, other = (tmp_path / f"{name}.safetensors" for name in ("flat", "chunked"))
    tensors = [{name: value.tobytes() for name, value in read_weights(path).items()} for path in (one, other)]
    assert tensors[0] == tensors[1]


@pytest.mark.parametrize(
    ("option", "key"),
    [
        ("standard", "num_classes is 6"),
        ("no classes, pre-logits", "head.pre_logits is 11"),
        ("norm before the blocks", "num_classes is 6"),
    ],
)
def test_what_it_has_not_is_refused_by_key(option: str, key: str) -> None:
    with pytest.raises(WeightsError, match=f"dinov2 cannot hold this model: model.{key}, in that code"):
        file_shapes(spec_of(option), "dinov2")


@pytest.mark.parametrize("slots", ["all", "patches"])
def test_registers_have_no_positions(slots: str) -> None:
    spec = spec_of("no classes", tokens={"registers": 2, "position_slots": slots})
    with pytest.raises(
        WeightsError, match=f"model.tokens.position_slots is {slots}, in that code it is class"
    ):
        file_shapes(spec, "dinov2")
