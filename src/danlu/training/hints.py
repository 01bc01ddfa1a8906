"""Distillation of hidden states (Romero et al. 2015, FitNets; Jiao et al. 2020, TinyBERT).

The student's states are projected to the teacher's width by modules that are part of the student in training, and
removed before bundling.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from danlu.core.seeds import Seed
from danlu.data.balance.emphasis import LossWeighting
from danlu.models.heads import Loss
from danlu.models.hidden import HiddenStateHook, States, collect_hidden_states
from danlu.models.parts import PROJECTION_NAME, TaskModel

Distance = Literal["mse", "cosine"]


class ProjectedFeatures(NamedTuple):
    """Hold a student's outputs in training with feature distillation.

    Attributes:
        logits: the student's own.
        states: projected to the teacher's width, [batch, layers, places, width].
        mask: 1 where a place counts, [batch, places]; None where all do.
    """

    logits: Tensor
    states: Tensor
    mask: Tensor | None


class Projection(nn.Module):
    """Apply a linear map.

    Not an `nn.Linear`, which would be taken for the network's last layer.

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


class FeatureDistillation(nn.Module):
    """Project a student's hidden states to the teacher's width.

    Romero et al. 2015, FitNets, https://arxiv.org/abs/1412.6550; Jiao et al. 2020, TinyBERT,
    https://arxiv.org/abs/1909.10351. Hooks are methods of it, so that a copy of the student has hooks of its own.

    Args:
        reader: on the student.
        widths: of the student's states, [layers].
        width: of the teacher's.
    """

    def __init__(self, reader: HiddenStateHook, widths: list[int], width: int, seed: Seed) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed.value)
        self.reader = reader
        self.projections = nn.ModuleList(Projection(own, width, generator) for own in widths)
        self.handle: Any = None

    def attach_states(self, model: nn.Module, given: Any, named: dict[str, Tensor], logits: Tensor) -> ProjectedFeatures | None:
        """Return the student's states beside its logits, in training; a forward hook."""
        states = self.reader.pop_states()
        if not model.training:
            return None
        mapped = [project(values) for project, values in zip(self.projections, states, strict=True)]
        present = named.get("attention_mask") if self.reader.states == "layers" else None
        return ProjectedFeatures(logits, torch.stack(mapped, dim=1), present)


def add_feature_distillation(model: nn.Module, states: States, inputs: dict[str, Tensor], width: int, seed: Seed, model_name: str) -> int:
    """Make a model return its states, projected to a width, beside its logits in training.

    Args:
        inputs: some samples, on the model's device.
        model_name: name of the model in messages.

    Returns:
        number of layers whose states it returns; 1 for features.

    Raises:
        ArgumentError: it has no such states.
    """
    reader = HiddenStateHook(model, states, model_name)
    widths = [values.shape[-1] for values in collect_hidden_states(model, reader, inputs, model_name)]
    hint = FeatureDistillation(reader, widths, width, seed).to(next(model.parameters()).device).train(model.training)
    model.add_module(PROJECTION_NAME, hint)
    if isinstance(model, TaskModel):
        model.head_parts = (*model.head_parts, PROJECTION_NAME)  # new weights, trained from the first step
    hint.handle = model.register_forward_hook(hint.attach_states, with_kwargs=True)
    return len(widths)


def remove_feature_distillation(model: nn.Module) -> None:
    """Remove feature distillation from a model that may have it."""
    hint = getattr(model, PROJECTION_NAME, None)
    if not isinstance(hint, FeatureDistillation):
        return
    hint.handle.remove()
    hint.reader.close()
    delattr(model, PROJECTION_NAME)
    if isinstance(model, TaskModel):
        model.head_parts = tuple(part for part in model.head_parts if part != PROJECTION_NAME)


def teacher_layer(layer: int, num_student_layers: int, num_teacher_layers: int) -> int:
    """Return the teacher's layer for a student's layer, spread evenly.

    All are counted from 1; the last layers match.
    """
    return max(1, (2 * layer * num_teacher_layers + num_student_layers) // (2 * num_student_layers))


def feature_distillation_loss(loss: Loss, distance: Distance, weight: float) -> Loss:
    """Add the weighted distance of states to the teacher's to a loss.

    The teacher's states follow the target's other columns.

    The distance is the mean over layers, over places that count and, of `mse`, over a state's entries; summed over
    samples.
    """

    def with_hint(found: ProjectedFeatures | Tensor, target: Tensor, emphasis: LossWeighting) -> tuple[Tensor, int]:
        answered = cast(ProjectedFeatures, found)
        states = answered.states.float()
        begin = target.shape[1] - states[0].numel()
        own, taught = target[:, :begin], target[:, begin:]
        total, count = loss(answered.logits, own, emphasis)
        apart = DISTANCES[distance](states, taught.view_as(states)).mean(dim=1)
        if answered.mask is None:
            return total + weight * apart.mean(dim=1).sum(), count
        present = answered.mask.to(apart.dtype)
        return total + weight * ((apart * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)).sum(), count

    return with_hint


def mse(states: Tensor, teacher_states: Tensor) -> Tensor:
    """Return the mean squared difference over entries, [..., width] -> [...].

    As in FitNets and TinyBERT.
    """
    return (states - teacher_states).square().mean(dim=-1)


def cosine_distance(states: Tensor, teacher_states: Tensor) -> Tensor:
    """Return 1 - cosine similarity, [..., width] -> [...].

    Sanh et al. 2019, DistilBERT, https://arxiv.org/abs/1910.01108.
    """
    return 1 - functional.cosine_similarity(states, teacher_states, dim=-1)


DISTANCES: dict[Distance, Callable[[Tensor, Tensor], Tensor]] = {"mse": mse, "cosine": cosine_distance}
