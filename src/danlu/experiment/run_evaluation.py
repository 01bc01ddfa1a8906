"""Evaluate a run's bundle on validation and test, store golden samples, write report and model card."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from danlu.artifacts.bundle import open_bundle
from danlu.artifacts.files import append_jsonl, read_jsonl, write_frame, write_json
from danlu.artifacts.run import EVALUATION, RECIPE, TEST_EVALUATIONS, WORST, RunDirectory
from danlu.core.console import info
from danlu.core.seeds import Seed
from danlu.data.chats.preprocessor import ChatPreprocessor
from danlu.data.splits import Split
from danlu.data.targets import PreferenceTarget, Supervised, TagTarget
from danlu.data.text.preprocessor import CorpusPreprocessor
from danlu.evaluation.baselines import Baseline, language_baselines, supervised_baselines, tag_baselines
from danlu.evaluation.calibration import fit_calibration_and_threshold
from danlu.evaluation.evaluate import EvalConfig, evaluate_splits
from danlu.evaluation.intervals import Resampling
from danlu.evaluation.metrics.base import Predictions
from danlu.evaluation.predictions import build_predictions, predictions_frame
from danlu.evaluation.robustness import evaluate_robustness
from danlu.evaluation.slices import find_slices
from danlu.evaluation.worst_errors import worst_errors
from danlu.experiment.cross_validation import cross_validate
from danlu.experiment.data_context import DataContext, load_run_data, scored_text_column, with_stored_reference
from danlu.recipe.load import load_recipe
from danlu.recipe.schema import Recipe
from danlu.reporting.card import write_card
from danlu.reporting.i18n import get_translator
from danlu.reporting.page import write_report

if TYPE_CHECKING:
    from danlu.models.predictor import Predictor

NUM_GOLDEN_SAMPLES = 8


def evaluate(run: str | Path, language: str | None = None) -> dict[str, Any]:
    """Evaluate a run's model on the splits it was trained with.

    Args:
        run: a run directory.
        language: of report and model card, en or zh; None for the recipe's.

    Returns:
        the contents of evaluation.json: split -> metric -> {value, low, high}, and more.

    Raises:
        ArgumentError: it is not a run, or the language is not available.
        DataError: the data has changed.
        ArtifactError: the bundle is damaged.
    """
    directory = RunDirectory.open(run)
    recipe = load_recipe(directory.path / RECIPE)
    t = get_translator(language or recipe.evaluation.language)  # reject an unknown language before the work
    return evaluate_run(load_run_data(recipe, directory), directory, t.language)


def evaluate_run(opened: DataContext, run: RunDirectory, language: str | None = None) -> dict[str, Any]:
    """Evaluate a run whose data is loaded already."""
    from danlu.models.predictor import Predictor

    opened = with_stored_reference(opened, run)
    bundle = open_bundle(run.path)
    predictor = Predictor.from_bundle(bundle, own_code=True)  # the recipe is the user's
    parts = opened.splits.eval_splits()
    raw = {name: predictor.raw_outputs(part, opened.origin) for name, part in parts.items()}
    folded = cross_validate(opened, run, build_eval_config(opened, predictor))
    options = opened.recipe.evaluation
    decided, decision = predictor.target, dict[str, Any]()
    if "validation" in parts:
        decided, decision = fit_calibration_and_threshold(
            options, predictor.target, parts["validation"], raw["validation"], "validation"
        )
    elif folded.out_of_fold is not None:  # a refitted model has no validation split
        decided, decision = fit_calibration_and_threshold(options, predictor.target, *folded.out_of_fold, "out-of-fold")
    predictor.target = decided
    outputs = {name: decided.calibrate(answers) for name, answers in raw.items()}
    question = build_eval_config(opened, predictor)
    content, group = question.text_column, question.group_column
    truths = {name: build_predictions(part, decided, outputs[name], content, group) for name, part in parts.items()}
    for name, part in parts.items():
        recorded = predictions_frame(part, truths[name], predictor.target.decode(outputs[name]), decided)
        write_frame(run.path / "predictions" / f"{name}.parquet", recorded)
        if name == "test":
            write_json(run.path / "predictions" / WORST, worst_errors(opened.dataset, part, recorded))
    baselines = _fit_baselines(opened, predictor) if opened.recipe.evaluation.baselines else []
    figures = evaluate_splits(question, truths, baselines, parts)
    figures["decision"] = decision
    figures["slices"] = find_slices(
        options.slices,
        opened.dataset,
        parts["test"],
        truths["test"],
        question.main_metric,
        question.resampling_for("test"),
    )

    def predict(split: Split) -> Predictions:
        return build_predictions(split, decided, predictor.outputs(split, opened.origin), content, group)

    figures["robustness"] = evaluate_robustness(
        options.robustness,
        predict,
        opened.dataset,
        parts["test"],
        truths["test"],
        question.metrics_by_name(),
        question.resampling_for("robustness"),
        Seed(opened.recipe.seed).derive("robustness"),
    )
    figures["folds"] = folded.results
    figures["looks"] = {"test": record_test_evaluation(run, opened.recipe, "evaluate")}
    write_json(run.path / EVALUATION, figures)
    bundle.set_output(decided.model_dump(mode="json"))
    bundle.add_golden(_golden_samples(opened, predictor, outputs["test"]))
    write_pages(run, language or opened.recipe.evaluation.language)
    return figures


def write_pages(run: RunDirectory, language: str) -> None:
    """Write the report and the model card of a run."""
    write_report(run, language)
    write_card(run, language)


def build_eval_config(opened: DataContext, predictor: "Predictor") -> EvalConfig:
    """Build the evaluation settings from the recipe."""
    options, by = opened.recipe.evaluation, opened.recipe.data.split.by
    how = Resampling(Seed(opened.recipe.seed).derive("bootstrap"), options.confidence, options.resamples)
    return EvalConfig(
        target=predictor.target,
        task=opened.dataset.task,
        metrics=options.metrics or (),
        text_column=scored_text_column(opened),
        group_column=getattr(by, "column", None) if getattr(by, "name", "") == "group" else None,
        resampling=how if options.resamples else None,
        costs=options.threshold.costs if options.threshold else None,
    )


def record_test_evaluation(run: RunDirectory, recipe: Recipe, what: str) -> int:
    """Log that the test split was evaluated; return how often it has been so far."""
    told = recipe.model_dump_json().encode()
    append_jsonl(
        run.path / TEST_EVALUATIONS,
        {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "what": what,
            "split": "test",
            "recipe": hashlib.sha256(told).hexdigest(),
        },
    )
    return len(read_jsonl(run.path / TEST_EVALUATIONS))


def _fit_baselines(opened: DataContext, predictor: "Predictor") -> list[Baseline]:
    """Fit the baselines of the task on the training split."""
    info("fitting the baselines on the same split")
    if isinstance(predictor.target, PreferenceTarget):
        return []  # preference metrics compare with the reference model already
    if isinstance(predictor.preprocessor, CorpusPreprocessor | ChatPreprocessor):
        return language_baselines(opened.splits, predictor.preprocessor)
    if isinstance(predictor.target, TagTarget):
        return tag_baselines(opened.splits, predictor.target, opened.dataset.content)
    assert isinstance(predictor.target, Supervised)
    return supervised_baselines(opened.dataset, opened.splits, predictor.preprocessor, predictor.target)


def _golden_samples(opened: DataContext, predictor: "Predictor", outputs: np.ndarray) -> pl.DataFrame:
    """Return a few raw test rows with the model's outputs.

    Images are stored as bytes, since their paths mean nothing on another machine.
    """
    rows = opened.splits.test.frame.head(NUM_GOLDEN_SAMPLES).select(predictor.preprocessor.columns)
    column = predictor.preprocessor.columns[0]
    if opened.dataset.kind == "image" and rows[column].dtype == pl.String:
        images = [(opened.dataset.folder / str(path)).read_bytes() for path in rows[column].to_list()]
        rows = rows.with_columns(pl.Series(column, images, dtype=pl.Binary))
    answers = pl.Series("answer", outputs[: rows.height].tolist(), dtype=pl.List(pl.Float64))
    return rows.with_columns(answers)
