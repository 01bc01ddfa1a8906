"""Hidden states of a teacher as hints for its student (Romero et al. 2015, FitNets; Jiao et al. 2020, TinyBERT).

The student's states are brought to the teacher's width by projections that stand in the student as `Hint` while it is
trained: so they are stepped, averaged and kept in checkpoints as all its weights are, and taken out before it is
bundled. A batch's target has the teacher's states behind all else, see `distilling`.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from danlu.core.seeds import Seed
from danlu.data.balance.emphasis import Emphasis
from danlu.models.heads import Loss
from danlu.models.hidden import StateReader, States, states_of
from danlu.models.parts import HINT, TaskModel

Distance = Literal["mse", "cosine"]


class Hinted(NamedTuple):
    """What a student with a hint answers in training.

    Attributes:
        logits: the student's own.
        states: projected to the teacher's width, [batch, layers, places, width].
        present: 1 where a place counts, [batch, places]; None where all do.
    """

    logits: Tensor
    states: Tensor
    present: Tensor | None


class Projection(nn.Module):
    """A linear map; no `nn.Linear`, which what looks for a network's own layers would take for its last.

    Args:
        generator: draws the weights as `nn.Linear` would.
    """

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound, generator=generator))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, values: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        return functional.linear(values, self.weight, self.bias)


class Hint(nn.Module):
    """The projections of a student's states, and what reads these. Hooks are methods of it, so that a copy of the
    student has hooks of its own.

    Args:
        reader: on the student.
        widths: of the student's states, [layers].
        width: of the teacher's.
    """

    def __init__(self, reader: StateReader, widths: list[int], width: int, seed: Seed) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed.value)
        self.reader = reader
        self.projections = nn.ModuleList(Projection(own, width, generator) for own in widths)
        self.handle: Any = None

    def join(self, model: nn.Module, given: Any, named: dict[str, Tensor], logits: Tensor) -> Hinted | None:
        """After the student's forward pass: its states beside its logits, in training."""
        states = self.reader.take()
        if not model.training:
            return None
        mapped = [project(values) for project, values in zip(self.projections, states, strict=True)]
        present = named.get("attention_mask") if self.reader.states == "layers" else None
        return Hinted(logits, torch.stack(mapped, dim=1), present)


def add_hint(model: nn.Module, states: States, inputs: dict[str, Tensor], width: int, seed: Seed, whose: str) -> int:
    """Have a model give its states, projected to a width, beside its logits in training.

    Args:
        inputs: some samples, on the model's device.
        whose: what a person calls the model.

    Returns:
        how many layers' states there are; 1 of features.

    Raises:
        ArgumentError: it has no such states.
    """
    reader = StateReader(model, states, whose)
    widths = [values.shape[-1] for values in states_of(model, reader, inputs, whose)]
    hint = Hint(reader, widths, width, seed).to(next(model.parameters()).device).train(model.training)
    model.add_module(HINT, hint)
    if isinstance(model, TaskModel):
        model.head_parts = (*model.head_parts, HINT)  # is new, and so is trained from the first step
    hint.handle = model.register_forward_hook(hint.join, with_kwargs=True)
    return len(widths)


def remove_hint(model: nn.Module) -> None:
    """Take a hint out of a model that may have one."""
    hint = getattr(model, HINT, None)
    if not isinstance(hint, Hint):
        return
    hint.handle.remove()
    hint.reader.close()
    delattr(model, HINT)
    if isinstance(model, TaskModel):
        model.head_parts = tuple(part for part in model.head_parts if part != HINT)


def teachers_layer(layer: int, students: int, teachers: int) -> int:
    """The teacher's layer for one of the student's, spread evenly: both last ones meet. All counted from 1."""
    return max(1, (2 * layer * teachers + students) // (2 * students))


def hinted(loss: Loss, distance: Distance, weight: float) -> Loss:
    """A loss of logits and, with a weight, the distance of states to the teacher's behind the target.

    The distance is the mean over layers, over places that count and, of `mse`, over a state's entries; summed over
    samples.
    """

    def with_hint(found: Hinted | Tensor, target: Tensor, emphasis: Emphasis) -> tuple[Tensor, int]:
        answered = cast(Hinted, found)
        states = answered.states.float()
        begin = target.shape[1] - states[0].numel()
        own, taught = target[:, :begin], target[:, begin:]
        total, count = loss(answered.logits, own, emphasis)
        apart = DISTANCES[distance](states, taught.view_as(states)).mean(dim=1)
        if answered.present is None:
            return total + weight * apart.mean(dim=1).sum(), count
        present = answered.present.to(apart.dtype)
        return total + weight * ((apart * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)).sum(), count

    return with_hint


def squared(states: Tensor, taught: Tensor) -> Tensor:
    """Mean squared difference over entries, [..., width] -> [...] (FitNets, TinyBERT)."""
    return (states - taught).square().mean(dim=-1)


def turned(states: Tensor, taught: Tensor) -> Tensor:
    """One less the cosine, [..., width] -> [...] (Sanh et al. 2019, DistilBERT)."""
    return 1 - functional.cosine_similarity(states, taught, dim=-1)


DISTANCES: dict[Distance, Callable[[Tensor, Tensor], Tensor]] = {"mse": squared, "cosine": turned}
