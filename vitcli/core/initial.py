"""First values: how a recipe says the distributions that weights are drawn from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from pydantic import model_validator

from vitcli.core.record import Record


@dataclass(frozen=True, kw_only=True)
class Initial:
    """The distribution of a tensor's first values.

    `scale` is the standard deviation of `normal`, the half-width of `uniform` about `middle`, and the value of
    `constant`.
    """

    kind: Literal["constant", "normal", "uniform"]
    scale: float
    middle: float = 0.0


ZEROS = Initial(kind="constant", scale=0.0)
ONES = Initial(kind="constant", scale=1.0)
# How positions and patch kernels of a weights file come to another size: as these programs do it
# (`vitcli.weights.resample`).
Resample = Literal[
    "timm",
    "huggingface",
    "torchvision",
    "google",
    "big_vision",
    "dinov2",
    "dinov2-registers",
    "bilinear",
]


class InitSpec(Record):
    """First weights; a distribution is "zeros", "normal STD" or "uniform LOW HIGH".

    `linear` is the rule for every linear layer (and the patches' convolution) that nothing else is said of:

    vit      the JAX code of the ViT paper (google-research/vision_transformer, models_vit.py): Xavier-uniform
             kernels, zero biases but for the MLP's, N(0, 1e-6); patches LeCun-normal; the head is drawn at
             N(0, 0.02) as in timm, so that the first step already moves every tensor
    xavier   Xavier-uniform kernels and zero biases everywhere
    torch    PyTorch's own: kernels and biases uniform within 1/sqrt(fan in)
    """

    linear: Literal["vit", "xavier", "torch"] = "vit"
    class_token: str = "zeros"
    positions: str = "normal 0.02"
    # Kernels of the patches and of the head; none: as `linear` says.
    patch: str | None = None
    head: str | None = None
    # A weights file in any layout, a run folder or a published name to start from (none: all is drawn), its SHA-256
    # (none: as it is found), and how what is of another size is resampled. What it lacks, as new classes, is drawn.
    file: str | None = None
    sha256: str | None = None
    resample: Resample = "timm"

    @model_validator(mode="after")
    def _possible(self) -> InitSpec:
        for key in ("class_token", "positions", "patch", "head"):
            text = getattr(self, key)
            if text is not None:
                try:
                    distribution(text)
                except ValueError as error:
                    raise ValueError(f"{key}: {error}") from error
        return self

    def kernel(self, fan_in: int, fan_out: int) -> Initial:
        """Returns the distribution of a linear layer's kernel."""
        if self.linear == "torch":
            return _uniform(1 / math.sqrt(fan_in))
        return _uniform(math.sqrt(6.0 / (fan_in + fan_out)))

    def bias(self, fan_in: int) -> Initial:
        """Returns the distribution of a linear layer's bias."""
        return _uniform(1 / math.sqrt(fan_in)) if self.linear == "torch" else ZEROS

    def mlp_bias(self, fan_in: int) -> Initial:
        """Returns the distribution of a bias in an MLP."""
        return _normal(1e-6) if self.linear == "vit" else self.bias(fan_in)

    def patch_kernel(self, fan_in: int, fan_out: int) -> Initial:
        """Returns the distribution of the kernel that makes patches tokens."""
        if self.patch is not None:
            return distribution(self.patch)
        return _normal(math.sqrt(1.0 / fan_in)) if self.linear == "vit" else self.kernel(fan_in, fan_out)

    def head_kernel(self, fan_in: int, fan_out: int) -> Initial:
        """Returns the distribution of the classifier's kernel."""
        if self.head is not None:
            return distribution(self.head)
        return _normal(0.02) if self.linear == "vit" else self.kernel(fan_in, fan_out)


def distribution(text: str) -> Initial:
    """Returns the distribution that a text says: "zeros", "normal 0.02" or "uniform 0 1".

    Raises:
        ValueError: it says none.
    """
    kind, *words = text.split() or [""]
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = [math.nan]
    if all(map(math.isfinite, numbers)):
        if kind == "zeros" and not numbers:
            return ZEROS
        if kind == "normal" and len(numbers) == 1 and numbers[0] >= 0:
            return _normal(numbers[0])
        if kind == "uniform" and len(numbers) == 2 and numbers[0] < numbers[1]:
            low, high = numbers
            return Initial(kind="uniform", scale=(high - low) / 2, middle=(high + low) / 2)
    raise ValueError(
        f"'{text}' is not a distribution; write 'zeros', 'normal 0.02' (standard deviation) or 'uniform 0 1'"
    )


def _normal(std: float) -> Initial:
    return Initial(kind="normal", scale=std)


def _uniform(bound: float) -> Initial:
    return Initial(kind="uniform", scale=bound)
