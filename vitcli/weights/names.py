"""The same weights under other names and orders: permutations only, so a round trip is bit-equal.

native     timm's names where timm has the tensor (`vitcli.core.parameters`), PyTorch's orders
torch      the same tensors without our metadata, of models that timm has or has not
jax        slash-separated names, kernels (in, out), convolution (height, width, in, out)
torchvision, huggingface, google, big_vision   as those libraries have them (`vitcli.weights.peers`)
timm, dinov2, clip   as those have them (modules of these names)
origin-*   as in the code of the write-ups that the project grew from (`vitcli.weights.origins`)
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import get_args

from vitcli.core.parameters import Parameter, parameter_table
from vitcli.core.spec import ModelSpec
from vitcli.weights.clip import CLIP
from vitcli.weights.dinov2 import DINOV2
from vitcli.weights.header import Header, Layout, check_tensors
from vitcli.weights.origins import ORIGINS
from vitcli.weights.peers import PEERS
from vitcli.weights.place import Place, Shape, inverse, permuted
from vitcli.weights.timm import TIMM, is_timms

CODES = {"timm": TIMM, "dinov2": DINOV2, "clip": CLIP, **PEERS, **ORIGINS}
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
# Axes of a kernel in the order that JAX code has them, of (out, in), (heads, out, in), (out, in, height, width).
_KERNELS = {2: (1, 0), 3: (0, 2, 1), 4: (2, 3, 1, 0)}


def detect(header: Header) -> Layout:
    """Returns the layout of a file by its content: by names that only one layout has, then by our metadata."""
    for layout in LAYOUTS:
        if layout in CODES and CODES[layout].recognises(header.shapes):
            return layout
    if any("/" in name for name in header.shapes):
        return "jax"
    if "vit.schema" in header.metadata:
        return "timm" if header.metadata.get("vit.layout") == "timm" else "native"
    return "timm" if is_timms(header.shapes) else "torch"


def places(spec: ModelSpec, layout: Layout) -> dict[str, tuple[Place, ...]]:
    """Returns, for each native tensor of a model, where its parts stand in a layout.

    Raises:
        WeightsError: the layout cannot hold such a model.
    """
    if layout in CODES:
        CODES[layout].check(spec, layout)
        rule = partial(CODES[layout].of(spec).places, heads=spec.num_heads)
    else:
        rule = partial(_jax if layout == "jax" else _same)
    return {name: rule(parameter) for name, parameter in parameter_table(spec).items()}


def file_shapes(spec: ModelSpec, layout: Layout) -> dict[str, Shape]:
    """Returns the names and shapes of a model's file in a layout."""
    return {place.name: place.shape for parts in places(spec, layout).values() for place in parts}


def check(header: Header, spec: ModelSpec, layout: Layout) -> None:
    """Checks that a file holds what a model needs, and besides that only what its layout lets it hold.

    Raises:
        WeightsError: tensors are missing, unknown, or of another shape.
    """
    code = CODES.get(layout)
    spare = code.zeros(spec) if code else {}
    held = {
        name: shape
        for name, shape in header.shapes.items()
        if name not in spare and not (code and code.ignores(name))
    }
    check_tensors(held, file_shapes(spec, layout), header.path)


def native_shapes(shapes: Mapping[str, Shape], layout: Layout) -> dict[str, Shape]:
    """Returns the native names and shapes of a file in a layout, without knowing its spec."""
    if layout in CODES:
        return CODES[layout].native_shapes(shapes)
    return dict(_native(name, shape) if layout == "jax" else (name, shape) for name, shape in shapes.items())


def _native(name: str, shape: Shape) -> tuple[str, Shape]:
    path, _, leaf = name.replace("/", ".").rpartition(".")
    axes = tuple(range(len(shape)))
    if leaf == "kernel" and len(shape) in _KERNELS:
        axes = inverse(_KERNELS[len(shape)])
    leaf = {"kernel": "weight", "scale": "weight"}.get(leaf, leaf)
    return f"{path}.{leaf}" if path else leaf, permuted(shape, axes)


def _same(parameter: Parameter) -> tuple[Place, ...]:
    return _whole(parameter, parameter.name, tuple(range(len(parameter.shape))))


def _jax(parameter: Parameter) -> tuple[Place, ...]:
    path, _, leaf = parameter.name.rpartition(".")
    order = tuple(range(len(parameter.shape)))
    if leaf == "weight" and len(parameter.shape) in _KERNELS:
        leaf, order = "kernel", _KERNELS[len(parameter.shape)]
    elif leaf == "weight":
        leaf = "scale"
    return _whole(parameter, "/".join([*path.split("."), leaf] if path else [leaf]), order)


def _whole(parameter: Parameter, name: str, axes: Shape) -> tuple[Place, ...]:
    return (Place(name=name, shape=permuted(parameter.shape, axes), axes=axes),)
