"""Knowledge distillation: a loss that also asks to answer as a teacher does, and what brings its answers to the loss.

A batch's target then has the right answer and the teacher's logits side by side, [batch, 2 * outputs], of tokens
[batch, length, 1 + outputs]. They come behind
all random changes of the samples: looked up where samples never change, else computed from what the student is given.
The teacher's hidden states, where they are learned too, come behind its logits (`hints`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from danlu.data.balance.emphasis import Emphasis
from danlu.data.feed import Batch
from danlu.data.sequences import IGNORED
from danlu.models.heads import Loss

TEMPERATURE = 2.0
LOWEST = -1e4  # of a log-probability; exp of it is 0, and 0 * -1e4 is 0 where 0 * -inf is none
Soft = Callable[[Tensor, Tensor, float], Tensor]


def soft_classes(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) of the classes' probabilities at temperature T, summed (Hinton et al. 2015).

    T^2 keeps the size of the gradient, which a temperature makes smaller by as much.
    """
    student = torch.log_softmax(logits / temperature, dim=1)
    teacher = torch.log_softmax(taught / temperature, dim=1).clamp(min=LOWEST)
    return temperature**2 * (teacher.exp() * (teacher - student)).sum()


def soft_labels(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """As `soft_classes` of each label and its absence, the mean over labels."""
    terms = [
        functional.logsigmoid(sign * taught / temperature).exp()
        * (functional.logsigmoid(sign * taught / temperature) - functional.logsigmoid(sign * logits / temperature))
        for sign in (1, -1)
    ]
    return temperature**2 * (terms[0] + terms[1]).sum() / logits.shape[1]


def soft_numbers(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """Squared distance to the teacher's standardised predictions, summed; numbers have no temperature."""
    return functional.mse_loss(logits, taught, reduction="sum")


SOFT: dict[str, Soft] = {"classification": soft_classes, "multi-label": soft_labels, "regression": soft_numbers}
OF_TOKENS = ("token-classification", "language-modelling")  # one answer of many a token


def distilled(hard: Loss, task: str, temperature: float, weight: float) -> Loss:
    """(1 - weight) of a task's own loss and `weight` of the distance to the teacher's answers.

    Args:
        hard: takes logits [batch, outputs] and answers.
        task: what is learned.
    """
    if task in OF_TOKENS:
        return _of_tokens(hard, temperature, weight)
    soft = SOFT[task]

    def loss(logits: Tensor, target: Tensor, emphasis: Emphasis) -> tuple[Tensor, int]:
        own, taught = target.chunk(2, dim=1)
        total, count = hard(logits, own[:, 0] if task == "regression" else own, emphasis)
        return (1 - weight) * total + weight * soft(logits.float(), taught, temperature), count

    return loss


def _of_tokens(hard: Loss, temperature: float, weight: float) -> Loss:
    """As `distilled` of the tokens that count, logits [batch, length, outputs]."""

    def loss(logits: Tensor, target: Tensor, emphasis: Emphasis) -> tuple[Tensor, int]:
        own = answers_of_tokens(target)
        total, count = hard(logits, own, emphasis)
        counted = own != IGNORED
        soft = soft_classes(logits[counted].float(), target[..., 1:][counted], temperature)
        return (1 - weight) * total + weight * soft, count

    return loss


def answers_of_tokens(target: Tensor) -> Tensor:
    """The right answers, [batch, length], of a target with a teacher's beside them."""
    return target[..., 0].long()


def counted(count: Callable[[Tensor], int], task: str) -> Callable[[Tensor], int]:
    """How many answers a loss is summed over, of a target with a teacher's beside them."""
    return (lambda target: count(answers_of_tokens(target))) if task in OF_TOKENS else count


class Teacher(Protocol):
    """What gives a batch's lesson, [batch, outputs] float32: the teacher's logits, behind them its states if wanted."""

    def __call__(self, batch: Batch) -> Tensor: ...


@dataclass(frozen=True)
class LookedUp:
    """Lessons that were computed once, [rows, outputs]: on the device, or in a file of which rows are read."""

    lessons: Tensor | np.ndarray

    def __call__(self, batch: Batch) -> Tensor:
        rows = batch.rows % len(self.lessons)
        if isinstance(self.lessons, np.ndarray):
            return torch.from_numpy(self.lessons[rows])
        return self.lessons.index_select(0, torch.from_numpy(rows).to(self.lessons.device))


@dataclass(frozen=True)
class Asked:
    """A teacher that is given what the student is given, since that differs in every epoch.

    Attributes:
        lesson: of the network in evaluation mode, with its outputs as the student's are.
    """

    lesson: Callable[[dict[str, Tensor]], Tensor]

    def __call__(self, batch: Batch) -> Tensor:
        return self.lesson(batch.inputs)


@dataclass(frozen=True)
class Taught:
    """Puts the teacher's lesson beside the answers of a batch; the last of a feed's changes.

    Attributes:
        classes: how many, where the answers are codes of classes; they become shares.
    """

    teacher: Teacher
    classes: int | None

    def __call__(self, batch: Batch, take: Callable[[Any], Batch]) -> Batch:
        own, taught = batch.target, self.teacher(batch).to(batch.target.device, torch.float32)
        if taught.dim() == 3:
            own = own[..., None]  # codes of tokens' answers, which a float holds exactly up to 2^24
        elif own.dim() == 1:
            own = own[:, None] if self.classes is None else functional.one_hot(own, self.classes)
        return replace(batch, target=torch.cat([own.float(), taught], dim=-1))


def logits_of(model: nn.Module, inputs: dict[str, Tensor], task: str) -> Tensor:
    """A network's logits, [batch, outputs] or [batch, length, outputs] of tokens, float32.

    Of an ensemble they are those of its members' mean answer.
    """
    with torch.no_grad():
        found: Tensor = model(**inputs).float()
        if found.ndim == 2 or task in OF_TOKENS:
            return found
        if task == "classification":
            return torch.log_softmax(found, dim=2).logsumexp(dim=1)
        if task == "multi-label":
            there, absent = (functional.logsigmoid(sign * found).logsumexp(dim=1) for sign in (1, -1))
            return there - absent
        return found.mean(dim=1)
