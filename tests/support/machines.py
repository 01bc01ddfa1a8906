"""A network, its data and the machine that trains it, small enough to be stepped within milliseconds."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from danlu.core.devices import open_device
from danlu.core.seeds import Seed
from danlu.data.loader import Batch, PreparedDataset, TensorColumn, TrainLoader, shuffled_order
from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.table import get_task
from danlu.training.optimizers import Optimizer
from danlu.training.optimizers.options import SGD
from danlu.training.param_groups import parameter_groups
from danlu.training.precision import Precision
from danlu.training.schedules import Constant
from danlu.training.step import TrainStep
from danlu.training.train_state import TrainState

WIDTH, CLASSES = 4, 3


class WithDropout(nn.Module):
    """A network whose answers depend on the mask that is drawn; `most` rows at once, then memory runs out."""

    def __init__(self, most: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.dropout, self.last = nn.Linear(WIDTH, 32), nn.Dropout(0.5), nn.Linear(32, CLASSES)
        self.most = most
        self.masks: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(torch.ones(len(x), 32))
        self.masks.append(hidden.detach().clone())
        if self.most is not None and len(x) > self.most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        found: Tensor = self.last(self.first(x) * hidden)
        return found


def rows_of_classes(count: int) -> PreparedDataset:
    """So many rows of noise with classes."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, WIDTH, generator=generator)
    return PreparedDataset((TensorColumn("x", inputs),), torch.arange(count) % CLASSES)


def feed_of(count: int, seed: int = 0) -> TrainLoader:
    return TrainLoader(rows_of_classes(count), shuffled_order(count, Seed(seed)), count)


def batch_of(count: int) -> Batch:
    examples = rows_of_classes(count)
    inputs, target = examples.take(np.arange(count), torch.device("cpu"))
    assert target is not None
    return Batch(inputs, target, np.arange(count), 0)


def small_step(model: nn.Module, optimizer: Optimizer | None = None, **options: Any) -> TrainStep:
    """Steps of plain gradient descent at rate 0.1, unless said otherwise."""
    accelerator, head = open_device("cpu"), get_task("classification").head(None)
    chosen = optimizer or SGD(momentum=0.0)
    usual: dict[str, Any] = {
        "forward": model,
        "loss": head.loss,
        "num_targets": head.num_targets,
        "loss_weighting": LossWeighting(),
        "optimizer": chosen.build(parameter_groups(model, chosen.weight_decay), 0.1),
        "accelerator": accelerator,
        "precision": Precision("fp32", accelerator.torch_device),
        "offload": None,
        "before_step": None,
        "after_step": None,
        "clip_norm": None,
        "clip_value": None,
        "num_microbatches": 1,
        "min_microbatch_rows": 1,
    }
    return TrainStep(model=model, **{**usual, **options})


def small_machine(model: nn.Module, steps: int, batch_size: int, **options: Any) -> TrainState:
    """A machine around `small_step`, at a constant rate of 0.1."""
    usual: dict[str, Any] = {"base_lr": 0.1, "schedule": Constant(), "plateau": None, "average": None}
    named = {**usual, "monitored_metric": "validation/loss", **options}
    return TrainState(step=small_step(model), batch_size=batch_size, steps=steps, **named)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())
