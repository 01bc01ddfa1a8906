"""Judge a run's model on other labelled data, with everything that evaluation has.

Nothing of the run is touched but its folder `evaluations`: bundle, golden samples and evaluation.json stay as they are,
and no look at the test split is counted.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from danlu.artifacts.files import read_sealed, translate_write_errors, write_frame, write_sealed
from danlu.artifacts.run import RunDirectory
from danlu.data.columns import Column
from danlu.data.descriptors import RawData
from danlu.data.splits import Split, Splits, TrainSplit
from danlu.errors import ArtifactError, DataError
from danlu.evaluation.evaluate import evaluate_splits
from danlu.evaluation.predictions import build_predictions, predictions_frame
from danlu.evaluation.worst_errors import worst_errors
from danlu.experiment.data_context import DataContext, FittedPreprocessing
from danlu.experiment.labelled_data import LabelledData, read_labelled
from danlu.experiment.run_data import read_profile
from danlu.experiment.run_evaluation import build_eval_config, examine_split, require_numbers
from danlu.models.base import Model
from danlu.models.bundle_form import open_checked
from danlu.models.read_for import read_for
from danlu.recipe.schema import Recipe

if TYPE_CHECKING:
    from danlu.models.predictor import Predictor

EVALUATIONS = "evaluations"  # folder of a run
SPLIT = "data"  # the name of the one split


def evaluate_data(
    run: RunDirectory, recipe: Recipe, source: object, folder: Path | None = None, *, engine: str | None = None
) -> dict[str, Any]:
    """Judge a run's model on other labelled rows.

    Args:
        recipe: the run's.
        source: what `read_for` takes.
        folder: for the figures and predictions; the run's folder `evaluations` by default.
        engine: what computes the network; None for the bundle's own order.

    Returns:
        the contents of FOLDER/NAME.json: as evaluation.json, with `data` as its only split, `source` and `worst`.

    Raises:
        DataError: it cannot be read, or the target is missing or unknown to the model.
        ArtifactError: the bundle is damaged.
    """
    from danlu.models.predictor import Predictor

    bundle = open_checked(run.path)
    read = read_for(bundle, source, labelled=True)
    for question in read.questions:
        raise DataError(f"{question.subject}: {question.message} Give the folder that is meant", code=question.code)
    predictor = Predictor.load(bundle, engine=engine, recipe_model=Model.of(recipe.model))
    labelled = labelled_rows(run, recipe, predictor, read)
    predictor.require_columns(replace(read, frame=labelled.dataset.frame))
    if len(labelled.rows) == 0:
        raise DataError(f"{read.origin}: has no rows to judge the model on", code="DL203")
    context = _context(recipe, labelled)
    if context.dataset.task.is_trained_on_pairs:
        context = _with_reference(context, predictor)
    part, before = context.splits.test, run.evaluation()
    config = build_eval_config(context, predictor)
    if config.group_column is not None and config.group_column not in part.table.columns:
        config = replace(config, group_column=None)
    outputs = predictor.outputs(part, context.origin)
    require_numbers(outputs, SPLIT)
    found = build_predictions(part, predictor.target, outputs, config.text_column, config.group_column)
    recorded = predictions_frame(part, found, predictor.target.decode(outputs), predictor.target)
    figures = evaluate_splits(config, {SPLIT: found}, [], {SPLIT: part})
    figures["decision"] = before.get("decision", {})
    calibrated_on = before.get("conformal", {}).get("calibrated_on", "")
    figures |= examine_split(context, config, predictor, part, SPLIT, found, calibrated_on)
    figures["folds"] = {}
    figures["worst"] = worst_errors(context.dataset, part, recorded)
    left_out = labelled.dataset.frame.height - len(part)
    figures["source"] = {"origin": read.origin, "rows": len(part), "left_out": left_out}
    figures["bundle"] = bundle.manifest.digest
    folder = run.path / EVALUATIONS if folder is None else folder
    with translate_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    name = _free_name(folder, source, read.origin)
    write_frame(folder / f"{name}.parquet", recorded)
    write_sealed(folder / f"{name}.json", figures)
    return figures


def labelled_rows(run: RunDirectory, recipe: Recipe, predictor: "Predictor", read: RawData) -> LabelledData:
    """Bring rows read for a run's model into the form of its training data.

    Raises:
        DataError: the target is missing or unknown to the model.
    """
    known = [Column.model_validate(_column_fields(each)) for each in read_profile(run)["columns"]]
    return read_labelled(read, predictor.kind, predictor.target, recipe.data, known)


def _column_fields(described: dict[str, Any]) -> dict[str, Any]:
    """Return what a profile says of a column, without its distribution."""
    return {name: described[name] for name in Column.model_fields if name in described and name != "reading"}


def _context(recipe: Recipe, labelled: LabelledData) -> DataContext:
    """Return the rows as a data context in which all of them test."""
    frame, none = labelled.dataset.frame, np.zeros(0, dtype=np.int64)
    splits = Splits(TrainSplit(none, frame), Split(none, frame), Split(labelled.rows, frame))
    return DataContext(recipe, labelled.dataset, splits, (), pl.DataFrame())


def _with_reference(context: DataContext, predictor: Any) -> DataContext:
    """Add the untrained model's log-probabilities, to which DPO's rewards refer."""
    from danlu.experiment.dpo_reference import add_reference_log_probs, weights_digest
    from danlu.experiment.prepare import build_initial_model
    from danlu.training.finetuning import apply_finetuning

    prepared = FittedPreprocessing(predictor.preprocessor, predictor.target)
    untrained = build_initial_model(context, prepared)
    weights = weights_digest(untrained)
    apply_finetuning(untrained, context.finetune)  # qlora's reference has weights of 4 bits
    return add_reference_log_probs(context, prepared, untrained.to(predictor.device), predictor.device, weights)


def _free_name(folder: Path, source: object, origin: str) -> str:
    """Return the source's name, with a number where another source has it."""
    named = isinstance(source, str | Path) or (isinstance(source, Sequence) and isinstance(source[0], str | Path))
    text = str(source if isinstance(source, str | Path) else source[0]) if named else "memory"  # type: ignore[index]
    stem = re.sub(r"[^\w.-]+", "-", Path(text.removeprefix("builtin:")).stem).strip("-.") or "data"
    name, number = stem, 1
    while _is_anothers(folder / name, origin):
        number += 1
        name = f"{stem}-{number}"
    return name


def _is_anothers(stem: Path, origin: str) -> bool:
    """Return whether a name has files that are not this source's figures.

    One of them may be the source itself.
    """
    figures, rows = stem.with_name(f"{stem.name}.json"), stem.with_name(f"{stem.name}.parquet")
    if not figures.exists():
        return rows.exists()
    try:
        source = read_sealed(figures).get("source")
    except ArtifactError:
        return True
    return not isinstance(source, dict) or source.get("origin") != origin
