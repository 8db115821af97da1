"""The model family: one spec says everything that changes the function an engine computes.

What is only a permutation or a renaming of parameters belongs to a weight layout (`vitcli.weights.layouts`).
Letters used all over the project: B batch, S image side, C channels, P patch side, N tokens, D embed,
H heads, K head dim, M mlp.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from vitcli.core.record import Listed, Record

Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
Count = Annotated[int, Field(ge=1)]
# Beyond any model, and within what a table of its tensors can be made for: a damaged file may say any number.
Size = Annotated[int, Field(ge=1, le=1_000_000)]
Few = Annotated[int, Field(ge=1, le=1_000)]
Pool = Literal["cls", "mean", "mean_all", "cls_mean", "map"]
Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "relu", "swiglu"]
# The linear layers of a block, as low-rank adapters name them: `qkv` is one adapter for all three.
LAYERS = ("qkv", "q", "k", "v", "proj", "fc1", "fc2")
_TARGETS = ("q", "v")


class TokenSpec(Record):
    """How an image becomes a sequence: class token, registers, patches, in this order."""

    patch_bias: bool = True
    class_token: bool = True
    registers: Annotated[int, Field(ge=0)] = 0
    positions: Literal["learned", "sincos2d", "none"] = "learned"
    # Learned positions have slots for all tokens, for the class token and the patches (DINOv2 with
    # registers), or for the patches alone. The fixed sin-cos table is zero outside the patches (MAE).
    position_slots: Literal["all", "class", "patches"] = "all"


class AttentionSpec(Record):
    """Multi-head self-attention: softmax over the keys of q k / sqrt(K), heads split and merged by feature.

    `split`, `merge`, `softmax` and `scale` say how some published models depart from that.
    """

    qkv_bias: bool = True
    output_projection: bool = True
    projection_bias: bool = True
    qk_norm: bool = False
    # feature: head j is the j-th run of K features of every token; raw: (N, D) is read as (H, N, K) in the
    # order of memory, so that a head is a block of whole tokens, cut into pieces of K; merging undoes either.
    split: Literal["feature", "raw"] = "feature"
    merge: Literal["feature", "raw"] = "feature"
    # The axis along which attention weights add up to one.
    softmax: Literal["keys", "queries"] = "keys"
    # What is divided by sqrt(K): the scores before the softmax, or the output after it.
    scale: Literal["scores", "output"] = "scores"

    @property
    def plain(self) -> bool:
        """Whether the weights are the standard softmax(q k^T / sqrt(K)) over the keys."""
        return self.softmax == "keys" and self.scale == "scores"


class MlpSpec(Record):
    """Two linear layers; `swiglu` gates: silu(first half of fc1) times the second half, each `mlp_dim` wide."""

    activation: Activation = "gelu"


class NormSpec(Record):
    """LayerNorm: `eps`, one more before the blocks (CLIP), and the last one before or after pooling, or none."""

    eps: Annotated[float, Field(gt=0.0, le=1e-2)] = 1e-6
    before_blocks: bool = False
    final: Literal["before_pool", "after_pool", "none"] = "before_pool"


class HeadSpec(Record):
    """Linear classifier; `pre_logits` inserts a tanh layer of that width before it.

    `distilled`: the token after the class token, which is the first register, has a classifier of its own, and
    logits are the mean of both (DeiT, Touvron et al. 2021, arXiv:2012.12877, section 4).
    """

    pre_logits: Size | None = None
    bias: bool = True
    distilled: bool = False


class LoraSpec(Record):
    """Low-rank adapters beside linear layers of every block: W x + alpha / rank B A x.

    Hu et al. 2021, arXiv:2106.09685, section 4.1. `rank` 0 is none. `alpha` none is the rank, so that the factor is 1.
    """

    rank: Annotated[int, Field(ge=0)] = 0
    alpha: Annotated[float, Field(gt=0.0)] | None = None
    targets: Listed = _TARGETS

    @model_validator(mode="after")
    def _possible(self) -> LoraSpec:
        unknown = [name for name in self.targets if name not in LAYERS]
        if unknown or not self.targets:
            given = f"{unknown[0]!r} is" if unknown else "nothing is"
            raise ValueError(f"targets: {given} not a layer of a block; it has {', '.join(LAYERS)}")
        if not self.rank and (self.alpha is not None or self.targets != _TARGETS):
            said = f"alpha={self.alpha:g}" if self.alpha is not None else f"targets={list(self.targets)}"
            raise ValueError(
                f"{said} is of adapters, and rank=0 is none; say model.lora.rank=8, or leave it out"
            )
        return self

    @property
    def scale(self) -> float:
        """What an adapter's output is multiplied by."""
        return 1.0 if self.alpha is None else self.alpha / self.rank


class DropSpec(Record):
    """Dropout rates by place, and the drop-path rate of the last block (from 0, linear in depth)."""

    embedding: Rate = 0.0
    attention: Rate = 0.0
    projection: Rate = 0.0
    mlp: Rate = 0.0
    path: Rate = 0.0


