"""The ways of training that are compared: danlu's, the least that a loop by hand takes, and frameworks' own.

Each trains one model without end and is stopped by the clock in the model. All have the same optimizer over the same
groups of weights, clip at the same norm, and take every sample once an epoch in an order of their own. Frameworks get
what their documentation gives for speed: no logging, no checkpoints, no progress bar, no validation, no workers (which
are slower for data that lies in memory), and batches either in DataLoader's usual form or as it takes lists of rows.
"""

import itertools
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, default_collate
from training_cases import CLIP_NORM, LR, WEIGHT_DECAY, Case, Tensors

from danlu.core.imports import patch_torchvision
from danlu.training.param_groups import parameter_groups

Loader = Callable[["Rows", int], Any]
Way = Callable[[Case, nn.Module], None]
ENDLESS = 10**9


class Rows(Dataset[tuple[Tensors, Tensor]]):
    """The training split as torch's DataLoader takes it: a sample, or a batch where a list of rows is asked for."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def __len__(self) -> int:
        return len(self.case.target)

    def __getitem__(self, index: Any) -> tuple[Tensors, Tensor]:
        if isinstance(index, list):
            return self.case.take(torch.tensor(index))
        return {name: values[index] for name, values in self.case.inputs.items()}, self.case.target[index]


class Named(Rows):
    """The same with the answers among the inputs."""

    def __getitem__(self, index: Any) -> Any:
        inputs, target = super().__getitem__(index)
        return {**inputs, "target": target}


def usual(dataset: Rows, size: int) -> Any:
    return DataLoader(dataset, batch_size=size, shuffle=True)


def lists_of_rows(dataset: Rows, size: int) -> Any:
    sampler: Any = BatchSampler(RandomSampler(dataset), size, drop_last=False)
    return DataLoader(dataset, sampler=sampler, batch_size=None)


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    groups = parameter_groups(model, WEIGHT_DECAY)
    kept = [{name: group[name] for name in ("params", "weight_decay")} for group in groups]
    return torch.optim.AdamW(kept, lr=LR, fused=True)


def danlu(case: Case, model: nn.Module) -> None:
    """As `danlu train` does it, log and all; only the validations are put off to the end, which does not come."""
    from danlu.artifacts.checkpoints import CheckpointManager
    from danlu.artifacts.run import RunDirectory
    from danlu.core.console import progress
    from danlu.core.devices.setup import make_deterministic
    from danlu.experiment.setup import create_train_state
    from danlu.experiment.validation import make_validation_fn
    from danlu.training.loop import train
    from danlu.training.monitoring.alarms import Alarms
    from danlu.training.monitoring.callbacks import CallbackContext
    from danlu.training.monitoring.meter import Meter, ThroughputLogger
    from danlu.training.recorder import RunRecorder

    fitting = replace(case.fitting, model=model)
    options, feed = fitting.context.recipe.training, fitting.balanced.loader
    machine, watch = create_train_state(fitting), fitting.new_early_stopping()
    plan = replace(fitting.plan, validate_every=ENDLESS)
    make_deterministic()
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            RunDirectory.create(Path(folder), name="run", folder="run", overwrite=False, needed_bytes=0) as run,
            CheckpointManager(run, 2) as kept,
            progress("training", plan.steps * case.batch_size, "samples") as bar,
        ):
            meter = Meter(bar, fitting.accelerator)
            journal = RunRecorder(run, kept, options.checkpoint, meter, Alarms(), (ThroughputLogger(meter),))
            with journal.notify_callbacks(CallbackContext(run, model, options, plan.steps, 0)):
                train(
                    machine,
                    loader=feed,
                    plan=plan,
                    seed=fitting.seed,
                    early_stopping=watch,
                    validate=make_validation_fn(fitting, machine),
                    recorder=journal,
                )
    finally:
        torch.use_deterministic_algorithms(False)


def by_hand(case: Case, model: nn.Module) -> None:
    """The least: tensors in memory, an order each epoch, a step."""
    optimizer, weights = optimizer_of(model), list(model.parameters())
    model.train()
    while True:
        for rows in torch.split(torch.randperm(len(case.target)), case.batch_size):
            inputs, target = case.take(rows)
            optimizer.zero_grad()
            case.loss(model(**inputs), target).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(weights, CLIP_NORM)
            optimizer.step()


def by_hand_with(loader: Loader) -> Way:
    """The same fed by torch's DataLoader."""

    def train(case: Case, model: nn.Module) -> None:
        optimizer, weights = optimizer_of(model), list(model.parameters())
        batches = loader(Rows(case), case.batch_size)
        model.train()
        for inputs, target in _without_end(batches):
            optimizer.zero_grad()
            case.loss(model(**inputs), target).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(weights, CLIP_NORM)
            optimizer.step()

    return train


