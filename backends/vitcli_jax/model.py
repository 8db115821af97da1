"""The forward pass for ONE image; `jax.vmap` makes a batch of it. `vitcli_torch/model.py` is its twin.

Letters: S image side, C channels, P patch side, G patches along a side, N tokens, D embed, H heads, K head dim.
Parameters are a flat map of name to array (`vitcli.core.parameters`); a bias that is not there is not added.
The dtype of the parameters is that of the computation; softmax, LayerNorm and its statistics are float32
or better.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array

from vitcli.core.bits import Place, site
from vitcli.core.positions import sincos2d
from vitcli.core.spec import Activation, ModelSpec
from vitcli_jax.bits import Noise, drop_path, dropout

Params = Mapping[str, Array]


def forward(params: Params, image: Array, spec: ModelSpec, noise: Noise | None = None) -> Array:
    """Returns the logits (classes,) of one normalised image (C, S, S); `noise` turns dropout on."""
    tokens = embed(params, image, spec)  # (N, D)
    tokens = dropout(tokens, spec.drop.embedding, noise, site(0, Place.EMBEDDING))
    if spec.norm.before_blocks:
        tokens = layer_norm(params, "norm_pre", tokens, spec)
    for index in range(spec.depth):
        tokens = block(params, index, tokens, spec, noise)
    return head(params, tokens, spec)


def embed(params: Params, image: Array, spec: ModelSpec) -> Array:
    """Returns the tokens (N, D) of an image: class token, registers, patches, with positions."""
    G, P = spec.grid, spec.patch_size
    patches = image.reshape(-1, G, P, G, P).transpose(1, 3, 0, 2, 4).reshape(G * G, -1)  # (G G, C P P)
    kernel = params["patch_embed.proj.weight"].reshape(spec.embed_dim, -1)
    patches = patches.astype(kernel.dtype) @ kernel.T  # (G G, D)
    if spec.tokens.patch_bias:
        patches = patches + params["patch_embed.proj.bias"]
    prefix = [params[name][0] for name in ("cls_token", "reg_token") if name in params]
    if spec.tokens.positions == "sincos2d":
        patches = patches + jnp.asarray(sincos2d(G, spec.embed_dim), patches.dtype)
    if spec.tokens.positions != "learned":
        return jnp.concatenate([*prefix, patches])
    # The table has slots for the patches, and before them for none, the first or all of the prefix tokens.
    position, slots = params["pos_embed"][0], spec.position_slots - G * G
    first = jnp.concatenate([*prefix, patches[:0]])
    return jnp.concatenate([first[:slots] + position[:slots], first[slots:], patches + position[slots:]])


def block(params: Params, index: int, tokens: Array, spec: ModelSpec, noise: Noise | None) -> Array:
    """Returns the tokens (N, D) after one pre-LN block."""
    name, rate = f"blocks.{index}", spec.drop_path_rate(index)
    x = layer_norm(params, f"{name}.norm1", tokens, spec)
    x = scale(params, f"{name}.ls1", attention(params, index, x, spec, noise))
    tokens = tokens + drop_path(x, rate, noise, site(index, Place.PATH_ATTENTION))
    x = layer_norm(params, f"{name}.norm2", tokens, spec)
    x = mlp(params, f"{name}.mlp", x, spec, noise, index)
    x = scale(params, f"{name}.ls2", x)
    return tokens + drop_path(x, rate, noise, site(index, Place.PATH_MLP))


def attention(params: Params, index: int, x: Array, spec: ModelSpec, noise: Noise | None) -> Array:
    """Returns multi-head self-attention of x (N, D): softmax(q k^T / sqrt(K)) v, heads merged, projected."""
    name = f"blocks.{index}.attn"
    qkv = linear(params, f"{name}.qkv", x)  # (N, 3 D)
    q, k, v = split_heads(qkv, 3, spec.num_heads)  # (H, N, K) each
    if spec.attention.qk_norm:
        q = layer_norm(params, f"{name}.q_norm", q, spec)
        k = layer_norm(params, f"{name}.k_norm", k, spec)
    weights = softmax(q @ k.mT * spec.head_dim**-0.5)  # (H, N, N)
    weights = dropout(weights, spec.drop.attention, noise, site(index, Place.ATTENTION))
    x = merge_heads(weights @ v)  # (N, D)
    if spec.attention.output_projection:
        x = linear(params, f"{name}.proj", x)
    return dropout(x, spec.drop.projection, noise, site(index, Place.PROJECTION))


def mlp(
    params: Params, name: str, x: Array, spec: ModelSpec, noise: Noise | None = None, index: int = 0
) -> Array:
    """Returns the MLP of x (..., D)."""
    x = activate(linear(params, f"{name}.fc1", x), spec.mlp.activation)  # (..., M)
    x = dropout(x, spec.drop.mlp, noise, site(index, Place.MLP_HIDDEN))
    x = linear(params, f"{name}.fc2", x)  # (..., D)
    return dropout(x, spec.drop.mlp, noise, site(index, Place.MLP_OUTPUT))


def head(params: Params, tokens: Array, spec: ModelSpec) -> Array:
    """Returns the logits (classes,) of the tokens (N, D) that leave the last block."""
    if spec.norm.final == "before_pool":
        tokens = layer_norm(params, "norm", tokens, spec)
    x = pool(params, tokens, spec)  # (D,)
    if spec.norm.final == "after_pool":
        x = layer_norm(params, "fc_norm", x, spec)
    if spec.head.pre_logits is not None:
        x = jnp.tanh(linear(params, "pre_logits", x))
    return linear(params, "head", x)


def pool(params: Params, tokens: Array, spec: ModelSpec) -> Array:
    """Returns one vector for the image: (D,), or (2 D,) for class token beside mean."""
    patches = tokens[spec.prefix_tokens :]
    if spec.pool == "cls":
        return tokens[0]
    if spec.pool == "mean":
        return patches.mean(axis=0)
    if spec.pool == "mean_all":
        return tokens.mean(axis=0)
    if spec.pool == "cls_mean":
        return jnp.concatenate([tokens[0], patches.mean(axis=0)])
    return map_head(params, patches, spec)


def map_head(params: Params, patches: Array, spec: ModelSpec) -> Array:
    """Returns multi-head attention pooling: a learned probe attends to the patches (big_vision's MAPHead)."""
    q = linear(params, "attn_pool.q", params["attn_pool.latent"][0])  # (1, D)
    (q,) = split_heads(q, 1, spec.num_heads)  # (H, 1, K)
    k, v = split_heads(linear(params, "attn_pool.kv", patches), 2, spec.num_heads)  # (H, N, K) each
    weights = softmax(q @ k.mT * spec.head_dim**-0.5)  # (H, 1, N)
    x = linear(params, "attn_pool.proj", merge_heads(weights @ v))  # (1, D)
    x = x + mlp(params, "attn_pool.mlp", layer_norm(params, "attn_pool.norm", x, spec), spec)
    return x[0]


def split_heads(x: Array, parts: int, num_heads: int) -> Array:
    """Returns (parts, H, N, K) of x (N, parts D): in each part, head j is the j-th run of K features."""
    return x.reshape(x.shape[0], parts, num_heads, -1).transpose(1, 2, 0, 3)


def merge_heads(x: Array) -> Array:
    """Returns (N, D) of x (H, N, K): the heads side by side."""
    return x.transpose(1, 0, 2).reshape(x.shape[1], -1)


def linear(params: Params, name: str, x: Array) -> Array:
    """Returns x W^T + b, W (out, in)."""
    y = x @ params[f"{name}.weight"].T
    return y + params[f"{name}.bias"] if f"{name}.bias" in params else y


def layer_norm(params: Params, name: str, x: Array, spec: ModelSpec) -> Array:
    """Returns LayerNorm over the last axis, biased variance (Ba et al. 2016, arXiv:1607.06450)."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    centred = wide - wide.mean(axis=-1, keepdims=True)
    inverse = jax.lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + spec.norm.eps)
    return (centred * inverse * params[f"{name}.weight"] + params[f"{name}.bias"]).astype(x.dtype)


def scale(params: Params, name: str, x: Array) -> Array:
    """Returns x times LayerScale's gamma, where the model has it."""
    return x * params[f"{name}.gamma"] if f"{name}.gamma" in params else x


def softmax(x: Array) -> Array:
    """Returns the softmax over the last axis."""
    return jax.nn.softmax(x.astype(jnp.promote_types(x.dtype, jnp.float32)), axis=-1).astype(x.dtype)


def activate(x: Array, activation: Activation) -> Array:
    """Returns the activation of x; swiglu halves the last axis."""
    if activation == "gelu":
        return jax.nn.gelu(x, approximate=False)
    if activation == "gelu_tanh":
        return jax.nn.gelu(x, approximate=True)
    if activation == "quick_gelu":
        return x * jax.nn.sigmoid(1.702 * x)
    if activation == "relu":
        return jax.nn.relu(x)
    gate, value = jnp.split(x, 2, axis=-1)
    return jax.nn.silu(gate) * value
