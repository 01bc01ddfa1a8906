"""A trained model's answers to validation and test, judged beside the baselines: what evaluation.json holds."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from danlu.data.splits import Part
from danlu.data.targets import Classes, NextToken, Quantity
from danlu.evaluation.baselines import Baseline, truth_of
from danlu.evaluation.metrics import MAIN_METRIC, METRICS, Truth, class_figures, compute_metrics, confusion, in_units


def judge(
    target: Classes | Quantity | NextToken,
    task: str,
    parts: dict[str, Part],
    outputs: dict[str, np.ndarray],
    baselines: Sequence[Baseline],
    metrics: Sequence[str],
    content: str,
) -> dict[str, Any]:
    """The figures of every split.

    Args:
        target: what is predicted.
        parts: the splits judged, by name.
        outputs: the model's answers to each, as its head gives them.
        baselines: simple models' answers to the same splits.
        metrics: names from METRICS.
        content: the text column, for bits a byte.

    Returns:
        split -> metric -> {value}; the classes' under "classes"; simple models' under "baselines".
    """
    found: dict[str, Any] = {
        "main": {"metric": MAIN_METRIC[task], "higher_is_better": METRICS[MAIN_METRIC[task]].higher_is_better}
    }
    for name, part in parts.items():
        truth = _truth(part, target, in_units(target, outputs[name]), content)
        figures: dict[str, Any] = _valued(compute_metrics(metrics, truth))
        if isinstance(target, Classes):
            figures["classes"] = class_figures(target, truth)
            figures["confusion"] = {
                "labels": [str(label) for label in target.labels],
                "counts": confusion(target, truth),
            }
        found[name] = figures
    found["baselines"] = {
        baseline.name: {
            "meaning": baseline.meaning,
            **{
                name: _valued(compute_metrics(metrics, _truth(part, target, baseline.answers[name], content)))
                for name, part in parts.items()
            },
        }
        for baseline in baselines
    }
    return found


def text_bytes(part: Part, column: str) -> int:
    """UTF-8 bytes of a split's text."""
    return sum(len(str(text).encode()) for text in part.frame[column].drop_nulls().to_list())


def _truth(part: Part, target: Classes | Quantity | NextToken, answers: np.ndarray, content: str) -> Truth:
    if isinstance(target, NextToken):
        return Truth(answers[:, 1], answers, text_bytes(part, content))
    return truth_of(part, target, answers)


def _valued(figures: dict[str, float]) -> dict[str, dict[str, float]]:
    return {name: {"value": value} for name, value in figures.items()}
