"""The layouts of the four write-ups that the project grew from: parameters named as in their own code.

origin-jax        pure-JAX ViT on Imagenette: a pytree whose paths hold positions of tuples
origin-torch      PyTorch ViT on CIFAR-10
origin-custom     PyTorch ViT on a custom image set (Cassava leaves)
origin-homework   a course homework's ViT on five COCO classes, its encoder from the course's ViTHelper

What their code fixes and tensors cannot tell (the activation, how heads are cut) is stated here; sizes are read
from shapes. Where each departs from the standard is told by `vitcli.core.spec`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vitcli.core.errors import WeightsError
from vitcli.core.parameters import Parameter
from vitcli.core.spec import ModelSpec
from vitcli.weights.place import Place, Shape, inverse, permuted

_SIZES = {
    "image_size",
    "patch_size",
    "in_channels",
    "num_classes",
    "embed_dim",
    "depth",
    "num_heads",
    "mlp_dim",
}


@dataclass(frozen=True, kw_only=True)
class _Tensor:
    """One kind of native tensor: the names of its parts, which are stacked on its rows.

    `{i}` in a name is the block, `{h}` the head. With `fold="first"` the first axis, of length 1, is not there;
    with `fold="patch"` the axes of a patch are one.
    """

    names: tuple[str, ...]
    axes: Shape | None = None
    fold: Literal["none", "first", "patch"] = "none"

    def parts(self, block: str, rows: int) -> list[str]:
        """Returns the names of the parts of a tensor with so many rows."""
        heads = rows // len(self.names) if "{h}" in self.names[0] else 1
        return [name.format(i=block, h=h) for name in self.names for h in range(heads)]

    def elsewhere(self, native: Shape) -> tuple[Shape, Shape]:
        """Returns the shape that a part has there, and the axes that bring it there."""
        axes = self.axes or tuple(range(len(native)))
        shape = permuted(native, axes)
        if self.fold == "first":
            return shape[1:], axes
        if self.fold == "patch":
            *patch, width = permuted(shape, (1, 2, 3, 0)) if self.axes is None else shape
            flat = math.prod(patch)
            return ((width, flat) if self.axes is None else (flat, width)), axes
        return shape, axes

    def native(self, shape: Shape) -> Shape:
        """Returns the native shape of a part from the one that it has there."""
        if self.fold == "first":
            shape = (1, *shape)
        if self.fold == "patch":
            width, flat = shape if self.axes is None else shape[::-1]
            channels = 3 if flat % 3 == 0 and math.isqrt(flat // 3) ** 2 * 3 == flat else 1
            side = math.isqrt(flat // channels)
            return (width, channels, side, side)
        return permuted(shape, inverse(self.axes)) if self.axes else shape


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A write-up's code: its tensors by native name, what it fixes, and how it sees images."""

    tensors: Mapping[str, _Tensor]
    facts: Mapping[str, Any]
    marker: str
    fit: Literal["squash", "crop"] = "squash"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    num_heads: int | None = None

    def places(self, parameter: Parameter) -> tuple[Place, ...]:
        """Returns where a native tensor stands."""
        template, block = _template(parameter.name)
        tensor, rows = self.tensors[template], parameter.shape[0]
        names = tensor.parts(block, rows)
        size = rows // len(names)
        shape, axes = tensor.elsewhere((size, *parameter.shape[1:]))
        return tuple(
            Place(name=name, shape=shape, axes=axes, rows=(size * k, size * (k + 1)))
            for k, name in enumerate(names)
        )

    def native_shapes(self, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
        """Returns the native names and shapes of the tensors that this code has."""
        found: dict[str, Shape] = {}
        for template, tensor in self.tensors.items():
            for name, shape in shapes.items():
                for block in _blocks(tensor, name):
                    key = template.format(i=block)
                    part = tensor.native(shape)
                    rows = found[key][0] if key in found else 0
                    found[key] = (rows + part[0], *part[1:])
        return found

    def check(self, spec: ModelSpec, layout: str) -> None:
        """Checks that this code can be that model.

        Raises:
            WeightsError: it is another function; the first difference is named.
        """
        allowed = ModelSpec.model_validate(
            _nested(self.facts) | {key: getattr(spec, key) for key in _SIZES} | {"drop": spec.drop}
        )
        for key, value in _flat(spec.model_dump()).items():
            theirs = _flat(allowed.model_dump())[key]
            if value != theirs:
                raise WeightsError(
                    f"{layout} cannot hold this model: model.{key} is {value}, in that code it is {theirs}"
                )


def _template(name: str) -> tuple[str, str]:
    found = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
    return (f"blocks.{{i}}.{found[2]}", found[1]) if found else (name, "")


def _blocks(tensor: _Tensor, name: str) -> Iterator[str]:
    """Yields the block of a name (or an empty text) where the name is one of the tensor's parts."""
    for part in tensor.names:
        pattern = re.escape(part).replace(r"\{i\}", r"(?P<i>\d+)").replace(r"\{h\}", r"\d+")
        if found := re.fullmatch(pattern, name):
            yield found.groupdict().get("i", "")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _nested(facts: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in facts.items():
        section, _, leaf = key.rpartition(".")
        (tree.setdefault(section, {}) if section else tree)[leaf] = value
    return tree


def _one(name: str, axes: Shape | None = None, fold: Literal["none", "first", "patch"] = "none") -> _Tensor:
    return _Tensor(names=(name,), axes=axes, fold=fold)


def _layer(native: str, there: str) -> dict[str, _Tensor]:
    """Returns weight and bias under PyTorch's names."""
    return {f"{native}.{leaf}": _one(f"{there}.{leaf}") for leaf in ("weight", "bias")}


def _tuple(native: str, there: str, first: int, axes: Shape | None = None) -> dict[str, _Tensor]:
    """Returns weight and bias at two positions of a tuple."""
    return {
        f"{native}.weight": _one(f"{there}.{first}", axes),
        f"{native}.bias": _one(f"{there}.{first + 1}"),
    }


_T = (1, 0)  # kernels (in, out)
_LAYER = "layers.{i}"
_JAX = Origin(
    marker="positional_encoding",
    tensors={
        "cls_token": _one("cls_token", fold="first"),
        "pos_embed": _one("positional_encoding", fold="first"),
        # A patch is flattened row, column, channel.
        "patch_embed.proj.weight": _one("patch_embed", (2, 3, 1, 0), "patch"),
        **_tuple("blocks.{i}.mlp.fc1", f"{_LAYER}.0", 0, _T),
        **_tuple("blocks.{i}.mlp.fc2", f"{_LAYER}.0", 2, _T),
        "blocks.{i}.attn.qkv.weight": _Tensor(names=tuple(f"{_LAYER}.1.{k}" for k in (0, 1, 2)), axes=_T),
        "blocks.{i}.attn.qkv.bias": _Tensor(names=tuple(f"{_LAYER}.1.{k}" for k in (3, 4, 5))),
        **_tuple("blocks.{i}.norm1", f"{_LAYER}.2", 0),
        **_tuple("blocks.{i}.norm2", f"{_LAYER}.3", 0),
        **_tuple("norm", "final_layer_norm", 0),
        **_tuple("head", "head", 0, _T),
    },
    facts={
        "tokens.patch_bias": False,
        "tokens.position_slots": "patches",
        "attention.output_projection": False,
        "attention.split": "raw",
        "attention.merge": "raw",
        "mlp.activation": "relu",
        "norm.eps": 1e-6,
    },
)

_TORCH = Origin(
    marker="input_layer.weight",
    tensors={
        "cls_token": _one("cls_token"),
        "pos_embed": _one("pos_embedding"),
        "patch_embed.proj.weight": _one("input_layer.weight", fold="patch"),
        "patch_embed.proj.bias": _one("input_layer.bias"),
        **_layer("blocks.{i}.norm1", "transformer.{i}.layer_norm_1"),
        "blocks.{i}.attn.qkv.weight": _Tensor(
            names=tuple(f"transformer.{{i}}.attn.w{part}.weight" for part in "qkv")
        ),
        "blocks.{i}.attn.proj.weight": _one("transformer.{i}.attn.wo.weight"),
        **_layer("blocks.{i}.norm2", "transformer.{i}.layer_norm_2"),
        **_layer("blocks.{i}.mlp.fc1", "transformer.{i}.ffn.0"),
        **_layer("blocks.{i}.mlp.fc2", "transformer.{i}.ffn.3"),
        # The norm of the head module reads the class token alone: the last norm before pooling is the same.
        **_layer("norm", "mlp.0"),
        **_layer("head", "mlp.1"),
    },
    facts={
        "attention.qkv_bias": False,
        "attention.projection_bias": False,
        "attention.merge": "raw",
        "norm.eps": 1e-5,
    },
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
)

_CUSTOM = Origin(
    marker="1.0.attention.qkv.weight",
    tensors={
        "cls_token": _one("0.cls_token"),
        "pos_embed": _one("0.pos_embed"),
        **_layer("patch_embed.proj", "0.proj"),
        **_layer("blocks.{i}.norm1", "1.{i}.layer_norm_1"),
        "blocks.{i}.attn.qkv.weight": _one("1.{i}.attention.qkv.weight"),
        **_layer("blocks.{i}.attn.proj", "1.{i}.attention.proj"),
        **_layer("blocks.{i}.norm2", "1.{i}.layer_norm_2"),
        **_layer("blocks.{i}.mlp.fc1", "1.{i}.mlp.0"),
        **_layer("blocks.{i}.mlp.fc2", "1.{i}.mlp.3"),
        **_layer("fc_norm", "2.1"),
        **_layer("head", "2.2"),
    },
    facts={
        "pool": "mean_all",
        "attention.qkv_bias": False,
        "norm.eps": 1e-5,
        "norm.final": "after_pool",
    },
    num_heads=8,  # its code cannot be told otherwise
)

_ENCODER = "1.basic_encoder_arr.{i}"
_HEAD = f"{_ENCODER}.self_attention_layer.attention_heads_arr.{{h}}"
_HOMEWORK = Origin(
    marker="0.class_token",
    tensors={
        "cls_token": _one("0.class_token"),
        "pos_embed": _one("0.positions", fold="first"),
        **_layer("patch_embed.proj", "0.sequential.0"),
        **_layer("blocks.{i}.norm1", f"{_ENCODER}.norm1"),
        **{
            f"blocks.{{i}}.attn.qkv.{leaf}": _Tensor(
                names=tuple(f"{_HEAD}.W{part}.{leaf}" for part in "QKV"), fold="first"
            )
            for leaf in ("weight", "bias")
        },
        **_layer("blocks.{i}.norm2", f"{_ENCODER}.norm2"),
        **_layer("blocks.{i}.mlp.fc1", f"{_ENCODER}.W1"),
        **_layer("blocks.{i}.mlp.fc2", f"{_ENCODER}.W2"),
        **_layer("head", "2.1"),
    },
    facts={
        "pool": "mean_all",
        "linear": "sequence",
        "attention.output_projection": False,
        "attention.softmax": "queries",
        "attention.scale": "output",
        "mlp.activation": "relu",
        "norm.eps": 1e-5,
        "norm.final": "none",
    },
    mean=(0.5,),
    std=(0.5,),
)

ORIGINS: Mapping[str, Origin] = {
    "origin-jax": _JAX,
    "origin-torch": _TORCH,
    "origin-custom": _CUSTOM,
    "origin-homework": _HOMEWORK,
}
