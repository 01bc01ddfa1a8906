"""From a recipe to data ready for a model: read, understand, split, fit the preparation on the training split."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from danlu.artifacts.files import write_frame, write_json
from danlu.artifacts.run import RunDirectory
from danlu.core.errors import DataError
from danlu.core.extras import require
from danlu.core.seeds import Seed
from danlu.data.audit import Finding, audit
from danlu.data.dataset import Dataset, open_dataset
from danlu.data.place import Place
from danlu.data.prepare import Preprocessor, fit_preprocessor
from danlu.data.profile import profile
from danlu.data.splits import Part, Splits, TrainSplit, split_dataset
from danlu.data.targets import Classes, NextToken, Quantity, fit_target
from danlu.models.table import Model
from danlu.recipe.schema import Recipe
from danlu.verbs.resolve import resolve

SPLIT, PROFILE = "split.parquet", "profile.json"


@dataclass(frozen=True)
class Opened:
    """A resolved recipe with its data, split but not yet prepared."""

    recipe: Recipe
    dataset: Dataset
    splits: Splits
    findings: tuple[Finding, ...]

    @property
    def place(self) -> Place:
        return Place(self.dataset.origin, self.dataset.folder)

    @property
    def model(self) -> Model:
        assert isinstance(self.recipe.model, Model)
        return self.recipe.model

    def profile(self) -> dict[str, Any]:
        return profile(self.dataset, self.splits, self.findings)


@dataclass(frozen=True)
class Prepared:
    """What was learned of the training split before any model: preparation and target."""

    preprocessor: Preprocessor
    target: Classes | Quantity | NextToken


def open_data(recipe: Recipe) -> Opened:
    """Read the data, settle what the recipe left open, split, and look for leakage. Imports no torch.

    Raises:
        RecipeError: the recipe does not fit the data.
        DataError: the data is wrong.
        MissingExtra: the model needs packages that are not installed.
    """
    dataset = open_dataset(recipe.data)
    resolved = resolve(recipe, dataset)
    assert isinstance(resolved.model, Model)
    if resolved.model.extra:
        require(resolved.model.extra, f"model.name: {resolved.model.name}")
    splits = split_dataset(dataset, resolved.data.split, Seed(resolved.seed))
    return Opened(resolved, dataset, splits, audit(dataset, splits))


def shorten(opened: Opened) -> Opened:
    """Two batches of each part and two steps: enough to see every stage work."""
    batch = opened.recipe.training.batch_size or 1
    train, validation, test = (_thin(part, 2 * batch) for _, part in opened.splits.items())
    training = opened.recipe.training.model_copy(update={"max_steps": 2, "epochs": 2})
    return replace(
        opened,
        recipe=opened.recipe.model_copy(update={"training": training}),
        splits=Splits(TrainSplit(train.rows, train.frame), validation, test),
    )


def _thin(part: Part, count: int) -> Part:
    """Rows spread evenly over a part: a file sorted by class still gives all classes."""
    chosen = np.unique(np.linspace(0, len(part.rows) - 1, count).astype(np.int64))
    return Part(part.rows[chosen], part.frame[chosen])


def fit_preparation(opened: Opened) -> Prepared:
    """Learn the preparation and the target from the training split."""
    dataset, train = opened.dataset, opened.splits.train
    preprocessor = fit_preprocessor(train, dataset, opened.recipe.data, opened.model.hints())
    if dataset.task == "language-modelling":
        return Prepared(preprocessor, NextToken(vocabulary=preprocessor.inputs.vocabulary))  # type: ignore[union-attr]
    return Prepared(preprocessor, fit_target(train, dataset))


def write_data(opened: Opened, run: RunDirectory, balanced: dict[str, Any]) -> None:
    """Keep the split and the profile in the run; `balanced` says what became of the classes, if anything did."""
    parts = pl.concat(
        [
            pl.DataFrame({"row": part.rows, "part": pl.Series([name] * len(part.rows), dtype=pl.String)})
            for name, part in opened.splits.items()
        ]
    ).sort("row")
    write_frame(run.path / "data" / SPLIT, parts)
    known = opened.profile()
    if balanced:
        known["target"]["balanced"] = balanced
    write_json(run.path / "data" / PROFILE, known)


def reopen(recipe: Recipe, run: RunDirectory) -> Opened:
    """The data of a finished run, split as it was then.

    Raises:
        DataError: the data has another number of rows now.
    """
    dataset = open_dataset(recipe.data)
    parts = pl.read_parquet(run.path / "data" / SPLIT)
    if dataset.frame.height <= int(str(parts["row"].max())):
        raise DataError(
            f"{dataset.origin}: has {dataset.frame.height} rows now, fewer than when {run.path} was trained"
        )
    chosen = {name: parts.filter(pl.col("part") == name)["row"].to_numpy() for name in ("train", "validation", "test")}
    train, validation, test = (Part(rows, dataset.frame[rows]) for rows in chosen.values())
    splits = Splits(TrainSplit(train.rows, train.frame), validation, test)
    return Opened(recipe, dataset, splits, audit(dataset, splits))
