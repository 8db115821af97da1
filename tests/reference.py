"""A slow, obvious Vision Transformer in NumPy float64: the oracle of the conformance tests.

Written from the equations, image by image, head by head and, where it is cheap, token by token; it shares no
code with the engines.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitcli.core.spec import ModelSpec

Array = NDArray[Any]
Params = Mapping[str, Array]


def logits(params: Params, images: NDArray[Any], spec: ModelSpec) -> Array:
    """Logits (B, classes) of normalised images (B, C, S, S), dropout off."""
    wide = {name: np.asarray(value, np.float64) for name, value in params.items()}
    return np.stack([_one(wide, np.asarray(image, np.float64), spec) for image in images])


def cross_entropy(rows: Array, targets: Array, weights: Array) -> float:
    """Weighted mean of -sum(target log softmax)."""
    total = 0.0
    for row, target, weight in zip(rows, targets, weights, strict=True):
        total -= float(weight) * float(
            np.dot(target, row - math.log(np.exp(row - row.max()).sum()) - row.max())
        )
    return total / float(weights.sum())


def _one(p: Params, image: Array, spec: ModelSpec) -> Array:
    tokens = _tokens(p, image, spec)
    if spec.norm.before_blocks:
        tokens = _norm(p, "norm_pre", tokens, spec)
    for i in range(spec.depth):
        name = f"blocks.{i}"
        tokens = tokens + p.get(f"{name}.ls1.gamma", 1.0) * _attention(
            p, f"{name}.attn", _norm(p, f"{name}.norm1", tokens, spec), spec
        )
        x = _norm(p, f"{name}.norm2", tokens, spec)
        x = x.ravel() if spec.linear == "sequence" else x
        x = _mlp(p, f"{name}.mlp", x, spec).reshape(tokens.shape)
        tokens = tokens + p.get(f"{name}.ls2.gamma", 1.0) * x
    if spec.norm.final == "before_pool":
        tokens = _norm(p, "norm", tokens, spec)
    pooled = _pool(p, tokens, spec)
    if spec.norm.final == "after_pool":
        pooled = _norm(p, "fc_norm", pooled, spec)
    if spec.head.pre_logits is not None:
        pooled = np.tanh(p["pre_logits.weight"] @ pooled + p["pre_logits.bias"])
    if spec.num_classes == 0:
        return pooled
    row = p["head.weight"] @ pooled + p.get("head.bias", 0.0)
    if spec.head.distilled:
        second = p["head_dist.weight"] @ tokens[1] + p.get("head_dist.bias", 0.0)
        return 0.5 * row + 0.5 * second
    return row


def _tokens(p: Params, image: Array, spec: ModelSpec) -> Array:
    P, G, D = spec.patch_size, spec.image_size // spec.patch_size, spec.embed_dim
    patches = np.zeros((G * G, D))
    for row in range(G):
        for column in range(G):
            patch = image[:, row * P : (row + 1) * P, column * P : (column + 1) * P]
            for d in range(D):
                patches[row * G + column, d] = (patch * p["patch_embed.proj.weight"][d]).sum()
    patches = patches + p.get("patch_embed.proj.bias", 0.0)
    if spec.tokens.positions == "sincos2d":
        patches = patches + _sincos(G, D)
    before = [p["cls_token"][0]] if spec.tokens.class_token else []
    before += [p["reg_token"][0]] if spec.tokens.registers else []
    if spec.tokens.positions == "learned":
        table = p["pos_embed"][0]
        if spec.tokens.position_slots == "all":
            return np.concatenate([*before, patches]) + table
        if spec.tokens.position_slots == "class" and spec.tokens.class_token:
            before[0] = before[0] + table[:1]
            table = table[1:]
        patches = patches + table
    return np.concatenate([*before, patches])


def _sincos(G: int, D: int) -> Array:
    quarter = D // 4
    table = np.zeros((G * G, D))
    for y in range(G):
        for x in range(G):
            for i in range(quarter):
                omega = 1 / 10000 ** (i / (quarter - 1))
                table[y * G + x, i] = math.sin(x * omega)
                table[y * G + x, quarter + i] = math.cos(x * omega)
                table[y * G + x, 2 * quarter + i] = math.sin(y * omega)
                table[y * G + x, 3 * quarter + i] = math.cos(y * omega)
    return table


def _attention(p: Params, name: str, x: Array, spec: ModelSpec) -> Array:
    heads = []
    for head in range(spec.num_heads):
        q, k, v = _head(p, name, x, spec, head)
        if spec.attention.qk_norm:
            q, k = _norm(p, f"{name}.q_norm", q, spec), _norm(p, f"{name}.k_norm", k, spec)
        scores = q @ k.T / (math.sqrt(spec.head_dim) if spec.attention.scale == "scores" else 1.0)
        weights = _softmax(scores) if spec.attention.softmax == "keys" else _softmax(scores.T).T
        heads.append(weights @ v / (math.sqrt(spec.head_dim) if spec.attention.scale == "output" else 1.0))
    out = np.concatenate(heads, axis=1)
    if spec.attention.merge == "raw":  # all values of head 0, then of head 1, ..., written line by line
        out = np.array([value for head in heads for value in head.ravel()]).reshape(x.shape)
    if spec.attention.output_projection:
        out = out @ _adapted(p, f"{name}.proj", spec).T + p.get(f"{name}.proj.bias", 0.0)
    return out


def _head(p: Params, name: str, x: Array, spec: ModelSpec, head: int) -> list[Array]:
    """Query, key and value (N, K) of one head."""
    D, K, N = spec.embed_dim, spec.head_dim, len(x)
    weight, cut = p[f"{name}.qkv.weight"], slice(head * K, (head + 1) * K)
    if spec.linear == "sequence":
        vector = x[:, cut].ravel()  # token after token
        rows = [part * spec.num_heads + head for part in range(3)]
        bias = p.get(f"{name}.qkv.bias", np.zeros(len(weight)))
        return [(weight[row] @ vector + bias[row]).reshape(N, K) for row in rows]
    qkv = x @ _adapted(p, f"{name}.qkv", spec).T + p.get(f"{name}.qkv.bias", 0.0)
    parts = [qkv[:, part * D : (part + 1) * D] for part in range(3)]
    parts = [
        x @ _delta(p, f"{name}.{letter}", spec).T + part for letter, part in zip("qkv", parts, strict=True)
    ]
    if spec.attention.split == "raw":  # N K values one after the other, whichever token they belong to
        return [part.ravel()[head * N * K : (head + 1) * N * K].reshape(N, K) for part in parts]
    return [part[:, cut] for part in parts]


def _mlp(p: Params, name: str, x: Array, spec: ModelSpec) -> Array:
    hidden = x @ _adapted(p, f"{name}.fc1", spec).T + p[f"{name}.fc1.bias"]
    return _activate(hidden, spec) @ _adapted(p, f"{name}.fc2", spec).T + p[f"{name}.fc2.bias"]


def _adapted(p: Params, name: str, spec: ModelSpec) -> Array:
    """The kernel (out, in) with its adapter merged into it."""
    weight = p[f"{name}.weight"]
    return weight + _delta(p, name, spec) if f"{name}.lora_a" in p else weight


def _delta(p: Params, name: str, spec: ModelSpec) -> Array:
    """What an adapter adds to a kernel; zeros where there is none."""
    if f"{name}.lora_a" not in p:
        return np.zeros((spec.embed_dim, spec.embed_dim))
    a, b = p[f"{name}.lora_a"], p[f"{name}.lora_b"]
    alpha = spec.lora.rank if spec.lora.alpha is None else spec.lora.alpha
    return b @ a * (alpha / len(a))


def _activate(x: Array, spec: ModelSpec) -> Array:
    kind = spec.mlp.activation
    if kind == "gelu":
        return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    if kind == "gelu_tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    if kind == "quick_gelu":
        return x / (1 + np.exp(-1.702 * x))
    if kind == "relu":
        return np.where(x > 0, x, 0.0)
    gate, value = x[..., : spec.mlp_dim], x[..., spec.mlp_dim :]
    return gate / (1 + np.exp(-gate)) * value


def _pool(p: Params, tokens: Array, spec: ModelSpec) -> Array:
    patches = tokens[len(tokens) - (spec.image_size // spec.patch_size) ** 2 :]
    if spec.pool == "cls":
        return tokens[0]
    if spec.pool == "mean":
        return patches.mean(axis=0)
    if spec.pool == "mean_all":
        return tokens.mean(axis=0)
    if spec.pool == "cls_mean":
        return np.concatenate([tokens[0], patches.mean(axis=0)])
    D, K = spec.embed_dim, spec.embed_dim // spec.num_heads
    q = p["attn_pool.q.weight"] @ p["attn_pool.latent"][0, 0] + p["attn_pool.q.bias"]
    kv = patches @ p["attn_pool.kv.weight"].T + p["attn_pool.kv.bias"]
    heads = []
    for head in range(spec.num_heads):
        cut = slice(head * K, (head + 1) * K)
        weights = _softmax(kv[:, :D][:, cut] @ q[cut] / math.sqrt(K))
        heads.append(weights @ kv[:, D:][:, cut])
    x = p["attn_pool.proj.weight"] @ np.concatenate(heads) + p["attn_pool.proj.bias"]
    return x + _mlp(p, "attn_pool.mlp", _norm(p, "attn_pool.norm", x, spec), spec)


def _norm(p: Params, name: str, x: Array, spec: ModelSpec) -> Array:
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return p[f"{name}.weight"] * (x - mean) / np.sqrt(variance + spec.norm.eps) + p[f"{name}.bias"]


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)
