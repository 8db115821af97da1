"""The layout `clip`: the visual tower of CLIP under the names of OpenAI's and OpenCLIP's code.

Both have one set of names. OpenAI's towers have QuickGELU, OpenCLIP's the exact GELU except where their name says
otherwise: no tensor tells which. OpenCLIP's last norm has one name, before pooling and after it.
Matched: open_clip_torch 3.3.0 (`open_clip.transformer.VisionTransformer`), openai-clip 1.0.1.
"""

from __future__ import annotations

from typing import Any

from vitcli.core.spec import ModelSpec
from vitcli.weights.renaming import Code, layer, one

_TOWER = "visual"
_BLOCK = f"{_TOWER}.transformer.resblocks.{{i}}"


def _rules(spec: ModelSpec) -> dict[str, Any]:
    """Returns what those towers fix where other keys are as they are."""
    return {
        "pool": spec.pool if spec.pool in ("cls", "mean") else "cls",
        "norm.final": "before_pool" if spec.norm.final == "none" else spec.norm.final,
        # Without a projection there is nothing that could have a bias.
        "head.bias": spec.num_classes == 0 and spec.head.bias,
    }


CLIP = Code(
    marker=f"{_TOWER}.class_embedding",
    markers=("class_embedding",),
    prefix=f"{_TOWER}.",
    tensors={
        "cls_token": one(f"{_TOWER}.class_embedding", fold="vector"),
        "pos_embed": one(f"{_TOWER}.positional_embedding", fold="first"),
        "patch_embed.proj.weight": one(f"{_TOWER}.conv1.weight"),
        **layer("norm_pre", f"{_TOWER}.ln_pre"),
        **layer("blocks.{i}.norm1", f"{_BLOCK}.ln_1"),
        **{
            f"blocks.{{i}}.attn.qkv.{leaf}": one(f"{_BLOCK}.attn.in_proj_{leaf}")
            for leaf in ("weight", "bias")
        },
        **layer("blocks.{i}.attn.q_norm", f"{_BLOCK}.attn.ln_q"),
        **layer("blocks.{i}.attn.k_norm", f"{_BLOCK}.attn.ln_k"),
        **layer("blocks.{i}.attn.proj", f"{_BLOCK}.attn.out_proj"),
        **{f"blocks.{{i}}.ls{k}.gamma": one(f"{_BLOCK}.ls_{k}.gamma") for k in (1, 2)},
        **layer("blocks.{i}.norm2", f"{_BLOCK}.ln_2"),
        **layer("blocks.{i}.mlp.fc1", f"{_BLOCK}.mlp.c_fc"),
        **layer("blocks.{i}.mlp.fc2", f"{_BLOCK}.mlp.c_proj"),
        **layer("norm", f"{_TOWER}.ln_post"),
        **layer("fc_norm", f"{_TOWER}.ln_post"),
        "head.weight": one(f"{_TOWER}.proj", (1, 0)),
    },
    facts={
        "tokens.patch_bias": False,
        "norm.before_blocks": True,
        "norm.eps": 1e-5,
        "mlp.activation": "quick_gelu",
        "head.bias": False,
    },
    free=(
        "attention.qk_norm",
        "mlp.activation",
        "norm.before_blocks",
        "norm.eps",
        "norm.final",
        "layer_scale",
        "pool",
    ),
    rules=_rules,
    # The text tower, and numbers of the whole.
    dropped=(
        r"(transformer|token_embedding|ln_final|text|text_decoder)\..+",
        r"positional_embedding|text_projection.*|logit_scale|logit_bias|attn_mask",
        r"input_resolution|context_length|vocab_size",
    ),
    lacking={
        rf"{_TOWER}\.attn_pool.+": "CoCa's attentional pooling",
        r".+\.attn\.logit_scale": "cosine attention",
        r".+\.attn\.head_scale": "scales of heads",
        r".+\.(ln_attn|attn\.ln_inner|mlp\.ln)\.(weight|bias)": "norms inside of attention or MLP",
    },
    fit="crop",
    interpolation="bicubic",
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    notes=(
        "a tower with visual. before its names, or alone; text tower and logit_scale of a whole CLIP are left out",
        "sizes come from shapes; the projection (visual.proj) is the head, without bias: its outputs are the image's "
        "embedding, not yet normalised",
        "open_clip_config.json beside it (as OpenCLIP's folders on Hugging Face have it) tells heads, activation, eps, "
        "pooling and preprocessing; without it:",
        "the usual heads of the width are assumed and said (or model.num_heads=N); eps 1e-5",
        "QuickGELU is assumed, as OpenAI's towers have it; OpenCLIP's: model.mlp.activation=gelu",
        "the class token is pooled, or model.pool=mean; CLIPA's towers: model.norm.final=after_pool, which is both",
        "LayerScale, norms of q and k, and fixed positions (as learned ones) of OpenCLIP's towers are read",
        "not read: CoCa's attentional pooling, cosine attention, NormFormer's scales and norms, ResNets, and towers "
        "that are timm's (visual.trunk), whose files timm has",
        "images bicubic, the middle of the short side, CLIP's own mean and standard deviation",
    ),
)
