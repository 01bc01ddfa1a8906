"""What a run kept of its training, for the influence of its training rows.

In: a finished run with its data, its predictor. Out: a `TrainingRecord`, or why there is none.
"""

import bisect
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from danlu.artifacts.checkpoints import WEIGHTS, Checkpoint, load_weights, open_checkpoint
from danlu.artifacts.run import RunDirectory
from danlu.data.splits import Split
from danlu.experiment.data_context import DataContext, FittedPreprocessing
from danlu.experiment.loaders import build_prepared_dataset
from danlu.explanation.influence import KeptCheckpoint, TrainingRecord, refuse_model

if TYPE_CHECKING:
    from torch import nn

    from danlu.models.predictor import Predictor


def refuse_record(context: DataContext, run: RunDirectory) -> str | None:
    """Say why a run has no record of gradients; None where it has one."""
    if (refusal := refuse_model(context.model, context.finetune)) is not None:
        return refusal
    if not run.checkpoints():
        return "needs the run's checkpoints, and none is kept"
    return None


def training_record(
    context: DataContext, run: RunDirectory, predictor: "Predictor", frame: pl.DataFrame
) -> TrainingRecord:
    """Open what a run kept of its training.

    Args:
        frame: the rows that are explained, with their target as in training.

    Raises:
        ArtifactError: a checkpoint is damaged.
    """
    fitted = FittedPreprocessing(predictor.preprocessor, predictor.target)
    network = context.model.build(predictor.preprocessor.inputs, predictor.target.outputs).eval()
    rates = [(int(each["step"]), float(each["lr"])) for each in run.metrics() if "lr" in each]
    steps = [int(path.name.removeprefix("step-")) for path in run.checkpoints()]
    opened = [open_checkpoint(run, step) for step in steps]
    train = context.splits.train
    return TrainingRecord(
        network,
        predictor.head,
        build_prepared_dataset(context, fitted, Split(train.rows, train.table)),
        np.asarray(train.rows),
        build_prepared_dataset(context, fitted, Split.of(frame)),
        tuple(KeptCheckpoint(each.step, _rate(rates, each.step), partial(_load, each)) for each in opened),
    )


def _rate(rates: list[tuple[int, float]], step: int) -> float:
    """Return the last learning rate that was logged up to a step."""
    place = bisect.bisect_right(rates, (step, float("inf")))
    return rates[max(place - 1, 0)][1] if rates else 1.0


def _load(checkpoint: Checkpoint, network: "nn.Module") -> None:
    tensors = checkpoint.tensors(WEIGHTS)
    load_weights(network, {name: tensors[name] for name in tensors})
