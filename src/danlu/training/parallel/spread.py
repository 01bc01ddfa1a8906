"""Apply every parallel dimension to a whole model: what this process holds of it, and how it is called.

Tokens first, then layers, then matrices, then precision and recomputation, then samples: each step wraps the result of
the earlier ones.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from danlu.data.balance.emphasis import Emphasis
from danlu.data.feed import Batch
from danlu.models.heads import Head, Loss
from danlu.models.infer import Called, Judge
from danlu.recipe.sections import Training
from danlu.training.parallel.batch_norm import synchronize
from danlu.training.parallel.group import Together
from danlu.training.parallel.replicas import replicate, shard
from danlu.training.precision import Precision

if TYPE_CHECKING:
    from danlu.training.parallel.pipeline import Pipeline

Tensors = dict[str, Tensor]
OwnPart = Callable[[Batch], Batch]


@dataclass(frozen=True)
class Spread:
    """Hold this process's part of a parallelized model.

    Attributes:
        model: the local weights, under the whole model's names.
        training_model: the module to call in training; unused in a pipeline.
        evaluator: evaluates it, all processes together.
        pipeline: its stages, if layers are split.
        local_tokens: returns this rank's tokens of a batch; None if it takes all.
    """

    model: nn.Module
    called: nn.Module
    judge: Judge
    pipeline: "Pipeline | None" = None
    own_part: OwnPart | None = None


def spread(
    model: nn.Module,
    together: Together,
    options: Training,
    precision: Precision,
    head: Head,
    loss: Loss,
    emphasis: Emphasis,
    prepare: Callable[[nn.Module], None],
) -> Spread:
    """Split a model as the layout says.

    Args:
        model: whole, the same in all processes; it is changed in place, and the local part moves to the device.
        parallel: the processes and their layout.
        options: the recipe's.
        precision: of training.
        head: the task's.
        loss: the training loss.
        emphasis: its class weighting.
        prepare: applies precision and memory options to a model or a stage.

    Raises:
        ArgumentError: the model cannot be split as asked; the message says why and what would work.
    """
    if together.team.alone:
        prepare(model)
        return Spread(model, model, Called(model, head))
    layout = together.layout
    if together.options.sync_batch_norm:
        synchronize(model, together)
    if layout.pipeline > 1:
        return _in_stages(model, together, precision, head, loss, emphasis, prepare)
    own_part, judge = None, None
    if layout.context > 1:
        own_part, judge = _by_tokens(model, together, head)
    if layout.tensor > 1:
        _split_matrices(model, together)
    prepare(model)
    called = _over_samples(model, together, precision)
    return Spread(model, called, judge or Called(model, head), None, own_part)


def _over_samples(model: nn.Module, together: Together, precision: Precision) -> nn.Module:
    """Apply DDP or FSDP and move the weights to the device.

    FSDP moves one block after the other, so a device never holds more than its shards and a block.
    """
    if together.splits_weights and together.layout.gradient_ways > 1:
        shard(model, together, precision)
        return model
    model.to(precision.device)
    return model if together.options.local or together.splits_weights else replicate(model, together)


def _split_matrices(model: nn.Module, together: Together) -> None:
    from danlu.training.parallel.tensor import parallelize_tensor

    parallelize_tensor(model, together.axis("tensor"), together.options.sequence)


@dataclass(frozen=True)
class _TokensJudge:
    """Evaluate a model whose ranks hold different tokens."""

    called: Called
    own_part: OwnPart

    def answer(self, inputs: Tensors, target: Tensor | None) -> Tensor:
        part = self.own_part(_batch(inputs, target))
        return self.called.answer(part.inputs, part.target)

    def loss(self, inputs: Tensors, target: Tensor) -> tuple[Tensor, int]:
        part = self.own_part(_batch(inputs, target))
        return self.called.loss(part.inputs, part.target)


def _batch(inputs: Tensors, target: Tensor | None) -> Batch:
    assert target is not None, "evaluating a language model needs the target tokens"
    return Batch(inputs, target, np.arange(len(target)), 0)


def _by_tokens(model: nn.Module, together: Together, head: Head) -> tuple[OwnPart, Judge]:
    from danlu.training.parallel.context import context_head, parallelize_context, split_tokens

    mesh = together.axis("context")
    parallelize_context(model, mesh)

    def own_part(batch: Batch) -> Batch:
        return split_tokens(batch, mesh)

    return own_part, _TokensJudge(Called(model, context_head(head, mesh)), own_part)


@dataclass(frozen=True)
class _StagesJudge:
    """Evaluate a model in pipeline stages."""

    pipeline: "Pipeline"
    head: Head

    def answer(self, inputs: Tensors, target: Tensor | None) -> Tensor:
        return self.pipeline.forward(inputs, target, self.head.answer)

    def loss(self, inputs: Tensors, target: Tensor) -> tuple[Tensor, int]:
        return self.pipeline.losses(inputs, target, self.head.loss, Emphasis())


def _in_stages(
    model: nn.Module,
    together: Together,
    precision: Precision,
    head: Head,
    loss: Loss,
    emphasis: Emphasis,
    prepare: Callable[[nn.Module], None],
) -> Spread:
    from danlu.training.parallel.pipeline import STAGES_A_PROCESS, Pipeline, stages_held
    from danlu.training.parallel.stages import cut, keep_stage

    asked, mesh, ways = together.options, together.axis("pipeline"), together.layout.pipeline
    count = ways * STAGES_A_PROCESS[asked.schedule]
    cut(model, count)
    stages: list[nn.Module] = []
    for index in stages_held(asked.schedule, mesh.get_local_rank(), ways):
        stage: nn.Module = keep_stage(model, index, count)
        if together.layout.tensor > 1:
            _split_matrices(stage, together)
        prepare(stage)
        stages.append(_over_samples(stage, together, precision))
    pipeline = Pipeline(
        stages,
        mesh,
        asked.schedule,
        asked.microbatches or 2 * ways,
        loss,
        emphasis,
        computing=precision.computing,
        averaged=together.layout.gradient_ways,
    )
    return Spread(pipeline.model, pipeline.model, _StagesJudge(pipeline, head), pipeline)


def without_samples(batch: Batch) -> Batch:
    """Return an empty batch, for a process that has no share of it."""
    none: dict[str, Any] = {name: values[:0] for name, values in batch.inputs.items()}
    return replace(batch, inputs=none, target=batch.target[:0], rows=batch.rows[:0])
