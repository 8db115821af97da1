"""The forward pass for a BATCH, since the fused kernels want one. `vitcli_jax/model.py` is its twin.

Letters: B batch, S image side, C channels, P patch side, G patches along a side, N tokens, D embed, H heads,
K head dim. Parameters are a flat map of name to tensor (`vitcli.core.parameters`); a bias that is not there is
not added. The dtype of the parameters is that of the computation; softmax and the statistics of LayerNorm are
float32 or better.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from vitcli.core.bits import Place, site
from vitcli.core.positions import sincos2d
from vitcli.core.spec import ModelSpec
from vitcli_torch.bits import Noise, drop_path, dropout
from vitcli_torch.constants import constant
from vitcli_torch.layers import (
    Params,
    adapted,
    attend,
    attend_otherwise,
    layer_norm,
    linear,
    merge_heads,
    merge_raw,
    mlp,
    project,
    scale,
    split_heads,
    split_raw,
)
from vitcli_torch.sequence import sequence_attention, sequence_mlp


def forward(params: Params, images: Tensor, spec: ModelSpec, noise: Noise | None = None) -> Tensor:
    """Returns the logits (B, classes) of normalised images (B, C, S, S); `noise` turns dropout on."""
    tokens = embed(params, images, spec)  # (B, N, D)
    tokens = dropout(tokens, spec.drop.embedding, noise, site(0, Place.EMBEDDING))
    if spec.norm.before_blocks:
        tokens = layer_norm(params, "norm_pre", tokens, spec)
    for index in range(spec.depth):
        tokens = block(params, index, tokens, spec, noise)
    return head(params, tokens, spec)


def embed(params: Params, images: Tensor, spec: ModelSpec) -> Tensor:
    """Returns the tokens (B, N, D) of images: class token, registers, patches, with positions."""
    B, G, P = images.shape[0], spec.grid, spec.patch_size
    patches = (
        images.reshape(B, -1, G, P, G, P).permute(0, 2, 4, 1, 3, 5).reshape(B, G * G, -1)
    )  # (B, G G, C P P)
    kernel = params["patch_embed.proj.weight"].reshape(spec.embed_dim, -1)
    patches = functional.linear(patches.to(kernel.dtype), kernel)  # (B, G G, D)
    if spec.tokens.patch_bias:
        patches = patches + params["patch_embed.proj.bias"]
    prefix = [params[name].expand(B, -1, -1) for name in ("cls_token", "reg_token") if name in params]
    if spec.tokens.positions == "sincos2d":
        patches = patches + constant(sincos2d(G, spec.embed_dim), patches.dtype, patches.device)
    if spec.tokens.positions != "learned":
        return torch.cat([*prefix, patches], dim=1)
    # The table has slots for the patches, and before them for none, the first or all of the prefix tokens.
    position, slots = params["pos_embed"], spec.position_slots - G * G
    first = torch.cat([*prefix, patches[:, :0]], dim=1)
    return torch.cat(
        [first[:, :slots] + position[:, :slots], first[:, slots:], patches + position[:, slots:]], dim=1
    )


def block(params: Params, index: int, tokens: Tensor, spec: ModelSpec, noise: Noise | None) -> Tensor:
    """Returns the tokens (B, N, D) after one pre-LN block."""
    name, rate = f"blocks.{index}", spec.drop_path_rate(index)
    mix, transform = (attention, mlp) if spec.linear == "token" else (sequence_attention, sequence_mlp)
    x = layer_norm(params, f"{name}.norm1", tokens, spec)
    x = scale(params, f"{name}.ls1", mix(params, index, x, spec, noise))
    tokens = tokens + drop_path(x, rate, noise, site(index, Place.PATH_ATTENTION))
    x = layer_norm(params, f"{name}.norm2", tokens, spec)
    x = transform(params, f"{name}.mlp", x, spec, noise, index)
    x = scale(params, f"{name}.ls2", x)
    return tokens + drop_path(x, rate, noise, site(index, Place.PATH_MLP))


def attention(params: Params, index: int, x: Tensor, spec: ModelSpec, noise: Noise | None) -> Tensor:
    """Returns multi-head self-attention of x (B, N, D), heads merged, projected."""
    name, how = f"blocks.{index}.attn", spec.attention
    split = split_raw if how.split == "raw" else split_heads
    merge = merge_raw if how.merge == "raw" else merge_heads
    weigh = attend if how.plain else attend_otherwise
    qkv = project(params, name, x, spec)  # (B, N, 3 D)
    q, k, v = split(qkv, 3, spec.num_heads)  # (B, H, N, K) each
    if how.qk_norm:
        q = layer_norm(params, f"{name}.q_norm", q, spec)
        k = layer_norm(params, f"{name}.k_norm", k, spec)
    x = merge(weigh(q, k, v, spec, noise, index))  # (B, N, D)
    if how.output_projection:
        x = adapted(params, f"{name}.proj", x, spec)
    return dropout(x, spec.drop.projection, noise, site(index, Place.PROJECTION))


def head(params: Params, tokens: Tensor, spec: ModelSpec) -> Tensor:
    """Returns the logits (B, classes) of the tokens (B, N, D) that leave the last block."""
    if spec.norm.final == "before_pool":
        tokens = layer_norm(params, "norm", tokens, spec)
    x = pool(params, tokens, spec)  # (B, D)
    if spec.norm.final == "after_pool":
        x = layer_norm(params, "fc_norm", x, spec)
    if spec.head.pre_logits is not None:
        x = torch.tanh(linear(params, "pre_logits", x))
    if not spec.num_classes:
        return x
    logits = linear(params, "head", x)
    if spec.head.distilled:
        logits = (logits + linear(params, "head_dist", tokens[:, 1])) / 2
    return logits


def pool(params: Params, tokens: Tensor, spec: ModelSpec) -> Tensor:
    """Returns one vector an image: (B, D), or (B, 2 D) for class token beside mean."""
    patches = tokens[:, spec.prefix_tokens :]
    if spec.pool == "cls":
        return tokens[:, 0]
    if spec.pool == "mean":
        return patches.mean(dim=1)
    if spec.pool == "mean_all":
        return tokens.mean(dim=1)
    if spec.pool == "cls_mean":
        return torch.cat([tokens[:, 0], patches.mean(dim=1)], dim=-1)
    return map_head(params, patches, spec)


def map_head(params: Params, patches: Tensor, spec: ModelSpec) -> Tensor:
    """Returns multi-head attention pooling: a learned probe attends to the patches (big_vision's MAPHead)."""
    q = linear(params, "attn_pool.q", params["attn_pool.latent"])  # (1, 1, D)
    (q,) = split_heads(q.expand(patches.shape[0], -1, -1), 1, spec.num_heads)  # (B, H, 1, K)
    k, v = split_heads(linear(params, "attn_pool.kv", patches), 2, spec.num_heads)  # (B, H, N, K) each
    x = linear(params, "attn_pool.proj", merge_heads(attend(q, k, v, spec)))  # (B, 1, D)
    x = x + mlp(params, "attn_pool.mlp", layer_norm(params, "attn_pool.norm", x, spec), spec)
    return x[:, 0]