def lightning_with(loader: Loader) -> Way:
    """lightning.pytorch with barebones=True, which its documentation gives for measuring overhead."""
    import lightning.pytorch as lightning

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)

    class Module(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self, case: Case, model: nn.Module) -> None:
            super().__init__()
            self.case, self.model = case, model

        def training_step(self, batch: tuple[Tensors, Tensor], index: int) -> Tensor:
            inputs, target = batch
            return self.case.loss(self.model(**inputs), target)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return optimizer_of(self.model)

    def train(case: Case, model: nn.Module) -> None:
        trainer = lightning.Trainer(
            barebones=True, accelerator="cpu", devices=1, max_epochs=-1, gradient_clip_val=CLIP_NORM
        )
        trainer.fit(Module(case, model), loader(Rows(case), case.batch_size))

    return train


def transformers_with(loader: Loader) -> Way:
    """transformers.Trainer, whose `get_train_dataloader` is meant to be overridden."""
    from transformers import Trainer, TrainingArguments
    from transformers.utils import logging as log

    log.set_verbosity_error()  # type: ignore[no-untyped-call]

    class Model(nn.Module):
        accepts_loss_kwargs = False

        def __init__(self, case: Case, model: nn.Module) -> None:
            super().__init__()
            self.case, self.model = case, model

        def forward(self, target: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
            return {"loss": self.case.loss(self.model(**inputs), target)}

    class Own(Trainer):
        def get_train_dataloader(self) -> Any:
            dataset: Any = self.train_dataset
            return loader(dataset, self.args.per_device_train_batch_size)

    def train(case: Case, model: nn.Module) -> None:
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                max_steps=10**6,
                per_device_train_batch_size=case.batch_size,
                max_grad_norm=CLIP_NORM,
                lr_scheduler_type="constant",
                logging_strategy="no",
                logging_nan_inf_filter=False,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=True,
                remove_unused_columns=False,
                dataloader_pin_memory=False,
            )
            kind = Trainer if loader is usual else Own
            kind(
                model=Model(case, model),
                args=arguments,
                train_dataset=Named(case),
                data_collator=default_collate,
                optimizers=(optimizer_of(model), None),
            ).train()

    return train


def accelerate_with(loader: Loader) -> Way:
    """A loop by hand with what `Accelerator.prepare` gives."""
    from accelerate import Accelerator

    def train(case: Case, model: nn.Module) -> None:
        accelerator = Accelerator(cpu=True)
        prepared, optimizer = accelerator.prepare(model, optimizer_of(model))
        batches = loader(Rows(case), case.batch_size)
        if loader is usual:  # it refuses one of lists of rows, which on the CPU needs no preparing
            batches = accelerator.prepare(batches)
        weights = list(model.parameters())
        prepared.train()
        for inputs, target in _without_end(batches):
            optimizer.zero_grad()
            accelerator.backward(case.loss(prepared(**inputs), target))
            accelerator.clip_grad_norm_(weights, CLIP_NORM)
            optimizer.step()

    return train


def skorch_with(loader: Loader) -> Way:
    """skorch.NeuralNet without its history of valid losses, timer and printing; clipping is a callback there."""
    from skorch import NeuralNet
    from skorch.callbacks import GradientNormClipping

    class Net(NeuralNet):  # type: ignore[misc]
        def initialize_optimizer(self, *_: object, **__: object) -> Any:
            self.optimizer_ = optimizer_of(self.module_)
            return self

    def train(case: Case, model: nn.Module) -> None:
        class Loss(nn.Module):
            def forward(self, logits: Tensor, target: Tensor) -> Tensor:
                return case.loss(logits, target)

        net = Net(
            model,
            Loss,
            max_epochs=10**6,
            batch_size=case.batch_size,
            train_split=None,
            verbose=0,
            iterator_train=lambda dataset, batch_size: loader(dataset, batch_size),
            callbacks=[("clip", GradientNormClipping(CLIP_NORM))],
            callbacks__epoch_timer=None,
            callbacks__train_loss=None,
            callbacks__valid_loss=None,
            callbacks__print_log=None,
        )
        net.fit(Rows(case), y=None)

    return train


def _without_end(batches: Any) -> Iterator[tuple[Tensors, Tensor]]:
    for _ in itertools.count():
        yield from batches


PEERS: dict[str, tuple[str, Callable[[Loader], Way]]] = {
    "loop by hand": ("torch", by_hand_with),
    "lightning": ("lightning", lightning_with),
    "transformers.Trainer": ("transformers", transformers_with),
    "accelerate": ("accelerate", accelerate_with),
    "skorch": ("skorch", skorch_with),
}
LOADERS: dict[str, Loader] = {"DataLoader": usual, "lists of rows": lists_of_rows}


def ways() -> dict[str, Way | None]:
    """Every way by name, the limit first; None where a package is not installed."""
    patch_torchvision()
    warnings.filterwarnings("ignore")  # theirs about missing workers and the like
    found: dict[str, Way | None] = {"loop by hand (the limit)": by_hand, "danlu": danlu}
    for peer, (_, build) in PEERS.items():
        for name, loader in LOADERS.items():
            try:
                found[f"{peer}, {name}"] = build(loader)
            except ImportError:
                found[f"{peer}, {name}"] = None
    return found
