"""The parameter table: the single truth about a model's tensors.

First weights are drawn from it, both backends use its names literally, and the file on disk has its names.
Where timm's `VisionTransformer` has a tensor, name and shape are timm's, so a standard model's file opens in
timm as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from vitcli.core.initial import ONES, ZEROS, Initial, InitSpec, distribution
from vitcli.core.spec import ModelSpec


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


def parameter_table(spec: ModelSpec, init: InitSpec | None = None) -> dict[str, Parameter]:
    """Returns the tensors of a model by name, in the order of the forward pass.

    Args:
        spec: the model.
        init: the distributions of first values; none: those of the ViT paper's code.
    """
    return {parameter.name: parameter for parameter in _tensors(spec, init or InitSpec())}


def count(spec: ModelSpec) -> int:
    """Returns the number of trainable values."""
    return sum(parameter.size for parameter in parameter_table(spec).values())


def _tensors(spec: ModelSpec, init: InitSpec) -> Iterator[Parameter]:
    yield from _embedding(spec, init)
    if spec.norm.before_blocks:
        yield from _norm("norm_pre", spec.embed_dim)
    for block in range(spec.depth):
        yield from _block(f"blocks.{block}", spec, init)
    if spec.norm.final == "before_pool":
        yield from _norm("norm", spec.embed_dim)
    if spec.pool == "map":
        yield from _map_head(spec, init)
    if spec.norm.final == "after_pool":
        yield from _norm("fc_norm", spec.pool_dim)
    features = spec.pool_dim
    if spec.head.pre_logits is not None:
        yield from _linear("pre_logits", spec.head.pre_logits, features, init)
        features = spec.head.pre_logits
    for name in ("head", "head_dist")[: (1 + spec.head.distilled) if spec.num_classes else 0]:
        shape = (spec.num_classes, features)
        yield _weight(f"{name}.weight", shape, init.head_kernel(features, spec.num_classes), decay=True)
        if spec.head.bias:
            yield _weight(f"{name}.bias", (spec.num_classes,), init.bias(features))


def _embedding(spec: ModelSpec, init: InitSpec) -> Iterator[Parameter]:
    D, tokens = spec.embed_dim, spec.tokens
    if tokens.class_token:
        yield _weight("cls_token", (1, 1, D), distribution(init.class_token))
    if tokens.registers:
        yield _weight("reg_token", (1, tokens.registers, D), distribution("normal 0.02"))
    if tokens.positions == "learned":
        yield _weight("pos_embed", (1, spec.position_slots, D), distribution(init.positions))
    shape = (D, spec.in_channels, spec.patch_size, spec.patch_size)
    yield _weight("patch_embed.proj.weight", shape, init.patch_kernel(spec.patch_dim, D), decay=True)
    if tokens.patch_bias:
        yield _weight("patch_embed.proj.bias", (D,), init.bias(spec.patch_dim))


def _block(name: str, spec: ModelSpec, init: InitSpec) -> Iterator[Parameter]:
    attention = _sequence_attention if spec.linear == "sequence" else _attention
    yield from _norm(f"{name}.norm1", spec.embed_dim)
    yield from attention(f"{name}.attn", spec, init)
    yield from _layer_scale(f"{name}.ls1", spec)
    yield from _norm(f"{name}.norm2", spec.embed_dim)
    yield from _mlp(f"{name}.mlp", spec.linear_dim, spec, init)
    yield from _layer_scale(f"{name}.ls2", spec)
    yield from _adapters(name, spec)


def _adapters(name: str, spec: ModelSpec) -> Iterator[Parameter]:
    """Yields A (rank, in), drawn as PyTorch draws a kernel, and B (out, rank), zeros: nothing changes at first."""
    D, rank = spec.embed_dim, spec.lora.rank
    widths = {"attn.qkv": (D, 3 * D), "attn.q": (D, D), "attn.k": (D, D), "attn.v": (D, D)}
    if spec.attention.output_projection:
        widths["attn.proj"] = (D, D)
    widths |= {"mlp.fc1": (D, spec.fc1_dim), "mlp.fc2": (spec.mlp_dim, D)}
    for layer, (inputs, outputs) in widths.items():
        if rank and layer.partition(".")[2] in spec.lora.targets:
            uniform = Initial(kind="uniform", scale=1 / math.sqrt(inputs))
            yield _weight(f"{name}.{layer}.lora_a", (rank, inputs), uniform, decay=True)
            yield _weight(f"{name}.{layer}.lora_b", (outputs, rank), ZEROS, decay=True)


def _attention(name: str, spec: ModelSpec, init: InitSpec) -> Iterator[Parameter]:
    D, attention = spec.embed_dim, spec.attention
    # Query, key and value are three D x D kernels stacked on rows: the fan is that of one of them.
    yield _weight(f"{name}.qkv.weight", (3 * D, D), init.kernel(D, D), decay=True)
    if attention.qkv_bias:
        yield _weight(f"{name}.qkv.bias", (3 * D,), init.bias(D), zero_gradient=_idle_bias(spec))
    if attention.qk_norm:
        yield from _norm(f"{name}.q_norm", spec.head_dim)
        yield from _norm(f"{name}.k_norm", spec.head_dim)
    if attention.output_projection:
        yield from _linear(f"{name}.proj", D, D, init, bias=attention.projection_bias)


def _idle_bias(spec: ModelSpec) -> tuple[int, int] | None:
    """Returns the rows of the bias that the softmax cancels: the keys', or over queries the queries'."""
    if spec.attention.qk_norm or spec.attention.split == "raw":
        return None  # a norm, or a head made of several tokens' pieces, makes it matter
    D = spec.embed_dim
    return (D, 2 * D) if spec.attention.softmax == "keys" else (0, D)


def _sequence_attention(name: str, spec: ModelSpec, init: InitSpec) -> Iterator[Parameter]:
    """Yields one (N K) x (N K) kernel for each of query, key, value and head: q heads, k heads, v heads."""
    heads, features = 3 * spec.num_heads, spec.num_tokens * spec.head_dim
    kernel = init.kernel(features, features)
    yield _weight(f"{name}.qkv.weight", (heads, features, features), kernel, decay=True)
    if spec.attention.qkv_bias:
        yield _weight(f"{name}.qkv.bias", (heads, features), init.bias(features))


def _map_head(spec: ModelSpec, init: InitSpec) -> Iterator[Parameter]:
    D = spec.embed_dim
    yield _weight("attn_pool.latent", (1, 1, D), init.kernel(1, D))
    yield from _linear("attn_pool.q", D, D, init)
    yield _weight("attn_pool.kv.weight", (2 * D, D), init.kernel(D, D), decay=True)
    yield _weight("attn_pool.kv.bias", (2 * D,), init.bias(D), zero_gradient=(0, D))
    yield from _linear("attn_pool.proj", D, D, init)
    yield from _norm("attn_pool.norm", D)
    yield from _mlp("attn_pool.mlp", D, spec, init)


def _mlp(name: str, width: int, spec: ModelSpec, init: InitSpec) -> Iterator[Parameter]:
    M = spec.mlp_dim
    yield _weight(f"{name}.fc1.weight", (spec.fc1_dim, width), init.kernel(width, M), decay=True)
    yield _weight(f"{name}.fc1.bias", (spec.fc1_dim,), init.mlp_bias(width))
    yield _weight(f"{name}.fc2.weight", (width, M), init.kernel(M, width), decay=True)
    yield _weight(f"{name}.fc2.bias", (width,), init.mlp_bias(M))


def _linear(
    name: str, outputs: int, inputs: int, init: InitSpec, *, bias: bool = True
) -> Iterator[Parameter]:
    yield _weight(f"{name}.weight", (outputs, inputs), init.kernel(inputs, outputs), decay=True)
    if bias:
        yield _weight(f"{name}.bias", (outputs,), init.bias(inputs))


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
