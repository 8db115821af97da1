"""A flax.linen Vision Transformer in the manner of google-research/vision_transformer, trained by optax.adamw.

The whole batch at once, flax's own attention module, a jitted step whose state is donated. Only the GELU
differs from that project's: exact, as in the other contenders.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax import Array

from bench.contender import Run, check_size, draw_batch
from vitcli.core.recipe import Recipe
from vitcli.core.spec import ModelSpec


class Block(nn.Module):
    """One pre-LN block: (B, N, D) to (B, N, D)."""

    spec: ModelSpec

    @nn.compact
    def __call__(self, tokens: Array) -> Array:
        spec, kernel, bias = self.spec, nn.initializers.xavier_uniform(), nn.initializers.normal(1e-6)
        x = nn.LayerNorm(epsilon=spec.norm.eps)(tokens)
        x = nn.MultiHeadDotProductAttention(spec.num_heads, kernel_init=kernel, deterministic=True)(x, x)
        tokens = tokens + x
        x = nn.LayerNorm(epsilon=spec.norm.eps)(tokens)
        x = nn.Dense(spec.mlp_dim, kernel_init=kernel, bias_init=bias)(x)  # (B, N, M)
        x = nn.gelu(x, approximate=False)
        x = nn.Dense(spec.embed_dim, kernel_init=kernel, bias_init=bias)(x)  # (B, N, D)
        return tokens + x


class VisionTransformer(nn.Module):
    """The logits (B, classes) of normalised images (B, S, S, C)."""

    spec: ModelSpec

    @nn.compact
    def __call__(self, images: Array) -> Array:
        spec, B, D, P = self.spec, len(images), self.spec.embed_dim, self.spec.patch_size
        patches = nn.Conv(D, (P, P), strides=(P, P), padding="VALID")(images).reshape(B, -1, D)
        first = self.param("class_token", nn.initializers.zeros, (1, 1, D))
        tokens = jnp.concatenate([jnp.tile(first, (B, 1, 1)), patches], axis=1)  # (B, N, D)
        positions = self.param("positions", nn.initializers.normal(0.02), (1, spec.num_tokens, D))
        tokens = tokens + positions
        for _ in range(spec.depth):
            tokens = Block(spec)(tokens)
        tokens = nn.LayerNorm(epsilon=spec.norm.eps)(tokens)
        return jnp.asarray(nn.Dense(spec.num_classes)(tokens[:, 0]))


def build(recipe: Recipe, device: str) -> Run:
    """Returns the training step of the flax model at the sizes of a recipe."""
    platform, _, index = device.partition(":")
    place = jax.devices(platform)[int(index or 0)]
    # float32 means float32: the default on a GPU is TF32.
    jax.config.update("jax_default_matmul_precision", "highest")  # type: ignore[no-untyped-call]
    model = VisionTransformer(recipe.model)
    optimizer = optax.adamw(recipe.train.lr, weight_decay=recipe.train.weight_decay)
    images, labels = jax.device_put(draw_batch(recipe)[1:], place)
    with jax.default_device(place):
        params = jax.jit(model.init)(jax.random.key(0), images[:1])
        state = (params, optimizer.init(params))
    check_size(recipe, sum(value.size for value in jax.tree.leaves(params)))

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: Any, images: Array, labels: Array) -> Any:
        def mean_loss(params: Any) -> Array:
            logits = model.apply(params, images)
            return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

        params, moments = state
        loss, gradients = jax.value_and_grad(mean_loss)(params)
        updates, moments = optimizer.update(gradients, moments, params)
        return (optax.apply_updates(params, updates), moments), loss

    def run(steps: int) -> float:
        nonlocal state
        for _ in range(steps):
            state, loss = step(state, images, labels)
        return float(loss)

    return run
