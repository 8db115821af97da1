"""The parameter table: the single truth about a model's tensors.

First weights are drawn from it, both backends use its names literally, and the file on disk has its names.
Where timm's `VisionTransformer` has a tensor, name and shape are timm's, so a standard model's file opens in
timm as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from vitcli.core.spec import ModelSpec


@dataclass(frozen=True, kw_only=True)
class Initial:
    """The distribution of a tensor's first values.

    `scale` is the standard deviation of `normal`, the bound of `uniform` and the value of `constant`.
    """

    kind: Literal["constant", "normal", "uniform"]
    scale: float


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One tensor of a model."""

    name: str
    shape: tuple[int, ...]
    initial: Initial
    decay: bool
    # Rows whose gradient is identically zero: a constant added to every key does not change a softmax.
    # Comparisons of parameters leave exactly these out, since Adam and Lion turn rounding noise into steps.
    zero_gradient: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


ZEROS = Initial(kind="constant", scale=0.0)
ONES = Initial(kind="constant", scale=1.0)


def parameter_table(spec: ModelSpec) -> dict[str, Parameter]:
    """Returns the tensors of a model by name, in the order of the forward pass.

    First values follow the JAX code of the ViT paper (google-research/vision_transformer, models_vit.py):
    Xavier-uniform kernels, MLP biases N(0, 1e-6), positions N(0, 0.02), class token zero; the head is drawn
    at N(0, 0.02) as in timm, so that the first step already moves every tensor.
    """
    return {parameter.name: parameter for parameter in _tensors(spec)}


def count(spec: ModelSpec) -> int:
    """Returns the number of trainable values."""
    return sum(parameter.size for parameter in parameter_table(spec).values())


def _tensors(spec: ModelSpec) -> Iterator[Parameter]:
    yield from _embedding(spec)
    if spec.norm.before_blocks:
        yield from _norm("norm_pre", spec.embed_dim)
    for block in range(spec.depth):
        yield from _block(f"blocks.{block}", spec)
    if spec.norm.final == "before_pool":
        yield from _norm("norm", spec.embed_dim)
    if spec.pool == "map":
        yield from _map_head(spec)
    if spec.norm.final == "after_pool":
        yield from _norm("fc_norm", spec.pool_dim)
    features = spec.pool_dim
    if spec.head.pre_logits is not None:
        yield from _linear("pre_logits", spec.head.pre_logits, features)
        features = spec.head.pre_logits
    yield _weight("head.weight", (spec.num_classes, features), _normal(0.02), decay=True)
    yield _weight("head.bias", (spec.num_classes,), ZEROS)


def _embedding(spec: ModelSpec) -> Iterator[Parameter]:
    D, tokens = spec.embed_dim, spec.tokens
    if tokens.class_token:
        yield _weight("cls_token", (1, 1, D), ZEROS)
    if tokens.registers:
        yield _weight("reg_token", (1, tokens.registers, D), _normal(0.02))
    if tokens.positions == "learned":
        yield _weight("pos_embed", (1, spec.position_slots, D), _normal(0.02))
    shape = (D, spec.in_channels, spec.patch_size, spec.patch_size)
    lecun = _normal(math.sqrt(1.0 / spec.patch_dim))
    yield _weight("patch_embed.proj.weight", shape, lecun, decay=True)
    if tokens.patch_bias:
        yield _weight("patch_embed.proj.bias", (D,), ZEROS)


def _block(name: str, spec: ModelSpec) -> Iterator[Parameter]:
    D, attention = spec.embed_dim, spec.attention
    yield from _norm(f"{name}.norm1", D)
    # Query, key and value are three D x D kernels stacked on rows: the fan is that of one of them.
    yield _weight(f"{name}.attn.qkv.weight", (3 * D, D), _xavier(D, D), decay=True)
    if attention.qkv_bias:
        zero = None if attention.qk_norm else (D, 2 * D)
        yield _weight(f"{name}.attn.qkv.bias", (3 * D,), ZEROS, zero_gradient=zero)
    if attention.qk_norm:
        yield from _norm(f"{name}.attn.q_norm", spec.head_dim)
        yield from _norm(f"{name}.attn.k_norm", spec.head_dim)
    if attention.output_projection:
        yield from _linear(f"{name}.attn.proj", D, D)
    yield from _layer_scale(f"{name}.ls1", spec)
    yield from _norm(f"{name}.norm2", D)
    yield from _mlp(f"{name}.mlp", spec)
    yield from _layer_scale(f"{name}.ls2", spec)


def _map_head(spec: ModelSpec) -> Iterator[Parameter]:
    D = spec.embed_dim
    yield _weight("attn_pool.latent", (1, 1, D), _xavier(1, D))
    yield from _linear("attn_pool.q", D, D)
    yield _weight("attn_pool.kv.weight", (2 * D, D), _xavier(D, D), decay=True)
    yield _weight("attn_pool.kv.bias", (2 * D,), ZEROS, zero_gradient=(0, D))
    yield from _linear("attn_pool.proj", D, D)
    yield from _norm("attn_pool.norm", D)
    yield from _mlp("attn_pool.mlp", spec)


def _mlp(name: str, spec: ModelSpec) -> Iterator[Parameter]:
    D, M = spec.embed_dim, spec.mlp_dim
    yield _weight(f"{name}.fc1.weight", (spec.fc1_dim, D), _xavier(D, M), decay=True)
    yield _weight(f"{name}.fc1.bias", (spec.fc1_dim,), _normal(1e-6))
    yield _weight(f"{name}.fc2.weight", (D, M), _xavier(M, D), decay=True)
    yield _weight(f"{name}.fc2.bias", (D,), _normal(1e-6))


def _linear(name: str, outputs: int, inputs: int) -> Iterator[Parameter]:
    yield _weight(f"{name}.weight", (outputs, inputs), _xavier(inputs, outputs), decay=True)
    yield _weight(f"{name}.bias", (outputs,), ZEROS)


def _norm(name: str, features: int) -> Iterator[Parameter]:
    yield _weight(f"{name}.weight", (features,), ONES)
    yield _weight(f"{name}.bias", (features,), ZEROS)


def _layer_scale(name: str, spec: ModelSpec) -> Iterator[Parameter]:
    if spec.layer_scale is not None:
        initial = Initial(kind="constant", scale=spec.layer_scale)
        yield _weight(f"{name}.gamma", (spec.embed_dim,), initial)


def _weight(
    name: str,
    shape: tuple[int, ...],
    initial: Initial,
    *,
    decay: bool = False,
    zero_gradient: tuple[int, int] | None = None,
) -> Parameter:
    return Parameter(name=name, shape=shape, initial=initial, decay=decay, zero_gradient=zero_gradient)


def _normal(std: float) -> Initial:
    return Initial(kind="normal", scale=std)


def _xavier(fan_in: int, fan_out: int) -> Initial:
    return Initial(kind="uniform", scale=math.sqrt(6.0 / (fan_in + fan_out)))
