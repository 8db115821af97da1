"""One page of help for each layout of weights: what it derives and assumes, and its names."""

from __future__ import annotations

from vitcli.core.draft import format_value
from vitcli.core.errors import RequestError, nearest
from vitcli.weights.names import CODES, LAYOUTS
from vitcli.weights.peft import PEFT_LAYOUTS
from vitcli.weights.renaming import Code

# Of the layouts that hold any model, and of adapters.
_PLAIN: dict[str, tuple[str, ...]] = {
    "native": (
        "vit's own: timm's names where timm has the tensor, PyTorch's orders of axes",
        "the file says itself what model it holds, its classes and how it sees images (metadata vit.*)",
    ),
    "torch": (
        "native names of any model, also of those that timm has not, without metadata",
        "sizes come from shapes; the usual heads of the width are assumed and said (or model.num_heads=N), exact GELU "
        "(model.mlp.activation=...), eps 1e-6 (model.norm.eps=...), the class token where there is one "
        "(model.pool=...)",
    ),
    "jax": (
        "names with slashes, kernels (in, out), the patches' convolution (height, width, in, out), norms with scale",
        "what is derived and assumed of a file without metadata is as for torch",
    ),
}
_PEFT = (
    "adapters as Hugging Face's PEFT keeps them: adapter_model.safetensors and adapter_config.json in one folder",
    "rank, alpha, targets and scaling come from adapter_config.json; the base from --base, or from where it says",
    "written under transformers 5's names, under timm's where qkv is adapted as one; or as the layout's name says",
)
_ORIGIN = ("a model of one of the write-ups that the project grew from: vit recipes list",)


def page(name: str) -> str:
    """Returns the page of a layout.

    Raises:
        RequestError: there is no such layout.
    """
    known = (*LAYOUTS, *PEFT_LAYOUTS)
    if name not in known:
        raise RequestError(f"{name} is not a layout{nearest(name, known)}; it is one of {', '.join(known)}")
    families = CODES.get(name, ())
    notes = [note for family in families for note in family.notes]
    notes = notes or [*(_PEFT if name in PEFT_LAYOUTS else _PLAIN.get(name, _ORIGIN))]
    lines = [f"- {note}" for note in dict.fromkeys(notes)]
    return "\n".join([name, *lines, *(_names(families) if families else [])])


def _names(families: tuple[Code, ...]) -> list[str]:
    """Returns what the plainest family fixes, and the names of its tensors."""
    plain = families[-1]
    fixed = [
        f"model.{key}={format_value(value)}" for key, value in plain.facts.items() if key not in plain.free
    ]
    free = sorted({f"model.{key}" for family in families for key in family.free})
    others = {native: tensor.names for native, tensor in plain.tensors.items() if tensor.names != (native,)}
    width = max(map(len, others), default=0)
    return [
        "",
        f"fixed: {', '.join(fixed) or 'nothing'}",
        f"may differ from model to model: the sizes{''.join(f', {key}' for key in free)}",
        *([f"left out when read: {', '.join(plain.dropped)} (regular expressions)"] if plain.dropped else []),
        "",
        "native names, and those of the plainest model ({i}: block)",
        *(f"  {native:<{width}}  {' + '.join(there)}" for native, there in others.items()),
        *(["  and the others as they are"] if len(others) < len(plain.tensors) else []),
    ]
