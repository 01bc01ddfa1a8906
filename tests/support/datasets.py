"""Datasets of a few columns, for tests that need no file."""

from pathlib import Path

import polars as pl

from danlu.core.component import components
from danlu.core.seeds import Seed
from danlu.data.dataset import Dataset
from danlu.data.kinds.table import get_kind
from danlu.data.splits import Splits, Splitter, split_dataset
from danlu.recipe.sections.data import SplitOptions
from danlu.tasks.table import get_task


def dataset_of(target: list[object], task: str = "classification", **columns: list[object]) -> Dataset:
    """Columns beside a target `y`."""
    frame = pl.DataFrame({"y": target, **columns})
    return Dataset(frame, (), get_kind("tabular"), get_task(task), "", "y", "the test", Path())


def splitter(name: str, column: str | None = None) -> Splitter:
    options = {"name": name} if column is None else {"name": name, "column": column}
    found = components("splitter")[name].model_validate(options)
    assert isinstance(found, Splitter)
    return found


def split(
    data: Dataset, name: str, column: str | None = None, seed: int = 0, validation: float = 0.15, test: float = 0.15
) -> Splits:
    section = SplitOptions(validation=validation, test=test).model_copy(update={"by": splitter(name, column)})
    return split_dataset(data, section, Seed(seed))
