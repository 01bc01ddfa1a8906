"""Apply every parallel dimension to a whole model: what this process holds of it, and how it is called.

Tokens first, then layers, then matrices, then precision and recomputation, then samples: each step wraps the result of
the earlier ones.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from danlu.data.loader import Batch
from danlu.models.infer import EagerEvaluator, Evaluator
from danlu.recipe.sections.training import Training
from danlu.tasks.base import Head, Loss
from danlu.tasks.loss_weighting import LossWeighting
from danlu.training.distributed.data_parallel import apply_ddp, apply_fsdp
from danlu.training.distributed.parallel_context import ParallelContext
from danlu.training.distributed.sync_batch_norm import apply_sync_batch_norm
from danlu.training.precision import Precision

if TYPE_CHECKING:
    from danlu.training.distributed.pipeline_parallel import Pipeline

TensorDict = dict[str, Tensor]
LocalShard = Callable[[Batch], Batch]


@dataclass(frozen=True)
class ParallelModel:
    """Hold this process's part of a parallelized model.

    Attributes:
        model: the local weights, under the whole model's names.
        training_model: the module to call in training; unused in a pipeline.
        evaluator: evaluates it, all processes together.
        pipeline: its stages, if layers are split.
        local_tokens: returns this rank's tokens of a batch; None if it takes all.
    """

    model: nn.Module
    training_model: nn.Module
    evaluator: Evaluator
    pipeline: "Pipeline | None" = None
    local_tokens: LocalShard | None = None


def parallelize_model(
    model: nn.Module,
    parallel: ParallelContext,
    options: Training,
    precision: Precision,
    head: Head,
    loss: Loss,
    emphasis: LossWeighting,
    prepare: Callable[[nn.Module], None],
) -> ParallelModel:
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
    if parallel.groups.is_single_process:
        prepare(model)
        return ParallelModel(model, model, EagerEvaluator(model, head))
    layout = parallel.layout
    if parallel.options.syncs_batch_norm:
        apply_sync_batch_norm(model, parallel)
    if layout.pipeline > 1:
        return _apply_pp(model, parallel, precision, head, loss, emphasis, prepare)
    own_part, judge = None, None
    if layout.context > 1:
        own_part, judge = _apply_cp(model, parallel, head)
    if layout.tensor > 1:
        _apply_tp(model, parallel)
    prepare(model)
    called = _apply_data_parallel(model, parallel, precision)
    return ParallelModel(model, called, judge or EagerEvaluator(model, head), None, own_part)


def _apply_data_parallel(model: nn.Module, parallel: ParallelContext, precision: Precision) -> nn.Module:
    """Apply DDP or FSDP and move the weights to the device.

    FSDP moves one block after the other, so a device never holds more than its shards and a block.
    """
    if parallel.is_sharded and parallel.layout.dp_cp_size > 1:
        apply_fsdp(model, parallel, precision)
        return model
    model.to(precision.device)
    return model if parallel.options.local or parallel.is_sharded else apply_ddp(model, parallel)


def _apply_tp(model: nn.Module, parallel: ParallelContext) -> None:
    from danlu.training.distributed.tensor_parallel import apply_tp

    apply_tp(model, parallel.submesh("tensor"), parallel.options.sequence)


@dataclass(frozen=True)
class _ContextParallelEvaluator:
    """Evaluate a model whose ranks hold different tokens."""

    evaluator: EagerEvaluator
    local_tokens: LocalShard

    def predict(self, inputs: TensorDict, target: Tensor | None) -> Tensor:
        part = self.local_tokens(_batch(inputs, target))
        return self.evaluator.predict(part.inputs, part.target)

    def loss(self, inputs: TensorDict, target: Tensor) -> tuple[Tensor, int]:
        part = self.local_tokens(_batch(inputs, target))
        return self.evaluator.loss(part.inputs, part.target)


def _batch(inputs: TensorDict, target: Tensor | None) -> Batch:
    assert target is not None, "evaluating a language model needs the target tokens"
    return Batch(inputs, target, np.arange(len(target)), 0)


def _apply_cp(model: nn.Module, parallel: ParallelContext, head: Head) -> tuple[LocalShard, Evaluator]:
    from danlu.training.distributed.context_parallel import apply_cp, context_head, shard_sequence

    mesh = parallel.submesh("context")
    apply_cp(model, mesh)

    def own_part(batch: Batch) -> Batch:
        return shard_sequence(batch, mesh)

    return own_part, _ContextParallelEvaluator(EagerEvaluator(model, context_head(head, mesh)), own_part)


@dataclass(frozen=True)
class _PipelineEvaluator:
    """Evaluate a model in pipeline stages."""

    pipeline: "Pipeline"
    head: Head

    def predict(self, inputs: TensorDict, target: Tensor | None) -> Tensor:
        return self.pipeline.forward(inputs, target, self.head.predict)

    def loss(self, inputs: TensorDict, target: Tensor) -> tuple[Tensor, int]:
        return self.pipeline.losses(inputs, target, self.head.loss, LossWeighting())


def _apply_pp(
    model: nn.Module,
    parallel: ParallelContext,
    precision: Precision,
    head: Head,
    loss: Loss,
    emphasis: LossWeighting,
    prepare: Callable[[nn.Module], None],
) -> ParallelModel:
    from danlu.training.distributed.pipeline_parallel import STAGES_PER_RANK, Pipeline, local_stage_indices
    from danlu.training.distributed.pipeline_stages import build_stage, split_into_stages

    asked, mesh, ways = parallel.options, parallel.submesh("pipeline"), parallel.layout.pipeline
    count = ways * STAGES_PER_RANK[asked.schedule]
    split_into_stages(model, count)
    stages: list[nn.Module] = []
    for index in local_stage_indices(asked.schedule, mesh.get_local_rank(), ways):
        stage: nn.Module = build_stage(model, index, count)
        if parallel.layout.tensor > 1:
            _apply_tp(stage, parallel)
        prepare(stage)
        stages.append(_apply_data_parallel(stage, parallel, precision))
    pipeline = Pipeline(
        stages,
        mesh,
        asked.schedule,
        asked.microbatches or 2 * ways,
        loss,
        emphasis,
        autocast=precision.autocast,
        gradient_divisor=parallel.layout.dp_cp_size,
    )
    return ParallelModel(pipeline.model, pipeline.model, _PipelineEvaluator(pipeline, head), pipeline)


def empty_batch(batch: Batch) -> Batch:
    """Return an empty batch, for a process that has no share of it."""
    none: dict[str, Any] = {name: values[:0] for name, values in batch.inputs.items()}
    return replace(batch, inputs=none, target=batch.target[:0], rows=batch.rows[:0])
