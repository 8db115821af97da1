"""The same weights under other names and orders: permutations only, so a round trip is bit-equal.

native   timm's names where timm has the tensor (`vitcli.core.parameters`), PyTorch's orders
torch    the same tensors; another program may have written them, without our metadata
jax      slash-separated names, kernels (in, out), convolution (height, width, in, out)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vitcli.core.parameters import Parameter, parameter_table
from vitcli.core.spec import ModelSpec
from vitcli.weights.header import Header, Layout

LAYOUTS: tuple[Layout, ...] = ("native", "torch", "jax")
# Axes of a kernel (out, in, height, width) in the order that JAX code has them.
_KERNELS = {2: (1, 0), 4: (2, 3, 1, 0)}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a native tensor stands in another layout."""

    name: str
    axes: tuple[int, ...]

    def shape(self, native: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the shape that the tensor has there."""
        return tuple(native[axis] for axis in self.axes)


def detect(header: Header) -> Layout:
    """Returns the layout of a file by its content: names with slashes are JAX's, ours carry our metadata."""
    if any("/" in name for name in header.shapes):
        return "jax"
    return "native" if "vit.schema" in header.metadata else "torch"


def places(spec: ModelSpec, layout: Layout) -> dict[str, Place]:
    """Returns, for each native tensor of a model, where it stands in a layout."""
    rule: Callable[[Parameter], Place] = _jax if layout == "jax" else _same
    return {name: rule(parameter) for name, parameter in parameter_table(spec).items()}


def native_shapes(shapes: Mapping[str, tuple[int, ...]], layout: Layout) -> dict[str, tuple[int, ...]]:
    """Returns the native names and shapes of a file in a layout, without knowing its spec."""
    return dict(_native(name, shape) if layout == "jax" else (name, shape) for name, shape in shapes.items())


def inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the permutation that undoes one."""
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


def _native(name: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    path, _, leaf = name.replace("/", ".").rpartition(".")
    axes = tuple(range(len(shape)))
    if leaf == "kernel" and len(shape) in _KERNELS:
        axes = inverse(_KERNELS[len(shape)])
    leaf = {"kernel": "weight", "scale": "weight"}.get(leaf, leaf)
    return f"{path}.{leaf}" if path else leaf, tuple(shape[axis] for axis in axes)


def _same(parameter: Parameter) -> Place:
    return Place(name=parameter.name, axes=tuple(range(len(parameter.shape))))


def _jax(parameter: Parameter) -> Place:
    path, _, leaf = parameter.name.rpartition(".")
    order = tuple(range(len(parameter.shape)))
    if leaf == "weight" and len(parameter.shape) in _KERNELS:
        leaf, order = "kernel", _KERNELS[len(parameter.shape)]
    elif leaf == "weight":
        leaf = "scale"
    return Place(name="/".join([*path.split("."), leaf] if path else [leaf]), axes=order)
