"""Pipeline parallelism: the stages of this process and the schedule in which they work on microbatches.

In: stage modules from `build_stage`, sharded or wrapped as other dimensions need. Out: gradients in their weights, and
losses and answers on every process of the pipeline. Schedules and messages are torch's.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.pipelining import PipelineStage, schedules
from torch.nn.parallel import DistributedDataParallel

from danlu.core.torch_compat import is_replicate_module
from danlu.data.loader import Batch
from danlu.errors import ArgumentError
from danlu.tasks.base import Loss
from danlu.tasks.loss_weighting import LossWeighting
from danlu.training.distributed.microbatches import (
    Microbatch,
    drop_padding_rows,
    hidden_or_logits,
    split_into_microbatches,
)
from danlu.training.distributed.pipeline_stages import Stage, merge_stages
from danlu.training.memory.activation_checkpointing import CheckpointedForward

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

STAGES_PER_RANK = {"gpipe": 1, "1f1b": 1, "interleaved": 2, "zero-bubble": 2}
SCHEDULES: dict[str, Any] = {
    "gpipe": schedules.ScheduleGPipe,  # Huang et al. 2019, https://arxiv.org/abs/1811.06965
    "1f1b": schedules.Schedule1F1B,  # Narayanan et al. 2019, https://arxiv.org/abs/1806.03377
    "interleaved": schedules.ScheduleInterleaved1F1B,  # Narayanan et al. 2021, https://arxiv.org/abs/2104.04473
    "zero-bubble": schedules.ScheduleInterleavedZeroBubble,  # ZB1P, Qi et al. 2024, https://arxiv.org/abs/2401.10241
}
MAX_CACHED_SCHEDULES = 4  # batch shapes whose buffers are kept: whole batches, an epoch's last, and those of validation
MAX_OUTPUT_DIMS = 6  # of an output
OutputFunction = Callable[[Any, Tensor | None], Tensor]


def local_stage_indices(schedule: str, place: int, ways: int) -> list[int]:
    """Return the indices of the stages that a rank of the pipeline holds.

    There are `ways * STAGES_PER_RANK[schedule]` in all.
    """
    return [place + turn * ways for turn in range(STAGES_PER_RANK[schedule])]


def check_microbatches(schedule: str, count: int, ways: int) -> None:
    """Raise ArgumentError if a schedule cannot take this number of microbatches."""
    where = f"training.parallel.microbatches: {count} with schedule {schedule} over {ways} processes"
    if schedule == "1f1b" and count < ways:
        raise ArgumentError(f"{where}: take at least {ways}, or schedule gpipe", code="DL603")
    rounds = max(1, count // ways)
    if STAGES_PER_RANK[schedule] > 1 and count % rounds:
        raise ArgumentError(f"{where}: take a multiple of {ways}", code="DL603")


class Pipeline:
    """Run this process's stages over microbatches in turn with the other ranks.

    Every process of the pipeline calls the same methods with the same batches.

    Args:
        stages: those of `local_stage_indices`, in order; from `build_stage`, perhaps wrapped by FSDP or DDP.
        mesh: the processes of this pipeline, one-dimensional.
        schedule: a name of `SCHEDULES`.
        num_microbatches: microbatches per batch.
        loss: (logits, target, emphasis) -> the summed loss and the number of answers.
        emphasis: the loss's class weighting.
        autocast: returns the context of a forward pass and its loss.
        hidden_dtype: the dtype of hidden states between stages: that of the weights, which loses nothing.
        gradient_divisor: the number by which DDP and FSDP divide gradients after a backward pass.

    Attributes:
        model: the weights that this process holds, under the whole model's names.
        is_last: whether this process computes the logits.
    """

    def __init__(
        self,
        stages: Sequence[nn.Module],
        mesh: "DeviceMesh",
        schedule: str,
        num_microbatches: int,
        loss: Loss,
        emphasis: LossWeighting,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
        hidden_dtype: torch.dtype = torch.float32,
        gradient_divisor: int = 1,
    ) -> None:
        check_microbatches(schedule, num_microbatches, mesh.size())
        self.stages, self.schedule, self.num_microbatches = list(stages), schedule, num_microbatches
        self.loss, self.emphasis, self.autocast, self.hidden_dtype = loss, emphasis, autocast, hidden_dtype
        self.gradient_divisor = gradient_divisor
        self.group = mesh.get_group()
        plain = [_unwrap(stage) for stage in self.stages]
        assert [stage.index for stage in plain] == local_stage_indices(schedule, mesh.get_local_rank(), mesh.size())
        if schedule == "zero-bubble":
            _prepare_zero_bubble(self.stages)
        self.model, self.width = merge_stages([*plain]), plain[0].width
        self.is_last = plain[-1].index == plain[-1].count - 1
        self.last_rank = distributed.get_global_rank(self.group, mesh.size() - 1)
        self._schedules: dict[tuple[bool, int, int], _BoundSchedule] = {}

    def backward(self, batch: Batch, count: int, scale: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Accumulate the gradients of the summed loss / count in this process's stages.

        Args:
            batch: the whole batch of this pipeline.
            count: the divisor of the loss: the number of answers in the global batch.
            scale: fp16's loss scaling, `GradScaler.scale`.

        Returns:
            the summed loss, fp32, a scalar on the device, the same on every process of the pipeline.
        """
        sums: list[Tensor] = []

        def finish(logits: Any, part: Microbatch) -> Tensor:
            if part.num_real == 0:  # a mean over no samples would be NaN
                return 0.0 * hidden_or_logits(logits).sum()
            total, _ = self.loss(logits, part.target, self.emphasis)  # type: ignore[arg-type]
            sums.append(total.detach().float())
            share = total * (self.gradient_divisor / max(1, count))
            return share if scale is None else scale(share)

        self._run_schedule(batch.inputs, batch.target, finish, training=True)
        summed = torch.stack(sums).sum() if sums else torch.zeros((), device=batch.target.device)
        distributed.broadcast(summed, self.last_rank, self.group)
        return summed

    def forward(self, inputs: dict[str, Tensor], target: Tensor | None, compute: OutputFunction) -> Tensor:
        """Compute a function of the logits without gradients, on every process of the pipeline.

        Args:
            inputs: of a batch.
            target: its answers, if known.
            compute: (logits, target) of a microbatch -> [rows, …], any number of rows; see `losses`.

        Returns:
            the microbatches' rows concatenated, [rows, …], fp32.
        """
        found: list[Tensor] = []

        def finish(logits: Any, part: Microbatch) -> Tensor:
            if part.num_real > 0:
                found.append(compute(logits, part.target).float())
            return hidden_or_logits(logits).new_zeros(())

        # Buffers and FSDP's gathered weights outlive the call; inference-mode tensors must not.
        with torch.inference_mode(False), torch.no_grad():
            self._run_schedule(inputs, target, finish, training=False)
            return self._broadcast(torch.cat(found) if self.is_last else None, _device_of(inputs))

    def losses(
        self, inputs: dict[str, Tensor], target: Tensor, loss: Loss, emphasis: LossWeighting
    ) -> tuple[Tensor, int]:
        """Return the summed loss and the number of answers, without gradients."""

        def judge(logits: Any, target: Tensor | None) -> Tensor:
            assert target is not None
            total, count = loss(logits, target, emphasis)
            return torch.stack([total.float(), total.new_tensor(float(count), dtype=torch.float32)])[None]

        total, count = self.forward(inputs, target, judge).sum(dim=0)
        return total, int(count)

    def _run_schedule(
        self,
        inputs: dict[str, Tensor],
        target: Tensor | None,
        finish: Callable[[Any, Microbatch], Tensor],
        training: bool,
    ) -> None:
        parts = split_into_microbatches(inputs, target, self.num_microbatches)
        rows, length = parts[0].inputs["input_ids"].shape
        run = self._schedules.pop((training, rows, length), None)
        if run is None:
            run = self._build_schedule(training, rows, length, _device_of(inputs))
        self._schedules[training, rows, length] = run
        if len(self._schedules) > MAX_CACHED_SCHEDULES:
            del self._schedules[next(iter(self._schedules))]
        run(parts, finish)

    def _build_schedule(self, training: bool, rows: int, length: int, device: torch.device) -> "_BoundSchedule":
        # torch allocates a schedule's buffers for one shape, so there is one schedule per shape.
        hidden = torch.empty(rows, length, self.width, dtype=self.hidden_dtype, device="meta", requires_grad=training)
        made = [_ScheduledStage(stage, hidden, device, self.group, self.autocast) for stage in self.stages]
        # Without backward passes 1F1B equals GPipe.
        name = "gpipe" if self.schedule == "1f1b" and not training else self.schedule
        schedule = SCHEDULES[name](
            made[0] if STAGES_PER_RANK[name] == 1 else made,
            self.num_microbatches,
            loss_fn=_identity_loss if training else None,
            scale_grads=False,
        )
        return _BoundSchedule(made, schedule, self.num_microbatches)

    def _broadcast(self, found: Tensor | None, device: torch.device) -> Tensor:
        """Broadcast a tensor from the last stage's process."""
        shape = torch.zeros(1 + MAX_OUTPUT_DIMS, dtype=torch.int64, device=device)
        if found is not None:
            shape[0] = found.ndim
            shape[1 : 1 + found.ndim] = torch.tensor(found.shape)
        distributed.broadcast(shape, self.last_rank, self.group)
        dimensions, *sizes = shape.tolist()
        if found is None:
            found = torch.empty(sizes[:dimensions], device=device)
        found = found.contiguous()
        distributed.broadcast(found, self.last_rank, self.group)
        return found


