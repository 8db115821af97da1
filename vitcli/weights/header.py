"""The header of a safetensors file: what a model file says about itself. No array library.

The metadata holds, as JSON texts under `vit.*`, what no tensor can tell: the spec, the class names, the
preprocessing and the layout.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vitcli.core.errors import WeightsError
from vitcli.core.recipe import Interpolation, Recipe
from vitcli.core.record import Deviations, Means, Record
from vitcli.core.spec import ModelSpec, Size

SCHEMA = "1"
Layout = Literal[
    "native",
    "torch",
    "jax",
    "timm",
    "dinov2",
    "clip",
    "torchvision",
    "huggingface",
    "huggingface-mae",
    "google",
    "big_vision",
    "origin-jax",
    "origin-torch",
    "origin-custom",
    "origin-homework",
]
# Bytes; the format allows 100 MB, the largest model that vit knows needs a hundredth of this.
_MAX_HEADER = 10_000_000
# The deepest models have a few thousand tensors, of four axes at most; five where blocks are stacked.
MOST_TENSORS, _MOST_SIDES = 10_000, 8


class Preprocess(Record):
    """How an image file becomes a model's input: fitted to `size`, the middle cut out, normalised."""

    fit: Literal["squash", "crop"]
    size: Size
    mean: Means
    std: Deviations
    interpolation: Interpolation = "bilinear"

    def fitted(self, channels: int) -> Preprocess:
        """Returns the same with one number for all channels where it has not one for each."""

        def fitting(values: tuple[float, ...]) -> tuple[float, ...]:
            return values if len(values) in (1, channels) else (round(sum(values) / len(values), 6),)

        return self.model_copy(update={"mean": fitting(self.mean), "std": fitting(self.std)})

    def words(self) -> str:
        """Returns it in words."""
        fitted = "both sides" if self.fit == "squash" else "the short side"
        mean, std = ("/".join(f"{value:g}" for value in values) for values in (self.mean, self.std))
        return f"{fitted} {self.interpolation} to {self.size}, mean {mean}, std {std}"


class Base(Record):
    """The whole weights beneath an adapter file: where they were, and the digest of the tensors that it leaves out."""

    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a weights file says about itself.

    With a `base` it is an adapter file: it holds low-rank adapters and whatever else training moved, and the card
    is that of the whole model, which the base completes (`vitcli.weights.lora`). `source` is the data that it was
    trained on, empty where that is not known.
    """

    spec: ModelSpec
    classes: tuple[str, ...]
    preprocess: Preprocess
    source: str = ""
    base: Base | None = None

    @classmethod
    def of(cls, recipe: Recipe, classes: tuple[str, ...]) -> Card:
        """Returns the card of a model trained by a recipe."""
        data = recipe.data
        preprocess = Preprocess(
            fit=data.fit,
            size=recipe.eval_size,
            mean=data.mean,
            std=data.std,
            interpolation=data.interpolation,
        )
        return cls(spec=recipe.model, classes=classes, preprocess=preprocess, source=data.source)

    def texts(self) -> dict[str, str]:
        """Returns the card as a file's metadata has it."""
        return {
            "vit.schema": SCHEMA,
            "vit.spec": self.spec.model_dump_json(exclude_none=True),
            "vit.classes": json.dumps(self.classes),
            "vit.preprocess": self.preprocess.model_dump_json(),
            "vit.source": self.source,
        }


