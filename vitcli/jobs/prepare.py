"""A request becomes a recipe and a data set, checked before any engine is imported."""

from __future__ import annotations

from vitcli.core.draft import Draft, resolve
from vitcli.core.recipe import Recipe
from vitcli.data.dataset import Dataset
from vitcli.data.sources import open_source
from vitcli.jobs.drafts import provisional


def open_data(draft: Draft) -> tuple[Recipe, Dataset]:
    """Returns the complete recipe and the data set that it names.

    Raises:
        RecipeError: the draft is wrong, or says another number of classes than the data has.
        DataError: the data cannot be used.
    """
    first = provisional(draft)
    dataset = open_source(first.data, seed=first.train.seed)
    count = len(dataset.classes)
    return resolve(draft.derived({"model.num_classes": count}, f"{dataset.name} ({count} classes)")), dataset
