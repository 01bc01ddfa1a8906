"""A model and everything that changes with it during training, and its state as tensors and plain values."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from danlu.artifacts.checkpoints import JUDGED, WEIGHTS, Checkpoint, Snapshot, copied, unique_tensors
from danlu.artifacts.tensors import StoredTensors
from danlu.artifacts.trees import join_tree, split_tree
from danlu.core.errors import ArtifactError
from danlu.core.pieces import Piece, held, piece_of
from danlu.core.seeds import Seed
from danlu.data.feed import Batch
from danlu.training.averaging import judged_weights
from danlu.training.diagnose import first_bad_module
from danlu.training.fixed import digest_of_fixed
from danlu.training.frozen import Thawing
from danlu.training.parallel.group import LONE, Together
from danlu.training.parallel.local import Meetings
from danlu.training.plateau import PlateauWatcher
from danlu.training.running_average import RunningAverage
from danlu.training.schedules import Schedule
from danlu.training.state import StateTensors, load_named_state, named_state, stored_like
from danlu.training.step import Step
from danlu.training.watch import Watch

Kept = tuple[Tensor, Piece]  # a copy of this process's shard, and its place in the whole


@dataclass
class Machine:
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
        steps_done: optimizer steps made so far.
    """

    step: Step
    batch_size: int
    base_lr: float
    schedule: Schedule
    steps: int
    plateau: PlateauWatcher | None
    average: RunningAverage | None
    watched: str
    tokens_a_sample: int = 1
    together: Together = LONE
    meetings: Meetings | None = None
    thawing: Thawing | None = None
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
        if self.thawing is not None:
            self.thawing.before(step - 1)
        momentum = self.schedule.momentum(step - 1, self.steps)
        if momentum is not None:
            self._set_momentum(momentum)
        loss = self.step(batch, lr, seed)
        self.steps_done = step
        if self.meetings is not None:
            self.meetings.after(step)
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

    def agree(self) -> None:
        """Synchronise replicas that step on their own; all processes must call it.

        Done before anything is evaluated or saved.
        """
        if self.meetings is not None:
            self.meetings.agree(self.steps_done)

    def observe(self, figures: dict[str, float]) -> None:
        """Report validation metrics to the schedule."""
        if self.plateau is not None and self.watched in figures:
            self.plateau.look(figures[self.watched])

    @contextmanager
    def judged_weights(self) -> Iterator[None]:
        """Put the evaluated weights into the model: the average, where there is one."""
        self.agree()
        with judged_weights(self.model, self.step.optimizer, self.average):
            yield

    def judged_copy(self) -> "dict[str, Kept]":
        """Copy the evaluated weights, within `eval_weights`; empty where they are the model's own."""
        own = self.average is None and not hasattr(self.step.optimizer, "eval")
        return {} if own else self._kept(unique_tensors(self.model))

    def where_not_finite(self, batch: Batch) -> str:
        """Describe the first non-finite value of a batch's forward pass."""
        if not self.together.team.alone:
            return "in one process or several"

        def forward() -> Tensor:
            with self.step.precision.computing():
                total, _ = self.step.loss(self.model(**batch.inputs), batch.target, self.step.emphasis)
            return total

        return first_bad_module(self.model, forward)

    def snapshot(self, step: int, watch: Watch, judged: dict[str, Kept]) -> Snapshot:
        """Copy everything needed to resume from here; of shared tensors, this process's shard."""
        parts = {"optimizer": named_state(self.step.optimizer, self.model), "scaler": self._scaler_state()}
        if self.average is not None:
            parts["average"] = self.average.state_dict()
        if self.meetings is not None:
            parts["meetings"] = self.meetings.state_dict()
        kept = {WEIGHTS: self._kept(unique_tensors(self.model))}
        rests = {}
        for name, state in parts.items():
            found, rests[name] = split_tree(state)
            if found:
                kept[name] = self._kept(found)
        if judged:
            kept[JUDGED] = judged
        facts = {
            "watch": watch.state(),
            "plateau": self.plateau.state() if self.plateau else None,
            "parts": self.step.parts,
            "rest": rests,
            **({"fixed": self.fixed_digest} if self.fixed_digest else {}),
        }
        tensors = {file: {name: value for name, (value, _) in found.items()} for file, found in kept.items()}
        pieces = {
            file: {name: piece for name, (_, piece) in found.items() if piece.shape != piece.whole}
            for file, found in kept.items()
        }
        return Snapshot(step, tensors, facts, watch.best_step, pieces)

    @cached_property
    def fixed_digest(self) -> str | None:
        """SHA-256 of the frozen weights that checkpoints leave out; None without such weights."""
        return digest_of_fixed(self.model)

    def _kept(self, tensors: dict[str, Tensor]) -> dict[str, Kept]:
        """Copy the tensors that this process writes."""
        own = {name: value for name, value in tensors.items() if self.together.writes(value)}
        return {name: (value, piece_of(own[name])) for name, value in copied(own).items()}

    def load(self, checkpoint: Checkpoint, watch: Watch) -> None:
        """Load the state of a checkpoint, whatever parallel layout wrote it."""
        state = checkpoint.state
        if state.get("fixed") != self.fixed_digest:
            raise ArtifactError(
                f"{checkpoint.folder}: the frozen pretrained weights have changed since this checkpoint; "
                "restore them or train again"
            )
        self._load_weights(checkpoint.tensors(WEIGHTS))
        for name, rest in state["rest"].items():
            whole = join_tree(StateTensors(checkpoint.tensors(name), self.model), rest)
            if name == "optimizer":
                load_named_state(self.step.optimizer, self.model, whole)
            elif name == "average" and self.average is not None:
                self.average.load_state_dict(whole)
            elif name == "meetings" and self.meetings is not None:
                self.meetings.load_state_dict(whole)
            elif name == "scaler" and self.step.scaler is not None:
                self.step.scaler.load_state_dict(whole)
        watch.load(state["watch"])
        if self.plateau is not None:
            self.plateau.load(state["plateau"])
        self.step.parts = state["parts"]

    @torch.no_grad()
    def _load_weights(self, stored: StoredTensors) -> None:
        for name, value in self.model.state_dict().items():
            if name in stored:  # weights that share memory are stored once
                held(value).copy_(stored_like(value, stored, name))

    def _scaler_state(self) -> dict[str, object]:
        return {} if self.step.scaler is None else self.step.scaler.state_dict()
