"""The block whose linear layers map the whole sequence, for ONE image. `vitcli_torch/sequence.py` is its twin.

A departure (`model.linear = "sequence"`), from a course on deep learning: the length of the sequence is part of the
weights, so such a model knows one image size alone. Letters as in `model.py`.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from vitcli.core.bits import Place, site
from vitcli.core.spec import ModelSpec
from vitcli_jax.bits import Noise, dropout
from vitcli_jax.layers import Params, attend, attend_otherwise, merge_heads, mlp, split_heads


def sequence_attention(params: Params, index: int, x: Array, spec: ModelSpec, noise: Noise | None) -> Array:
    """Returns attention of x (N, D): head j's query is one linear map of its features of all tokens."""
    name, H = f"blocks.{index}.attn.qkv", spec.num_heads
    vectors = split_heads(x, 1, H).reshape(1, H, -1)  # (1, H, N K)
    kernels = params[f"{name}.weight"].reshape(3, H, *params[f"{name}.weight"].shape[1:])
    qkv = jnp.einsum("phoi,qhi->pho", kernels, vectors)
    if f"{name}.bias" in params:
        qkv = qkv + params[f"{name}.bias"].reshape(3, H, -1)
    q, k, v = qkv.reshape(3, H, x.shape[0], -1)  # (H, N, K) each
    weigh = attend if spec.attention.plain else attend_otherwise
    x = merge_heads(weigh(q, k, v, spec, noise, index))  # (N, D)
    return dropout(x, spec.drop.projection, noise, site(index, Place.PROJECTION))


def sequence_mlp(
    params: Params, name: str, x: Array, spec: ModelSpec, noise: Noise | None, index: int
) -> Array:
    """Returns the MLP of all tokens at once: x (N, D) is mapped as one vector of N D values."""
    return mlp(params, name, x.reshape(-1), spec, noise, index).reshape(x.shape)
