"""What a recipe's augmentation makes of images, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitcli.core import registry
from vitcli.core.errors import DataError
from vitcli.core.recipe import Recipe
from vitcli.data.augment import draw_mixing, draw_plan
from vitcli.data.dataset import Examples, evenly
from vitcli.data.decode import decode
from vitcli.data.parts import few_images, geometry
from vitcli.data.sources import SUFFIXES, open_source
from vitcli.data.store import Store
from vitcli.jobs.drafts import provisional, recipe_draft


@dataclass(frozen=True, kw_only=True)
class Augmented:
    """Images beside what training makes of them.

    Attributes:
        source: the image or the data set.
        recipe: its name.
        backend: the engine that did it.
        originals: uint8 (n, S, S, C), the images as evaluation fits them.
        titles: of the originals: file or class names.
        draws: uint8 (n, k, S, S, C), what training sees of each in its first k epochs.
    """

    source: str
    recipe: str
    backend: str
    originals: NDArray[np.uint8]
    titles: list[str]
    draws: NDArray[np.uint8]


def augment(
    source: str,
    *,
    recipe: str = "folder",
    overrides: Sequence[str] = (),
    count: int | None = None,
    backend: str | None = None,
    device: str | None = None,
) -> Augmented:
    """Returns an image, or some of a data set, under a recipe's training augmentation, epoch by epoch.

    Pixels are those of training, scaled back to 0-255. An image is not mixed with itself: mixup and cutmix are shown
    for data sets alone.

    Args:
        source: an image file, or a known set's name, a folder, a table or an archive.
        recipe: name of a built-in recipe, or a TOML file.
        overrides: `key=value` texts, as for training.
        count: draws of one image (none: 15), or images of a set, five draws of each (none: 6).
        backend: as for `train`.
        device: as for `train`.

    Raises:
        RequestError: something in the request is wrong.
    """
    backend = registry.choose(backend)
    single = Path(source).suffix.lower() in SUFFIXES and not Path(source).is_dir()
    draft = recipe_draft(recipe, overrides, data=None if single else source)
    made = provisional(draft)
    images, draws = (1, count or 15) if single else (count or 6, 5)
    examples, titles = _file(Path(source)) if single else _examples(made, images)
    store, whole = few_images(examples, made), _fitted(examples, made)
    engine = registry.load(backend)
    epochs = []
    for epoch in range(draws):
        pixels, plan = _planned(store, made, epoch)
        inputs = engine.augmented(made, pixels, plan, device=device)
        epochs.append(_levels(inputs, made))
    return Augmented(
        source=source,
        recipe=recipe,
        backend=backend,
        originals=whole,
        titles=titles,
        draws=np.stack(epochs, axis=1),
    )


def _file(path: Path) -> tuple[Examples, list[str]]:
    if not path.is_file():
        raise DataError(f"no image at {path}")
    return Examples(images=[path], labels=np.zeros(1, np.int32)), [path.name]


def _examples(recipe: Recipe, count: int) -> tuple[Examples, list[str]]:
    dataset = open_source(recipe.data, seed=recipe.train.seed)
    train = dataset.parts["train"]
    chosen = train.take(evenly(train.labels, count, recipe.train.seed))
    return chosen, [dataset.classes[label] for label in chosen.labels]


def _fitted(examples: Examples, recipe: Recipe) -> NDArray[np.uint8]:
    if isinstance(examples.images, np.ndarray):
        return examples.images
    shape = replace(geometry(recipe, training=False), size=recipe.model.image_size)
    return np.stack([decode(path, shape) for path in examples.images])


def _planned(
    store: Store, recipe: Recipe, epoch: int
) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.generic]]]:
    """Returns stored images, and what an epoch does to them."""
    index, seed, side = np.arange(len(store)), recipe.train.seed, recipe.model.image_size
    plan = draw_plan(recipe.augment, seed=seed, epoch=epoch, index=index, sizes=store.sizes(index), side=side)
    pixels, boxes = store.gather(index, plan.get("box"))
    if boxes is not None:
        plan["box"] = boxes
    if recipe.augment.mixes and len(store) > 1:
        plan |= draw_mixing(recipe.augment, seed=seed, step=epoch, count=len(store), side=side)
    return pixels, plan


def _levels(inputs: NDArray[np.floating], recipe: Recipe) -> NDArray[np.uint8]:
    """Returns uint8 (n, S, S, C) of model inputs (n, C, S, S): normalisation undone."""
    mean, std = (np.asarray(values) for values in (recipe.data.mean, recipe.data.std))
    levels = (inputs.transpose(0, 2, 3, 1) * std + mean) * 255
    rounded: NDArray[np.uint8] = np.rint(np.clip(levels, 0, 255)).astype(np.uint8)
    return rounded
