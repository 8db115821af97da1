"""The same weights under other names and orders: permutations only, so a round trip is bit-equal.

native     timm's names where timm has the tensor (`vitcli.core.parameters`), PyTorch's orders
torch      the same tensors without our metadata, of models that timm has or has not
jax        slash-separated names, kernels (in, out), convolution (height, width, in, out)
torchvision, google, big_vision   as those libraries have them (`vitcli.weights.peers`)
huggingface   several families, of which names (or, on writing, the spec) tell one (`vitcli.weights.huggingface`)
huggingface-mae   the encoder of ViT-MAE, which is read as `huggingface`
timm, dinov2, clip   as those have them (modules of these names)
origin-*   as in the code of the write-ups that the project grew from (`vitcli.weights.origins`)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import get_args

from vitcli.core.errors import WeightsError
from vitcli.core.parameters import Parameter, parameter_table
from vitcli.core.spec import ModelSpec
from vitcli.weights.clip import CLIP
from vitcli.weights.dinov2 import DINOV2
from vitcli.weights.header import Header, Layout, check_tensors
from vitcli.weights.huggingface import HUGGINGFACE, MASKED_AUTOENCODER
from vitcli.weights.origins import ORIGINS
from vitcli.weights.peers import PEERS
from vitcli.weights.place import Place, Shape, inverse, permuted
from vitcli.weights.renaming import Code
from vitcli.weights.timm import TIMM, is_timms

# The families of a layout: a name that only one of them has comes first, the plainest last.
CODES: Mapping[str, tuple[Code, ...]] = {
    "timm": TIMM,
    "dinov2": DINOV2,
    "clip": (CLIP,),
    **{layout: (code,) for layout, code in (*PEERS.items(), *ORIGINS.items())},
    "huggingface": HUGGINGFACE,
    "huggingface-mae": MASKED_AUTOENCODER,
}
PEFT_PREFIX = "base_model.model."
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
# Axes of a kernel in the order that JAX code has them, of (out, in), (heads, out, in), (out, in, height, width).
_KERNELS = {2: (1, 0), 3: (0, 2, 1), 4: (2, 3, 1, 0)}


def detect(header: Header) -> Layout:
    """Returns the layout of a file by its content: by names that only one layout has, then by our metadata."""
    for layout in LAYOUTS:
        if any(code.recognises(header.shapes) for code in CODES.get(layout, ())):
            return layout
    if any("/" in name for name in header.shapes) and not is_timms(header.shapes):
        return "jax"
    if "vit.schema" in header.metadata:
        return "timm" if header.metadata.get("vit.layout") == "timm" else "native"
    return "timm" if is_timms(header.shapes) else "torch"


def is_peft(names: Collection[str]) -> bool:
    """Returns whether a file's tensors are those of an adapter that PEFT wrote."""
    return any(name.startswith(PEFT_PREFIX) and ".lora_A." in name for name in names)


def code_of(names: Collection[str], layout: Layout) -> Code | None:
    """Returns the family of a layout that a file with such names is of; None of a layout that holds any model."""
    families = CODES.get(layout)
    return None if families is None else next((f for f in families if f.recognises(names)), families[-1])


def code_for(spec: ModelSpec, layout: str) -> Code | None:
    """Returns the family of a layout that a model is written as; None of what holds any model, or an adapter.

    Raises:
        WeightsError: none of them is that model; what keeps it from the nearest is named.
    """
    if layout not in CODES:
        return None
    # The plainest first: of two that are as near, it is the one that is meant.
    found = [(code.differences(spec), code) for code in reversed(CODES[layout])]
    differences, code = min(found, key=lambda pair: len(pair[0]))
    if differences:
        raise _cannot(layout, differences)
    return code


def places(
    spec: ModelSpec, layout: Layout, names: Collection[str] | None = None
) -> dict[str, tuple[Place, ...]]:
    """Returns, for each native tensor of a model, where its parts stand in a layout.

    `names` are those of a file that is there already; none: as it is written.

    Raises:
        WeightsError: the layout cannot hold such a model.
    """
    code = code_for(spec, layout) if names is None else code_of(names, layout)
    rule: Callable[[Parameter], tuple[Place, ...]]
    if code is not None:
        if differences := code.differences(spec):
            raise _cannot(layout, differences)
        rule = partial(code.places, heads=spec.num_heads, there=names or ())
    else:
        rule = _jax if layout == "jax" else _same
    return {name: rule(parameter) for name, parameter in parameter_table(spec).items()}


def _cannot(layout: str, differences: Sequence[str]) -> WeightsError:
    more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
    return WeightsError(f"{layout} cannot hold this model: {'; '.join(differences[:3])}{more}")


def file_shapes(spec: ModelSpec, layout: Layout, names: Collection[str] | None = None) -> dict[str, Shape]:
    """Returns the names and shapes of a model's file in a layout; `names` and errors as for `places`."""
    return {place.name: place.shape for parts in places(spec, layout, names).values() for place in parts}


def check_file(header: Header, spec: ModelSpec, layout: Layout) -> list[str]:
    """Checks that a file holds exactly the tensors of a model, and returns the names of those that are dropped.

    Raises:
        WeightsError: some are missing, unknown, or of another shape.
    """
    code, expected = code_of(header.shapes, layout), file_shapes(spec, layout, header.shapes)
    others = [name for name in header.shapes if code and name not in expected]
    spare = [name for name in others if code and name in code.spare(spec)]
    dropped = [name for name in others if code and code.drops(name)]
    kept = {name: shape for name, shape in header.shapes.items() if name not in {*spare, *dropped}}
    check_tensors(kept, expected, header.path)
    return [] if header.card else dropped  # what we write ourselves is no news


def native_shapes(shapes: Mapping[str, Shape], layout: Layout) -> dict[str, Shape]:
    """Returns the native names and shapes of a file in a layout, without knowing its spec."""
    if code := code_of(shapes, layout):
        return code.native_shapes(shapes)
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
