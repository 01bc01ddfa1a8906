"""Evaluate a trained model's predictions next to the baselines: the contents of evaluation.json.

The format of evaluation.json is described in docs/architecture.md; VERSION counts its changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from danlu.data.splits import Part
from danlu.data.tags import lists, read_list
from danlu.data.targets import REFERENCE, AnswerForm, Classes, Labels, NextToken, PreferredAnswer, Supervised, TokenTags
from danlu.evaluation.baselines import Baseline
from danlu.evaluation.classes import class_metrics, classes_with_intervals
from danlu.evaluation.curves import curves
from danlu.evaluation.decisions import abstention, threshold_table
from danlu.evaluation.intervals import FEWEST_UNITS, Resampling, paired_differences, units_of, with_intervals
from danlu.evaluation.metric import Metric, Truth
from danlu.evaluation.metrics import MAIN_METRIC, confusion, in_units, metric_named
from danlu.recipe.judging import Costs

VERSION = 1


@dataclass(frozen=True)
class Question:
    """Configure an evaluation: the target, the metrics and how intervals are made.

    Attributes:
        target: what is predicted; its outputs are calibrated already.
        metrics: names of METRICS, of other packages' metrics or of the user's own.
        content: the text column, for bits per byte; None if not all of its text is predicted.
        group: the column whose rows are resampled together; None to resample single rows.
        how: None for no intervals.
        costs: of mistakes, for the table of thresholds.
    """

    target: AnswerForm
    task: str
    metrics: Sequence[str]
    content: str | None
    group: str | None = None
    how: Resampling | None = None
    costs: Costs | None = None

    @property
    def main(self) -> str:
        """Return the metric that sums up a run: the task's own or the first requested."""
        usual = MAIN_METRIC[self.task]
        return usual if usual in self.metrics or not self.metrics else self.metrics[0]

    def named(self) -> dict[str, Metric]:
        """Look up the metrics by name."""
        return {name: metric_named(name) for name in self.metrics}

    def of(self, split: str) -> Resampling | None:
        """Return the resampling of a split; each split has its own resamples."""
        how = self.how
        return None if how is None else Resampling(how.seed.derive(split), how.confidence, how.resamples)


def judge(
    question: Question, truths: Mapping[str, Truth], baselines: Sequence[Baseline], parts: Mapping[str, Part]
) -> dict[str, Any]:
    """Compute the figures of every split.

    Args:
        truths: the model's predictions for each split.
        baselines: the baselines' predictions for the same splits.
        parts: the splits themselves.

    Returns:
        split -> metric -> {value, low, high}; those of classes under "classes"; the baselines' under "baselines".
    """
    how, main = question.how, question.main
    found: dict[str, Any] = {
        "version": VERSION,
        "task": question.task,
        "main": {"metric": main, "higher_is_better": metric_named(main).higher_is_better},
    }
    if isinstance(question.target, Classes | Labels):
        found["labels"] = [str(label) for label in question.target.labels]
    if how is not None:
        found["intervals"] = {
            "method": "bias-corrected percentile bootstrap",
            "confidence": how.confidence,
            "resamples": how.resamples,
            "resampled_by": question.group or "row",
        }
    for name, judged in truths.items():
        found[name] = _figures(question, name, judged)
    found["baselines"] = {baseline.name: _beside(question, baseline, truths, parts) for baseline in baselines}
    return found


def _figures(question: Question, split: str, judged: Truth) -> dict[str, Any]:
    """Compute a split's metrics and, for classes or labels, per-class values, curves and tables."""
    target, how = question.target, question.of(split)
    if not isinstance(target, Classes | Labels):
        return dict(with_intervals(question.named(), judged, how))
    of_classes = class_metrics(target)
    together = with_intervals({**question.named(), **of_classes}, judged, how)
    figures: dict[str, Any] = {name: figure for name, figure in together.items() if name not in of_classes}
    figures["classes"] = classes_with_intervals(target, judged, together)
    if isinstance(target, Labels):
        return figures
    figures["confusion"] = {"labels": [str(label) for label in target.labels], "counts": confusion(target, judged)}
    figures["curves"] = curves(judged, target.labels)
    figures["abstention"] = abstention(judged)
    if len(target.labels) == 2:
        figures["thresholds"] = threshold_table(judged, question.costs)
    return figures


