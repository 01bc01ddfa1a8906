"""Evaluate a trained model's predictions next to the baselines: the contents of evaluation.json.

The format of evaluation.json is described in docs/architecture.md; VERSION counts its changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from danlu.data.splits import Split
from danlu.evaluation.curves import classification_curves, risk_coverage
from danlu.evaluation.intervals import MIN_UNITS, Resampling, count_units, paired_differences, values_with_intervals
from danlu.evaluation.predictions import pair_with_truth
from danlu.evaluation.thresholds import threshold_table
from danlu.metrics.base import Metric, Predictions
from danlu.metrics.classification import confusion_matrix
from danlu.recipe.sections.evaluation import Costs
from danlu.tasks.base import Baseline, Target, Task
from danlu.tasks.classification import ClassTarget
from danlu.tasks.metric_table import get_metric

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

    target: Target
    task: Task
    metrics: Sequence[str]
    text_column: str | None
    group_column: str | None = None
    resampling: Resampling | None = None
    costs: Costs | None = None

    @property
    def main_metric(self) -> str:
        """Return the metric that sums up a run: the task's own or the first requested."""
        usual = self.task.main_metric
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
        "task": config.task.name,
        "main": {"metric": main, "higher_is_better": get_metric(main).higher_is_better},
    }
    if config.task.labels_of_parts(config.target):
        found["labels"] = config.task.labels_of_parts(config.target)
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
    """Compute a split's metrics, also of its classes, labels or outputs."""
    target, how = config.target, config.resampling_for(split)
    parts = config.task.part_metrics(target)
    together = values_with_intervals({**config.metrics_by_name(), **parts}, predictions, how)
    figures: dict[str, Any] = {name: figure for name, figure in together.items() if name not in parts}
    figures |= config.task.part_figures(target, predictions, together)
    if isinstance(target, ClassTarget):
        figures |= _class_figures(target, predictions, config.costs)
    return figures


def _class_figures(target: ClassTarget, predictions: Predictions, costs: Costs | None) -> dict[str, Any]:
    """Compute confusions, curves and, for two classes, the table of thresholds."""
    figures: dict[str, Any] = {
        "confusion": {
            "labels": [str(label) for label in target.labels],
            "counts": confusion_matrix(len(target.labels), predictions),
        },
        "curves": classification_curves(predictions, target.labels),
        "abstention": risk_coverage(predictions),
    }
    if len(target.labels) == 2:
        figures["thresholds"] = threshold_table(predictions, costs)
    return figures


def _baseline_figures(
    config: EvalConfig, baseline: Baseline, predictions: Mapping[str, Predictions], splits: Mapping[str, Split]
) -> dict[str, Any]:
    """Compute a baseline's metrics and the paired differences (model minus baseline)."""
    target = config.target.without_decisions()
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