class ModelSpec(Record):
    """A Vision Transformer with pre-LN blocks (Dosovitskiy et al. 2021, arXiv:2010.11929, section 3.1).

    Raises:
        pydantic.ValidationError: for an unknown key, a value out of range or an impossible combination.
    """

    image_size: Size
    patch_size: Size
    # Images have 1 or 3; a model of other inputs can be converted, and fed through the Python API.
    in_channels: Size = 3
    # 0: no classifier; the pooled features, or those of `head.pre_logits`, are what comes out.
    num_classes: Annotated[int, Field(ge=0, le=10_000_000)]
    embed_dim: Size
    depth: Few
    num_heads: Few
    mlp_dim: Size
    pool: Pool = "cls"
    # token: a block's linear layers map every token alike; sequence: each maps the whole sequence, flattened, so
    # that the length is part of the weights: a departure (the MLP is then N D -> mlp_dim -> N D).
    linear: Literal["token", "sequence"] = "token"
    # LayerScale's initial value (Touvron et al. 2021, arXiv:2103.17239); none leaves it out.
    layer_scale: float | None = None
    tokens: TokenSpec = TokenSpec()
    attention: AttentionSpec = AttentionSpec()
    mlp: MlpSpec = MlpSpec()
    norm: NormSpec = NormSpec()
    head: HeadSpec = HeadSpec()
    drop: DropSpec = DropSpec()
    lora: LoraSpec = LoraSpec()

    @model_validator(mode="after")
    def _possible(self) -> ModelSpec:
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size={self.image_size} is not a multiple of patch_size={self.patch_size}; "
                f"nearest image sizes: {_multiples(self.image_size, self.patch_size)}"
            )
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"embed_dim={self.embed_dim} is not a multiple of num_heads={self.num_heads}; "
                f"nearest widths: {_multiples(self.embed_dim, self.num_heads)}"
            )
        if self.lora.rank > self.embed_dim:
            raise ValueError(
                f"lora.rank={self.lora.rank} is more than embed_dim={self.embed_dim}, the rank of the whole kernel; "
                f"4 to 64 are usual"
            )
        if self.pool in ("cls", "cls_mean") and not self.tokens.class_token:
            raise ValueError(
                f"pool={self.pool!r} reads the class token, but tokens.class_token=false; use pool='mean'"
            )
        if self.tokens.positions == "sincos2d" and (self.embed_dim % 4 or self.embed_dim < 8):
            raise ValueError(
                f"positions='sincos2d' needs embed_dim divisible by 4 and at least 8, not {self.embed_dim}; "
                f"nearest widths: {_multiples(self.embed_dim, 4)}"
            )
        if self.lora.rank and "proj" in self.lora.targets and not self.attention.output_projection:
            raise ValueError(
                "lora.targets: 'proj' is left out by attention.output_projection=false; "
                f"a block has {', '.join(name for name in LAYERS if name != 'proj')}"
            )
        self._check_head()
        self._check_sequence()
        return self

    def _check_head(self) -> None:
        if not self.head.distilled:
            return
        needed = {
            "pool='cls'": self.pool == "cls",
            "tokens.registers of 1 or more": self.tokens.registers > 0,
            "norm.final='before_pool' or 'none'": self.norm.final != "after_pool",
            "no head.pre_logits": self.head.pre_logits is None,
            "num_classes of 1 or more": self.num_classes > 0,
        }
        for words, fulfilled in needed.items():
            if not fulfilled:
                raise ValueError(f"head.distilled=true needs {words}")

    def _check_sequence(self) -> None:
        if self.linear == "token":
            return
        if self.lora.rank:
            raise ValueError(
                "lora.rank needs linear='token': adapters stand beside layers that map one token"
            )
        attention = self.attention
        for key, value, allowed in (
            ("output_projection", attention.output_projection, False),
            ("qk_norm", attention.qk_norm, False),
            ("split", attention.split, "feature"),
            ("merge", attention.merge, "feature"),
        ):
            if value != allowed:
                raise ValueError(
                    f"linear='sequence' needs attention.{key}={str(allowed).lower()}, not {str(value).lower()}"
                )

    @property
    def grid(self) -> int:
        """Patches along one image side."""
        return self.image_size // self.patch_size

    @property
    def prefix_tokens(self) -> int:
        """Tokens in front of the patches: the class token and the registers."""
        return int(self.tokens.class_token) + self.tokens.registers

    @property
    def num_tokens(self) -> int:
        """N, the length of the sequence."""
        return self.prefix_tokens + self.grid**2

    @property
    def head_dim(self) -> int:
        """K, the features of one head."""
        return self.embed_dim // self.num_heads

    @property
    def patch_dim(self) -> int:
        """Values in one patch, flattened channel, row, column."""
        return self.in_channels * self.patch_size**2

    @property
    def fc1_dim(self) -> int:
        """Outputs of the first MLP layer: twice `mlp_dim` where it is gated."""
        return self.mlp_dim * (2 if self.mlp.activation == "swiglu" else 1)

    @property
    def linear_dim(self) -> int:
        """Features that a block's MLP maps: D of one token, or N D of the whole sequence."""
        return self.embed_dim * (self.num_tokens if self.linear == "sequence" else 1)

    @property
    def pool_dim(self) -> int:
        """Width of the pooled vector: class token beside the mean is twice as wide."""
        return self.embed_dim * (2 if self.pool == "cls_mean" else 1)

    @property
    def output_dim(self) -> int:
        """Width of what comes out: logits, or features where there are no classes."""
        return self.num_classes or self.head.pre_logits or self.pool_dim

    @property
    def position_slots(self) -> int:
        """Rows of the position table."""
        prefix = {"all": self.prefix_tokens, "class": int(self.tokens.class_token), "patches": 0}
        return prefix[self.tokens.position_slots] + self.grid**2

    def drop_path_rate(self, block: int) -> float:
        """Drop-path rate of a block, linear from 0 at the first to `drop.path` at the last (arXiv:1603.09382)."""
        return self.drop.path * block / max(1, self.depth - 1)


def _multiples(value: int, unit: int) -> str:
    below = value // unit * unit
    return f"{below} or {below + unit}" if below else str(unit)
