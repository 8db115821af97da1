"""Layouts that are a renaming: tensors of another program's code, their parts, and what that code fixes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from vitcli.core.parameters import Parameter
from vitcli.core.recipe import Interpolation
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
_SLOTS = "tokens.position_slots"

Fold = Literal["none", "first", "vector", "patch", "heads in", "heads out"]


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One kind of native tensor: the names of its parts, which are stacked on its rows.

    `{i}` in a name is the block, `{h}` the head. With `fold="first"` the first axis, of length 1, is not there,
    with `fold="vector"` the first two; with `fold="patch"` the axes of a patch are one; with `fold="heads in"` and
    `"heads out"` the first or the last axis there is two: head, and feature of the head.

    `others` are the names that the parts (which may be more or fewer) have in other files, which are read as well.
    """

    names: tuple[str, ...]
    axes: Shape | None = None
    fold: Fold = "none"
    others: tuple[tuple[str, ...], ...] = ()

    def parts(self, block: str, rows: int, there: Collection[str] = ()) -> list[str]:
        """Returns the names of the parts of a tensor with so many rows, in a file that holds the names `there`."""
        found = (names for names in self.others if names[0].format(i=block, h=0) in there)
        names = self.names if self.names[0].format(i=block, h=0) in there else next(found, self.names)
        heads = rows // len(names) if "{h}" in names[0] else 1
        return [name.format(i=block, h=h) for name in names for h in range(heads)]

    def block(self, name: str) -> str | None:
        """Returns the block of a part (an empty text where there is none), or None of another tensor's name."""
        found = self._pattern.fullmatch(name)
        return "".join(filter(None, found.groups())) if found else None

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        names = [re.escape(name) for group in (self.names, *self.others) for name in group]
        return re.compile("|".join(names).replace(r"\{i\}", r"(\d+)").replace(r"\{h\}", r"\d+"))

    def elsewhere(self, native: Shape, heads: int) -> tuple[Shape, Shape]:
        """Returns the shape that a part has there in a model of so many heads, and the axes that bring it there."""
        axes = self.axes or tuple(range(len(native)))
        shape = permuted(native, axes)
        if self.fold == "first":
            return shape[1:], axes
        if self.fold == "vector":
            return shape[2:], axes
        if self.fold == "patch":
            *patch, width = permuted(shape, (1, 2, 3, 0)) if self.axes is None else shape
            flat = math.prod(patch)
            return ((width, flat) if self.axes is None else (flat, width)), axes
        if self.fold == "heads in":
            return (heads, shape[0] // heads, *shape[1:]), axes
        if self.fold == "heads out":
            return (*shape[:-1], heads, shape[-1] // heads), axes
        return shape, axes

    def native(self, shape: Shape) -> Shape:
        """Returns the native shape of a part from the one that it has there."""
        if self.fold == "first":
            shape = (1, *shape)
        if self.fold == "vector":
            shape = (1, 1, *shape)
        if self.fold == "patch":
            width, flat = shape if self.axes is None else shape[::-1]
            channels = 3 if flat % 3 == 0 and math.isqrt(flat // 3) ** 2 * 3 == flat else 1
            side = math.isqrt(flat // channels)
            return (width, channels, side, side)
        if self.fold == "heads in":
            shape = (shape[0] * shape[1], *shape[2:])
        if self.fold == "heads out":
            shape = (*shape[:-2], shape[-2] * shape[-1])
        return permuted(shape, inverse(self.axes)) if self.axes else shape


@dataclass(frozen=True, kw_only=True)
class Code:
    """Another program's model: its tensors by native name, what it fixes, and how it sees images.

    Attributes:
        tensors: every kind that it may have.
        cut: how much of the short side its programs cut out of the middle, where nothing says otherwise.
        facts: keys of the spec, without `model.`, that its code fixes, or has where nothing says otherwise.
        marker: the name of a tensor that no other layout has.
        markers: other such names.
        beside: names of tensors that tell it from other families of its layout.
        free: keys of the spec that it may set, beside the sizes.
        rules: what it makes of other keys of a spec.
        prefix: what every name begins with, and may leave out in a file that is read.
        aliases: patterns of names that older files have, and what they are called now.
        dropped: patterns of the names of tensors that its files may hold and that logits do not depend on.
        lacking: patterns of the names of tensors that its files may hold and vit has not, and what they are.
        zeros: tensors that its files must hold and that logits do not depend on; they are written as zeros.
        positions: which ones a model has that holds no table of them.
        config: what its configuration says of it.
        notes: for its page of help: what is derived, and what is assumed.
        num_heads: where its code cannot be told otherwise.
        heads: a tensor whose first axis is as long as there are heads.
        map_pool: whether it may pool by attention where there is no class token.
    """

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]
    marker: str
    fit: Literal["squash", "crop"] = "squash"
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    cut: float = 1.0
    free: tuple[str, ...] = ()
    num_heads: int | None = None
    heads: str | None = None
    map_pool: bool = False
    beside: tuple[str, ...] = ()
    rules: Callable[[ModelSpec], Mapping[str, Any]] | None = None
    dropped: tuple[str, ...] = ()
    lacking: Mapping[str, str] = field(default_factory=dict)
    markers: tuple[str, ...] = ()
    prefix: str = ""
    aliases: tuple[tuple[str, str], ...] = ()
    zeros: Callable[[ModelSpec], Mapping[str, Shape]] | None = None
    positions: Literal["sincos2d", "none"] = "sincos2d"
    config: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def recognises(self, names: Collection[str]) -> bool:
        """Returns whether a file with such names is of this code."""
        tensors = {tensor.names[0]: tensor for tensor in self.tensors.values()}

        def there(name: str) -> bool:
            return (tensors[name].parts("0", 1, names)[0] if name in tensors else name) in names

        return any(map(there, (self.marker, *self.markers))) and all(map(there, self.beside))

    def canonical(self, names: Collection[str]) -> dict[str, str]:
        """Returns the names of a file as this code has them today, and what the file calls them.

        Raises:
            ValueError: two names of the file are one today.
        """
        bare = self.prefix and not any(name.startswith(self.prefix) for name in names)
        found: dict[str, str] = {}
        for name in names:
            now = self.prefix + name if bare else name
            for pattern, replacement in self.aliases:
                now = re.sub(pattern, replacement, now)
            if now in found:
                raise ValueError(f"{found[now]} and {name} are two names of one tensor")
            found[now] = name
        return found

    def spare(self, spec: ModelSpec) -> Mapping[str, Shape]:
        """Returns the tensors that its files must hold and that logits do not depend on."""
        return self.zeros(spec) if self.zeros else {}

    def drops(self, name: str) -> bool:
        """Returns whether a tensor of its files is one that logits do not depend on."""
        return any(re.fullmatch(pattern, name) for pattern in self.dropped)

    def lacks(self, name: str) -> str | None:
        """Returns what a tensor of its files is that vit has not, or None of any other."""
        return next((what for pattern, what in self.lacking.items() if re.fullmatch(pattern, name)), None)

    def has(self, name: str) -> bool:
        """Returns whether a tensor of that name may be in its files, whatever the model."""
        return self.drops(name) or any(tensor.block(name) is not None for tensor in self.tensors.values())

    def places(self, parameter: Parameter, heads: int, there: Collection[str] = ()) -> tuple[Place, ...]:
        """Returns where a native tensor of a model with so many heads stands, in a file with the names `there`."""
        template, block = _template(parameter.name)
        tensor, rows = self.tensors[template], parameter.shape[0]
        names = tensor.parts(block, rows, there)
        size = rows // len(names)
        shape, axes = tensor.elsewhere((size, *parameter.shape[1:]), heads)
        return tuple(
            Place(name=name, shape=shape, axes=axes, rows=(size * k, size * (k + 1)))
            for k, name in enumerate(names)
        )

    def native_shapes(self, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
        """Returns the native names and shapes of the tensors that this code has."""
        found: dict[str, Shape] = {}
        for template, tensor in self.tensors.items():
            for name, shape in shapes.items():
                if (block := tensor.block(name)) is not None:
                    key = template.format(i=block)
                    part = tensor.native(shape)
                    rows = found[key][0] if key in found else 0
                    found[key] = (rows + part[0], *part[1:])
        return found

    def differences(self, spec: ModelSpec) -> list[str]:
        """Returns why this code cannot be that model; the first difference first."""
        if spec.lora.rank:
            return ["it has low-rank adapters beside its layers: merge them (--merge)"]
        ours = spec.flat()
        sizes = {key: ours[key] for key in _SIZES}
        theirs = ModelSpec.model_validate(sizes | {"drop": spec.drop}).flat()
        theirs |= dict(self.facts) | {key: ours[key] for key in self.free}
        if (
            "tokens.class_token" in self.free and "pool" not in self.free
        ):  # it is read, or else the mean over the patches
            mean = spec.pool if spec.pool == "map" and self.map_pool else "mean"
            theirs["pool"] = "cls" if spec.tokens.class_token else mean
        # Slots for tokens that are not there are all the same.
        same = {"all", "class", *(() if spec.prefix_tokens else ("patches",))}
        if not spec.tokens.registers and {ours[_SLOTS], theirs[_SLOTS]} <= same:
            theirs[_SLOTS] = ours[_SLOTS]
        theirs |= self.rules(spec) if self.rules else {}
        return [
            f"model.{key} is {value}, in that code it is {theirs[key]}"
            for key, value in ours.items()
            if value != theirs[key]
        ]


def _template(name: str) -> tuple[str, str]:
    found = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
    return (f"blocks.{{i}}.{found[2]}", found[1]) if found else (name, "")


def one(name: str, axes: Shape | None = None, fold: Fold = "none") -> Tensor:
    """Returns a tensor that stands there as a whole."""
    return Tensor(names=(name,), axes=axes, fold=fold)


def layer(native: str, there: str, *others: str) -> dict[str, Tensor]:
    """Returns weight and bias under PyTorch's names; `others` are names of the layer that are read as well."""
    return {
        f"{native}.{leaf}": Tensor(
            names=(f"{there}.{leaf}",), others=tuple((f"{other}.{leaf}",) for other in others)
        )
        for leaf in ("weight", "bias")
    }


def pair(native: str, there: str, first: int, axes: Shape | None = None) -> dict[str, Tensor]:
    """Returns weight and bias at two positions of a tuple."""
    return {
        f"{native}.weight": one(f"{there}.{first}", axes),
        f"{native}.bias": one(f"{there}.{first + 1}"),
    }
