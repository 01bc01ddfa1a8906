"""Data of one training: read, resolve the recipe, split, fit preprocessing on the training split; no torch.

How a run keeps its data is in `run_data`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from danlu.core.imports import load_dotted
from danlu.core.seeds import Seed
from danlu.data.audit import Finding, audit
from danlu.data.clean import clean_rows, drop_outliers
from danlu.data.dataset import Dataset
from danlu.data.descriptors import Origin, RawData
from danlu.data.images.decode import find_unreadable
from danlu.data.interpret import interpret, read_options
from danlu.data.kind import Preprocessor
from danlu.data.mixing import mix_sources
from danlu.data.preprocessing import fit_preprocessor
from danlu.data.profile import profile
from danlu.data.sources.in_memory import read_in_memory
from danlu.data.sources.reader import IN_MEMORY, read_source
from danlu.data.splits import Split, Splits, TrainSplit, split_dataset, subsample
from danlu.data.text.chat_template import check_template_file
from danlu.errors import DataError
from danlu.experiment.checks import check_conformal_rows, check_size, check_weights_file, require_model_extras
from danlu.experiment.defaults import resolve_recipe
from danlu.experiment.earlier_preparation import earlier_preparation, earlier_target
from danlu.experiment.search_checks import check_search_space
from danlu.models.base import Model
from danlu.recipe.load import as_recipe
from danlu.recipe.schema import Recipe
from danlu.recipe.sections.training import Finetune
from danlu.tasks.base import FitInputs, Target
from danlu.training.monitoring.trackers import check_trackers

DRY_RUN_BATCH_SIZE = 16  # batch size of a dry run if the recipe leaves it on auto


@dataclass(frozen=True)
class DataContext:
    """Hold a resolved recipe and its data, cleaned and split but not preprocessed.

    Attributes:
        dropped: rows removed by cleaning, columns `row` and `reason`.
        requested_recipe: as the user wrote it, without defaults taken from the data; a search starts from it.
        unwritten: rows that were handed over in memory, until a run holds them.
        date: of the training, as 2026-01-31: what chat templates are told, however long training takes.
        unmixed: the training rows, each once, where weights of sources repeat or leave out some.
    """

    recipe: Recipe
    dataset: Dataset
    splits: Splits
    findings: tuple[Finding, ...]
    dropped: pl.DataFrame
    requested_recipe: Recipe | None = None
    unwritten: pl.DataFrame | None = None
    date: str = field(default_factory=lambda: date.today().isoformat())
    unmixed: TrainSplit | None = None

    @property
    def origin(self) -> Origin:
        """Where the data came from, for error messages and relative image paths."""
        return Origin(self.dataset.origin, self.dataset.folder)

    @property
    def model(self) -> Model:
        """The recipe's model options."""
        return Model.of(self.recipe.model)

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
    target: Target


def load_input(recipe: Recipe | Mapping[str, Any] | str | Path, data: object | None = None) -> DataContext:
    """Load a recipe in any form with its data, or with rows in memory instead.

    Raises:
        RecipeError, DataError, ArgumentError, MissingExtra: as `load_data`.
    """
    if data is None:
        return load_data(as_recipe(recipe))
    return load_data(as_recipe(recipe, source=IN_MEMORY), read_in_memory(data))


def load_data(recipe: Recipe, rows: RawData | None = None) -> DataContext:
    """Read the data, resolve the recipe, split, and audit for leakage.

    Imports no torch.

    Args:
        recipe: checked.
        rows: in memory, instead of the recipe's source.

    Raises:
        RecipeError: the recipe does not fit the data.
        DataError: the data is wrong.
        ArgumentError: a user's callback cannot be imported.
        MissingExtra: the model or a tracker needs packages that are not installed.
    """
    check_trackers(recipe.training)
    raw = rows or read_source(recipe.data.source, read_options(recipe.data))
    dataset = interpret(raw, recipe.data, recipe.evaluation.fold_columns)
    resolved = resolve_recipe(recipe, dataset)
    require_model_extras(resolved)
    check_size(resolved)
    check_weights_file(resolved)
    check_template_file(resolved.data.chat_template)
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
    unmixed, splits = splits.train, mix_sources(splits, dataset, seed)
    if dataset.target is not None:
        _fit_target(resolved, dataset, splits.train)  # raises where the split leaves nothing to learn
    check_conformal_rows(resolved, dataset, splits)
    unwritten = rows.frame.lazy().collect() if rows else None
    dropped = pl.concat([cleaned.dropped, outliers])
    return DataContext(resolved, dataset, splits, findings, dropped, recipe, unwritten, unmixed=unmixed)


