"""Data of one training: read, resolve the recipe, split, fit preprocessing on the training split; no torch.

Also how a run keeps its data (split, profile, digest), so that a finished run can be opened again on the same rows.
"""

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from danlu.artifacts.files import read_frame, read_json, write_frame, write_json
from danlu.artifacts.run import RunDirectory
from danlu.artifacts.trials import SEARCH_FILE, is_search
from danlu.core.imports import load_dotted
from danlu.core.seeds import Seed
from danlu.data.audit import Finding, audit
from danlu.data.clean import clean_rows, drop_outliers
from danlu.data.dataset import Dataset, open_dataset
from danlu.data.descriptors import Origin
from danlu.data.preprocessing import BLOCK_ROWS, Preprocessor, fit_preprocessor
from danlu.data.profile import profile
from danlu.data.splits import Split, Splits, TrainSplit, evenly_spaced_rows, split_dataset
from danlu.data.targets import REFERENCE, NextTokenTarget, PreferenceTarget, TargetSpec, fit_target
from danlu.errors import DataError
from danlu.experiment.defaults import resolve_recipe
from danlu.experiment.search_checks import check_search_space, require_model_extras
from danlu.models.base import Model
from danlu.recipe.load import load_recipe
from danlu.recipe.schema import Recipe
from danlu.recipe.sections.training import Finetune
from danlu.training.monitoring.trackers import check_trackers

END_BYTES = 1024
DRY_RUN_BATCH_SIZE = 16  # batch size of a dry run if the recipe leaves it on auto
SPLIT_FILE, DROPPED_FILE, PROFILE_FILE = "split.parquet", "dropped.parquet", "profile.json"
REFERENCE_FILE = "reference.parquet"  # log-probabilities of the DPO reference model


@dataclass(frozen=True)
class DataContext:
    """Hold a resolved recipe and its data, cleaned and split but not preprocessed.

    Attributes:
        dropped: rows removed by cleaning, columns `row` and `reason`.
        base: the recipe as the user wrote it, without defaults taken from the data; a search starts from it.
    """

    recipe: Recipe
    dataset: Dataset
    splits: Splits
    findings: tuple[Finding, ...]
    dropped: pl.DataFrame
    requested_recipe: Recipe | None = None

    @property
    def origin(self) -> Origin:
        """Where the data came from, for error messages and relative image paths."""
        return Origin(self.dataset.origin, self.dataset.folder)

    @property
    def model(self) -> Model:
        """The recipe's model options."""
        assert isinstance(self.recipe.model, Model)
        return self.recipe.model

    @property
    def finetune(self) -> Finetune:
        """Fine-tuning options; the defaults if the model has no pretrained weights."""
        found: Finetune = getattr(self.recipe.model, "finetune", Finetune())
        return found

    def profile(self) -> dict[str, Any]:
        """Describe the data: kind, task, splits, columns, audit findings."""
        return profile(self.dataset, self.splits, self.findings, self.dropped)


@dataclass(frozen=True)
class FittedPreprocessing:
    """Hold the preprocessor and the target fitted on the training split, before any model."""

    preprocessor: Preprocessor
    target: TargetSpec


def load_data(recipe: Recipe) -> DataContext:
    """Read the data, resolve the recipe, split, and audit for leakage.

    Imports no torch.

    Raises:
        RecipeError: the recipe does not fit the data.
        DataError: the data is wrong.
        ArgumentError: a user's callback cannot be imported.
        MissingExtra: the model or a tracker needs packages that are not installed.
    """
    check_trackers(recipe.training)
    dataset = open_dataset(recipe.data, recipe.evaluation.fold_columns)
    resolved = resolve_recipe(recipe, dataset)
    require_model_extras(resolved)
    check_search_space(recipe, dataset)
    if resolved.training.loss is not None:
        load_dotted(resolved.training.loss, "training.loss")
    seed, options = Seed(resolved.seed), resolved.data.clean
    cleaned = clean_rows(dataset, options, resolved.data.split)
    splits = split_dataset(dataset, resolved.data.split, seed, cleaned.kept)
    splits, outliers = drop_outliers(splits, dataset, options.outliers, seed)
    findings = audit(dataset, splits, resolved.data, seed)
    if resolved.evaluation.refits:
        splits = splits.merge_validation_into_train()
    return DataContext(resolved, dataset, splits, findings, pl.concat([cleaned.dropped, outliers]), recipe)


def truncate_for_dry_run(opened: DataContext) -> DataContext:
    """Cut to two batches per split and two steps: enough to run every stage."""
    said = opened.recipe.training.batch_size
    batch = said if isinstance(said, int) else DRY_RUN_BATCH_SIZE
    train, validation, test = (subsample(part, 2 * batch) for _, part in opened.splits.items())
    training = opened.recipe.training.model_copy(update={"max_steps": 2, "epochs": 2})
    return replace(
        opened,
        recipe=opened.recipe.model_copy(update={"training": training}),
        splits=Splits(TrainSplit(train.rows, train.table), validation, test),
    )


def subsample(part: Split, count: int) -> Split:
    """Return `count` rows spread evenly over a split.

    A file sorted by class still gives all classes.
    """
    return Split(part.rows[evenly_spaced_rows(len(part.rows), count)], part.table)


