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
from danlu.core.errors import DanluError
from danlu.core.seeds import Seed
from danlu.data.balance.emphasis import Emphasis
from danlu.data.feed import Batch
from danlu.models.heads import Loss
from danlu.training.clipping import clip_by_norm, clip_by_value
from danlu.training.micro import is_out_of_memory, release, split
from danlu.training.offload import ActivationOffload
from danlu.training.parallel.group import LONE, Together
from danlu.training.parallel.spread import Spread, without_samples
from danlu.training.precision import NO_CONTEXT, Precision
from danlu.training.profiling import Off, Profiler

if TYPE_CHECKING:
    from danlu.training.parallel.pipeline import Pipeline


@dataclass
class Step:
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
        profiler: is told of the phases of a step.
        grad_norm: norm of the last gradient before clipping, where it is clipped.
    """

    model: nn.Module
    forward: Callable[..., Any]
    loss: Loss
    count: Callable[[Tensor], int]
    emphasis: Emphasis
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator
    precision: Precision
    offload: ActivationOffload | None
    before_step: Callable[[], None] | None
    after_step: Callable[[], None] | None
    clip_norm: float | None
    clip_value: float | None
    parts: int
    least_rows: int
    together: Together = LONE
    spread: Spread | None = None
    profiler: Profiler = field(default_factory=Off)
    norm: Tensor | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.scaler = self.precision.scaler()
        self.on_host = self.accelerator.torch_device.type == "cpu"
        self.team, self.ways = self.together.team, self.together.layout.gradient_ways
        self._pipeline = self.spread.pipeline if self.spread else None
        self._own_part = self.spread.own_part if self.spread else None
        self._over_stages = self.team.sum_of_stages if self.team.of_pipeline is not None else None
        self._lr: float | None = None
        self._share: tuple[int, Tensor] | None = None

    def __call__(self, batch: Batch, lr: float, seed: Seed) -> Tensor:
        """Make one step.

        Returns:
            mean loss of the batch over all processes, without penalties on weights; a scalar on the device. On the host
            a loss that is not finite leaves the weights unchanged, so that its cause can be found.
        """
        seed = seed if self.team.alone else seed.derive("process", self.team.sample_rank, self.team.token_rank)
        self.accelerator.seed(seed.value)
        if lr != self._lr:
            for group in self.optimizer.param_groups:
                group["lr"] = lr * group["lr_scale"]
            self._lr = lr
        if self._own_part is not None:
            batch = self._own_part(batch)
        self._forget_gradients()
        loss = self._gradients(batch, seed)
        if self.on_host and not math.isfinite(loss.item()):
            return loss
        with self.profiler.label("optimizer"):
            self._update()
        return loss

    def _update(self) -> None:
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        if self.before_step is not None:
            self.before_step()
        if self.clip_value is not None:
            clip_by_value(self.weights, self.clip_value)
        if self.clip_norm is not None:
            self.norm = clip_by_norm(self.weights, self.clip_norm, self._over_stages)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        if self.after_step is not None:
            self.after_step()

    def _gradients(self, batch: Batch, seed: Seed) -> Tensor:
        """Compute gradients of the mean loss; when memory runs out, retry with twice the microbatches."""
        while True:
            try:
                return self._backward(batch) if self.parts == 1 else self._accumulate(batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or 2 * self.parts * self.least_rows > len(batch.rows):
                    raise
                if not self.team.alone:  # the others wait for this one in a collective
                    raise DanluError(
                        f"out of memory in one of {self.team.world.size} processes; set training.accumulate: "
                        f"{2 * self.parts} or a smaller training.batch_size"
                    ) from error
            self._forget_gradients()
            release(self.accelerator)
            self.parts *= 2
            self.accelerator.seed(seed.value)

    def _backward(self, batch: Batch) -> Tensor:
        if self._pipeline is not None:
            return self._through_stages(self._pipeline, batch)
        total, count = self._forward(batch)
        if self.team.alone:
            mean, share = total.detach() / max(1, count), self._share_of(total, max(1, count))
        else:
            mean, share = self._mean_of_all(total, count, batch)
        if self.on_host and not math.isfinite(mean.item()):
            return mean
        self._pull(total, share)
        return mean

    def _through_stages(self, pipeline: "Pipeline", batch: Batch) -> Tensor:
        """Run forward and backward through a pipeline of stages; like `_forward_backward`."""
        own = without_samples(batch) if batch.stands_in else batch
        count = torch.tensor(float(self.count(own.target)), dtype=torch.float64, device=own.target.device)
        count = self.team.sum_of_gradients(count).clamp(min=1)
        summed = pipeline.backward(own, int(count))
        return (self.team.sum_of_gradients(summed.double()) / count).float()

    def _mean_of_all(self, total: Tensor, count: int, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean loss over all processes and the gradient its backward pass starts from."""
        own = (
            total.new_tensor([0.0, 0.0]) if batch.stands_in else torch.stack([total.detach(), total.new_tensor(count)])
        )
        summed, counted = self.team.sum_of_gradients(own.double()).unbind()
        share = counted.new_zeros(()) if batch.stands_in else self.ways / counted.clamp(min=1)
        return (summed / counted.clamp(min=1)).float(), share.to(total.dtype)

    def _accumulate(self, batch: Batch) -> Tensor:
        """Run forward and backward per microbatch; gradients sum to the whole batch's mean."""
        count, sums = torch.tensor(float(self.count(batch.target) * (not batch.stands_in))), []
        count = self.team.sum_of_gradients(count.double().to(batch.target.device)).clamp(min=1)
        share = count.new_zeros(()) if batch.stands_in else self.ways / count
        parts = split(batch, self._agreed_parts(batch), self.least_rows)
        for part in parts:
            with self._unsummed() if part is not parts[-1] else NO_CONTEXT:
                total, _ = self._forward(part)
                self._pull(total, share.to(total.dtype))
            sums.append(total.detach() * (not batch.stands_in))
        return (self.team.sum_of_gradients(torch.stack(sums).sum().double()) / count).float()

    def _agreed_parts(self, batch: Batch) -> int:
        """Return a number of microbatches that every process can make of its batch."""
        fewest = len(batch.rows) if self.team.alone else batch.whole // self.team.sample_ways
        return max(1, min(self.parts, fewest // self.least_rows))

    def _unsummed(self) -> AbstractContextManager[None]:
        """Delay the gradient all-reduce until the next backward pass."""
        waits: Callable[[], AbstractContextManager[None]] | None = getattr(self.forward, "no_sync", None)
        return NO_CONTEXT if waits is None else waits()

    def _forward(self, batch: Batch) -> tuple[Tensor, int]:
        with self.profiler.label("forward"), self.precision.computing():
            if self.offload is None:
                return self.loss(self.forward(**batch.inputs), batch.target, self.emphasis)
            with self.offload.saving():
                return self.loss(self.forward(**batch.inputs), batch.target, self.emphasis)

    def _share_of(self, total: Tensor, count: int) -> Tensor:
        """Return 1 / count as the gradient that the backward pass starts from.

        Dividing the loss instead would add one more node to both passes.
        """
        if self._share is None or self._share[0] != count or self._share[1].dtype != total.dtype:
            self._share = count, torch.full_like(total, 1 / count)
        return self._share[1]

    def _pull(self, total: Tensor, share: Tensor) -> None:
        """Add the gradients of total * share to those of the weights."""
        scaled = total if self.scaler is None else self.scaler.scale(total)
        with self.profiler.label("backward"):
            scaled.backward(share)  # type: ignore[no-untyped-call]

    def _forget_gradients(self) -> None:
        """Set all gradients to None.

        The optimizer's `zero_grad` also walks its groups and tells the profiler: 15 us per step.
        """
        for weight in self.weights:
            weight.grad = None
