"""Layouts that are a renaming: tensors of another program's code, their parts, and what that code fixes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
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


Fold = Literal["none", "first", "vector", "patch", "heads in", "heads out"]


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One kind of native tensor: the names of its parts, which are stacked on its rows.

    `{i}` in a name is the block, `{h}` the head. With `fold="first"` the first axis, of length 1, is not there,
    with `fold="vector"` the first two; with `fold="patch"` the axes of a patch are one; with `fold="heads in"` and
    `"heads out"` the first or the last axis there is two: head, and feature of the head.
    """

    names: tuple[str, ...]
    axes: Shape | None = None
    fold: Fold = "none"

    def parts(self, block: str, rows: int) -> list[str]:
        """Returns the names of the parts of a tensor with so many rows."""
        heads = rows // len(self.names) if "{h}" in self.names[0] else 1
        return [name.format(i=block, h=h) for name in self.names for h in range(heads)]

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
        facts: keys of the spec, without `model.`, that its code fixes, or has where nothing says otherwise.
        marker: the name of a tensor that no other layout has.
        free: keys of the spec that it may set, beside the sizes.
        num_heads: where its code cannot be told otherwise.
        heads: a tensor whose first axis is as long as there are heads.
        map_pool: whether it may pool by attention where there is no class token.
        instead: key of the spec, value, and the tensors that stand there in place of others where it has that value.
        rule: the keys that it fixes given the others; of what is free, it has those values and no other.
        markers: other names, any of which no other layout has.
        prefix: what every name begins with, and may leave out in a file that is read.
        aliases: patterns of names that older files have, and what they are called now.
        ignored: patterns of names that such files hold and no model needs.
        zeros: tensors that its code wants to be there, and which a model does without.
        positions: which ones a model has that holds no table of them.
        assumed: keys that no tensor tells, and what is said aloud where they are not said.
        notes: what is derived and what is assumed, a sentence each.
    """

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]
    marker: str
    fit: Literal["squash", "crop"] = "squash"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    free: tuple[str, ...] = ()
    num_heads: int | None = None
    heads: str | None = None
    map_pool: bool = False
    instead: tuple[tuple[str, Any, Mapping[str, Tensor]], ...] = ()
    rule: Callable[[ModelSpec], Mapping[str, Any]] = field(default=lambda spec: {})
    markers: tuple[str, ...] = ()
    prefix: str = ""
    aliases: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()
    zeros: Callable[[ModelSpec], Mapping[str, Shape]] = field(default=lambda spec: {})
    positions: Literal["sincos2d", "none"] = "sincos2d"
    assumed: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def of(self, spec: ModelSpec) -> Code:
        """Returns this code with the tensors that it has for a model."""
        ours, tensors = _flat(spec.model_dump()), dict(self.tensors)
        for key, value, others in self.instead:
            if ours[key] == value:
                tensors |= others
        return replace(self, tensors=tensors)

    def recognises(self, names: Collection[str]) -> bool:
        """Returns whether a file with such names is of this code alone."""
        return any(marker in names for marker in (self.marker, *self.markers))

    def canonical(self, names: Collection[str]) -> dict[str, str]:
        """Returns the names of a file as this code has them today, and what the file calls them."""
        bare = self.prefix and not any(name.startswith(self.prefix) for name in names)
        found = {}
        for name in names:
            now = self.prefix + name if bare else name
            for pattern, replacement in self.aliases:
                now = re.sub(pattern, replacement, now)
            found[now] = name
        return found

    def ignores(self, name: str) -> bool:
        """Returns whether a tensor is one that no model needs."""
        return any(fnmatchcase(name, pattern) for pattern in self.ignored)

    def places(self, parameter: Parameter, heads: int) -> tuple[Place, ...]:
        """Returns where a native tensor of a model with so many heads stands."""
        template, block = _template(parameter.name)
        tensor, rows = self.tensors[template], parameter.shape[0]
        names = tensor.parts(block, rows)
        size = rows // len(names)
        shape, axes = tensor.elsewhere((size, *parameter.shape[1:]), heads)
        return tuple(
            Place(name=name, shape=shape, axes=axes, rows=(size * k, size * (k + 1)))
            for k, name in enumerate(names)
        )

    def native_shapes(self, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
        """Returns the native names and shapes of the tensors that this code has."""
        found: dict[str, Shape] = {}
        others = (item for _, _, tensors in self.instead for item in tensors.items())
        for template, tensor in (*self.tensors.items(), *others):
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
        if spec.lora.rank:
            raise WeightsError(
                f"{layout} cannot hold low-rank adapters beside their layers: merge them first"
            )
        ours = _flat(spec.model_dump())
        said = {key: ours[key] for key in (*_SIZES, *self.free)}
        if (
            "tokens.class_token" in self.free and "pool" not in self.free
        ):  # it is read, or else the mean over the patches
            mean = spec.pool if spec.pool == "map" and self.map_pool else "mean"
            said["pool"] = "cls" if spec.tokens.class_token else mean
        if not spec.prefix_tokens:  # nothing that positions could leave out
            said["tokens.position_slots"] = spec.tokens.position_slots
        fixed = {**self.facts, **said, **self.rule(spec)}
        allowed = ModelSpec.model_validate(_nested(fixed) | {"drop": spec.drop})
        for key, value in ours.items():
            theirs = _flat(allowed.model_dump())[key]
            if value != theirs:
                raise WeightsError(
                    f"{layout} cannot hold this model: model.{key} is {value}, in that code it is {theirs}"
                )


def _template(name: str) -> tuple[str, str]:
    found = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
    return (f"blocks.{{i}}.{found[2]}", found[1]) if found else (name, "")


def _blocks(tensor: Tensor, name: str) -> Iterator[str]:
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


def one(name: str, axes: Shape | None = None, fold: Fold = "none") -> Tensor:
    """Returns a tensor that stands there as a whole."""
    return Tensor(names=(name,), axes=axes, fold=fold)


def layer(native: str, there: str) -> dict[str, Tensor]:
    """Returns weight and bias under PyTorch's names."""
    return {f"{native}.{leaf}": one(f"{there}.{leaf}") for leaf in ("weight", "bias")}


def pair(native: str, there: str, first: int, axes: Shape | None = None) -> dict[str, Tensor]:
    """Returns weight and bias at two positions of a tuple."""
    return {
        f"{native}.weight": one(f"{there}.{first}", axes),
        f"{native}.bias": one(f"{there}.{first + 1}"),
    }
