"""The layers that blocks are made of, for a BATCH. `vitcli_jax/layers.py` is its twin.

Letters: B batch, N tokens, D embed, H heads, K head dim, M mlp. A bias or gain that the parameters do not hold is
not used.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from vitcli.core.bits import Place, site
from vitcli.core.spec import Activation, ModelSpec
from vitcli_torch.bits import Noise, dropout

Params = Mapping[str, Tensor]


def attend(
    q: Tensor, k: Tensor, v: Tensor, spec: ModelSpec, noise: Noise | None = None, index: int = 0
) -> Tensor:
    """Returns softmax(q k^T / sqrt(K)) v of q, k, v (B, H, N, K); `index` is the block's."""
    if spec.drop.attention and noise is not None:  # the fused kernel cannot take our mask
        weights = softmax(q @ k.mT * spec.head_dim**-0.5)  # (B, H, N, N)
        return dropout(weights, spec.drop.attention, noise, site(index, Place.ATTENTION)) @ v
    return functional.scaled_dot_product_attention(q, k, v)


def attend_otherwise(
    q: Tensor, k: Tensor, v: Tensor, spec: ModelSpec, noise: Noise | None = None, index: int = 0
) -> Tensor:
    """Returns `attend` with the softmax over the queries, or the scale behind it, as the spec says."""
    inside, behind = (
        (spec.head_dim**-0.5, 1.0) if spec.attention.scale == "scores" else (1.0, spec.head_dim**-0.5)
    )
    weights = softmax(q @ k.mT * inside, dim=-1 if spec.attention.softmax == "keys" else -2)  # (B, H, N, N)
    return dropout(weights, spec.drop.attention, noise, site(index, Place.ATTENTION)) @ v * behind


def mlp(
    params: Params, name: str, x: Tensor, spec: ModelSpec, noise: Noise | None = None, index: int = 0
) -> Tensor:
    """Returns the MLP of x (..., D)."""
    x = activate(adapted(params, f"{name}.fc1", x, spec), spec.mlp.activation)  # (..., M)
    x = dropout(x, spec.drop.mlp, noise, site(index, Place.MLP_HIDDEN))
    x = adapted(params, f"{name}.fc2", x, spec)  # (..., D)
    return dropout(x, spec.drop.mlp, noise, site(index, Place.MLP_OUTPUT))


def split_heads(x: Tensor, parts: int, num_heads: int) -> tuple[Tensor, ...]:
    """Returns (B, H, N, K) for each part of x (B, N, parts D): in a part, head j is the j-th run of K features."""
    return x.reshape(*x.shape[:2], parts, num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


def merge_heads(x: Tensor) -> Tensor:
    """Returns (B, N, D) of x (B, H, N, K): the heads side by side."""
    return x.transpose(1, 2).flatten(2)


def split_raw(x: Tensor, parts: int, num_heads: int) -> tuple[Tensor, ...]:
    """Returns (B, H, N, K) for each part of x (B, N, parts D): its N D values cut in the order of memory."""
    B, N = x.shape[:2]
    return tuple(part.reshape(B, num_heads, N, -1) for part in x.chunk(parts, dim=-1))


def merge_raw(x: Tensor) -> Tensor:
    """Returns (B, N, D) of x (B, H, N, K), whose values are read in the order of memory."""
    return x.reshape(x.shape[0], x.shape[2], -1)


def linear(params: Params, name: str, x: Tensor) -> Tensor:
    """Returns x W^T + b, W (out, in)."""
    return functional.linear(x, params[f"{name}.weight"], params.get(f"{name}.bias"))


def adapted(params: Params, name: str, x: Tensor, spec: ModelSpec) -> Tensor:
    """Returns the linear layer of x with its low-rank adapter, where it has one."""
    y = linear(params, name, x)
    return y + low_rank(params, name, x, spec) if f"{name}.lora_a" in params else y


def project(params: Params, name: str, x: Tensor, spec: ModelSpec) -> Tensor:
    """Returns queries, keys and values (..., 3 D) of x (..., D), each with its own adapter, or one for all."""
    qkv = adapted(params, f"{name}.qkv", x, spec)
    own = [f"{name}.{part}" for part in "qkv"]
    if not any(f"{part}.lora_a" in params for part in own):
        return qkv
    parts = [
        low_rank(params, part, x, spec) if f"{part}.lora_a" in params else torch.zeros_like(x) for part in own
    ]
    return qkv + torch.cat(parts, dim=-1)


def low_rank(params: Params, name: str, x: Tensor, spec: ModelSpec) -> Tensor:
    """Returns alpha / rank B A x, the output of an adapter."""
    return x @ params[f"{name}.lora_a"].T @ params[f"{name}.lora_b"].T * spec.lora.scale


def layer_norm(params: Params, name: str, x: Tensor, spec: ModelSpec) -> Tensor:
    """Returns LayerNorm over the last axis, biased variance (Ba et al. 2016, arXiv:1607.06450)."""
    weight, bias = params[f"{name}.weight"], params[f"{name}.bias"]
    return functional.layer_norm(x, weight.shape, weight, bias, spec.norm.eps)


def scale(params: Params, name: str, x: Tensor) -> Tensor:
    """Returns x times LayerScale's gamma, where the model has it."""
    return x * params[f"{name}.gamma"] if f"{name}.gamma" in params else x


def softmax(x: Tensor, dim: int = -1) -> Tensor:
    """Returns the softmax over an axis."""
    return torch.softmax(x, dim=dim, dtype=torch.promote_types(x.dtype, torch.float32)).to(x.dtype)


def activate(x: Tensor, activation: Activation) -> Tensor:
    """Returns the activation of x; swiglu halves the last axis."""
    if activation == "gelu":
        return functional.gelu(x)
    if activation == "gelu_tanh":
        return functional.gelu(x, approximate="tanh")
    if activation == "quick_gelu":
        return x * torch.sigmoid(1.702 * x)
    if activation == "relu":
        return functional.relu(x)
    gate, value = x.chunk(2, dim=-1)
    return functional.silu(gate) * value
