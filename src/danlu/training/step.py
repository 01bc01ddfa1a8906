"""One optimizer step: a batch in, gradients down, the mean loss out. The hot path; nothing here could be done before.

Every random choice of a step follows from its seed, so a step can be had again.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from danlu.core.device import Accelerator
from danlu.core.seeds import Seed
from danlu.data.balance.emphasis import Emphasis
from danlu.data.feed import Batch
from danlu.models.heads import Loss
from danlu.training.clipping import clip_by_norm, clip_by_value
from danlu.training.micro import is_out_of_memory, split
from danlu.training.penalties import Penalties
from danlu.training.precision import Precision


@dataclass
class Step:
    """Makes optimizer steps.

    Attributes:
        model: the network, whose parameters the optimizer changes.
        forward: the network as it is called, which may be compiled.
        loss: (logits, target, emphasis) -> the summed loss, and how many answers it is summed over.
        count: target -> how many answers the loss of a batch is summed over.
        emphasis: what the loss makes of classes of unequal size.
        optimizer: its groups have `lr_scale`, what the learning rate is multiplied with there.
        accelerator: the device.
        precision: what the forward pass computes in.
        penalties: L1, L2 and the largest norm of weights.
        clip_norm: largest norm of the gradient.
        clip_value: largest entry of the gradient.
        parts: how many parts a batch goes through the model in; grows when the memory runs out.
    """

    model: nn.Module
    forward: Callable[..., Tensor]
    loss: Loss
    count: Callable[[Tensor], int]
    emphasis: Emphasis
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator
    precision: Precision
    penalties: Penalties
    clip_norm: float | None
    clip_value: float | None
    parts: int = 1
    restores_buffers: bool = False
    norm: Tensor | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.parameters: Sequence[nn.Parameter] = [p for p in self.model.parameters() if p.requires_grad]
        self.scaler = self.precision.scaler()
        self._buffers = [buffer for buffer in self.model.buffers() if buffer.is_floating_point()]
        self._lr: float | None = None
        self._on_host = self.accelerator.torch_device.type == "cpu"

    def __call__(self, batch: Batch, lr: float, seed: Seed) -> Tensor:
        """Make one step; the mean loss of the batch, a scalar on the device, without the penalties."""
        self.accelerator.seed(seed.value)
        if lr != self._lr:
            for group in self.optimizer.param_groups:
                group["lr"] = lr * group["lr_scale"]
            self._lr = lr
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._gradients(batch, seed)
        if self._on_host and not math.isfinite(loss.item()):  # left as it is, so that its cause can be found
            return loss
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        self.penalties.add_gradients()
        if self.clip_value is not None:
            clip_by_value(self.parameters, self.clip_value)
        if self.clip_norm is not None:
            self.norm = clip_by_norm(self.parameters, self.clip_norm)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.penalties.bound_weights()
        return loss

    def _gradients(self, batch: Batch, seed: Seed) -> Tensor:
        """The gradients of the mean loss; where the memory runs out, by twice as many parts."""
        kept = [buffer.clone() for buffer in self._buffers] if self.restores_buffers else []
        while True:
            try:
                return self._backward(batch) if self.parts == 1 else self._accumulate(batch)
            except RuntimeError as error:
                if not is_out_of_memory(error) or self.parts >= len(batch.rows):
                    raise
            self.optimizer.zero_grad(set_to_none=True)
            self.accelerator.empty_cache()
            self.parts *= 2
            self.accelerator.seed(seed.value)
            for buffer, value in zip(self._buffers, kept, strict=False):
                buffer.copy_(value)

    def _backward(self, batch: Batch) -> Tensor:
        with self.precision.computing():
            total, count = self.loss(self.forward(**batch.inputs), batch.target, self.emphasis)
        mean = total / max(1, count)
        self._scaled(mean).backward()
        return mean.detach()

    def _accumulate(self, batch: Batch) -> Tensor:
        count = max(1, self.count(batch.target))
        mean = torch.zeros((), device=batch.target.device)
        for part in split(batch, self.parts):
            with self.precision.computing():
                total, _ = self.loss(self.forward(**part.inputs), part.target, self.emphasis)
            share = total / count
            self._scaled(share).backward()
            mean += share.detach()
        return mean

    def _scaled(self, loss: Tensor) -> Tensor:
        return loss if self.scaler is None else self.scaler.scale(loss)