def require_judged_rows(context: DataContext) -> None:
    """Raise DataError if the recipe keeps neither test nor validation rows."""
    if not context.splits.eval_splits():
        raise DataError(
            f"{context.dataset.origin}: data.split keeps no row to test and none to validate, so none is left to "
            "evaluate the model on; give one of them a share of the rows, or only train (`danlu train`) and judge the "
            "model on other data",
            code="DL118",
        )


def require_readable_images(context: DataContext) -> None:
    """Raise DataError if an image cannot be decoded that only later stages would decode.

    Those are the images of the test split, and training images that augmentation decodes anew in each epoch. The
    preparation decodes all others before the first step.
    """
    if context.recipe.data.clean.broken != "fail" or not context.dataset.kind.refers_to_files:
        return
    parts: list[Split] = [context.splits.test, *([context.splits.train] if context.recipe.data.augment else [])]
    references = [each for part in parts if len(part) for each in part.column(context.dataset.content).to_list()]
    broken = find_unreadable(references, context.dataset.folder)
    if broken:
        others = f" ({len(broken):,} of {len(references):,} images looked at are so)" if len(broken) > 1 else ""
        raise DataError(f"{broken[0][1]}{others}", code="DL230")


def truncate_for_dry_run(context: DataContext) -> DataContext:
    """Cut to two batches per split and two steps: enough to run every stage."""
    said = context.recipe.training.batch_size
    batch = said if isinstance(said, int) else DRY_RUN_BATCH_SIZE
    train, validation, test = (subsample(part, 2 * batch) for _, part in context.splits.items())
    training = context.recipe.training.model_copy(update={"max_steps": 2, "epochs": 2})
    return replace(
        context,
        recipe=context.recipe.model_copy(update={"training": training}),
        splits=Splits(TrainSplit(train.rows, train.table), validation, test),
    )


def fit_preprocessing(context: DataContext) -> FittedPreprocessing:
    """Fit preprocessor and target on the training split, or take an earlier run's."""
    dataset, train = context.dataset, context.splits.train
    if context.recipe.training.from_run is not None:
        known, target = earlier_preparation(context.recipe, dataset, context.date)
        return FittedPreprocessing(known, earlier_target(target, _fit_target(context.recipe, dataset, train, known)))
    seed = Seed(context.recipe.seed).derive("preparation")
    preprocessor = fit_preprocessor(train, dataset, context.recipe.data, context.model.data_requirements(), seed)
    target = _fit_target(context.recipe, dataset, train, preprocessor)
    return FittedPreprocessing(preprocessor.on_date(context.date), target)


def _fit_target(
    recipe: Recipe, dataset: Dataset, train: TrainSplit, preprocessor: Preprocessor | None = None
) -> Target:
    """Fit the target on the training split; language models need the preprocessor for it."""
    values = None if dataset.target is None else train.column(dataset.target)
    vocabulary = 0 if preprocessor is None else getattr(preprocessor.inputs, "vocabulary", 0)
    beta, positive = recipe.training.preference.beta, recipe.data.positive
    transform = recipe.data.target_transform
    return dataset.task.fit_target(
        FitInputs(values, dataset.target or "", dataset.origin, vocabulary, beta, positive, transform)
    )


def scored_text_column(context: DataContext) -> str | None:
    """Return the text column of a corpus, which bits per byte refer to; else None."""
    return context.dataset.content if context.dataset.kind.loss_per_byte else None


def with_columns(context: DataContext, columns: pl.DataFrame) -> DataContext:
    """Add columns that are not given to the model."""
    frame = context.dataset.frame.lazy().collect().hstack(columns)
    train, validation, test = (Split(part.rows, frame) for _, part in context.splits.items())
    splits = Splits(TrainSplit(train.rows, train.table), validation, test)
    return replace(context, dataset=replace(context.dataset, frame=frame), splits=splits)
