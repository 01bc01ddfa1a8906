"""Evaluate a trained model's predictions next to the baselines: the contents of evaluation.json.

The format of evaluation.json is described in docs/architecture.md; VERSION counts its changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from danlu.data.splits import Split
from danlu.data.targets import ClassTarget, MultiLabelTarget, TargetSpec
from danlu.evaluation.baselines import Baseline
from danlu.evaluation.curves import classification_curves, risk_coverage
from danlu.evaluation.intervals import MIN_UNITS, Resampling, count_units, paired_differences, values_with_intervals
from danlu.evaluation.metrics.base import Metric, Predictions
from danlu.evaluation.metrics.per_class import class_metrics, per_class_values
from danlu.evaluation.metrics.table import MAIN_METRIC, confusion_matrix, get_metric
from danlu.evaluation.predictions import pair_with_truth
from danlu.evaluation.thresholds import threshold_table
from danlu.recipe.sections.evaluation import Costs

VERSION = 1


@dataclass(frozen=True)
class EvalConfig:
    """Configure an evaluation: the target, the metrics and how intervals are made.

    Attributes:
        target: what is predicted; its outputs are calibrated already.
        metrics: names of METRICS, of other packages' metrics or of the user's own.
        text_column: for bits per byte; None if not all of its text is predicted.
        group_column: the column whose rows are resampled together; None to resample single rows.
        resampling: None for no intervals.
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
    config: EvalConfig,
    predictions: Mapping[str, Predictions],
    baselines: Sequence[Baseline],
    splits: Mapping[str, Split],
) -> dict[str, Any]:
    """Compute the figures of every split.

    Args:
        predictions: the model's predictions for each split.
        baselines: the baselines' predictions for the same splits.
        splits: the splits themselves.

    Returns:
        split -> metric -> {value, low, high}; those of classes under "classes"; the baselines' under "baselines".
    """
    how, main = config.resampling, config.main_metric
    found: dict[str, Any] = {
        "version": VERSION,
        "task": config.task,
        "main": {"metric": main, "higher_is_better": get_metric(main).higher_is_better},
    }
    if isinstance(config.target, ClassTarget | MultiLabelTarget):
        found["labels"] = [str(label) for label in config.target.labels]
    if how is not None:
        found["intervals"] = {
            "method": "bias-corrected percentile bootstrap",
            "confidence": how.confidence,
            "resamples": how.resamples,
            "resampled_by": config.group_column or "row",
        }
    for name, each in predictions.items():
        found[name] = _split_figures(config, name, each)
    found["baselines"] = {
        baseline.name: _baseline_figures(config, baseline, predictions, splits) for baseline in baselines
    }
    return found


def _split_figures(config: EvalConfig, split: str, predictions: Predictions) -> dict[str, Any]:
    """Compute a split's metrics and, for classes or labels, per-class values, curves and tables."""
    target, how = config.target, config.resampling_for(split)
    if not isinstance(target, ClassTarget | MultiLabelTarget):
        return dict(values_with_intervals(config.metrics_by_name(), predictions, how))
    of_classes = class_metrics(target)
    together = values_with_intervals({**config.metrics_by_name(), **of_classes}, predictions, how)
    figures: dict[str, Any] = {name: figure for name, figure in together.items() if name not in of_classes}
    figures["classes"] = per_class_values(target, predictions, together)
    if isinstance(target, MultiLabelTarget):
        return figures
    figures["confusion"] = {
        "labels": [str(label) for label in target.labels],
        "counts": confusion_matrix(target, predictions),
    }
    figures["curves"] = classification_curves(predictions, target.labels)
    figures["abstention"] = risk_coverage(predictions)
    if len(target.labels) == 2:
        figures["thresholds"] = threshold_table(predictions, config.costs)
    return figures


def _baseline_figures(
    config: EvalConfig, baseline: Baseline, predictions: Mapping[str, Predictions], splits: Mapping[str, Split]
) -> dict[str, Any]:
    """Compute a baseline's metrics and the paired differences (model minus baseline)."""
    target = config.target
    if isinstance(target, ClassTarget):  # a baseline always predicts the most likely class
        target = target.model_copy(update={"threshold": None})
    beside = {
        name: pair_with_truth(splits[name], target, baseline.predictions[name], config.text_column, model.groups)
        for name, model in predictions.items()
    }
    metrics, differences = config.metrics_by_name(), {}
    for name, model in predictions.items():
        how = config.resampling_for(name)
        if how is not None and count_units(model) >= MIN_UNITS:
            differences[name] = paired_differences(metrics, model, beside[name], how)
    figures = {name: values_with_intervals(metrics, each, None) for name, each in beside.items()}
    return {"meaning": baseline.description, **figures, "differences": differences}
