"""One optimizer step: a batch in, gradients down, the mean loss out. The hot path; nothing here could be done before.

Every random choice of a step follows from its seed, so a step can be had again.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from danlu.core.devices import Accelerator
from danlu.core.seeds import Seed
from danlu.data.balance.emphasis import Emphasis
from danlu.data.feed import Batch
from danlu.models.heads import Loss
from danlu.training.clipping import clip_by_norm, clip_by_value
from danlu.training.micro import is_out_of_memory, release, split
from danlu.training.offload import ActivationOffload
from danlu.training.precision import Precision
from danlu.training.profiling import Off, Profiler


@dataclass
class Step:
    """Makes optimizer steps.

    Attributes:
        model: the network, whose weights the optimizer changes.
        forward: the network as it is called, which may be compiled.
        loss: (logits, target, emphasis) -> the summed loss, and how many answers it is summed over.
        count: target -> how many answers the loss of a batch is summed over.
        emphasis: what the loss makes of classes of unequal size.
        optimizer: its groups have `lr_scale`, what the learning rate is multiplied with there.
        accelerator: the device.
        precision: what the forward pass computes in.
        offload: keeps activations on the host.
        before_step, after_step: done around the optimizer's step, to gradients and to weights.
        clip_norm: largest norm of the gradient.
        clip_value: largest entry of the gradient.
        parts: how many parts a batch goes through the model in; grows when the memory runs out.
        least_rows: a part has no fewer.
        profiler: is told of the parts of a step.
        norm: of the last gradient before it was clipped, where it is.
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
    profiler: Profiler = field(default_factory=Off)
    norm: Tensor | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.scaler = self.precision.scaler()
        self.on_host = self.accelerator.torch_device.type == "cpu"
        self._lr: float | None = None

    def __call__(self, batch: Batch, lr: float, seed: Seed) -> Tensor:
        """Make one step.

        Returns:
            the mean loss of the batch, a scalar on the device, without what weights cost. On the host a loss that is
            no finite number leaves the weights as they are, so that its cause can be found.
        """
        self.accelerator.seed(seed.value)
        if lr != self._lr:
            for group in self.optimizer.param_groups:
                group["lr"] = lr * group["lr_scale"]
            self._lr = lr
        self.optimizer.zero_grad(set_to_none=True)
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
            self.norm = clip_by_norm(self.weights, self.clip_norm)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        if self.after_step is not None:
            self.after_step()

    def _gradients(self, batch: Batch, seed: Seed) -> Tensor:
        """The gradients of the mean loss; where the memory runs out, by way of twice as many parts."""
        while True:
            try:
                return self._backward(batch) if self.parts == 1 else self._accumulate(batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or 2 * self.parts * self.least_rows > len(batch.rows):
                    raise
            self.optimizer.zero_grad(set_to_none=True)
            release(self.accelerator.torch_device)
            self.parts *= 2
            self.accelerator.seed(seed.value)

    def _backward(self, batch: Batch) -> Tensor:
        total, count = self._forward(batch)
        mean = total / max(1, count)
        if self.on_host and not math.isfinite(mean.item()):
            return mean.detach()
        with self.profiler.label("backward"):
            self._scaled(mean).backward()  # type: ignore[no-untyped-call]
        return mean.detach()

    def _accumulate(self, batch: Batch) -> Tensor:
        """As `_backward`, part after part; the gradients add up to those of the whole batch's mean."""
        count, mean = max(1, self.count(batch.target)), None
        for part in split(batch, self.parts, self.least_rows):
            share = self._forward(part)[0] / count
            with self.profiler.label("backward"):
                self._scaled(share).backward()  # type: ignore[no-untyped-call]
            mean = share.detach() if mean is None else mean + share.detach()
        assert mean is not None
        return mean

    def _forward(self, batch: Batch) -> tuple[Tensor, int]:
        with self.profiler.label("forward"), self.precision.computing():
            if self.offload is None:
                return self.loss(self.forward(**batch.inputs), batch.target, self.emphasis)
            with self.offload.saving():
                return self.loss(self.forward(**batch.inputs), batch.target, self.emphasis)

    def _scaled(self, loss: Tensor) -> Tensor:
        return loss if self.scaler is None else self.scaler.scale(loss)
