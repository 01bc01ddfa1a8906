"""One optimizer step: a batch in, an update of the weights and the mean loss out. The hot path.

Nothing in here could be done before. Every random choice of a step follows from its seed, so a step can be repeated.

Every random choice of a step follows from its seed, so a step can be had again.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from danlu.core.devices import Accelerator
from danlu.core.seeds import Seed
from danlu.data.loader import Batch
from danlu.errors import DanluError
from danlu.tasks.base import Loss
from danlu.tasks.loss_weighting import LossWeighting
from danlu.training.distributed.parallel_context import SINGLE_PROCESS_CONTEXT, ParallelContext
from danlu.training.distributed.parallelize import ParallelModel, empty_batch
from danlu.training.memory.microbatch import is_out_of_memory, release_memory, split_batch
from danlu.training.memory.offload import ActivationOffload
from danlu.training.monitoring.profiling import NullProfiler, Profiler
from danlu.training.precision import NO_CONTEXT, Precision
from danlu.training.regularization import clip_grad_norm, clip_grad_value
from danlu.training.rounded_weights import WeightRounding

if TYPE_CHECKING:
    from danlu.training.distributed.pipeline_parallel import Pipeline


@dataclass
class TrainStep:
    """Make optimizer steps.

    Attributes:
        model: the network, whose weights the optimizer changes.
        forward: the network as it is called, which may be compiled.
        loss: (logits, target, loss weighting) -> the summed loss, and the number of targets it is summed over.
        num_targets: target -> number of targets that the loss of a batch is summed over.
        loss_weighting: how the loss weights classes of unequal size.
        optimizer: its groups have `lr_scale`, a factor on the learning rate.
        accelerator: the device.
        precision: number format of the forward pass.
        offload: keeps activations on the host.
        before_step, after_step: called right before and after the optimizer's step, on gradients and on weights.
        clip_norm: largest norm of the gradient.
        clip_value: largest absolute entry of the gradient.
        num_microbatches: number of microbatches of a batch; doubles when memory runs out.
        min_microbatch_rows: smallest number of rows of a microbatch.
        parallel: the processes that make each step; gradients are the mean over those with other samples or tokens.
        parallel_model: the model as this process holds it; None for the model itself.
        rounding: rounds weights while gradients are computed.
        profiler: is told of the phases of a step.
        grad_norm: norm of the last gradient before clipping, where it is clipped.
    """

    model: nn.Module
    forward: Callable[..., Any]
    loss: Loss
    num_targets: Callable[[Tensor], int]
    loss_weighting: LossWeighting
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator
    precision: Precision
    offload: ActivationOffload | None
    before_step: Callable[[], None] | None
    after_step: Callable[[], None] | None
    clip_norm: float | None
    clip_value: float | None
    num_microbatches: int
    min_microbatch_rows: int
    parallel: ParallelContext = SINGLE_PROCESS_CONTEXT
    parallel_model: ParallelModel | None = None
    rounding: WeightRounding | None = None
    profiler: Profiler = field(default_factory=NullProfiler)
    grad_norm: Tensor | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.scaler = self.precision.make_grad_scaler()
        self.on_host = self.accelerator.torch_device.type == "cpu"
        self.groups, self.ways = self.parallel.groups, self.parallel.layout.dp_cp_size
        self._pipeline = self.parallel_model.pipeline if self.parallel_model else None
        self._local_slice = self.parallel_model.local_tokens if self.parallel_model else None
        self._reduce_over_stages = self.groups.all_reduce_pp if self.groups.pp_group is not None else None
        self._lr: float | None = None
        self._cached_grad_output: tuple[int, Tensor] | None = None

    def __call__(self, batch: Batch, lr: float, seed: Seed) -> Tensor:
        """Make one step.

        Returns:
            mean loss of the batch over all processes, without penalties on weights; a scalar on the device. On the host
            a loss that is not finite leaves the weights unchanged, so that its cause can be found.
        """
        seed = (
            seed if self.groups.is_single_process else seed.derive("process", self.groups.dp_rank, self.groups.cp_rank)
        )
        self.accelerator.seed(seed.value)
        if lr != self._lr:
            for group in self.optimizer.param_groups:
                group["lr"] = lr * group["lr_scale"]
            self._lr = lr
        if self._local_slice is not None:
            batch = self._local_slice(batch)
        self._zero_grad()
        with NO_CONTEXT if self.rounding is None else self.rounding.rounded():
            loss = self._compute_gradients(batch, seed)
        if self.on_host and not math.isfinite(loss.item()):
            return loss
        with self.profiler.label("optimizer"):
            self._optimizer_step()
        return loss

    def _optimizer_step(self) -> None:
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        if self.before_step is not None:
            self.before_step()
        if self.clip_value is not None:
            clip_grad_value(self.weights, self.clip_value)
        if self.clip_norm is not None:
            self.grad_norm = clip_grad_norm(self.weights, self.clip_norm, self._reduce_over_stages)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        if self.after_step is not None:
            self.after_step()

    def _compute_gradients(self, batch: Batch, seed: Seed) -> Tensor:
        """Compute gradients of the mean loss; when memory runs out, retry with twice the microbatches."""
        while True:
            try:
                return (
                    self._forward_backward(batch) if self.num_microbatches == 1 else self._accumulate_gradients(batch)
                )
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or 2 * self.num_microbatches * self.min_microbatch_rows > len(
                    batch.rows
                ):
                    raise
                if not self.groups.is_single_process:  # the others wait for this one in a collective
                    raise DanluError(
                        f"out of memory in one of {self.groups.env.world_size} processes; set training.accumulate: "
                        f"{2 * self.num_microbatches} or a smaller training.batch_size",
                        code="DL503",
                    ) from error
            self._zero_grad()
            release_memory(self.accelerator)
            self.num_microbatches *= 2
            self.accelerator.seed(seed.value)

    def _forward_backward(self, batch: Batch) -> Tensor:
        if self._pipeline is not None:
            return self._pipeline_backward(self._pipeline, batch)
        total, count = self._forward(batch)
        if self.groups.is_single_process:
            mean, share = total.detach() / max(1, count), self._grad_output(total, max(1, count))
        else:
            mean, share = self._global_mean_loss(total, count, batch)
        if self.on_host and not math.isfinite(mean.item()):
            return mean
        self._run_backward(total, share)
        return mean

    def _pipeline_backward(self, pipeline: "Pipeline", batch: Batch) -> Tensor:
        """Run forward and backward through a pipeline of stages; like `_forward_backward`."""
        own = empty_batch(batch) if batch.is_dummy else batch
        count = torch.tensor(float(self.num_targets(own.target)), dtype=torch.float64, device=own.target.device)
        count = self.groups.all_reduce_dp_cp(count).clamp(min=1)
        summed = pipeline.backward(own, int(count))
        return (self.groups.all_reduce_dp_cp(summed.double()) / count).float()

    def _global_mean_loss(self, total: Tensor, count: int, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean loss over all processes and the gradient its backward pass starts from."""
        own = total.new_tensor([0.0, 0.0]) if batch.is_dummy else torch.stack([total.detach(), total.new_tensor(count)])
        summed, counted = self.groups.all_reduce_dp_cp(own.double()).unbind()
        share = counted.new_zeros(()) if batch.is_dummy else self.ways / counted.clamp(min=1)
        return (summed / counted.clamp(min=1)).float(), share.to(total.dtype)

    def _accumulate_gradients(self, batch: Batch) -> Tensor:
        """Run forward and backward per microbatch; gradients sum to the whole batch's mean."""
        count, sums = torch.tensor(float(self.num_targets(batch.target) * (not batch.is_dummy))), []
        count = self.groups.all_reduce_dp_cp(count.double().to(batch.target.device)).clamp(min=1)
        share = count.new_zeros(()) if batch.is_dummy else self.ways / count
        parts = split_batch(batch, self._agree_num_microbatches(batch), self.min_microbatch_rows)
        for part in parts:
            with self._no_sync() if part is not parts[-1] else NO_CONTEXT:
                total, _ = self._forward(part)
                self._run_backward(total, share.to(total.dtype))
            sums.append(total.detach() * (not batch.is_dummy))
        return (self.groups.all_reduce_dp_cp(torch.stack(sums).sum().double()) / count).float()

    def _agree_num_microbatches(self, batch: Batch) -> int:
        """Return a number of microbatches that every process can make of its batch."""
        fewest = len(batch.rows) if self.groups.is_single_process else batch.global_batch_size // self.groups.dp_size
        return max(1, min(self.num_microbatches, fewest // self.min_microbatch_rows))

    def _no_sync(self) -> AbstractContextManager[None]:
        """Delay the gradient all-reduce until the next backward pass."""
        waits: Callable[[], AbstractContextManager[None]] | None = getattr(self.forward, "no_sync", None)
        return NO_CONTEXT if waits is None else waits()

    def _forward(self, batch: Batch) -> tuple[Tensor, int]:
        with self.profiler.label("forward"), self.precision.autocast():
            if self.offload is None:
                return self.loss(self.forward(**batch.inputs), batch.target, self.loss_weighting)
            with self.offload.offloading():
                return self.loss(self.forward(**batch.inputs), batch.target, self.loss_weighting)

    def _grad_output(self, total: Tensor, count: int) -> Tensor:
        """Return 1 / count as the gradient that the backward pass starts from.

        Dividing the loss instead would add one more node to both passes.
        """
        if (
            self._cached_grad_output is None
            or self._cached_grad_output[0] != count
            or self._cached_grad_output[1].dtype != total.dtype
        ):
            self._cached_grad_output = count, torch.full_like(total, 1 / count)
        return self._cached_grad_output[1]

    def _run_backward(self, total: Tensor, share: Tensor) -> None:
        """Add the gradients of total * share to those of the weights."""
        scaled = total if self.scaler is None else self.scaler.scale(total)
        with self.profiler.label("backward"):
            scaled.backward(share)  # type: ignore[no-untyped-call]

    def _zero_grad(self) -> None:
        """Set all gradients to None.

        The optimizer's `zero_grad` also walks its groups and tells the profiler: 15 us per step.
        """
        for weight in self.weights:
            weight.grad = None
