"""Evaluate a trained model's predictions next to the baselines: the contents of evaluation.json.

The format of evaluation.json is described in docs/architecture.md; VERSION counts its changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from danlu.data.sources.tags import ragged_array, read_list
from danlu.data.splits import Split
from danlu.data.targets import (
    REFERENCE,
    ClassTarget,
    MultiLabelTarget,
    NextTokenTarget,
    PreferenceTarget,
    Supervised,
    TagTarget,
    TargetSpec,
)
from danlu.evaluation.baselines import Baseline
from danlu.evaluation.curves import classification_curves
from danlu.evaluation.intervals import MIN_UNITS, Resampling, count_units, paired_differences, values_with_intervals
from danlu.evaluation.metrics.base import Metric, Predictions
from danlu.evaluation.metrics.per_class import class_metrics, per_class_values
from danlu.evaluation.metrics.table import MAIN_METRIC, confusion_matrix, get_metric, to_target_units
from danlu.evaluation.thresholds import risk_coverage, threshold_table
from danlu.recipe.sections.evaluation import Costs

VERSION = 1


@dataclass(frozen=True)
class EvalConfig:
    """Configure an evaluation: the target, the metrics and how intervals are made.

    Attributes:
        target: what is predicted; its outputs are calibrated already.
        metrics: names of METRICS, of other packages' metrics or of the user's own.
        content: the text column, for bits per byte; None if not all of its text is predicted.
        group: the column whose rows are resampled together; None to resample single rows.
        how: None for no intervals.
        costs: of mistakes, for the table of thresholds.
    """

    target: TargetSpec
    task: str
    metrics: Sequence[str]
    text_column: str | None
    group_column: str | None = None
    resampling: Resampling | None = None
    costs: Costs | None = None

    @property
    def main_metric(self) -> str:
        """Return the metric that sums up a run: the task's own or the first requested."""
        usual = MAIN_METRIC[self.task]
        return usual if usual in self.metrics or not self.metrics else self.metrics[0]

    def metrics_by_name(self) -> dict[str, Metric]:
        """Look up the metrics by name."""
        return {name: get_metric(name) for name in self.metrics}

    def resampling_for(self, split: str) -> Resampling | None:
        """Return the resampling of a split; each split has its own resamples."""
        how = self.resampling
        return None if how is None else Resampling(how.seed.derive(split), how.confidence, how.resamples)


def evaluate_splits(
    question: EvalConfig, truths: Mapping[str, Predictions], baselines: Sequence[Baseline], parts: Mapping[str, Split]
) -> dict[str, Any]:
    """Compute the figures of every split.

    Args:
        truths: the model's predictions for each split.
        baselines: the baselines' predictions for the same splits.
        parts: the splits themselves.

    Returns:
        split -> metric -> {value, low, high}; those of classes under "classes"; the baselines' under "baselines".
    """
    how, main = question.resampling, question.main_metric
    found: dict[str, Any] = {
        "version": VERSION,
        "task": question.task,
        "main": {"metric": main, "higher_is_better": get_metric(main).higher_is_better},
    }
    if isinstance(question.target, ClassTarget | MultiLabelTarget):
        found["labels"] = [str(label) for label in question.target.labels]
    if how is not None:
        found["intervals"] = {
            "method": "bias-corrected percentile bootstrap",
            "confidence": how.confidence,
            "resamples": how.resamples,
            "resampled_by": question.group_column or "row",
        }
    for name, judged in truths.items():
        found[name] = _split_figures(question, name, judged)
    found["baselines"] = {baseline.name: _baseline_figures(question, baseline, truths, parts) for baseline in baselines}
    return found


def _split_figures(question: EvalConfig, split: str, judged: Predictions) -> dict[str, Any]:
    """Compute a split's metrics and, for classes or labels, per-class values, curves and tables."""
    target, how = question.target, question.resampling_for(split)
    if not isinstance(target, ClassTarget | MultiLabelTarget):
        return dict(values_with_intervals(question.metrics_by_name(), judged, how))
    of_classes = class_metrics(target)
    together = values_with_intervals({**question.metrics_by_name(), **of_classes}, judged, how)
    figures: dict[str, Any] = {name: figure for name, figure in together.items() if name not in of_classes}
    figures["classes"] = per_class_values(target, judged, together)
    if isinstance(target, MultiLabelTarget):
        return figures
    figures["confusion"] = {
        "labels": [str(label) for label in target.labels],
        "counts": confusion_matrix(target, judged),
    }
    figures["curves"] = classification_curves(judged, target.labels)
    figures["abstention"] = risk_coverage(judged)
    if len(target.labels) == 2:
        figures["thresholds"] = threshold_table(judged, question.costs)
    return figures


