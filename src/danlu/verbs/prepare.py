"""From a recipe to data ready for a model: read, understand, split, fit the preparation on the training split."""

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from danlu.artifacts.files import read_frame, read_json, write_frame, write_json
from danlu.artifacts.run import RunDirectory
from danlu.artifacts.trials import SEARCH, is_search
from danlu.core.dotted import load_dotted
from danlu.core.errors import DataError
from danlu.core.seeds import Seed
from danlu.data.audit import Finding, audit
from danlu.data.clean import clean_rows, drop_outliers
from danlu.data.dataset import Dataset, open_dataset
from danlu.data.place import Place
from danlu.data.prepare import BLOCK_ROWS, Preprocessor, fit_preprocessor
from danlu.data.profile import profile
from danlu.data.splits import Part, Splits, TrainSplit, split_dataset
from danlu.data.targets import REFERENCE, AnswerForm, NextToken, PreferredAnswer, fit_target
from danlu.models.table import Model
from danlu.recipe.load import load_recipe
from danlu.recipe.schema import Recipe
from danlu.recipe.sections import Finetune
from danlu.training.trackers import require_trackers
from danlu.verbs.resolve import resolve
from danlu.verbs.space import check_space, require_extras

END_BYTES = 1024
FEW_SAMPLES = 16  # a batch of a dry run where the recipe leaves the size to be tried
SPLIT, DROPPED, PROFILE = "split.parquet", "dropped.parquet", "profile.json"
REFERENCE_FILE = "reference.parquet"  # what a model made of preferences before it learned from them


@dataclass(frozen=True)
class Opened:
    """A resolved recipe with its data, cleaned and split but not yet prepared.

    Attributes:
        dropped: the rows that cleaning left out, columns `row` and `reason`.
        base: the recipe as it was asked for, where a search may begin from it: nothing in it is settled by the data.
    """

    recipe: Recipe
    dataset: Dataset
    splits: Splits
    findings: tuple[Finding, ...]
    dropped: pl.DataFrame
    base: Recipe | None = None

    @property
    def place(self) -> Place:
        return Place(self.dataset.origin, self.dataset.folder)

    @property
    def model(self) -> Model:
        assert isinstance(self.recipe.model, Model)
        return self.recipe.model

    @property
    def finetune(self) -> Finetune:
        """How the model's weights are adapted; as new ones are, where it has none of before."""
        found: Finetune = getattr(self.recipe.model, "finetune", Finetune())
        return found

    def profile(self) -> dict[str, Any]:
        return profile(self.dataset, self.splits, self.findings, self.dropped)


@dataclass(frozen=True)
class Prepared:
    """What was learned of the training split before any model: preparation and target."""

    preprocessor: Preprocessor
    target: AnswerForm


def open_data(recipe: Recipe) -> Opened:
    """Read the data, settle what the recipe left open, split, and look for leakage. Imports no torch.

    Raises:
        RecipeError: the recipe does not fit the data.
        DataError: the data is wrong.
        ArgumentError: a callback of the user's own cannot be had.
        MissingExtra: the model or a tracker needs packages that are not installed.
    """
    require_trackers(recipe.training)
    dataset = open_dataset(recipe.data, recipe.evaluation.dealing)
    resolved = resolve(recipe, dataset)
    require_extras(resolved)
    check_space(recipe, dataset)
    if resolved.training.loss is not None:
        load_dotted(resolved.training.loss, "training.loss")
    seed, options = Seed(resolved.seed), resolved.data.clean
    cleaned = clean_rows(dataset, options, resolved.data.split)
    splits = split_dataset(dataset, resolved.data.split, seed, cleaned.kept)
    splits, outliers = drop_outliers(splits, dataset, options.outliers, seed)
    findings = audit(dataset, splits, resolved.data, seed)
    if resolved.evaluation.refits:
        splits = splits.without_validation()
    return Opened(resolved, dataset, splits, findings, pl.concat([cleaned.dropped, outliers]), recipe)


def shorten(opened: Opened) -> Opened:
    """Two batches of each part and two steps: enough to see every stage work."""
    said = opened.recipe.training.batch_size
    batch = said if isinstance(said, int) else FEW_SAMPLES
    train, validation, test = (thin(part, 2 * batch) for _, part in opened.splits.items())
    training = opened.recipe.training.model_copy(update={"max_steps": 2, "epochs": 2})
    return replace(
        opened,
        recipe=opened.recipe.model_copy(update={"training": training}),
        splits=Splits(TrainSplit(train.rows, train.whole), validation, test),
    )


def thin(part: Part, count: int) -> Part:
    """Rows spread evenly over a part: a file sorted by class still gives all classes."""
    return Part(part.rows[spread_over(len(part.rows), count)], part.whole)


def spread_over(rows: int, count: int) -> np.ndarray:
    """Positions of at most so many rows, spread evenly over all."""
    return np.unique(np.linspace(0, rows - 1, min(rows, count)).astype(np.int64))


