"""A model and everything that changes with it during training, and its state as tensors and plain values."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from danlu.artifacts.checkpoints import EVALUATED, WEIGHTS, Checkpoint, Snapshot, cpu_copies, unique_state_dict
from danlu.artifacts.state_dict_io import flatten_state, unflatten_state
from danlu.artifacts.tensors import StoredTensors
from danlu.core.distributed.shards import ShardSpec, shard_of, to_local
from danlu.core.seeds import Seed
from danlu.data.loader import Batch
from danlu.errors import ArtifactError
from danlu.training.averaging import eval_weights
from danlu.training.distributed.diloco import DiLoCo
from danlu.training.distributed.parallel_context import SINGLE_PROCESS_CONTEXT, ParallelContext
from danlu.training.early_stopping import EarlyStopper
from danlu.training.finetuning import GradualUnfreezing, frozen_params_digest
from danlu.training.monitoring.nonfinite import first_nonfinite_module
from danlu.training.optimizer_state import StateTensors, load_named_state_dict, named_state_dict, read_local_shard
from danlu.training.precision import NO_CONTEXT
from danlu.training.running_average import RunningAverage
from danlu.training.schedules import ReduceLROnPlateau, Schedule
from danlu.training.sparsity import Sparsifier
from danlu.training.step import TrainStep

ShardCopy = tuple[Tensor, ShardSpec]  # a copy of this process's shard, and its place in the whole


@dataclass
class TrainState:
    """Hold what the training loop drives: the train step, schedule, weight average and parallel context.

    Attributes:
        step: makes optimizer steps.
        batch_size: samples per step.
        base_lr: the learning rate that the schedule scales.
        schedule: over `steps` steps.
        plateau: lowers the learning rate when a metric stalls, where the schedule does so.
        average: running average of the weights, where one is kept.
        monitored_metric: the metric that `plateau` looks at.
        tokens_per_sample: tokens per sample of a language model; else 1.
        parallel: the processes that train.
        diloco: synchronisation of replicas that step on their own (DiLoCo).
        unfreezing: freezes and unfreezes weights before a step, where some are trained later than others.
        sparsifier: sets weights to zero after a step, where the recipe asks for it.
        steps_done: optimizer steps made so far.
    """

    step: TrainStep
    batch_size: int
    base_lr: float
    schedule: Schedule
    steps: int
    plateau: ReduceLROnPlateau | None
    average: RunningAverage | None
    monitored_metric: str
    tokens_per_sample: int = 1
    parallel: ParallelContext = SINGLE_PROCESS_CONTEXT
    diloco: DiLoCo | None = None
    unfreezing: GradualUnfreezing | None = None
    sparsifier: Sparsifier | None = None
    steps_done: int = field(default=0, init=False)

    @property
    def model(self) -> nn.Module:
        return self.step.model

    @property
    def device(self) -> torch.device:
        return self.step.accelerator.torch_device

    def lr(self, step: int) -> float:
        """Return the learning rate of the step that follows `step` steps."""
        factor = self.schedule.factor(step, self.steps)
        return self.base_lr * factor * (self.plateau.factor if self.plateau else 1.0)

    def make_step(self, batch: Batch, lr: float, seed: Seed, step: int) -> Tensor:
        """Make optimizer step number `step`, counted from 1, and return the batch's mean loss."""
        if self.unfreezing is not None:
            self.unfreezing.before_step(step - 1)
        momentum = self.schedule.momentum(step - 1, self.steps)
        if momentum is not None:
            self._set_momentum(momentum)
        were_zero = None if self.sparsifier is None else self.sparsifier.zeros_before(step)
        loss = self.step(batch, lr, seed)
        self.steps_done = step
        if self.sparsifier is not None:
            self.sparsifier.after_step(step, were_zero)
        if self.diloco is not None:
            self.diloco.maybe_sync(step)
        if self.average is not None:
            self.average.update(step, self.steps)
        return loss

    def _set_momentum(self, momentum: float) -> None:
        """Set the momentum of groups that use one; leave groups without momentum alone."""
        for group in self.step.optimizer.param_groups:
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            elif group.get("momentum"):
                group["momentum"] = momentum

    def sync_replicas(self) -> None:
        """Synchronise replicas that step on their own; all processes must call it.

        Done before anything is evaluated or saved.
        """
        if self.diloco is not None:
            self.diloco.sync_all(self.steps_done)

    def update_plateau(self, figures: dict[str, float]) -> None:
        """Report validation metrics to the schedule."""
        if self.plateau is not None and self.monitored_metric in figures:
            self.plateau.update(figures[self.monitored_metric])

    @contextmanager
    def eval_weights(self) -> Iterator[None]:
        """Put the evaluated weights into the model: the average, where there is one."""
        self.sync_replicas()
        rounding = self.step.rounding
        with (
            eval_weights(self.model, self.step.optimizer, self.average),
            NO_CONTEXT if rounding is None else rounding.rounded(),
        ):
            yield

    def eval_weights_copy(self) -> "dict[str, ShardCopy]":
        """Copy the evaluated weights, within `eval_weights`; empty where they are the model's own."""
        own = self.average is None and not hasattr(self.step.optimizer, "eval")
        return {} if own else self._local_copies(unique_state_dict(self.model))

    def locate_nonfinite(self, batch: Batch) -> str:
        """Describe the first non-finite value of a batch's forward pass."""
        if not self.parallel.groups.is_single_process:
            return "in one process or several"

        def forward() -> Tensor:
            with self.step.precision.autocast():
                total, _ = self.step.loss(self.model(**batch.inputs), batch.target, self.step.loss_weighting)
            return total

        return first_nonfinite_module(self.model, forward)

    def snapshot(self, step: int, early_stopping: EarlyStopper, eval_weights: dict[str, ShardCopy]) -> Snapshot:
        """Copy everything needed to resume from here; of shared tensors, this process's shard."""
        parts = {"optimizer": named_state_dict(self.step.optimizer, self.model), "scaler": self._scaler_state()}
        if self.average is not None:
            parts["average"] = self.average.state_dict()
        if self.diloco is not None:
            parts["meetings"] = self.diloco.state_dict()
        kept = {WEIGHTS: self._local_copies(unique_state_dict(self.model))}
        rests = {}
        for name, state in parts.items():
            found, rests[name] = flatten_state(state)
            if found:
                kept[name] = self._local_copies(found)
        if eval_weights:
            kept[EVALUATED] = eval_weights
        facts = {
            "watch": early_stopping.state_dict(),
            "plateau": self.plateau.state_dict() if self.plateau else None,
            "parts": self.step.num_microbatches,
            "rest": rests,
            **({"fixed": self.frozen_digest} if self.frozen_digest else {}),
        }
        tensors = {file: {name: value for name, (value, _) in found.items()} for file, found in kept.items()}
        pieces = {
            file: {name: piece for name, (_, piece) in found.items() if piece.shape != piece.global_shape}
            for file, found in kept.items()
        }
        return Snapshot(step, tensors, facts, early_stopping.best_step, pieces)

    @cached_property
    def frozen_digest(self) -> str | None:
        """SHA-256 of the frozen weights that checkpoints leave out; None without such weights."""
        return frozen_params_digest(self.model)

    def _local_copies(self, tensors: dict[str, Tensor]) -> dict[str, ShardCopy]:
        """Copy the tensors that this process writes."""
        own = {name: value for name, value in tensors.items() if self.parallel.owns_shard(value)}
        return {name: (value, shard_of(own[name])) for name, value in cpu_copies(own).items()}

    def load_checkpoint(self, checkpoint: Checkpoint, early_stopping: EarlyStopper) -> None:
        """Load the state of a checkpoint, whatever parallel layout wrote it."""
        state = checkpoint.state
        if state.get("fixed") != self.frozen_digest:
            raise ArtifactError(
                f"{checkpoint.folder}: the frozen pretrained weights have changed since this checkpoint; "
                "restore them or train again",
                code="DL313",
            )
        self._load_weights(checkpoint.tensors(WEIGHTS))
        for name, rest in state["rest"].items():
            whole = unflatten_state(StateTensors(checkpoint.tensors(name), self.model), rest)
            if name == "optimizer":
                load_named_state_dict(self.step.optimizer, self.model, whole)
            elif name == "average" and self.average is not None:
                self.average.load_state_dict(whole)
            elif name == "meetings" and self.diloco is not None:
                self.diloco.load_state_dict(whole)
            elif name == "scaler" and self.step.scaler is not None:
                self.step.scaler.load_state_dict(whole)
        early_stopping.load_state_dict(state["watch"])
        if self.plateau is not None:
            self.plateau.load_state_dict(state["plateau"])
        self.step.num_microbatches = state["parts"]

    @torch.no_grad()
    def _load_weights(self, stored: StoredTensors) -> None:
        for name, value in self.model.state_dict().items():
            if name in stored:  # weights that share memory are stored once
                to_local(value).copy_(read_local_shard(value, stored, name))

    def _scaler_state(self) -> dict[str, object]:
        return {} if self.step.scaler is None else self.step.scaler.state_dict()