def _baseline_figures(
    question: EvalConfig, baseline: Baseline, truths: Mapping[str, Predictions], parts: Mapping[str, Split]
) -> dict[str, Any]:
    """Compute a baseline's metrics and the paired differences (model minus baseline)."""
    judged = {
        name: _baseline_predictions(parts[name], question, baseline.predictions[name], truths[name].groups)
        for name in truths
    }
    metrics, differences = question.metrics_by_name(), {}
    for name, model in truths.items():
        how = question.resampling_for(name)
        if how is not None and count_units(model) >= MIN_UNITS:
            differences[name] = paired_differences(metrics, model, judged[name], how)
    figures = {name: values_with_intervals(metrics, truth, None) for name, truth in judged.items()}
    return {"meaning": baseline.description, **figures, "differences": differences}


def build_predictions(
    part: Split, target: TargetSpec, outputs: np.ndarray, content: str | None, group: str | None = None
) -> Predictions:
    """Pair a split's outputs, as they are given to users, with the truth.

    Args:
        part: the split.
        target: what is predicted.
        outputs: the model's outputs, [samples, ...].
        content: the text column, for bits per byte; None if not all of its text is predicted.
        group: the column whose rows are resampled together.
    """
    groups = None if group is None else _group_codes(part.column(group))
    if isinstance(target, NextTokenTarget):
        return build_text_predictions(part, outputs, content, groups)
    if isinstance(target, PreferenceTarget):
        reference = part.columns(*REFERENCE).to_numpy().astype(np.float64)
        return Predictions(target.beta * reference, target.beta * outputs.astype(np.float64), groups=groups)
    if isinstance(target, TagTarget):
        return build_tag_predictions(part, target, ragged_array(target.decode(outputs)["prediction"].to_list()), groups)
    return build_supervised_predictions(part, target, to_target_units(target, outputs), groups)


def build_tag_predictions(
    part: Split, target: TagTarget, answers: np.ndarray, groups: np.ndarray | None
) -> Predictions:
    """Pair predicted tags with the true ones; words without a prediction get the tag ''."""
    values = ragged_array(read_list(text) for text in part.column(target.column).to_list())
    said = ragged_array((*own, *[""] * (len(true) - len(own))) for own, true in zip(answers, values, strict=True))
    return Predictions(values, said, groups=groups)


def build_text_predictions(
    part: Split, answers: np.ndarray, content: str | None, groups: np.ndarray | None
) -> Predictions:
    """Pair a language model's sums with the byte length of each text.

    Blocks do not correspond to texts; they are paired with the total length.
    """
    if content is None:
        return Predictions(answers[:, 1], answers.astype(np.float64), groups=groups)
    sizes = part.column(content).cast(pl.String).str.len_bytes().fill_null(0).to_numpy().astype(np.float64)
    if len(sizes) != len(answers):
        sizes = np.append(sizes.sum(), np.zeros(len(answers) - 1))
    return Predictions(answers[:, 1], answers.astype(np.float64), sizes, groups=groups)


def build_supervised_predictions(
    part: Split, target: Supervised, answers: np.ndarray, groups: np.ndarray | None = None
) -> Predictions:
    """Pair a split's predictions, numbers in the target's units, with the truth."""
    if isinstance(target, ClassTarget):
        return Predictions(
            target.codes(part.columns(target.column)), answers, threshold=target.threshold, groups=groups
        )
    if isinstance(target, MultiLabelTarget):
        return Predictions(target.multi_hot(part.columns(target.column)), answers, groups=groups)
    return Predictions(part.column(target.column).cast(pl.Float64).to_numpy(), answers, groups=groups)


def _baseline_predictions(
    part: Split, question: EvalConfig, answers: np.ndarray, groups: np.ndarray | None
) -> Predictions:
    """Pair a baseline's predictions with the truth; it always predicts the most likely class.

    Its numbers are in the target's units already.
    """
    target = question.target
    if isinstance(target, NextTokenTarget):
        return build_text_predictions(part, answers, question.text_column, groups)
    if isinstance(target, TagTarget):
        return build_tag_predictions(part, target, answers, groups)
    assert not isinstance(target, PreferenceTarget), "which answer is preferred has no baselines"
    plain = target.model_copy(update={"threshold": None}) if isinstance(target, ClassTarget) else target
    return build_supervised_predictions(part, plain, answers, groups)


def _group_codes(values: pl.Series) -> np.ndarray:
    """Assign group numbers, [rows]; a row without a group is a group of its own."""
    codes = values.rank("dense").to_numpy().astype(np.float64)
    return np.where(np.isnan(codes), -1.0 - np.arange(len(codes)), codes)
