"""What timm saves comes in with all it says, and what goes out is made and filled by timm itself."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.data import create_transform, resolve_data_config
from timm.models import save_for_hf
from torchvision.transforms import CenterCrop, Resize

from tests.models import random_weights, spec_of
from tests.peers.random import Notes, assert_same, converted, outputs, randomized
from vitcli.core.errors import VitError, WeightsError
from vitcli.core.reporter import Silent
from vitcli.jobs.model import open_weights
from vitcli.weights.header import Card, Preprocess, read_header
from vitcli.weights.names import file_shapes
from vitcli.weights.timm import TIMM
from vitcli.weights.timm_config import files, read_config, read_preprocess, told

SIZES: dict[str, Any] = {
    "img_size": 40,
    "patch_size": 8,
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "num_classes": 7,
}
B16 = "vit_base_patch16_224"
# architecture, and arguments beside the sizes; together every option that vit has of timm's.
MODELS: list[tuple[str, dict[str, Any]]] = [
    (B16, {"mlp_ratio": 50 / 24}),
    (B16, {"global_pool": "avg"}),
    (B16, {"global_pool": "avg", "fc_norm": False, "reg_tokens": 2}),
    (B16, {"global_pool": "avg", "pool_include_prefix": True}),
    (B16, {"global_pool": "avg", "class_token": False, "reg_tokens": 3, "no_embed_class": True}),
    (B16, {"global_pool": "map", "fc_norm": True}),
    (B16, {"qk_norm": True, "qkv_bias": False, "act_layer": "relu", "in_chans": 1}),
    (B16, {"final_norm": False, "act_layer": "gelu_tanh"}),
    (B16, {"pos_embed": "none", "reg_tokens": 1, "init_values": 0.1}),
    (B16, {"num_classes": 0, "global_pool": "avg"}),
    (B16, {"pre_norm": True, "in_chans": 5}),
    ("vit_base_patch16_clip_224", {"num_classes": 0}),
    ("vit_base_patch32_clip_quickgelu_224", {}),
    ("vit_base_patch16_siglip_224", {}),
    ("vit_so400m_patch16_siglip_gap_256", {}),
    ("vit_base_patch14_reg4_dinov2", {"num_classes": 0}),
    ("vit_giant_patch14_reg4_dinov2", {"mlp_ratio": 2.5}),
    ("deit_tiny_distilled_patch16_224", {}),
    ("deit3_small_patch16_224", {}),
]


def saved(architecture: str, arguments: dict[str, Any], folder: Path, **config: Any) -> Any:
    """A random model of timm's, saved by timm."""
    model = randomized(timm.create_model(architecture, **{**SIZES, **arguments}))
    save_for_hf(model, str(folder), model_config=config, safe_serialization=True)
    return model


@pytest.mark.parametrize(("architecture", "arguments"), MODELS, ids=str)
def test_in_and_out(architecture: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    names = [f"class {i}" for i in range(arguments.get("num_classes", 7))]
    peer = saved(architecture, arguments, tmp_path / "theirs", label_names=names)
    weights = {name: value.clone() for name, value in peer.state_dict().items()}
    file = assert_same(tmp_path / "theirs" / "model.safetensors", peer)
    assert file.layout == "timm"
    assert file.card.classes == tuple(names)
    ours = converted(file.path, tmp_path / "ours" / "model.safetensors", "native")
    converted(ours, tmp_path / "again" / "model.safetensors", "timm")
    made: Any = timm.create_model(f"local-dir:{tmp_path / 'again'}", pretrained=True).eval()
    assert made.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in made.state_dict().items())
    torch.testing.assert_close(outputs(made, file.card), outputs(peer, file.card), rtol=1e-12, atol=1e-12)
    # Read again without our metadata, by timm's own names and what stands beside them.
    again = open_weights(converted(ours, tmp_path / "pth" / "model.pth", "timm"))
    assert again.card.spec.model_copy(update={"layer_scale": None}) == file.card.spec.model_copy(
        update={"layer_scale": None}
    )
    assert (again.card.classes, again.card.preprocess) == (file.card.classes, file.card.preprocess)