def fit_preparation(opened: Opened) -> Prepared:
    """Learn the preparation and the target from the training split."""
    dataset, train = opened.dataset, opened.splits.train
    seed = Seed(opened.recipe.seed).derive("preparation")
    preprocessor = fit_preprocessor(train, dataset, opened.recipe.data, opened.model.hints(), seed)
    if dataset.task == "language-modelling":
        return Prepared(preprocessor, NextToken(vocabulary=preprocessor.inputs.vocabulary))  # type: ignore[union-attr]
    if dataset.task == "preference":
        vocabulary, beta = preprocessor.inputs.vocabulary, opened.recipe.training.preference.beta  # type: ignore[union-attr]
        return Prepared(preprocessor, PreferredAnswer(vocabulary=vocabulary, beta=beta))
    return Prepared(preprocessor, fit_target(train, dataset))


def judged_content(opened: Opened) -> str | None:
    """The column whose text is predicted whole, for bits a byte."""
    return opened.dataset.content if opened.dataset.kind == "corpus" else None


def with_columns(opened: Opened, columns: pl.DataFrame) -> Opened:
    """The same data with more columns, which are not given to the model."""
    frame = opened.dataset.frame.lazy().collect().hstack(columns)
    train, validation, test = (Part(part.rows, frame) for _, part in opened.splits.items())
    splits = Splits(TrainSplit(train.rows, train.whole), validation, test)
    return replace(opened, dataset=replace(opened.dataset, frame=frame), splits=splits)


def write_data(opened: Opened, run: RunDirectory, balanced: dict[str, Any]) -> None:
    """Keep the split, the rows left out, the profile, and what became of the classes where they were balanced."""
    parts = pl.concat(
        [
            pl.DataFrame({"row": part.rows, "part": pl.Series([name] * len(part.rows), dtype=pl.String)})
            for name, part in opened.splits.items()
        ]
    ).sort("row")
    write_frame(run.path / "data" / SPLIT, parts)
    write_frame(run.path / "data" / DROPPED, opened.dropped)
    if set(REFERENCE) <= set(opened.dataset.frame.columns):
        write_frame(run.path / "data" / REFERENCE_FILE, opened.dataset.frame.lazy().select(REFERENCE).collect())
    known = {**opened.profile(), "sha256": digest_of_data(opened.dataset, opened.dataset.frame.height)}
    if balanced:
        known["target"]["balanced"] = balanced
    write_json(run.path / "data" / PROFILE, known)


def reopen(recipe: Recipe, run: RunDirectory) -> Opened:
    """The data of a finished run, split as it was then.

    Raises:
        DataError: the rows are no longer those of the run; rows added behind them do not matter.
        ArtifactError: the run has lost its split.
    """
    dataset = open_dataset(recipe.data, recipe.evaluation.dealing)
    parts = read_frame(run.path / "data" / SPLIT)
    known = read_json(run.path / "data" / PROFILE)
    if dataset.frame.height < known["rows"]:
        raise DataError(
            f"{dataset.origin}: has {dataset.frame.height} rows now, fewer than when {run.path} was trained"
        )
    if digest_of_data(dataset, known["rows"]) != known.get("sha256"):
        raise DataError(
            f"{dataset.origin}: has changed since {run.path} was trained: rows that the model learned from could judge "
            "it now; restore the data as it was, or train again"
        )
    chosen = {name: parts.filter(pl.col("part") == name)["row"].to_numpy() for name in ("train", "validation", "test")}
    train, validation, test = (Part(rows, dataset.frame) for rows in chosen.values())
    splits = Splits(TrainSplit(train.rows, train.whole), validation, test)
    dropped = read_frame(run.path / "data" / DROPPED)
    base = load_recipe(run.path / SEARCH) if is_search(run.path) else None
    return Opened(recipe, dataset, splits, (), dropped, base)


def with_kept_reference(opened: Opened, run: RunDirectory) -> Opened:
    """The same data; of preferences, with what the run's model made of them before it learned.

    Raises:
        ArtifactError: the run has lost it.
    """
    if opened.dataset.task != "preference":
        return opened
    known = read_frame(run.path / "data" / REFERENCE_FILE)
    # Rows that were added since are in no split, and no model has answered them.
    return with_columns(opened, pl.concat([known, known.clear(opened.dataset.frame.height - known.height)]))


def digest_of_data(dataset: Dataset, rows: int) -> str:
    """SHA-256 of the target and the used columns of the first rows, as CSV: the same whatever file holds them.

    Of images that are files, their sizes and ends as well.
    """
    names = [*(column.name for column in dataset.used), *filter(None, [dataset.target])]
    digest = hashlib.sha256()
    for block in Part(np.arange(rows), dataset.frame).blocks(names, BLOCK_ROWS):
        plain = block.with_columns(values.bin.encode("hex") for values in block if values.dtype == pl.Binary)
        plain = plain.with_columns(values.dt.total_microseconds() for values in block if values.dtype == pl.Duration)
        digest.update(plain.write_csv().encode())
        if dataset.kind == "image" and block[dataset.content].dtype == pl.String:
            for path in block[dataset.content].drop_nulls():
                digest.update(_ends(dataset.folder / str(path)))
    return digest.hexdigest()


def _ends(file: Path) -> bytes:
    """A file's size and what it begins and ends with; to read all of every image would take as long as an epoch."""
    try:
        with file.open("rb") as opened:
            size = opened.seek(0, os.SEEK_END)
            opened.seek(max(0, size - END_BYTES))
            end = opened.read()
            opened.seek(0)
            return b"%d" % size + opened.read(END_BYTES) + end
    except OSError:  # missing images are spoken of where images are read
        return b""
