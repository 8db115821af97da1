"""The layers that blocks are made of, for ONE image. `vitcli_torch/layers.py` is its twin.

Letters: N tokens, D embed, H heads, K head dim, M mlp. A bias or gain that the parameters do not hold is not used.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array

from vitcli.core.bits import Place, site
from vitcli.core.spec import Activation, ModelSpec
from vitcli_jax.bits import Noise, dropout

Params = Mapping[str, Array]


def attend(
    q: Array, k: Array, v: Array, spec: ModelSpec, noise: Noise | None = None, index: int = 0
) -> Array:
    """Returns softmax(q k^T / sqrt(K)) v of q, k, v (H, N, K); `index` is the block's."""
    weights = softmax(q @ k.mT * spec.head_dim**-0.5)  # (H, N, N)
    return dropout(weights, spec.drop.attention, noise, site(index, Place.ATTENTION)) @ v


def attend_otherwise(
    q: Array, k: Array, v: Array, spec: ModelSpec, noise: Noise | None = None, index: int = 0
) -> Array:
    """Returns `attend` with the softmax over the queries, or the scale behind it, as the spec says."""
    inside, behind = (
        (spec.head_dim**-0.5, 1.0) if spec.attention.scale == "scores" else (1.0, spec.head_dim**-0.5)
    )
    weights = softmax(q @ k.mT * inside, axis=-1 if spec.attention.softmax == "keys" else -2)  # (H, N, N)
    return dropout(weights, spec.drop.attention, noise, site(index, Place.ATTENTION)) @ v * behind


def mlp(
    params: Params, name: str, x: Array, spec: ModelSpec, noise: Noise | None = None, index: int = 0
) -> Array:
    """Returns the MLP of x (..., D)."""
    x = activate(adapted(params, f"{name}.fc1", x, spec), spec.mlp.activation)  # (..., M)
    x = dropout(x, spec.drop.mlp, noise, site(index, Place.MLP_HIDDEN))
    x = adapted(params, f"{name}.fc2", x, spec)  # (..., D)
    return dropout(x, spec.drop.mlp, noise, site(index, Place.MLP_OUTPUT))


def split_heads(x: Array, parts: int, num_heads: int) -> Array:
    """Returns (parts, H, N, K) of x (N, parts D): in each part, head j is the j-th run of K features."""
    return x.reshape(x.shape[0], parts, num_heads, -1).transpose(1, 2, 0, 3)


def merge_heads(x: Array) -> Array:
    """Returns (N, D) of x (H, N, K): the heads side by side."""
    return x.transpose(1, 0, 2).reshape(x.shape[1], -1)


def split_raw(x: Array, parts: int, num_heads: int) -> Array:
    """Returns (parts, H, N, K) of x (N, parts D): each part's N D values cut in the order of memory."""
    return x.reshape(x.shape[0], parts, -1).swapaxes(0, 1).reshape(parts, num_heads, x.shape[0], -1)


def merge_raw(x: Array) -> Array:
    """Returns (N, D) of x (H, N, K), whose values are read in the order of memory."""
    return x.reshape(x.shape[1], -1)


def linear(params: Params, name: str, x: Array) -> Array:
    """Returns x W^T + b, W (out, in)."""
    y = x @ params[f"{name}.weight"].T
    return y + params[f"{name}.bias"] if f"{name}.bias" in params else y


def adapted(params: Params, name: str, x: Array, spec: ModelSpec) -> Array:
    """Returns the linear layer of x with its low-rank adapter, where it has one."""
    y = linear(params, name, x)
    return y + low_rank(params, name, x, spec) if f"{name}.lora_a" in params else y


def project(params: Params, name: str, x: Array, spec: ModelSpec) -> Array:
    """Returns queries, keys and values (..., 3 D) of x (..., D), each with its own adapter, or one for all."""
    qkv = adapted(params, f"{name}.qkv", x, spec)
    own = [f"{name}.{part}" for part in "qkv"]
    if not any(f"{part}.lora_a" in params for part in own):
        return qkv
    parts = [
        low_rank(params, part, x, spec) if f"{part}.lora_a" in params else jnp.zeros_like(x) for part in own
    ]
    return qkv + jnp.concatenate(parts, axis=-1)


def low_rank(params: Params, name: str, x: Array, spec: ModelSpec) -> Array:
    """Returns alpha / rank B A x, the output of an adapter."""
    return x @ params[f"{name}.lora_a"].T @ params[f"{name}.lora_b"].T * spec.lora.scale


def layer_norm(params: Params, name: str, x: Array, spec: ModelSpec) -> Array:
    """Returns LayerNorm over the last axis, biased variance (Ba et al. 2016, arXiv:1607.06450)."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    centred = wide - wide.mean(axis=-1, keepdims=True)
    inverse = jax.lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + spec.norm.eps)
    return (centred * inverse * params[f"{name}.weight"] + params[f"{name}.bias"]).astype(x.dtype)


def scale(params: Params, name: str, x: Array) -> Array:
    """Returns x times LayerScale's gamma, where the model has it."""
    return x * params[f"{name}.gamma"] if f"{name}.gamma" in params else x


def softmax(x: Array, axis: int = -1) -> Array:
    """Returns the softmax over an axis."""
    return jax.nn.softmax(x.astype(jnp.promote_types(x.dtype, jnp.float32)), axis=axis).astype(x.dtype)


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
