"""What a model costs: multiply-adds, FLOPs and memory, from the spec alone."""

from __future__ import annotations

from dataclasses import dataclass

from vitcli.core.parameters import parameter_table
from vitcli.core.spec import ModelSpec


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One row of a summary: a part of the model, its output shape for one image, and what it costs."""

    name: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int


def layers(spec: ModelSpec) -> list[Layer]:
    """Returns the model as rows whose parameters and multiply-adds add up to the whole.

    Multiply-adds are those of matrix products for one image (the convention of the ViT papers);
    norms, softmax and activations are left out.
    """
    N, D = spec.num_tokens, spec.embed_dim
    table = parameter_table(spec).values()

    def row(name: str, prefixes: tuple[str, ...], output: tuple[int, ...], cost: int) -> Layer:
        parameters = sum(parameter.size for parameter in table if parameter.name.startswith(prefixes))
        return Layer(name=name, output=output, parameters=parameters, multiply_adds=cost)

    embedding = ("cls_token", "reg_token", "pos_embed", "patch_embed.")
    rows = [row("embed", embedding, (N, D), spec.grid**2 * spec.patch_dim * D)]
    if spec.norm.before_blocks:
        rows.append(row("norm_pre", ("norm_pre.",), (N, D), 0))
    for block in range(spec.depth):
        name = f"blocks.{block}"
        attention = (f"{name}.norm1.", f"{name}.attn.", f"{name}.ls1.")
        adapters = N * sum(p.size for p in table if p.name.startswith(f"{name}.attn.") and ".lora_" in p.name)
        rows.append(row(f"{name}.attn", attention, (N, D), _attention_cost(spec) + adapters))
        mlp = (f"{name}.norm2.", f"{name}.mlp.", f"{name}.ls2.")
        adapters = N * sum(p.size for p in table if p.name.startswith(f"{name}.mlp.") and ".lora_" in p.name)
        rows.append(row(f"{name}.mlp", mlp, (N, D), _block_mlp_cost(spec) + adapters))
    pooled = ("norm.", "fc_norm.", "attn_pool.")
    rows.append(row(f"pool ({spec.pool})", pooled, (spec.pool_dim,), _pool_cost(spec)))
    features = spec.pool_dim
    if spec.head.pre_logits is not None:
        width = spec.head.pre_logits
        rows.append(row("pre_logits", ("pre_logits.",), (width,), features * width))
        features = width
    if spec.num_classes:
        cost = features * spec.num_classes * (1 + spec.head.distilled)
        rows.append(row("head", ("head.", "head_dist."), (spec.num_classes,), cost))
    return rows


def forward_flops(spec: ModelSpec) -> int:
    """Returns floating-point operations of one image's forward pass: two for each multiply-add."""
    return 2 * sum(row.multiply_adds for row in layers(spec))


@dataclass(frozen=True, kw_only=True)
class TorchinfoCount:
    """What torchinfo prints of a PyTorch model of the same tensors, for comparison with published tables.

    It multiplies the parameters of each module, biases and norms included, by the number of images (those of a
    convolution by the number of positions as well). So it leaves out the products of queries, keys and values,
    counts a linear layer once however many tokens pass it, and does not see parameters that stand in no module of
    their own: class token, registers, positions.
    """

    multiply_adds: int
    weight_bytes: int


def torchinfo_count(spec: ModelSpec, *, images: int) -> TorchinfoCount:
    """Returns the multiply-adds and the bytes of float32 weights as torchinfo counts them."""
    bare = {"cls_token", "reg_token", "pos_embed", "attn_pool.latent"}
    sizes = {name: tensor.size for name, tensor in parameter_table(spec).items() if name not in bare}
    patches = sum(size for name, size in sizes.items() if name.startswith("patch_embed."))
    total = sum(sizes.values())
    return TorchinfoCount(
        multiply_adds=images * (total + (spec.grid**2 - 1) * patches), weight_bytes=4 * total
    )


def training_bytes(spec: ModelSpec, *, slots: int) -> int:
    """Returns bytes of float32 weights, gradients and optimiser state.

    Args:
        spec: the model.
        slots: arrays of the parameters' size that the optimiser and the moving average keep.
    """
    return 4 * (2 + slots) * sum(parameter.size for parameter in parameter_table(spec).values())


def activation_bytes(spec: ModelSpec, *, images: int, bytes_per_value: int = 4) -> int:
    """Returns an estimate of what the backward pass keeps of `images` images; attention weights not kept."""
    N, D, M = spec.num_tokens, spec.embed_dim, spec.fc1_dim
    per_block = 8 * N * D + 2 * M * (N if spec.linear == "token" else 1)
    return images * bytes_per_value * (spec.depth * per_block + 2 * N * D)


def _attention_cost(spec: ModelSpec) -> int:
    N, D = spec.num_tokens, spec.embed_dim
    if spec.linear == "sequence":
        return 3 * spec.num_heads * (N * spec.head_dim) ** 2 + 2 * N * N * D
    linear = 3 + int(spec.attention.output_projection)
    return linear * N * D * D + 2 * N * N * D


def _block_mlp_cost(spec: ModelSpec) -> int:
    times = spec.num_tokens if spec.linear == "token" else 1
    return times * _mlp_cost(spec, spec.linear_dim)


def _mlp_cost(spec: ModelSpec, width: int) -> int:
    return width * (spec.fc1_dim + spec.mlp_dim)


def _pool_cost(spec: ModelSpec) -> int:
    if spec.pool != "map":
        return 0
    N, D = spec.grid**2, spec.embed_dim  # the probe attends to the patches alone
    return 2 * D * D + 2 * N * D * D + 2 * N * D + _mlp_cost(spec, D)


def cpu_micro_batch(spec: ModelSpec, batch_size: int, *, least: int, budget: int) -> int:
    """Returns how many images go through the model at once on a CPU: a power of two, or the whole batch.

    Small pieces keep activations near the caches and halve the memory; where the optimum lies differs between
    engines (bench/results/micro-batch-cpu.md).

    Args:
        spec: the model.
        batch_size: images of an update.
        least: images below which a piece is not worth its overhead.
        budget: bytes of activations that a piece may keep.
    """
    fitting = budget // activation_bytes(spec, images=1)
    return min(batch_size, max(least, 1 << max(0, fitting.bit_length() - 1)))
