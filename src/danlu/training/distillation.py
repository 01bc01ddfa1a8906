"""Knowledge distillation: losses that compare a student with a teacher, and the transform that adds its outputs.

A batch's target then holds the right answer and the teacher's logits side by side, [batch, 2 * outputs]; of tokens
[batch, length, 1 + outputs]. They are added after all random changes of the samples: looked up where samples never
change, else computed from the student's own inputs. The teacher's hidden states, where they are learned too, follow its
logits. The student's states are projected to the teacher's width by a `FeatureDistillation` module that is part of the
student in training: so it is stepped, averaged and checkpointed as all weights are, and removed before bundling.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from danlu.core.seeds import Seed
from danlu.data.loader import Batch
from danlu.models.hidden_states import HiddenStateHook, States, collect_hidden_states
from danlu.models.task_model import PROJECTION_NAME, TaskModel
from danlu.tasks.base import Loss, Task
from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.token_losses import IGNORED

DEFAULT_TEMPERATURE = 2.0


def distillation_loss(hard_loss: Loss, task: Task, temperature: float, weight: float) -> Loss:
    """Mix the task's own loss with the distance to the teacher's outputs, by `weight`.

    Args:
        hard_loss: the task's loss; takes logits [batch, outputs] and targets.
        task: knows the distance.
    """
    if task.per_token:
        return _token_distillation_loss(hard_loss, task, temperature, weight)

    def loss(logits: Tensor, target: Tensor, emphasis: LossWeighting) -> tuple[Tensor, int]:
        own, taught = target.chunk(2, dim=1)
        total, count = hard_loss(logits, task.hard_target(own), emphasis)
        return (1 - weight) * total + weight * task.soft_loss(logits.float(), taught, temperature), count

    return loss


def _token_distillation_loss(hard_loss: Loss, task: Task, temperature: float, weight: float) -> Loss:
    """Mix both losses over the tokens that count, logits [batch, length, outputs]."""

    def loss(logits: Tensor, target: Tensor, emphasis: LossWeighting) -> tuple[Tensor, int]:
        own = token_targets(target)
        total, count = hard_loss(logits, own, emphasis)
        counted = own != IGNORED
        soft = task.soft_loss(logits[counted].float(), target[..., 1:][counted], temperature)
        return (1 - weight) * total + weight * soft, count

    return loss


def token_targets(target: Tensor) -> Tensor:
    """Return the right answers, [batch, length], of a target that holds the teacher's too."""
    return target[..., 0].long()


def distillation_num_targets(num_targets: Callable[[Tensor], int], task: Task) -> Callable[[Tensor], int]:
    """Return how to count the targets of a loss when teacher outputs stand beside them."""
    return (lambda target: num_targets(token_targets(target))) if task.per_token else num_targets


class Teacher(Protocol):
    """Return teacher outputs of a batch, [batch, outputs] float32.

    They are the teacher's logits, followed by its hidden states where those are learned.
    """

    def __call__(self, batch: Batch) -> Tensor: ...


@dataclass(frozen=True)
class CachedTeacher:
    """Look up outputs computed once, [rows, outputs], on the device or in a file."""

    outputs: Tensor | np.ndarray

    def __call__(self, batch: Batch) -> Tensor:
        rows = batch.rows % len(self.outputs)
        if isinstance(self.outputs, np.ndarray):
            return torch.from_numpy(self.outputs[rows])
        return self.outputs.index_select(0, torch.from_numpy(rows).to(self.outputs.device))


@dataclass(frozen=True)
class OnlineTeacher:
    """Run the teacher on the student's inputs, which differ in every epoch.

    Attributes:
        compute_outputs: inputs -> outputs of the teacher in evaluation mode, in the student's order.
    """

    compute_outputs: Callable[[dict[str, Tensor]], Tensor]

    def __call__(self, batch: Batch) -> Tensor:
        return self.compute_outputs(batch.inputs)


@dataclass(frozen=True)
class DistillationTransform:
    """Append the teacher's outputs to a batch's target; the last transform of a loader.

    Attributes:
        num_classes: number of classes where targets are class codes, which become one-hot.
    """

    teacher: Teacher
    num_classes: int | None

    def __call__(self, batch: Batch, take: Callable[[Any], Batch]) -> Batch:
        own, taught = batch.target, self.teacher(batch).to(batch.target.device, torch.float32)
        if taught.dim() == 3:
            own = own[..., None]  # codes, which a float holds exactly up to 2^24
        elif own.dim() == 1:
            own = own[:, None] if self.num_classes is None else functional.one_hot(own, self.num_classes)
        return replace(batch, target=torch.cat([own.float(), taught], dim=-1))


def network_logits(model: nn.Module, inputs: dict[str, Tensor], task: Task) -> Tensor:
    """Return a network's logits, [batch, outputs] or [batch, length, outputs] of tokens, float32.

    An ensemble's are those of its members' mean prediction.
    """
    with torch.no_grad():
        found: Tensor = model(**inputs).float()
        return found if found.ndim == 2 or task.per_token else task.mean_of_members(found)


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

    def attach_states(
        self, model: nn.Module, given: Any, named: dict[str, Tensor], logits: Tensor
    ) -> ProjectedFeatures | None:
        """Return the student's states beside its logits, in training; a forward hook."""
        states = self.reader.pop_states()
        if not model.training:
            return None
        mapped = [project(values) for project, values in zip(self.projections, states, strict=True)]
        present = named.get("attention_mask") if self.reader.states == "layers" else None
        return ProjectedFeatures(logits, torch.stack(mapped, dim=1), present)


def add_feature_distillation(
    model: nn.Module, states: States, inputs: dict[str, Tensor], width: int, seed: Seed, model_name: str
) -> int:
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
