"""Which number of an answer is explained: a label's probability or a predicted number, and a model's raw scores.

In: a bundle's target and its outputs. Out: one number per row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from danlu.core.text import suggestion
from danlu.errors import ArgumentError
from danlu.tasks.base import Target
from danlu.tasks.classification import ClassTarget
from danlu.tasks.multi_output import MultiNumericTarget
from danlu.tasks.regression import NumericTarget

PREDICTION = "prediction"


@dataclass(frozen=True)
class Answer:
    """Hold one number of a model's answers.

    Attributes:
        name: the label or the output; None where there is only one.
        position: of it among the labels or outputs.
        is_probability: whether it is a probability, else a number in the target's units.
    """

    name: str | None
    position: int
    is_probability: bool

    def of(self, target: Target, outputs: np.ndarray) -> np.ndarray:
        """Return the number of each row, from calibrated outputs [rows, ...] -> [rows] float64."""
        if self.is_probability:
            return np.asarray(outputs[:, self.position], dtype=np.float64)
        columns = [name for name in target.decode(outputs[:1]).columns if name.startswith(PREDICTION)]
        return np.asarray(target.decode(outputs)[columns[self.position]].to_numpy(), dtype=np.float64)

    def score_of(self, target: Target, scores: np.ndarray) -> np.ndarray | None:
        """Return the score of each row, [rows]; None where the task has none.

        It is what a sum of columns adds up to.

        Args:
            scores: the network's outputs, [rows, outputs]: log odds of two classes, logits of more, a number's
                standardised value.
        """
        if self.is_probability:
            if scores.shape[1] != len(labels_of(target)):  # the borders of ordered classes
                return None
            own = np.asarray(scores[:, self.position], dtype=np.float64)
            return (
                own - scores[:, 1 - self.position] if isinstance(target, ClassTarget) and scores.shape[1] == 2 else own
            )
        if type(target) not in (NumericTarget, MultiNumericTarget):
            return None
        return self.of(target, scores)


def labels_of(target: Target) -> list[str]:
    """Return the labels that a target has probabilities of; none where it predicts numbers."""
    return [str(label) for label in getattr(target, "labels", ())]


def choose_answers(target: Target, outputs: np.ndarray, label: str | None) -> list[Answer]:
    """Choose what is explained of each row.

    Args:
        outputs: calibrated, [rows, ...].
        label: the label or output; by default the predicted label, of several labels the likeliest, of several numbers
            the first.

    Raises:
        ArgumentError: there is no such label, or the task has no number to explain.
    """
    labels = labels_of(target)
    if labels and outputs.ndim == 2 and outputs.shape[1] == len(labels):
        if label is not None:
            return [Answer(label, _position(labels, label, "label"), True)] * len(outputs)
        decided = target.decode(outputs)[PREDICTION]
        if decided.dtype.is_nested():
            return [Answer(labels[at], at, True) for at in outputs.argmax(axis=1).tolist()]
        return [Answer(name, labels.index(name), True) for name in map(str, decided.to_list())]
    decoded = target.decode(outputs[:1])
    names = [name for name in decoded.columns if name.startswith(PREDICTION)]
    if not names or not decoded[names[0]].dtype.is_numeric():
        raise ArgumentError(f"{target.task}: has no label or number to explain", code="DL409")
    named = [name.removeprefix(PREDICTION).removeprefix("_") for name in names]
    position = 0 if label is None else _position(named, label, "output")
    return [Answer(named[position] or None, position, False)] * len(outputs)


def _position(names: Sequence[str], name: str, noun: str) -> int:
    if name not in names:
        known = [each for each in names if each]
        told = suggestion(name, known) if known else "; the task predicts one number"
        raise ArgumentError(f"label: no {noun} {name!r}{told}", code="DL402")
    return list(names).index(name)
