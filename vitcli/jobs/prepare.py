"""A request becomes a recipe and a data set, checked before any engine is imported."""

from __future__ import annotations

from vitcli.core.draft import Draft, resolve
from vitcli.core.recipe import Recipe
from vitcli.core.reporter import Reporter
from vitcli.data.dataset import Dataset
from vitcli.data.sources import open_source
from vitcli.jobs.drafts import provisional


def open_data(draft: Draft, reporter: Reporter | None = None) -> tuple[Recipe, Dataset]:
    """Returns the complete recipe and the data set that it names; `reporter` is told of what takes long.

    Raises:
        RecipeError: the draft is wrong, or says another number of classes than the data has.
        DataError: the data cannot be used.
    """
    first = provisional(draft)
    dataset = open_source(first.data, seed=first.train.seed, reporter=reporter)
    count = len(dataset.classes)
    return resolve(draft.derived({"model.num_classes": count}, f"{dataset.name} ({count} classes)")), dataset
