"""The layout `clip`: the visual tower of CLIP under the names of OpenAI's and OpenCLIP's code.

Both have one set of names. OpenAI's towers have QuickGELU, OpenCLIP's the exact GELU except where their name says
otherwise: no tensor tells which.
"""

from __future__ import annotations

from vitcli.weights.renaming import Code, layer, one

_TOWER = "visual"
_BLOCK = f"{_TOWER}.transformer.resblocks.{{i}}"
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
        **layer("blocks.{i}.attn.proj", f"{_BLOCK}.attn.out_proj"),
        **{f"blocks.{{i}}.ls{k}.gamma": one(f"{_BLOCK}.ls_{k}.gamma") for k in (1, 2)},
        **layer("blocks.{i}.norm2", f"{_BLOCK}.ln_2"),
        **layer("blocks.{i}.mlp.fc1", f"{_BLOCK}.mlp.c_fc"),
        **layer("blocks.{i}.mlp.fc2", f"{_BLOCK}.mlp.c_proj"),
        **layer("norm", f"{_TOWER}.ln_post"),
        "head.weight": one(f"{_TOWER}.proj", (1, 0)),
    },
    facts={
        "tokens.patch_bias": False,
        "norm.before_blocks": True,
        "norm.eps": 1e-5,
        "mlp.activation": "quick_gelu",
        "head.bias": False,
    },
    free=("mlp.activation", "norm.before_blocks", "norm.eps", "layer_scale", "pool"),
    # Without a projection there is nothing that could have a bias.
    rules=lambda spec: {} if spec.num_classes else {"head.bias": spec.head.bias},
    # The text tower, and numbers of the whole.
    dropped=(
        r"(transformer|token_embedding|ln_final|text)\..+",
        r"positional_embedding|text_projection.*|logit_scale|logit_bias|attn_mask",
        r"input_resolution|context_length|vocab_size",
    ),
    fit="crop",
    interpolation="bicubic",
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    notes=(
        "a tower with visual. before its names, or alone; text tower and logit_scale of a whole CLIP are left out",
        "sizes come from shapes; the projection (visual.proj) is the head, without bias: its outputs are the image's "
        "embedding, not yet normalised",
        "the usual heads of the width are assumed and said (or model.num_heads=N); eps 1e-5",
        "QuickGELU is assumed, as OpenAI's towers have it; OpenCLIP's: model.mlp.activation=gelu",
        "images bicubic, the middle of the short side, CLIP's own mean and standard deviation",
    ),
)