class _ScheduledStage(PipelineStage):
    """Adapt a stage to torch's schedules.

    Inputs and targets do not travel: each process has the batch.

    Args:
        module: the stage's module.
        hidden: an example of the hidden states that are passed on.
        autocast: returns the context of a forward pass and its loss.
    """

    def __init__(
        self,
        module: nn.Module,
        hidden: Tensor,
        device: torch.device,
        group: distributed.ProcessGroup,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> None:
        plain = _unwrap(module)
        first, last = plain.index == 0, plain.index == plain.count - 1
        # Given the shapes, torch does not infer them with a forward and a backward pass.
        super().__init__(
            module,
            plain.index,
            plain.count,
            device,
            input_args=() if first else (hidden,),
            output_args=(hidden.new_empty(()),) if last else (hidden,),
            group=group,
        )
        self.hidden_dtype, self.autocast = hidden.dtype, autocast
        self.microbatches: list[Microbatch] = []
        self.finish: Callable[[Any, Microbatch], Tensor] | None = None
        self._microbatch: Microbatch | None = None

    def forward_one_chunk(
        self,
        fwd_chunk_id: int,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None = None,
        save_forward_output: bool = True,
    ) -> Any:
        """Override torch's method, which passes no inputs of the microbatch."""
        self._microbatch = self.microbatches[fwd_chunk_id]
        return super().forward_one_chunk(fwd_chunk_id, (), {}, save_forward_output)

    def forward_maybe_with_nosync(self, *received: Tensor) -> Tensor:
        """Return hidden states for the next stage, or the result of the last one."""
        part = self._microbatch
        assert part is not None
        with self.autocast():
            found = super().forward_maybe_with_nosync(  # type: ignore[no-untyped-call]
                received[0] if received else None, **part.inputs
            )
            if self.is_last:
                assert self.finish is not None
                return self.finish(drop_padding_rows(found, part.num_real), part)
        found = found.to(self.hidden_dtype).contiguous()
        # If all weights so far are frozen, the next stage still sends a gradient, which must be received.
        if torch.is_grad_enabled() and not found.requires_grad:
            found.requires_grad_()
        passed: Tensor = found
        return passed


@dataclass(frozen=True)
class _BoundSchedule:
    """Bind a schedule to batches of one shape."""

    stages: list[_ScheduledStage]
    schedule: Any
    num_microbatches: int

    def __call__(self, parts: list[Microbatch], finish: Callable[[Any, Microbatch], Tensor]) -> None:
        for worker in self.stages:
            worker.microbatches, worker.finish = parts, finish
        # The schedule requires a target for its loss function; the loss is computed already.
        self.schedule.step(target=torch.zeros(self.num_microbatches), return_outputs=False)
        for worker in self.stages:
            worker.microbatches, worker.finish, worker._microbatch = [], None, None
            worker.clear_runtime_states()


def _device_of(inputs: dict[str, Tensor]) -> torch.device:
    return next(iter(inputs.values())).device


def _identity_loss(loss: Tensor, _: Tensor) -> Tensor:
    return loss


def _unwrap(module: nn.Module) -> Stage:
    inner = module.module if isinstance(module, DistributedDataParallel) else module
    assert isinstance(inner, Stage)
    return inner


def _prepare_zero_bubble(modules: list[nn.Module]) -> None:
    """Check that a split backward pass (inputs, then weights) reaches every weight.

    Raises:
        ArgumentError: it would not.
    """
    if any(isinstance(module, DistributedDataParallel) for module in modules):
        # A split backward pass does not fire DDP's gradient hooks, so nothing would be summed.
        raise ArgumentError(
            "training.parallel: schedule zero-bubble does not work with data, whose gradients would not be summed; use "
            "schedule interleaved, or shard instead of data",
            code="DL603",
        )
    for part in (part for module in modules for part in module.modules()):
        if isinstance(part.forward, CheckpointedForward) and part.forward.selective:
            raise ArgumentError(
                "training.memory.checkpointing: selective supports one backward pass per block, and schedule "
                "zero-bubble needs two; use full, or schedule interleaved",
                code="DL603",
            )
        if isinstance(part, FSDPModule) and not is_replicate_module(part):
            # Weights resharded after the forward pass are not the tensors that the weight pass looks for.
            part.set_reshard_after_forward(False)