def fit_preprocessing(opened: DataContext) -> FittedPreprocessing:
    """Fit the preprocessor and the target on the training split."""
    dataset, train = opened.dataset, opened.splits.train
    seed = Seed(opened.recipe.seed).derive("preparation")
    preprocessor = fit_preprocessor(train, dataset, opened.recipe.data, opened.model.data_requirements(), seed)
    if dataset.task == "language-modelling":
        return FittedPreprocessing(preprocessor, NextTokenTarget(vocabulary=preprocessor.inputs.vocabulary))  # type: ignore[union-attr]
    if dataset.task == "preference":
        vocabulary, beta = preprocessor.inputs.vocabulary, opened.recipe.training.preference.beta  # type: ignore[union-attr]
        return FittedPreprocessing(preprocessor, PreferenceTarget(vocabulary=vocabulary, beta=beta))
    return FittedPreprocessing(preprocessor, fit_target(train, dataset))


def scored_text_column(opened: DataContext) -> str | None:
    """Return the text column of a corpus, which bits per byte refer to; else None."""
    return opened.dataset.content if opened.dataset.kind == "corpus" else None


def with_columns(opened: DataContext, columns: pl.DataFrame) -> DataContext:
    """Add columns that are not given to the model."""
    frame = opened.dataset.frame.lazy().collect().hstack(columns)
    train, validation, test = (Split(part.rows, frame) for _, part in opened.splits.items())
    splits = Splits(TrainSplit(train.rows, train.table), validation, test)
    return replace(opened, dataset=replace(opened.dataset, frame=frame), splits=splits)


def write_run_data(opened: DataContext, run: RunDirectory, balanced: dict[str, Any]) -> None:
    """Write split, dropped rows and profile into a run.

    Args:
        balanced: class counts after balancing, for the profile; empty if nothing was balanced.
    """
    parts = pl.concat(
        [
            pl.DataFrame({"row": part.rows, "part": pl.Series([name] * len(part.rows), dtype=pl.String)})
            for name, part in opened.splits.items()
        ]
    ).sort("row")
    write_frame(run.path / "data" / SPLIT_FILE, parts)
    write_frame(run.path / "data" / DROPPED_FILE, opened.dropped)
    if set(REFERENCE) <= set(opened.dataset.frame.columns):
        write_frame(run.path / "data" / REFERENCE_FILE, opened.dataset.frame.lazy().select(REFERENCE).collect())
    known = {**opened.profile(), "sha256": data_digest(opened.dataset, opened.dataset.frame.height)}
    if balanced:
        known["target"]["balanced"] = balanced
    write_json(run.path / "data" / PROFILE_FILE, known)


def load_run_data(recipe: Recipe, run: RunDirectory) -> DataContext:
    """Load the data of a run with the split that the run used.

    Raises:
        DataError: the rows have changed; rows appended since do not matter.
        ArtifactError: the run's split file is missing.
    """
    dataset = open_dataset(recipe.data, recipe.evaluation.fold_columns)
    parts = read_frame(run.path / "data" / SPLIT_FILE)
    known = read_json(run.path / "data" / PROFILE_FILE)
    if dataset.frame.height < known["rows"]:
        raise DataError(
            f"{dataset.origin}: has {dataset.frame.height} rows now, fewer than when {run.path} was trained; restore "
            "the data as it was, or train again"
        )
    if data_digest(dataset, known["rows"]) != known.get("sha256"):
        raise DataError(
            f"{dataset.origin}: has changed since {run.path} was trained, so training rows could end up in the test "
            "split; restore the data as it was, or train again"
        )
    chosen = {name: parts.filter(pl.col("part") == name)["row"].to_numpy() for name in ("train", "validation", "test")}
    train, validation, test = (Split(rows, dataset.frame) for rows in chosen.values())
    splits = Splits(TrainSplit(train.rows, train.table), validation, test)
    dropped = read_frame(run.path / "data" / DROPPED_FILE)
    base = load_recipe(run.path / SEARCH_FILE) if is_search(run.path) else None
    return DataContext(recipe, dataset, splits, (), dropped, base)


def with_stored_reference(opened: DataContext, run: RunDirectory) -> DataContext:
    """Add the stored reference log-probabilities if the task is preference.

    Raises:
        ArtifactError: the file is missing in the run.
    """
    if opened.dataset.task != "preference":
        return opened
    known = read_frame(run.path / "data" / REFERENCE_FILE)
    # Rows appended since are in no split and have no log-probabilities.
    return with_columns(opened, pl.concat([known, known.clear(opened.dataset.frame.height - known.height)]))


def data_digest(dataset: Dataset, rows: int) -> str:
    """Return the SHA-256 of the target and the used columns of the first rows.

    Hashed as CSV, so that it does not depend on the file format. Image files add their sizes and ends.
    """
    names = [*(column.name for column in dataset.used), *filter(None, [dataset.target])]
    digest = hashlib.sha256()
    for block in Split(np.arange(rows), dataset.frame).iter_blocks(names, BLOCK_ROWS):
        plain = block.with_columns(values.bin.encode("hex") for values in block if values.dtype == pl.Binary)
        plain = plain.with_columns(values.dt.total_microseconds() for values in block if values.dtype == pl.Duration)
        digest.update(plain.write_csv().encode())
        if dataset.kind == "image" and block[dataset.content].dtype == pl.String:
            for path in block[dataset.content].drop_nulls():
                digest.update(_file_fingerprint(dataset.folder / str(path)))
    return digest.hexdigest()


def _file_fingerprint(file: Path) -> bytes:
    """Return a file's size, first and last bytes.

    Reading whole images would take as long as an epoch.
    """
    try:
        with file.open("rb") as opened:
            size = opened.seek(0, os.SEEK_END)
            opened.seek(max(0, size - END_BYTES))
            end = opened.read()
            opened.seek(0)
            return b"%d" % size + opened.read(END_BYTES) + end
    except OSError:  # missing images are reported where images are read
        return b""
