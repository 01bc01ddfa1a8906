"""What follows a network, as a torch module: calibration, activation, units. Exporters put it behind the network."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from danlu.models.answer_folding import UNBEND, Affine, AnswerSteps, Placement, Step, answer_steps, holds_offset
from danlu.tasks.base import Target
from danlu.tasks.bends import BENDS, LARGEST, LEAST
from danlu.tasks.calibrations import Temperature
from danlu.tasks.poisson import CountTarget
from danlu.tasks.table import task_of

LOGITS, PROBABILITIES, PREDICTION = "logits", "probabilities", "prediction"
SMALLEST = float(np.finfo(np.float32).smallest_subnormal)


class Answers(nn.Module):
    """Turn logits into what danlu answers: probabilities, or numbers in the target's units.

    Attributes:
        is_double: whether numbers are computed with 64 bits, which keep the digits of any mean.
    """

    def __init__(self, target: Target, is_double: bool = True) -> None:
        super().__init__()
        self.target, self.is_double = target, is_double
        self.steps = answer_steps(target)
        self.predict = task_of(target).head(target).predict if _answers_rows(self.steps) else None
        self.units = _units(target, is_double)
        self.bend, self.exponent = str(getattr(target, "bend", "none")), float(getattr(target, "exponent", 1.0))
        if self.units is not None:
            width = torch.float64 if is_double else torch.float32
            self.register_buffer("scale", torch.tensor(self.units.scale, dtype=width), persistent=False)
            self.register_buffer("offset", torch.tensor(self.units.offset, dtype=width), persistent=False)

    @property
    def output(self) -> str:
        """The name of what it gives."""
        if self.predict is None:
            return LOGITS
        return PROBABILITIES if self.steps.activation in ("softmax", "sigmoid", "ordinal") else PREDICTION

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns of what it gives."""
        labels = getattr(self.target, "labels", None) if self.output == PROBABILITIES else None
        return tuple(map(str, labels)) if labels is not None else self.steps.names

    def forward(self, logits: Tensor) -> Tensor:
        """Map logits [batch, outputs] or [batch, members, outputs] to [batch, answers].

        Logits of tokens stay as they are.
        """
        if self.predict is None:
            return logits
        found = self.predict(logits, None)
        temperature = _temperature(self.target)
        if temperature is not None:
            cooled = found.double().clamp_min(SMALLEST).log() / temperature
            return cooled.softmax(dim=1).float()
        if self.units is None:
            return found
        scale, offset = self.get_buffer("scale"), self.get_buffer("offset")
        return unbend(found.to(scale.dtype) * scale + offset, self.bend, self.exponent)

    @property
    def is_calibrated(self) -> bool:
        """Whether nothing is left of the calibration to do behind these."""
        return getattr(self.target, "calibration", None) is None or _temperature(self.target) is not None

    def undo(self, answers: np.ndarray) -> np.ndarray:
        """Return the outputs that a Predictor has for these answers.

        They are before the calibration that is left to do."""
        if self.units is None:
            return answers
        bent = BENDS[self.bend](answers.astype(np.float64), self.exponent)
        return np.asarray((bent - self.units.offset) / self.units.scale)

    def placement(self, inside: tuple[str, ...], outside: tuple[Step, ...]) -> Placement:
        """Say which steps a file holds that has these behind its network.

        Args:
            inside, outside: the steps of the preparation.
        """
        done, left = list(inside), list(outside)
        if self.predict is None:
            left += [Step("activation", self.steps.activation)] if self.steps.activation else []
            return Placement(tuple(done), (*left, *self.steps.decisions))
        affine = self.steps.affine
        has_offset = self.units is None or bool(self.units.offset.any()) or isinstance(self.target, CountTarget)
        for step in affine.steps if affine is not None else ():
            if step.what == "mean" and not has_offset and np.any(step.value):
                left.append(step)
            else:
                done.append(step.what)
        if _temperature(self.target) is not None and "temperature" not in done:
            done.append("temperature")
        if self.steps.activation is not None:
            done.append(self.steps.activation)
        done += [UNBEND] if self.bend != "none" else []
        decisions = [step for step in self.steps.decisions if step.what not in ("temperature", "labels", UNBEND)]
        return Placement(tuple(done), (*left, *decisions))


def unbend(values: Tensor, bend: str, exponent: float) -> Tensor:
    """Undo the power transform of a target: `danlu.tasks.bends.UNBENDS` for tensors."""
    if bend == "none":
        return values
    size = values.abs()

    def grown(power: float) -> Tensor:
        whole = size.expm1() if power == 0 else ((power * size).clamp_min(LEAST - 1).log1p() / power).expm1()
        return whole.clamp_max(LARGEST)

    if bend == "log1p":
        return values.sign() * grown(0.0)
    return torch.where(values < 0, -grown(2 - exponent), grown(exponent))


def _answers_rows(steps: AnswerSteps) -> bool:
    """Return whether a sample has one answer, not one a token."""
    return bool(steps.names) and steps.activation != "first-token"


def _temperature(target: Target) -> float | None:
    calibration: Any = getattr(target, "calibration", None)
    return calibration.temperature if isinstance(calibration, Temperature) else None


def _units(target: Target, is_double: bool) -> Affine | None:
    """Return what turns a head's predictions into the target's units; None for probabilities."""
    steps = answer_steps(target)
    if steps.problem != "regression" or steps.affine is None:
        return None
    if isinstance(target, CountTarget):  # multiples of the mean
        return Affine(np.array([float(target.mean)]), np.zeros(1))
    bent = getattr(target, "bend", "none") != "none"  # what undoes it needs the offset before it
    return steps.affine if bent or is_double or holds_offset(steps.affine) else steps.affine.without_offset()


class Answered(nn.Module):
    """Put answers behind a network."""

    def __init__(self, network: nn.Module, answers: Answers) -> None:
        super().__init__()
        self.network, self.answers = network, answers

    def forward(self, **inputs: Tensor) -> Tensor:
        """Return the answers for a network's inputs."""
        found: Tensor = self.answers(self.network(**inputs))
        return found