def _beside(
    question: Question, baseline: Baseline, truths: Mapping[str, Truth], parts: Mapping[str, Part]
) -> dict[str, Any]:
    """Compute a baseline's metrics and the paired differences (model minus baseline)."""
    judged = {name: _truth_of(parts[name], question, baseline.answers[name], truths[name].groups) for name in truths}
    metrics, differences = question.named(), {}
    for name, model in truths.items():
        how = question.of(name)
        if how is not None and units_of(model) >= FEWEST_UNITS:
            differences[name] = paired_differences(metrics, model, judged[name], how)
    figures = {name: with_intervals(metrics, truth, None) for name, truth in judged.items()}
    return {"meaning": baseline.meaning, **figures, "differences": differences}


def truth(part: Part, target: AnswerForm, outputs: np.ndarray, content: str | None, group: str | None = None) -> Truth:
    """Pair a split's outputs, as they are given to users, with the truth.

    Args:
        part: the split.
        target: what is predicted.
        outputs: the model's outputs, [samples, ...].
        content: the text column, for bits per byte; None if not all of its text is predicted.
        group: the column whose rows are resampled together.
    """
    groups = None if group is None else _codes(part.column(group))
    if isinstance(target, NextToken):
        return text_truth(part, outputs, content, groups)
    if isinstance(target, PreferredAnswer):
        reference = part.columns(*REFERENCE).to_numpy().astype(np.float64)
        return Truth(target.beta * reference, target.beta * outputs.astype(np.float64), groups=groups)
    if isinstance(target, TokenTags):
        return tag_truth(part, target, lists(target.decode(outputs)["prediction"].to_list()), groups)
    return supervised_truth(part, target, in_units(target, outputs), groups)


def tag_truth(part: Part, target: TokenTags, answers: np.ndarray, groups: np.ndarray | None) -> Truth:
    """Pair predicted tags with the true ones; words without a prediction get the tag ''."""
    values = lists(read_list(text) for text in part.column(target.column).to_list())
    said = lists((*own, *[""] * (len(true) - len(own))) for own, true in zip(answers, values, strict=True))
    return Truth(values, said, groups=groups)


def text_truth(part: Part, answers: np.ndarray, content: str | None, groups: np.ndarray | None) -> Truth:
    """Pair a language model's sums with the byte length of each text.

    Blocks do not correspond to texts; they are paired with the total length.
    """
    if content is None:
        return Truth(answers[:, 1], answers.astype(np.float64), groups=groups)
    sizes = part.column(content).cast(pl.String).str.len_bytes().fill_null(0).to_numpy().astype(np.float64)
    if len(sizes) != len(answers):
        sizes = np.append(sizes.sum(), np.zeros(len(answers) - 1))
    return Truth(answers[:, 1], answers.astype(np.float64), sizes, groups=groups)


def supervised_truth(part: Part, target: Supervised, answers: np.ndarray, groups: np.ndarray | None = None) -> Truth:
    """Pair a split's predictions, numbers in the target's units, with the truth."""
    if isinstance(target, Classes):
        return Truth(target.codes(part.columns(target.column)), answers, threshold=target.threshold, groups=groups)
    if isinstance(target, Labels):
        return Truth(target.given(part.columns(target.column)), answers, groups=groups)
    return Truth(part.column(target.column).cast(pl.Float64).to_numpy(), answers, groups=groups)


def _truth_of(part: Part, question: Question, answers: np.ndarray, groups: np.ndarray | None) -> Truth:
    """Pair a baseline's predictions with the truth; it always predicts the most likely class.

    Its numbers are in the target's units already.
    """
    target = question.target
    if isinstance(target, NextToken):
        return text_truth(part, answers, question.content, groups)
    if isinstance(target, TokenTags):
        return tag_truth(part, target, answers, groups)
    assert not isinstance(target, PreferredAnswer), "which answer is preferred has no baselines"
    plain = target.model_copy(update={"threshold": None}) if isinstance(target, Classes) else target
    return supervised_truth(part, plain, answers, groups)


def _codes(values: pl.Series) -> np.ndarray:
    """Assign group numbers, [rows]; a row without a group is a group of its own."""
    codes = values.rank("dense").to_numpy().astype(np.float64)
    return np.where(np.isnan(codes), -1.0 - np.arange(len(codes)), codes)
