"""Evaluate a run's bundle on validation and test, store golden samples, write report and model card."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from danlu.artifacts.bundle import Bundle, require_unsigned
from danlu.artifacts.files import append_jsonl, read_jsonl, write_frame, write_json, write_sealed
from danlu.artifacts.final_figures import choose_final
from danlu.artifacts.ownership import lock_run
from danlu.artifacts.run import EVALUATION, TEST_EVALUATIONS, WORST, RunDirectory
from danlu.core.console import info
from danlu.core.seeds import Seed
from danlu.data.reference import describe_answers
from danlu.data.splits import Split
from danlu.errors import DanluError
from danlu.evaluation.baselines import BaselineModels
from danlu.evaluation.calibration import fit_calibration_and_threshold
from danlu.evaluation.conformal import conformal_figures, fit_conformal
from danlu.evaluation.evaluate import EvalConfig, evaluate_splits
from danlu.evaluation.intervals import Resampling
from danlu.evaluation.predictions import build_predictions, predictions_frame
from danlu.evaluation.robustness import evaluate_robustness
from danlu.evaluation.slices import find_slices
from danlu.evaluation.worst_errors import worst_errors
from danlu.experiment.cross_validation import OUT_OF_FOLD_FILE, CrossValidationResult, Learn, cross_validate
from danlu.experiment.data_context import DataContext, require_judged_rows, scored_text_column
from danlu.experiment.run_data import with_stored_reference
from danlu.experiment.run_explanation import explain_run
from danlu.experiment.run_visualization import visualize_run
from danlu.metrics.base import Predictions
from danlu.models.bundle_form import open_checked
from danlu.models.golden import golden_frame
from danlu.recipe.schema import Recipe
from danlu.reporting.card import write_card
from danlu.reporting.page import write_report
from danlu.tasks.base import Baseline, ConformalTarget, Target

if TYPE_CHECKING:
    from danlu.models.predictor import Predictor

NUM_GOLDEN_SAMPLES = 8


def evaluate_run(
    context: DataContext, run: RunDirectory, *, learn: Learn, language: str | None = None, engine: str | None = None
) -> dict[str, Any]:
    """Evaluate a run whose data is loaded already.

    Args:
        learn: trains a fold that is missing.
        language: of report and model card; None for the recipe's.
        engine: what computes the network; None for the bundle's own order.

    Raises:
        ArtifactError: another process writes into the run.
    """
    require_judged_rows(context)
    with lock_run(run):
        return _evaluate_run(context, run, learn, language or context.recipe.evaluation.language, engine)


def _evaluate_run(
    context: DataContext, run: RunDirectory, learn: Learn, language: str, engine: str | None
) -> dict[str, Any]:
    """Evaluate a run that this process holds."""
    from danlu.models.predictor import Predictor

    context = with_stored_reference(context, run)
    bundle = open_checked(run.path)
    require_unsigned(bundle.folder)
    predictor = Predictor.load(bundle, engine=engine, recipe_model=context.model)
    parts = context.splits.eval_splits()
    raw = {name: predictor.raw_outputs(part, context.origin) for name, part in parts.items()}
    for name, answers in raw.items():
        require_numbers(answers, name)
    folded = cross_validate(context, run, build_eval_config(context, predictor), learn=learn)
    options = context.recipe.evaluation
    decided, decision = predictor.target, dict[str, Any]()
    if "validation" in parts:
        decided, decision = fit_calibration_and_threshold(
            options, predictor.target, parts["validation"], raw["validation"], "validation"
        )
    elif folded.out_of_fold is not None:  # a refitted model has no validation split
        decided, decision = fit_calibration_and_threshold(options, predictor.target, *folded.out_of_fold, "out-of-fold")
    decided, calibrated_on = _with_quantiles(context, decided, parts, raw, folded)
    predictor.target = decided
    outputs = {name: decided.calibrate(answers) for name, answers in raw.items()}
    final = choose_final({name: len(part) for name, part in parts.items()}, folded=bool(folded.results))
    config = build_eval_config(context, predictor)
    content, group = config.text_column, config.group_column
    truths = {name: build_predictions(part, decided, outputs[name], content, group) for name, part in parts.items()}
    for name, part in parts.items():
        recorded = predictions_frame(part, truths[name], predictor.target.decode(outputs[name]), decided)
        write_frame(run.path / "predictions" / f"{name}.parquet", recorded)
        if name == final:
            write_json(run.path / "predictions" / WORST, worst_errors(context.dataset, part, recorded))
    baselines = _fit_baselines(context, predictor) if context.recipe.evaluation.baselines else []
    figures = evaluate_splits(config, truths, baselines, parts)
    figures["final"] = final
    figures["decision"] = decision
    if decided.positive is not None:
        figures["positive"] = str(decided.positive)
    figures |= examine_split(context, config, predictor, parts[final], final, truths[final], calibrated_on)
    figures["folds"] = folded.results
    if "test" in parts:
        figures["looks"] = {"test": record_test_evaluation(run, context.recipe, "evaluate")}
    names = (*(f"{name}.parquet" for name in parts), WORST, OUT_OF_FOLD_FILE)
    write_sealed(run.path / EVALUATION, figures, [run.path / "predictions" / name for name in names])
    _keep_golden(bundle, context, parts[final], decided, predictor.preprocessor.columns, outputs[final])
    try:
        explain_run(context, run)
        visualize_run(context, run, language)
    finally:  # what was evaluated is shown, whatever cannot be explained or drawn
        write_pages(run, language)
    return figures


def require_numbers(answers: np.ndarray, name: str) -> None:
    """Raise DanluError if a model answers rows of a split with what is no number."""
    if not np.issubdtype(answers.dtype, np.floating):
        return
    wrong = np.isnan(answers.reshape(len(answers), -1)).any(axis=1)
    if wrong.any():
        raise DanluError(
            f"the model answers {int(wrong.sum()):,} of {len(wrong):,} rows of {name} with NaN, the first in its place "
            f"{int(np.argmax(wrong)) + 1}; look for extreme values there, scale the inputs, or train with a lower rate",
            code="DL504",
        )


def examine_split(
    context: DataContext,
    config: EvalConfig,
    predictor: "Predictor",
    part: Split,
    name: str,
    found: Predictions,
    calibrated_on: str,
) -> dict[str, Any]:
    """Compute a split's coverage of sets or intervals, its slices and the robustness.

    Args:
        context: the recipe and the data.
        predictor: answers as users are answered.
        part: the split that is examined.
        name: of the split, in the figures.
        found: the predictions of its rows.
        calibrated_on: a word for the rows that gave the conformal quantiles.
    """
    options, target = context.recipe.evaluation, predictor.target
    figures = dict[str, Any]()
    if isinstance(target, ConformalTarget) and target.conformal is not None:
        resampling = config.resampling_for(name)
        figures["conformal"] = conformal_figures(target, found, resampling, calibrated_on, name)
    figures["slices"] = find_slices(
        options.slices, context.dataset, part, found, config.main_metric, config.resampling_for(name)
    )

    def predict(split: Split) -> Predictions:
        outputs = predictor.outputs(split, context.origin)
        return build_predictions(split, target, outputs, config.text_column, config.group_column)

    figures["robustness"] = evaluate_robustness(
        options.robustness,
        predict,
        replace(context.dataset, gray_levels=getattr(predictor.preprocessor, "levels", None)),
        part,
        found,
        config.metrics_by_name(),
        config.resampling_for("robustness"),
        Seed(context.recipe.seed).derive("robustness"),
    )
    return figures


def decide_on_validation(context: DataContext, run: RunDirectory) -> None:
    """Fit calibration, threshold and quantiles on validation; keep golden samples of it.

    Completes the bundle of a run without test rows, whose model is judged elsewhere.
    """
    with lock_run(run):
        _decide_on_validation(context, run)


def _decide_on_validation(context: DataContext, run: RunDirectory) -> None:
    from danlu.models.predictor import Predictor

    bundle, validation = open_checked(run.path), context.splits.validation
    predictor = Predictor.load(bundle, recipe_model=context.model)
    raw = predictor.raw_outputs(validation, context.origin)
    options = context.recipe.evaluation
    decided, _ = fit_calibration_and_threshold(options, predictor.target, validation, raw, "validation")
    parts, answers = {"validation": validation}, {"validation": raw}
    decided, _ = _with_quantiles(context, decided, parts, answers, CrossValidationResult({}))
    _keep_golden(bundle, context, validation, decided, predictor.preprocessor.columns, decided.calibrate(raw))


def _with_quantiles(
    context: DataContext,
    target: Target,
    parts: Mapping[str, Split],
    raw: Mapping[str, np.ndarray],
    folded: CrossValidationResult,
) -> tuple[Target, str]:
    """Return the target with conformal quantiles, and a word for the calibration rows.

    Without `evaluation.intervals` the target is returned without quantiles.
    """
    options = context.recipe.evaluation.conformal
    if not isinstance(target, ConformalTarget):
        return target, ""
    plain = target.model_copy(update={"conformal": None})
    if options is None:
        return plain, ""
    if "validation" in parts:
        found = build_predictions(parts["validation"], plain, plain.calibrate(raw["validation"]), "")
        return fit_conformal(options, plain, found), "validation"
    if folded.out_of_fold is not None:
        split, outputs = folded.out_of_fold
        found = build_predictions(split, plain, plain.calibrate(outputs), "")
        return fit_conformal(options, plain, found), "out-of-fold"
    assert folded.out_of_fold_numbers is not None
    return fit_conformal(options, plain, folded.out_of_fold_numbers), "out-of-fold"


def write_pages(run: RunDirectory, language: str) -> None:
    """Write the report and the model card of a run."""
    write_report(run, language)
    write_card(run, language)


def build_eval_config(context: DataContext, predictor: "Predictor") -> EvalConfig:
    """Build the evaluation settings from the recipe."""
    options, by = context.recipe.evaluation, context.recipe.data.split.by
    how = Resampling(Seed(context.recipe.seed).derive("bootstrap"), options.confidence, options.resamples)
    return EvalConfig(
        target=predictor.target,
        task=context.dataset.task,
        metrics=options.metrics or (),
        text_column=scored_text_column(context),
        group_column=getattr(by, "column", None) if getattr(by, "name", "") == "group" else None,
        resampling=how if options.resamples else None,
        costs=options.threshold.costs if options.threshold else None,
    )


def record_test_evaluation(run: RunDirectory, recipe: Recipe, what: str) -> int:
    """Log that the test split was evaluated; return how often it has been so far."""
    dumped = recipe.model_dump_json().encode()
    append_jsonl(
        run.path / TEST_EVALUATIONS,
        {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "what": what,
            "split": "test",
            "recipe": hashlib.sha256(dumped).hexdigest(),
        },
    )
    return len(read_jsonl(run.path / TEST_EVALUATIONS))


def _fit_baselines(context: DataContext, predictor: "Predictor") -> list[Baseline]:
    """Fit the baselines of the task on the training split."""
    info("fitting the baselines on the same split")
    models = BaselineModels(context.dataset, context.splits, predictor.preprocessor)
    return context.dataset.task.baselines(predictor.target, models)


def _keep_golden(
    bundle: Bundle, context: DataContext, split: Split, target: Target, columns: Sequence[str], outputs: np.ndarray
) -> None:
    """Complete a bundle: output as decided, golden samples, and the shares of all answers.

    Images are stored as bytes, since their paths mean nothing on another machine.
    """
    few = split.take(np.arange(min(len(split), NUM_GOLDEN_SAMPLES)))
    rows = few.columns(*columns)
    if context.dataset.kind.refers_to_files and rows[columns[0]].dtype == pl.String:
        images = [(context.dataset.folder / str(path)).read_bytes() for path in rows[columns[0]].to_list()]
        rows = rows.with_columns(pl.Series(columns[0], images, dtype=pl.Binary))
    answers = outputs[: rows.height].astype(np.float64)
    labels = None if context.dataset.target is None else few.column(context.dataset.target)
    bundle.set_output(target.model_dump(mode="json"), target.positive)
    bundle.add_golden(
        golden_frame(rows, labels, answers, target.decode(answers)),
        describe_answers(target.decode(outputs), context.dataset.task.has_classes),
    )
