"""Which number of a network's outputs is explained: of arrays as the bundle answers, of tensors for gradients.

In: a predictor's target and head, and what was chosen. Out: a `Readout`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from danlu.explanation.answers import Answer, choose_answers
from danlu.tasks.activations import softmax

if TYPE_CHECKING:
    from torch import Tensor

    from danlu.models.predictor import Predictor


@dataclass(frozen=True)
class Readout:
    """Hold a number of a network's outputs in two forms.

    Attributes:
        label: the label, output or token; None where there is one number.
        scale: of `number`: `probability` or `number`.
        number: outputs of an engine, [rows, ...] -> [rows] float64.
        score_scale: of `score`: `score` or `number`.
        score: the network's outputs as a tensor, [rows, ...] -> [rows]; None where they have no such number.
        unit: what an error of 1 means: 1 of a probability, a standard deviation of a number.
    """

    label: str | None
    scale: str
    number: Callable[[np.ndarray], np.ndarray]
    score_scale: str
    score: "Callable[[Tensor], Tensor] | None"
    unit: float = 1.0


def read_answer(predictor: "Predictor", answer: Answer) -> Readout:
    """Read a label's probability or a number.

    Its score is an affine map of the network's outputs.
    """
    target, said = predictor.target, predictor.head.answer
    assert said is not None, "tasks with one answer a row are answered by every engine"

    def number(outputs: np.ndarray) -> np.ndarray:
        return answer.of(target, target.calibrate(said(outputs, None)))

    width = target.outputs
    ends = answer.score_of(target, np.concatenate([np.zeros((1, width)), np.eye(width)]))
    scale = "probability" if answer.is_probability else "number"
    if ends is None:
        return Readout(answer.name, scale, number, "score", None)
    slopes = ends[1:] - ends[0]

    def score(outputs: "Tensor") -> "Tensor":
        return outputs @ outputs.new_tensor(slopes) + float(ends[0])

    unit = 1.0 if answer.is_probability else float(np.abs(slopes).max())
    return Readout(answer.name, scale, number, "score" if answer.is_probability else "number", score, unit)


def choose_readout(predictor: "Predictor", outputs: np.ndarray, label: str | None) -> Readout:
    """Choose what is explained of one row, from the network's outputs, [1, ...].

    Raises:
        ArgumentError: there is no such label.
    """
    said = predictor.head.answer
    assert said is not None, "tasks with one answer a row are answered by every engine"
    (answer,) = choose_answers(predictor.target, predictor.target.calibrate(said(outputs, None)), label)
    return read_answer(predictor, answer)


def read_token(label: str, place: int, code: int, *, of_words: bool) -> Readout:
    """Read the probability of a code at a place of outputs [rows, length, codes].

    Args:
        of_words: whether codes are tags, whose score is the logit; else tokens, whose score is the log-probability.
    """

    def number(outputs: np.ndarray) -> np.ndarray:
        return softmax(outputs[:, place].astype(np.float64))[:, code]

    def score(outputs: "Tensor") -> "Tensor":
        logits = outputs[:, place]
        return logits[:, code] if of_words else logits.log_softmax(dim=1)[:, code]

    return Readout(label, "probability", number, "score", score)