def test_every_architecture_is_known_by_its_name() -> None:
    """Of each that vit has, the heads, eps and activation are those of timm's own model."""
    seen = 0
    for module in ("vision_transformer", "deit"):
        for name in timm.list_models(module=module):
            if re.search("_rpn_|_xp_|x2_|pwee|aimv2|beit3|test_vit[34]", name):
                continue  # other blocks
            with torch.device("meta"):
                peer: Any = timm.create_model(name, depth=1)
            found = told({"architecture": name, "model_args": {}, "pretrained_cfg": {}}, name, TIMM[-1])
            block, gated = peer.blocks[0], type(peer.blocks[0].mlp).__name__ == "GluMlp"
            kind = {"GELUTanh()": "gelu_tanh", "QuickGELU()": "quick_gelu"}.get(repr(block.mlp.act), "gelu")
            assert found.get("model.mlp.activation") == (None if gated else kind), name
            assert found["model.norm.eps"] == block.norm1.eps, name
            assert found["model.num_heads"] == block.attn.num_heads, name
            seen += 1
    assert seen > 150


@pytest.mark.parametrize(
    ("architecture", "arguments", "message"),
    [
        (
            "vit_base_patch16_rpn_224",
            {},
            "is of timm's architecture 'vit_base_patch16_rpn_224'; vit reads vit_*",
        ),
        (B16, {"global_pool": "avgmax"}, "has model_args.global_pool 'avgmax'; vit has token, avg, map"),
        (B16, {"global_pool": ""}, "has model_args.global_pool ''; vit has token, avg, map"),
        (B16, {"scale_attn_norm": True}, "has model_args.scale_attn_norm True, which vit has not"),
        (
            B16,
            {"act_layer": "mish"},
            "has model_args.act_layer 'mish'; vit has gelu, gelu_tanh, quick_gelu, relu",
        ),
        (B16, {"norm_layer": "rmsnorm"}, "has model_args.norm_layer 'rmsnorm'; vit has layernorm"),
        (B16, {"proj_bias": False}, "model.attention.projection_bias is False, in that code"),
        (
            B16,
            {"global_pool": "map", "pool_include_prefix": True},
            "pool_include_prefix with global_pool 'map'",
        ),
    ],
    ids=str,
)
def test_what_vit_has_not_is_refused_by_name(
    architecture: str, arguments: dict[str, Any], message: str, tmp_path: Path
) -> None:
    saved(architecture, arguments, tmp_path)
    with pytest.raises(VitError, match=re.escape(message)):
        open_weights(tmp_path / "model.safetensors")


def test_families_with_other_blocks_are_refused_by_name(tmp_path: Path) -> None:
    """Rotary positions have no tensor: such a file would pass for a plain model's."""
    others = ["vit_base_mci_224", "vit_small_patch16_18x2_224", "vit_dwee_patch16_reg1_gap_256"]
    for module in ("eva", "vision_transformer_hybrid", "vision_transformer_relpos"):
        others += [name for name in timm.list_models(module=module) if not name.startswith("eva_large")]
    assert len(others) > 80
    for name in others:
        (tmp_path / "config.json").write_text(json.dumps({"architecture": name}))
        with pytest.raises(WeightsError, match=f"of timm's architecture '{name}'; .*positions absolute"):
            read_config(tmp_path)


