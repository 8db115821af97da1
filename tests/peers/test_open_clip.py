"""CLIP's visual towers are what OpenCLIP's own code makes of them, and go back into it bit for bit."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import open_clip
import pytest
import torch
from open_clip.coca_model import CoCa
from open_clip.model import CLIP, CustomTextCLIP, resize_pos_embed
from open_clip.push_to_hf_hub import save_config_for_hf
from open_clip.transformer import LayerNorm, QuickGELU, VisionTransformer
from safetensors.torch import save_file

from tests.conformance.conftest import load
from tests.models import spec_of
from tests.peers.compare import assert_logits
from tests.peers.random import Notes, assert_same, converted, inputs, outputs, randomized
from vitcli.core import registry
from vitcli.core.errors import RecipeError, RequestError, WeightsError
from vitcli.jobs.model import open_weights
from vitcli.weights.derive import derive_spec
from vitcli.weights.names import file_shapes

TEXT = {"context_length": 6, "vocab_size": 30, "width": 10, "heads": 2, "layers": 1}
GELU = "model.mlp.activation=gelu"
# What a tower is built with, and what must be said since no tensor tells it.
OPTIONS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "gelu": ({}, (GELU,)),
    "quick gelu": ({"act_layer": QuickGELU}, ()),
    "gelu tanh": (
        {"act_layer": partial(torch.nn.GELU, approximate="tanh")},
        ("model.mlp.activation=gelu_tanh",),
    ),
    "eps": ({"norm_layer": partial(LayerNorm, eps=1e-3)}, (GELU, "model.norm.eps=1e-3")),
    "layer scale": ({"ls_init_value": 0.1}, (GELU,)),
    "mean": ({"pool_type": "avg"}, (GELU, "model.pool=mean")),
    "norm after the class token": ({"final_ln_after_pool": True}, (GELU,)),
    "clipa": (
        {"pool_type": "avg", "final_ln_after_pool": True, "no_ln_pre": True},
        (GELU, "model.norm.final=after_pool"),
    ),
    "no norm before the blocks": ({"no_ln_pre": True}, (GELU,)),
    "fixed positions": ({"pos_embed_type": "sin_cos_2d"}, (GELU,)),
    "patch dropout": ({"patch_dropout": 0.5}, (GELU,)),
    "custom blocks": ({"block_type": "custom", "act_layer": QuickGELU}, ()),
    "qk norm": (
        {"qk_norm": True, "norm_layer": partial(LayerNorm, eps=1e-3), "ls_init_value": 0.2},
        (GELU, "model.norm.eps=1e-3"),
    ),
}


def sizes(seed: str) -> dict[str, Any]:
    """Sizes drawn at random."""
    draw = Random(seed)
    heads, patch = draw.choice([2, 3, 5]), draw.choice([3, 4, 7])
    return {
        "image_size": patch * draw.choice([2, 3, 4]),
        "patch_size": patch,
        "width": heads * draw.choice([4, 8, 12]),
        "layers": draw.choice([1, 2, 3]),
        "heads": heads,
        "mlp_ratio": draw.choice([1.7, 2.0, 4.3637]),
        "output_dim": draw.choice([6, 11]),
    }


def tower(seed: str, **options: Any) -> Any:
    """A random tower of random sizes."""
    return randomized(VisionTransformer(**sizes(seed) | options))


def saved(model: Any, path: Path, prefix: str = "visual.") -> Path:
    """Its weights under the names that they have in a whole CLIP."""
    torch.save({prefix + name: value for name, value in model.state_dict().items()}, path)
    return path


def heads(seed: str) -> str:
    """What says how many there are."""
    return f"model.num_heads={sizes(seed)['heads']}"


# One engine compiles for seconds: it has every option in the slow run.
QUICK = ("gelu", "clipa", "qk norm")
RUNS = [
    pytest.param(engine, option, marks=[pytest.mark.slow] if engine == "jax" and option not in QUICK else [])
    for engine in registry.names()
    for option in OPTIONS
]


@pytest.mark.parametrize(("engine", "option"), RUNS)
def test_random_towers_are_open_clips(engine: str, option: str, tmp_path: Path) -> None:
    arguments, told = OPTIONS[option]
    theirs = tower(option, **arguments)
    told = (heads(option), *told)
    path = saved(theirs, tmp_path / "a.pth", "" if option == "quick gelu" else "visual.")
    file = open_weights(path, told)
    assert file.layout == "clip"
    exact = outputs(theirs, file.card).numpy()
    assert_logits(load(engine), file.card.spec, file.read(), inputs(file.card), exact=exact)
    ours = converted(path, tmp_path / "ours.safetensors", "native", *told)
    again = torch.load(converted(ours, tmp_path / "again.pth", "clip"), weights_only=True)
    back = VisionTransformer(**sizes(option) | arguments)
    back.load_state_dict({name.removeprefix("visual."): value for name, value in again.items()}, strict=True)
    state = theirs.float().state_dict()
    assert all(torch.equal(value, state[name]) for name, value in back.state_dict().items())


def coca(embed_dim: int, vision: dict[str, Any], text: dict[str, Any], *, quick_gelu: bool) -> Any:
    """CoCa with a decoder of text, and without its attentional pooling."""
    decoder = {"context_length": 6, "vocab_size": 30, "width": 10, "heads": 2, "layers": 1}
    seen = {**vision, "output_tokens": True}
    wide = {**text, "embed_cls": True, "output_tokens": True}
    return CoCa(embed_dim, decoder, wide, seen, quick_gelu=quick_gelu)


@pytest.mark.parametrize("whole", [CLIP, CustomTextCLIP, coca])
@pytest.mark.parametrize("quick", [False, True])
def test_the_tower_of_a_whole_clip_is_what_it_encodes_images_with(
    whole: Any, quick: bool, tmp_path: Path
) -> None:
    vision = {"layers": 2, "width": 24, "head_width": 8, "patch_size": 4, "image_size": 12, "mlp_ratio": 3.0}
    model = randomized(whole(7, vision, TEXT, quick_gelu=quick))
    named = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"epoch": 1, "name": "a run", "state_dict": named, "optimizer": {}}, tmp_path / "epoch_1.pt")

    class Encoder(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> Any:
            return model.double().encode_image(pixels, normalize=False)

    notes = Notes()
    told = () if quick else (GELU,)
    file = assert_same(tmp_path / "epoch_1.pt", Encoder(), "model.num_heads=3", *told, reporter=notes)
    assert (file.layout, file.card.spec.num_classes) == ("clip", 7)
    assert any("logits do not depend on them" in text for text in notes.told)


def test_a_tower_without_projection_gives_features(tmp_path: Path) -> None:
    theirs = tower("features", act_layer=QuickGELU)
    theirs.proj = None
    file = assert_same(saved(theirs, tmp_path / "a.pth"), theirs, heads("features"))
    assert file.card.spec.num_classes == 0
    ours = converted(file.path, tmp_path / "ours.safetensors", "native", heads("features"))
    again = torch.load(converted(ours, tmp_path / "again.pth", "clip"), weights_only=True)
    assert {name.removeprefix("visual.") for name in again} == theirs.state_dict().keys()


@pytest.mark.parametrize("grid", [2, 5])
def test_another_image_size_is_as_open_clip_resizes_it(grid: int, tmp_path: Path) -> None:
    arguments = {**sizes("size"), "image_size": 3 * sizes("size")["patch_size"], "act_layer": QuickGELU}
    path = saved(randomized(VisionTransformer(**arguments)), tmp_path / "a.pth")
    side = grid * arguments["patch_size"]
    theirs: Any = torch.nn.ModuleDict({"visual": VisionTransformer(**arguments | {"image_size": side})})
    state = torch.load(path, weights_only=True)
    resize_pos_embed(state, theirs)
    theirs.load_state_dict(state, strict=True)
    target = tmp_path / "ours.safetensors"
    converted(path, target, "native", heads("size"), adaptations=[f"model.image_size={side}"])
    file = open_weights(target)
    assert file.card.spec.image_size == side
    weights, narrow = file.read(), outputs(theirs["visual"].eval(), file.card).numpy()
    # Theirs adds up in float32, ours in float64.
    torch.testing.assert_close(
        torch.tensor(weights["pos_embed"][0]), state["visual.positional_embedding"], rtol=0, atol=2e-6
    )
    assert_logits(load("torch"), file.card.spec, weights, inputs(file.card), narrow=narrow)


CLIPA = {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True, "norm_kwargs": {"eps": 1e-3}}
TANH = {"act_kwargs": {"approximate": "tanh"}, "ls_init_value": 0.1}
SEEN = {"image_mean": (0.4, 0.5, 0.6), "image_std": (0.2, 0.3, 0.1)}


@pytest.mark.parametrize(
    ("quick", "options", "seen", "words"),
    [
        (False, {}, {}, "the short side bicubic to 12, mean 0.4/0.5/0.6, std 0.2/0.3/0.1"),
        (True, {"qk_norm": True}, {}, "the short side bicubic to 12, mean 0.4/0.5/0.6, std 0.2/0.3/0.1"),
        (
            False,
            CLIPA,
            {"interpolation": "bilinear", "resize_mode": "squash"},
            "both sides bilinear to 12, mean 0.4/0.5/0.6, std 0.2/0.3/0.1",
        ),
        (
            False,
            TANH,
            {"resize_mode": "longest"},
            "the short side bicubic to 12, mean 0.4/0.5/0.6, std 0.2/0.3/0.1",
        ),
    ],
)
def test_what_open_clip_says_beside_it_is_followed(
    quick: bool, options: dict[str, Any], seen: dict[str, str], words: str, tmp_path: Path
) -> None:
    vision = {"layers": 2, "width": 24, "head_width": 8, "patch_size": 4, "image_size": 12, **options}
    config = {"embed_dim": 7, "vision_cfg": vision, "text_cfg": TEXT, "quick_gelu": quick}
    model = randomized(CLIP(**config))
    vars(model.visual).update(SEEN, preprocess_cfg=seen)
    path = tmp_path / "open_clip_model.safetensors"
    save_file(model.state_dict(), path)
    save_config_for_hf(model, tmp_path / "open_clip_config.json", config)
    notes = Notes()
    file = assert_same(path, model.visual, reporter=notes)
    assert file.card.preprocess.words() == words
    assert not any("assumed" in text for text in notes.told)
    assert any("puts borders" in text for text in notes.told) == (seen.get("resize_mode") == "longest")
    # The tower alone is written, and what stands beside it is its owner's.
    converted(path, tmp_path / "out" / "tower.pth", "clip")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["tower.pth"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vision_cfg": None}, "cannot be understood: model_cfg.vision_cfg or preprocess_cfg is no object"),
        ({"vision_cfg": {"width": "x"}}, "cannot be understood: vision_cfg"),
        ({"vision_cfg": {"width": 24, "head_width": 0}}, "cannot be understood: vision_cfg"),
        ({"vision_cfg": {"width": 24, "pool_type": "none"}}, "has pool_type 'none'; vit has tok, avg"),
        ({"vision_cfg": {"width": 24, "act_kwargs": {"alpha": 1}}}, "has act_kwargs .*which vit has not"),
        (
            {"vision_cfg": {"width": 24, "norm_kwargs": {"bias": False}}},
            "has norm_kwargs .*which vit has not",
        ),
        ({"vision_cfg": {"width": 24, "norm_kwargs": [1]}}, "cannot be understood: vision_cfg"),
        ({"vision_cfg": {"width": 24, "head_width": 8, "norm_kwargs": {"eps": "x"}}}, "norm.eps"),
        ({"vision_cfg": {"width": 20, "head_width": 4}}, "not a multiple of num_heads"),
        ({"preprocess_cfg": {"mean": "x"}}, "open_clip_config.json cannot be understood"),
        ({"preprocess_cfg": [1]}, "preprocess_cfg is no object"),
        ({"vision_cfg": {"width": 24, "head_width": "x"}}, "cannot be understood: vision_cfg"),
    ],
)
def test_what_cannot_be_understood_beside_it_is_refused_in_one_line(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    arguments = sizes("beside") | {"width": 24, "heads": 3}
    saved(VisionTransformer(**arguments), tmp_path / "a.pth")
    given = {"vision_cfg": {"width": 24, "head_width": 8}, **change}
    said = {
        "model_cfg": {"vision_cfg": given["vision_cfg"]},
        "preprocess_cfg": given.get("preprocess_cfg", {}),
    }
    text = json.dumps(said)
    (tmp_path / "open_clip_config.json").write_text(text)
    with pytest.raises(RequestError, match=words) as refusal:
        open_weights(tmp_path / "a.pth")
    assert "\n" not in str(refusal.value)


LACKING: dict[str, tuple[dict[str, Any], str]] = {
    "cosines": (
        {"scaled_cosine_attn": True},
        "has cosine attention .*attn.logit_scale.*which vit has not",
    ),
    "scales of heads": ({"scale_heads": True}, "has scales of heads .*attn.head_scale.*which vit has not"),
    "norm in attention": ({"scale_attn_inner": True}, "has norms inside of attention or MLP .*attn.ln_inner"),
    "norm after attention": ({"scale_attn": True}, "has norms inside of attention or MLP .*ln_attn"),
    "norm in the mlp": ({"scale_fc": True}, "has norms inside of attention or MLP .*mlp.ln"),
    "coca": (
        {"attentional_pool": True, "attn_pooler_heads": 1, "attn_pooler_queries": 5},
        "has CoCa's attentional pooling .visual.attn_pool.query., which vit has not",
    ),
    "coca, two poolers": (
        {"attentional_pool": "cascade", "attn_pooler_heads": 1, "attn_pooler_queries": 5},
        "has CoCa's attentional pooling .visual.attn_pool.query., which vit has not",
    ),
    "not square": ({"image_size": (12, 15), "patch_size": 3}, "no square grid of patches"),
}


@pytest.mark.parametrize("prefix", ["visual.", ""])
@pytest.mark.parametrize("option", LACKING)
def test_what_vit_has_not_is_refused_in_one_line(option: str, prefix: str, tmp_path: Path) -> None:
    arguments, words = LACKING[option]
    path = saved(tower(option, **arguments), tmp_path / "a.pth", prefix)
    with pytest.raises(WeightsError, match=words) as refusal:
        open_weights(path, [heads(option)])
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("vision", "words"),
    [
        (
            {"layers": (1, 1, 1, 1), "width": 8, "image_size": 32},
            "visual.bn1.num_batches_tracked holds int64",
        ),
        (
            {"timm_model_name": "test_vit", "image_size": 160, "patch_size": 16},
            "is not a Vision Transformer with the names of timm.*: .* it holds .*visual.trunk",
        ),
    ],
    ids=["resnet", "timm's tower"],
)
def test_other_towers_are_refused(vision: dict[str, Any], words: str, tmp_path: Path) -> None:
    torch.save(CLIP(8, vision, TEXT).state_dict(), tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=words) as refusal:
        open_weights(tmp_path / "a.pth")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"pool": "mean_all"}, "pool is mean_all"),
        ({"pool": "cls_mean"}, "pool is cls_mean"),
        ({"pool": "map"}, "pool is map"),
        ({"norm": {"final": "none"}}, "norm.final is none"),
        ({"tokens": {}}, "tokens.patch_bias is True"),
        ({"head": {}}, "head.bias is True"),
        ({"tokens": {"patch_bias": False, "registers": 1}}, "tokens.registers is 1"),
    ],
)
def test_what_it_has_not_is_refused_by_key(changes: dict[str, Any], key: str) -> None:
    spec = spec_of("standard", **{"tokens": {"patch_bias": False}, "head": {"bias": False}, **changes})
    with pytest.raises(WeightsError, match=f"clip cannot hold this model: model.{key}, in that code"):
        file_shapes(spec, "clip")


def test_where_the_last_norm_stands_must_be_possible(tmp_path: Path) -> None:
    path = saved(tower("gelu"), tmp_path / "a.pth")
    assert open_weights(path, [heads("gelu")]).card.spec.norm.final == "before_pool"
    with pytest.raises(RecipeError, match="norm.final=.none.*contradicts the tensors"):
        open_weights(path, [heads("gelu"), "model.norm.final=none"])


def test_every_configuration_of_open_clips_has_the_usual_heads() -> None:
    seen = {}
    for name in open_clip.list_models():
        vision = open_clip.get_model_config(name)["vision_cfg"]
        if "width" in vision and isinstance(vision["layers"], int):
            seen[vision["width"]] = vision["width"] // vision.get("head_width", 64)
    assert len(seen) >= 9
    for width, count in seen.items():
        with torch.device("meta"):
            state = VisionTransformer(8, 4, width, 1, count, 1.0).state_dict()
        shapes = {f"visual.{name}": tuple(value.shape) for name, value in state.items()}
        assert derive_spec(shapes, [], "a file", "clip").num_heads == count, width