@dataclass(frozen=True, kw_only=True)
class Header:
    """A weights file without its values."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]
    # The type of each tensor, as the format calls it, and where in the file it begins; empty in other formats.
    stored: Mapping[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def card(self) -> Card | None:
        """What the file says about itself, or None where another program wrote it."""
        return _card(self.metadata, self.path) if "vit.schema" in self.metadata else None


def read_header(path: Path) -> Header:
    """Returns the names, shapes and metadata of a safetensors file, reading no values.

    Raises:
        WeightsError: it is missing or not a whole safetensors file.
    """
    if not path.is_file():
        raise WeightsError(f"no weights file at {path}")
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            start = file.read(8)
            length = int.from_bytes(start, "little")
            if not 2 <= length <= min(size - 8, _MAX_HEADER):
                raise ValueError(_other(start, length, size))
            entries = json.loads(file.read(length), object_pairs_hook=_without_twins)
        metadata = entries.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
            raise ValueError("its metadata are not texts by name")
        if len(entries) > MOST_TENSORS:
            raise ValueError(f"{len(entries):,} tensors in it; vit reads {MOST_TENSORS:,}")
        shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
        if not all(isinstance(side, int) for shape in shapes.values() for side in shape):
            raise ValueError("a shape in it is not a list of whole numbers")
        if (most := max(map(len, shapes.values()), default=0)) > _MOST_SIDES:
            raise ValueError(f"a shape in it has {most:,} sides; vit reads {_MOST_SIDES}")
        stored = {
            name: (str(entry["dtype"]), 8 + length + entry["data_offsets"][0])
            for name, entry in entries.items()
        }
        end = 8 + length + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
        if end != size:
            raise ValueError(f"{size:,} bytes long, its header says {end:,}: cut short or damaged")
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise WeightsError(f"{path} is not a whole safetensors file: {error}") from error
    return Header(path=path, shapes=shapes, metadata=metadata, stored=stored)


def check_tensors(
    shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], path: Path
) -> None:
    """Checks that a file holds exactly the tensors that its spec asks for.

    Raises:
        WeightsError: some are missing, unknown, or of another shape.
    """
    wrong = [
        *(f"{name} is missing" for name in expected if name not in shapes),
        *(f"{name} is not part of this model" for name in shapes if name not in expected),
        *(
            f"{name} is {list(shapes[name])}, not {list(shape)}"
            for name, shape in expected.items()
            if name in shapes and shapes[name] != shape
        ),
    ]
    if wrong:
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        raise WeightsError(f"{path} does not fit its spec: {'; '.join(wrong[:3])}{more}")


def _card(metadata: Mapping[str, str], path: Path) -> Card:
    if metadata["vit.schema"] != SCHEMA:
        raise WeightsError(
            f"{path} has schema {metadata['vit.schema']}; this program reads {SCHEMA}: install a newer vitcli"
        )
    try:
        card = Card(
            spec=ModelSpec.model_validate_json(metadata["vit.spec"]),
            classes=tuple(json.loads(metadata["vit.classes"])),
            preprocess=Preprocess.model_validate_json(metadata["vit.preprocess"]),
            source=metadata["vit.source"],
            base=Base.model_validate_json(metadata["vit.base"]) if "vit.base" in metadata else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} has damaged metadata: {error}") from error
    if card.preprocess != card.preprocess.fitted(card.spec.in_channels):
        raise WeightsError(
            f"{path} has damaged metadata: mean and std have not one number, nor one for each of "
            f"{card.spec.in_channels} channels"
        )
    if len(card.classes) != card.spec.num_classes:
        raise WeightsError(
            f"{path} has damaged metadata: {len(card.classes)} class names for {card.spec.num_classes} classes"
        )
    return card


def _other(start: bytes, length: int, size: int) -> str:
    """Returns what a file is whose first bytes are not the length of a header."""
    if not size:
        return "an empty file"
    if start.startswith(b"version "):
        return "it is a pointer of Git LFS to the file; fetch that with git lfs pull"
    if start.lstrip().startswith(b"<"):
        return "it is a web page"
    if start[0] == 0x80 and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "it is a pickle, and loading it could run code; save the state dict with torch.save"
    if _MAX_HEADER < length <= size - 8:
        return f"a header of {length:,} bytes; vit reads {_MAX_HEADER:,}"
    return "no safetensors header at its start"


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuses a name that stands twice: readers differ in which of the two they take."""
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError("a name stands in it twice")
    return dict(pairs)
