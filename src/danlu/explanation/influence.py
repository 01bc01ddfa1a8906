"""Which training rows taught a model an answer: TracIn over kept checkpoints (Pruthi et al. 2020).

https://arxiv.org/abs/2002.08484. The influence of a training row on a row is the sum over checkpoints of the learning
rate times the product of the gradients of their losses: by how much a step of plain gradient descent on the training
row lowers the loss of the other. Optimizers with moments step otherwise, so it ranks rows and is no change of a loss.
Where the run and its checkpoints are is `experiment.training_record`'s to say.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.data.loader import PreparedDataset
from danlu.models.base import Model
from danlu.recipe.sections.training import Finetune
from danlu.tasks.base import Head
from danlu.tasks.loss_weighting import LossWeighting

if TYPE_CHECKING:
    from torch import Tensor, nn

NO_GRADIENTS = ("tree", "boosting")
BATCH = 256  # training rows at a time
LISTED = 10  # rows to either side
SMALLEST_SHARE = 1e-9  # of the largest learning rate, below which a checkpoint says nothing


@dataclass(frozen=True)
class KeptCheckpoint:
    """Hold one checkpoint.

    Attributes:
        step: optimizer steps before it.
        lr: the learning rate there.
        load: puts its weights into a network built alike.
    """

    step: int
    lr: float
    load: "Callable[[nn.Module], None]"


@dataclass(frozen=True)
class TrainingRecord:
    """Hold what a run kept of its training.

    Attributes:
        network: built as it was trained.
        head: makes losses of its outputs.
        train: the prepared training rows, with their targets.
        numbers: their row numbers in the source, from 0, [rows].
        explained: the prepared rows that are explained, with their targets.
        checkpoints: oldest first.
    """

    network: "nn.Module"
    head: Head
    train: PreparedDataset
    numbers: np.ndarray
    explained: PreparedDataset
    checkpoints: tuple[KeptCheckpoint, ...]


@dataclass(frozen=True)
class Influence:
    """Hold the training rows that taught an answer most.

    Attributes:
        row: the explained row's number in its source, from 0.
        rows: training rows that were compared.
        steps: of the checkpoints.
        helped: (training row's number in the source, influence), the largest first; all above 0.
        hindered: the same of those below 0, the most hindering first.
        own: the influence that a copy of the row itself would have: the size of its gradients.
        shares: the influence of each training row, [rows].
    """

    row: int
    rows: int
    steps: tuple[int, ...]
    helped: tuple[tuple[int, float], ...]
    hindered: tuple[tuple[int, float], ...]
    own: float
    shares: np.ndarray
    method: str = "tracin"

    def to_json(self) -> dict[str, Any]:
        """Return the entry of `influence` in explanation.json."""
        sides = {
            name: [{"row": row, "value": value} for row, value in side]
            for name, side in (("helped", self.helped), ("hindered", self.hindered))
        }
        return {
            "row": self.row,
            "method": self.method,
            "rows": self.rows,
            "checkpoints": list(self.steps),
            "own": self.own,
            **sides,
        }


def refuse_model(model: Model, finetune: Finetune) -> str | None:
    """Say why a model will have no record of gradients; None where it will."""
    if model.name in NO_GRADIENTS:
        return f"needs a network that gradients trained; {model.name} fits itself"
    if finetune.adapts or finetune.freeze:
        return "needs a network of which all weights were trained"
    return None


def training_influences(record: TrainingRecord, rows: list[int]) -> Iterator[Influence]:
    """Compute the influence of all training rows on each row.

    Args:
        rows: places among the explained rows.
    """
    most = max(each.lr for each in record.checkpoints)
    used = [each for each in record.checkpoints if each.lr > SMALLEST_SHARE * most]
    for row in rows:
        shares, own = np.zeros(len(record.train)), 0.0
        for checkpoint in used:
            checkpoint.load(record.network)
            gradients = _gradients(record, row)
            own += checkpoint.lr * sum(float((each.double() ** 2).sum()) for each in gradients)
            shares += checkpoint.lr * _products(record, gradients)
        order = np.argsort(-shares, kind="stable")
        ranked = [(int(record.numbers[place]), float(shares[place])) for place in order]
        yield Influence(
            row,
            len(shares),
            tuple(each.step for each in used),
            tuple(each for each in ranked[:LISTED] if each[1] > 0),
            tuple(each for each in ranked[: -LISTED - 1 : -1] if each[1] < 0),
            own,
            shares,
        )


def _weights(network: "nn.Module") -> "list[Tensor]":
    return [weight for weight in network.parameters() if weight.requires_grad]


def _losses(record: TrainingRecord, data: PreparedDataset, places: np.ndarray) -> "list[Tensor]":
    """Return the loss of each row."""
    import torch

    inputs, target = data.take(places, torch.device("cpu"))
    assert target is not None, "tables have a target a row"
    outputs = record.network(**inputs)
    plain = LossWeighting()
    return [record.head.loss(outputs[at : at + 1], target[at : at + 1], plain)[0] for at in range(len(places))]


def _gradients(record: TrainingRecord, row: int) -> "list[Tensor]":
    import torch

    (loss,) = _losses(record, record.explained, np.array([row]))
    weights = _weights(record.network)
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    return [torch.zeros_like(w) if one is None else one for w, one in zip(weights, found, strict=True)]


def _products(record: TrainingRecord, gradients: "list[Tensor]") -> np.ndarray:
    """Return the product of each training row's gradient with the given one, [rows].

    A gradient weighted by u is linear in u, so the derivative by u of its product with the given one is the product of
    every single row's: two backward passes a batch instead of one a row.
    """
    import torch

    weights, count = _weights(record.network), len(record.train)
    found = []
    for start in range(0, count, BATCH):
        losses = torch.stack(_losses(record, record.train, np.arange(start, min(start + BATCH, count))))
        shares = torch.ones_like(losses, requires_grad=True)
        weighted = torch.autograd.grad(losses, weights, shares, create_graph=True, allow_unused=True)
        terms = [(one * given).sum() for one, given in zip(weighted, gradients, strict=True) if one is not None]
        (products,) = torch.autograd.grad(torch.stack(terms).sum(), shares)
        found.append(products.double().numpy())
    return np.concatenate(found)