@pytest.mark.parametrize(
    ("argument", "value", "key"),
    [
        ("img_size", 64, "image_size"),
        ("img_size", [40, 48], "image_size"),
        ("patch_size", [4, 4], "patch_size"),
        ("num_classes", 9, "num_classes"),
        ("embed_dim", 48, "embed_dim"),
        ("depth", 3, "depth"),
        ("class_token", False, "tokens.class_token"),
        ("qk_norm", True, "attention.qk_norm"),
        ("pre_norm", True, "norm.before_blocks"),
    ],
)
def test_a_configuration_that_contradicts_the_tensors_is_refused(
    argument: str, value: Any, key: str, tmp_path: Path
) -> None:
    saved(B16, {}, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    arguments = {**SIZES, "img_size": 43}  # three pixels beside the last patch
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_args": arguments}))
    assert open_weights(tmp_path / "model.safetensors").card.spec.image_size == 40
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_args": arguments | {argument: value}}))
    with pytest.raises(
        VitError,
        match=rf"model.{key}=.* \(the tensors of .*contradicts the config.json beside .*: put its own there, or none",
    ):
        open_weights(tmp_path / "model.safetensors")
    heads = json.dumps(config | {"model_args": arguments | {"num_heads": 5}})
    (tmp_path / "config.json").write_text(heads)
    with pytest.raises(VitError, match=r"model.safetensors: embed_dim=24 is not a multiple of num_heads=5"):
        open_weights(tmp_path / "model.safetensors")


def test_unknown_tensors_are_refused_by_name(tmp_path: Path) -> None:
    model = timm.create_model(B16, **SIZES, scale_mlp_norm=True)
    torch.save(model.state_dict(), tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"blocks.0.mlp.norm.weight is not part of this model; .* more\)$"):
        open_weights(tmp_path / "a.pth", ["model.num_heads=3"])


def test_names_of_timms_with_another_function_are_read_as_torch(tmp_path: Path) -> None:
    weights = {name: torch.tensor(value) for name, value in random_weights(spec_of("heads cut raw")).items()}
    torch.save(weights, tmp_path / "a.pth")
    told = ["model.num_heads=2", "model.attention.split=raw"]
    with pytest.raises(WeightsError, match=r"model.attention.split is raw, in that code.*: --from torch"):
        open_weights(tmp_path / "a.pth", told)
    assert open_weights(tmp_path / "a.pth", told, layout="torch").card.spec == spec_of("heads cut raw")


@pytest.mark.parametrize(
    ("option", "changes", "key"),
    [
        ("pre-logits", {}, "head.pre_logits is 11"),
        ("class token beside mean", {}, "pool is cls_mean"),
        ("sincos2d", {}, "tokens.positions is sincos2d"),
        ("registers, slots for class", {}, "tokens.position_slots is class"),
        ("no patch bias", {}, "tokens.patch_bias is False"),
        ("norm before the blocks", {}, "tokens.patch_bias is True"),
        ("no projection bias", {}, "attention.projection_bias is False"),
        ("no output projection", {}, "attention.output_projection is False"),
        ("heads cut raw", {}, "attention.split is raw"),
        ("softmax over queries", {}, "attention.softmax is queries"),
        ("map head, swiglu", {}, "mlp.activation is swiglu"),
        ("whole sequence", {}, "linear is sequence"),
        ("distilled", {"tokens": {"registers": 2}}, "head.distilled is True"),
    ],
)
def test_what_timm_has_not_is_refused_by_key(option: str, changes: dict[str, Any], key: str) -> None:
    with pytest.raises(
        WeightsError, match=re.escape(f"timm cannot hold this model: model.{key}, in that code")
    ):
        file_shapes(spec_of(option, **changes), "timm")


@pytest.mark.parametrize(
    ("option", "eps"), [("standard", 1e-3), ("swiglu", 1e-5), ("distilled", 1e-5), ("standard", 1e-12)]
)
def test_an_eps_that_no_architecture_has_is_refused(option: str, eps: float) -> None:
    seen = Preprocess(fit="crop", size=15, mean=(0.5,), std=(0.5,))
    card = Card(spec=spec_of(option, norm={"eps": eps}), classes=(), preprocess=seen, source="a")
    with pytest.raises(WeightsError, match=f"timm cannot hold this model: model.norm.eps is {eps:g}, in its"):
        files(card, TIMM[-1])


@pytest.mark.parametrize(("side", "size", "fit"), [(224, 248, "crop"), (15, 17, "squash"), (40, 40, "crop")])
def test_images_are_seen_alike(side: int, size: int, fit: Any, tmp_path: Path) -> None:
    """timm's own transform resizes to what our card says, in all sizes that are near."""
    for more in range(40):
        seen = Preprocess(
            fit=fit,
            size=size + more,
            mean=(0.1, 0.2, 0.3),
            std=(0.4, 0.5, 0.6),
            interpolation="bicubic" if more % 2 else "bilinear",
        )
        spec = spec_of("standard", image_size=side, patch_size=1)
        (tmp_path / "config.json").write_text(
            files(Card(spec=spec, classes=tuple("abcdef"), preprocess=seen, source="a"), TIMM[-1])[
                "config.json"
            ]
        )
        config = json.loads((tmp_path / "config.json").read_text())["pretrained_cfg"]
        transform: Any = create_transform(**resolve_data_config(pretrained_cfg=config))
        steps = {type(step): step for step in transform.transforms}
        assert steps[Resize].interpolation.value == seen.interpolation
        assert steps[Resize].size == (size + more if fit == "crop" else (size + more, size + more))
        assert tuple(steps[CenterCrop].size) == (side, side)
        assert read_preprocess(tmp_path, side, seen.model_copy(update={"size": 1}), Silent()) == seen


def test_what_is_done_otherwise_and_what_is_assumed_is_said(tmp_path: Path) -> None:
    saved(B16, {}, tmp_path)
    notes = Notes()
    seen = open_weights(tmp_path / "model.safetensors", reporter=notes).card.preprocess
    assert (notes.told, seen.interpolation) == ([], "bicubic")
    config = json.loads((tmp_path / "config.json").read_text())
    config["pretrained_cfg"] |= {"interpolation": "lanczos", "crop_mode": "border"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    open_weights(tmp_path / "model.safetensors", reporter=notes)
    assert notes.told == [
        f"{tmp_path / 'config.json'} resizes images lanczos; here they are resized bilinear",
        f"{tmp_path / 'config.json'} puts borders around images; here the middle is cut out",
    ]
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')  # another program's
    notes = Notes()
    open_weights(tmp_path / "model.safetensors", ["model.num_heads=3"], reporter=notes)
    assert notes.told[-1] == (
        f"{tmp_path / 'model.safetensors'} does not say how images are seen: the short side bicubic to 44, mean 0.5, "
        "std 0.5, as is usual"
    )


def test_words_against_the_configuration_are_refused(tmp_path: Path) -> None:
    saved(B16, {}, tmp_path)
    with pytest.raises(
        VitError, match=r"model.num_heads=6 \(command line\) contradicts the config.json beside"
    ):
        open_weights(tmp_path / "model.safetensors", ["model.num_heads=6"])


def test_gammas_of_deit_3_are_read(tmp_path: Path) -> None:
    peer = randomized(timm.create_model("deit3_small_patch16_224", **SIZES))
    old = {re.sub(r"ls(\d).gamma", r"gamma_\1", name): value for name, value in peer.state_dict().items()}
    assert "blocks.1.gamma_2" in old
    torch.save({"model": old}, tmp_path / "a.pth")
    assert assert_same(tmp_path / "a.pth", peer, "model.num_heads=3").layout == "timm"


def test_a_classifier_without_bias_gets_one_of_zeros(tmp_path: Path) -> None:
    peer = randomized(timm.create_model("vit_base_patch16_clip_224", **SIZES))
    with torch.no_grad():
        peer.head.bias.zero_()
    state = {name: value for name, value in peer.state_dict().items() if name != "head.bias"}
    torch.save(state, tmp_path / "a.pth")
    told = ("model.num_heads=3", "model.norm.eps=1e-5")
    target = converted(tmp_path / "a.pth", tmp_path / "timm" / "model.safetensors", "timm", *told)
    assert read_header(target).shapes["head.bias"] == (7,)
    assert_same(target, timm.create_model(f"local-dir:{target.parent}", pretrained=True).eval())
    assert_same(target, peer)


def test_sizes_are_cut_as_timm_cuts_them(tmp_path: Path) -> None:
    saved(B16, {}, tmp_path)  # crop_pct 0.9: 40 / 0.9 = 44.4, 224 / 0.9 = 248.9
    seen = Preprocess(fit="crop", size=1, mean=(0.5,), std=(0.5,))
    found = [read_preprocess(tmp_path, side, seen, Silent()) for side in (40, 224)]
    assert [preprocess and preprocess.size for preprocess in found] == [44, 248]
    # 224 * (976 / 224) is less than 976 in float64.
    spec = spec_of("standard", embed_dim=224, mlp_dim=976)
    card = Card(spec=spec, classes=(), preprocess=seen.model_copy(update={"size": 15}), source="a")
    ratio = json.loads(files(card, TIMM[-1])["config.json"])["model_args"]["mlp_ratio"]
    assert int(224 * ratio) == 976
