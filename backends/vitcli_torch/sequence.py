"""The block whose linear layers map the whole sequence, for a BATCH. `vitcli_jax/sequence.py` is its twin.

A departure (`model.linear = "sequence"`), from a course on deep learning: the length of the sequence is part of the
weights, so such a model knows one image size alone. Letters as in `model.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vitcli.core.bits import Place, site
from vitcli.core.spec import ModelSpec
from vitcli_torch.bits import Noise, dropout
from vitcli_torch.layers import Params, attend, attend_otherwise, merge_heads, mlp, split_heads


def sequence_attention(params: Params, index: int, x: Tensor, spec: ModelSpec, noise: Noise | None) -> Tensor:
    """Returns attention of x (B, N, D): head j's query is one linear map of its features of all tokens."""
    name, H, B, N = f"blocks.{index}.attn.qkv", spec.num_heads, *x.shape[:2]
    vectors = split_heads(x, 1, H)[0].reshape(B, H, -1)  # (B, H, N K)
    kernels = params[f"{name}.weight"].reshape(3, H, *params[f"{name}.weight"].shape[1:])
    qkv = torch.einsum("phoi,bhi->pbho", kernels, vectors)
    if f"{name}.bias" in params:
        qkv = qkv + params[f"{name}.bias"].reshape(3, 1, H, -1)
    q, k, v = qkv.reshape(3, B, H, N, -1)  # (B, H, N, K) each
    weigh = attend if spec.attention.plain else attend_otherwise
    x = merge_heads(weigh(q, k, v, spec, noise, index))  # (B, N, D)
    return dropout(x, spec.drop.projection, noise, site(index, Place.PROJECTION))


def sequence_mlp(
    params: Params, name: str, x: Tensor, spec: ModelSpec, noise: Noise | None, index: int
) -> Tensor:
    """Returns the MLP of all tokens at once: x (B, N, D) is mapped as one vector of N D values an image."""
    return mlp(params, name, x.flatten(1), spec, noise, index).reshape(x.shape)
