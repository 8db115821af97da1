"""What a model is made of and what it costs; no array library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vitcli.core import recipes
from vitcli.core.cost import (
    Layer,
    TorchinfoCount,
    activation_bytes,
    forward_flops,
    layers,
    torchinfo_count,
    training_bytes,
)
from vitcli.core.draft import Draft, override, resolve
from vitcli.core.errors import WeightsError
from vitcli.core.parameters import count
from vitcli.core.recipe import Recipe
from vitcli.core.reporter import Reporter, Silent
from vitcli.core.spec import ModelSpec
from vitcli.core.variants import VARIANTS
from vitcli.jobs.drafts import provisional, recipe_draft
from vitcli.jobs.runs import weights_of
from vitcli.weights.current import with_current_names
from vitcli.weights.derive import describe
from vitcli.weights.header import read_header
from vitcli.weights.names import detect

# Suffixes of weights files, which tell a missing one from a recipe.
WEIGHTS = (".safetensors", ".pth", ".pt", ".bin", ".npz")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A model by numbers; bytes are of float32, layers of one image. `is_file`: it is that of a weights file."""

    name: str
    is_file: bool
    spec: ModelSpec
    layers: list[Layer]
    parameters: int
    flops: int
    weight_bytes: int
    training_bytes: int
    input_bytes: int
    activation_bytes: int
    batch_size: int
    torchinfo: TorchinfoCount


def summarise(
    name: str,
    overrides: Sequence[str] = (),
    *,
    batch_size: int | None = None,
    reporter: Reporter | None = None,
) -> Summary:
    """Returns the summary of a recipe, a variant such as `S/16`, or a weights file.

    Args:
        name: of the recipe, the TOML file, the variant, or the weights file, or its folder.
        overrides: `key=value` on top (not for a weights file).
        batch_size: images that memory and torchinfo's count are for; none: the recipe's micro-batch or batch.
        reporter: is told what is assumed of a weights file.

    Raises:
        RequestError: there is no such thing, or an override is wrong.
    """
    if name.partition("/")[0] in VARIANTS:
        recipe = _variant(name, overrides)
    elif name not in recipes.names() and (name.endswith(WEIGHTS) or _is_model(Path(name))):
        recipe = None
    else:
        recipe = provisional(recipe_draft(name, overrides))
    spec = recipe.model if recipe is not None else _file_spec(name, overrides, reporter)
    train = recipe.train if recipe is not None else None
    images = batch_size or (train.micro_batch or train.batch_size if train is not None else 1)
    slots = 2 if train is None else {"adam": 2, "adamw": 2}.get(train.optimizer, 1) + (train.ema is not None)
    parameters = count(spec)
    return Summary(
        name=name,
        is_file=recipe is None,
        spec=spec,
        layers=layers(spec),
        parameters=parameters,
        flops=forward_flops(spec),
        weight_bytes=4 * parameters,
        training_bytes=training_bytes(spec, slots=slots),
        input_bytes=4 * images * spec.in_channels * spec.image_size**2,
        activation_bytes=activation_bytes(spec, images=images),
        batch_size=images,
        torchinfo=torchinfo_count(spec, images=images),
    )


def _is_model(path: Path) -> bool:
    """Whether something is there that is no recipe; a weights file may have any name."""
    return path.is_dir() or (path.is_file() and path.suffix != ".toml")


def _variant(name: str, overrides: Sequence[str]) -> Recipe:
    """Returns a recipe around a variant: ImageNet's image size and classes, where nothing else is said."""
    start = Draft(
        values={"model.variant": name, "model.image_size": 224, "model.num_classes": 1000, "train.epochs": 1}
    )
    return resolve(override(start, overrides))


def _file_spec(name: str, overrides: Sequence[str], reporter: Reporter | None) -> ModelSpec:
    path, reporter = weights_of(Path(name)), reporter or Silent()
    try:
        header = read_header(path)
    except WeightsError:  # another kind of file, or a damaged one, which is told there
        from vitcli.jobs.tensors import open_tensors  # the first that needs an array library

        header, _ = open_tensors(path, reporter)
    else:
        header, _ = with_current_names(header, reporter)
    return describe(header, detect(header), overrides, reporter).spec
