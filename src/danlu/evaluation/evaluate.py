"""A trained model's answers to validation and test, judged beside the baselines: what evaluation.json holds."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from danlu.data.splits import Part
from danlu.data.targets import REFERENCE, AnswerForm, Classes, NextToken, PreferredAnswer
from danlu.evaluation.baselines import Baseline, truth_of
from danlu.evaluation.metrics import MAIN_METRIC, METRICS, Truth, class_figures, compute_metrics, confusion, in_units


def judge(
    target: AnswerForm,
    task: str,
    parts: dict[str, Part],
    outputs: dict[str, np.ndarray],
    baselines: Sequence[Baseline],
    metrics: Sequence[str],
    content: str | None,
) -> dict[str, Any]:
    """The figures of every split.

    Args:
        target: what is predicted.
        parts: the splits judged, by name.
        outputs: the model's answers to each, as its head gives them.
        baselines: simple models' answers to the same splits.
        metrics: names from METRICS.
        content: the text column, for bits a byte; None where not all of its text is predicted.

    Returns:
        split -> metric -> {value}; the classes' under "classes"; simple models' under "baselines".
    """
    found: dict[str, Any] = {
        "main": {"metric": MAIN_METRIC[task], "higher_is_better": METRICS[MAIN_METRIC[task]].higher_is_better}
    }
    for name, part in parts.items():
        judged = truth(part, target, outputs[name], content)
        figures: dict[str, Any] = _valued(compute_metrics(metrics, judged))
        if isinstance(target, Classes):
            figures["classes"] = class_figures(target, judged)
            figures["confusion"] = {
                "labels": [str(label) for label in target.labels],
                "counts": confusion(target, judged),
            }
        found[name] = figures
    found["baselines"] = {
        baseline.name: {
            "meaning": baseline.meaning,
            **{
                name: _valued(compute_metrics(metrics, _baseline_truth(part, target, baseline.answers[name], content)))
                for name, part in parts.items()
            },
        }
        for baseline in baselines
    }
    return found


def truth(part: Part, target: AnswerForm, outputs: np.ndarray, content: str | None) -> Truth:
    """The answers to a split, as a head gives them, beside what is true.

    Args:
        part: the split.
        target: what is predicted.
        outputs: the answers, [samples, ...].
        content: the text column, for bits a byte; None where not all of its text is predicted.
    """
    if isinstance(target, NextToken):
        return _text_truth(part, outputs, content)
    if isinstance(target, PreferredAnswer):
        reference = part.columns(*REFERENCE).to_numpy().astype(np.float64)
        return Truth(target.beta * reference, target.beta * outputs.astype(np.float64))
    return truth_of(part, target, in_units(target, outputs))


def _text_truth(part: Part, answers: np.ndarray, content: str | None) -> Truth:
    texts = [] if content is None else part.frame[content].drop_nulls().to_list()
    text_bytes = sum(len(str(text).encode()) for text in texts)
    return Truth(answers[:, 1], answers.astype(np.float64), text_bytes)


def _baseline_truth(part: Part, target: AnswerForm, answers: np.ndarray, content: str | None) -> Truth:
    """A baseline's numbers are in the target's own units already."""
    if isinstance(target, NextToken):
        return _text_truth(part, answers, content)
    assert not isinstance(target, PreferredAnswer), "which answer is preferred has no baselines"
    return truth_of(part, target, answers)


def _valued(figures: dict[str, float]) -> dict[str, dict[str, float]]:
    return {name: {"value": value} for name, value in figures.items()}
