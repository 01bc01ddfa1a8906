"""DPO reference model: its log-probabilities are computed once before training and become columns of the data.

So training holds one model instead of two, and needs no second forward pass per step.
"""

import hashlib
import json
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from danlu.artifacts.cache import cached_dir
from danlu.artifacts.checkpoints import unique_state_dict
from danlu.core.console import info
from danlu.data.splits import Split
from danlu.errors import ArgumentError
from danlu.experiment.data_context import DataContext, FittedPreprocessing, with_columns
from danlu.tasks.preference import FP32_REFERENCE, REFERENCE
from danlu.tasks.table import task_of

if TYPE_CHECKING:
    import torch
    from torch import nn

    from danlu.training.distributed.parallel_context import ParallelContext

FORMAT = 2
FP32 = "fp32"
FILE = "reference.npy"


def add_reference_log_probs(
    context: DataContext,
    preprocessing: FittedPreprocessing,
    model: "nn.Module",
    device: "torch.device",
    weights: str,
    precision: str = FP32,
) -> DataContext:
    """Add the untrained model's log-probabilities of both answers of every row as columns.

    Args:
        model: with initial weights, on the device. New adapters change no answer. Its train or eval mode is kept.
        weights: the model's `weights_digest`, taken before adapters were added.
        precision: that the model trains in; the losses of training and validation compare with this one. Where it is
            not fp32, columns for evaluation in fp32 are added as well.
    """
    size = context.recipe.training.batch_size
    size = size if isinstance(size, int) else 8
    # Rows removed by cleaning are in no split, and may not even be readable.
    rows = np.sort(np.concatenate([part.rows for _, part in context.splits.items()]))
    part = Split(rows, context.dataset.frame)
    state = json.dumps(preprocessing.preprocessor.model_dump(mode="json"), sort_keys=True)
    content = part.columns(*preprocessing.preprocessor.columns)
    finetune = context.finetune.model_dump(mode="json")
    made_from = [FORMAT, str(device), size, _inputs_digest(state, content), weights, finetune]
    added: dict[str, np.ndarray] = {}
    for names, name in ((REFERENCE, precision), *([] if precision == FP32 else [(FP32_REFERENCE, FP32)])):

        def make(folder: Path, name: str = name) -> None:
            info(f"computing reference log-probabilities of {len(rows):,} preference pairs in {name}")
            np.save(folder / FILE, _log_probs(context, preprocessing, model, part, size, device, name))

        whole = np.full((context.dataset.frame.height, 2), np.nan, dtype=np.float32)
        whole[rows] = np.load(cached_dir("references", [*made_from, name], make) / FILE)
        added |= {column: whole[:, side] for side, column in enumerate(names)}
    return with_columns(context, pl.DataFrame(added))


def _log_probs(
    context: DataContext,
    preprocessing: FittedPreprocessing,
    model: "nn.Module",
    part: Split,
    size: int,
    device: "torch.device",
    name: str,
) -> np.ndarray:
    """Return the log-probabilities of a split's answers, computed in a precision, [pairs, 2]."""
    from danlu.data.preprocessing import prepare_split
    from danlu.models.infer import predict_all
    from danlu.training.precision import Precision

    precision = Precision(name, device)
    if precision.changes_weights:  # in place, and the model is yet to be trained from its own
        model = precision.prepare(deepcopy(model))
    examples = prepare_split(preprocessing.preprocessor, part, context.origin)
    head = task_of(preprocessing.target).head(preprocessing.target)
    with precision.matmul_precision(), precision.autocast():
        return predict_all(model, head, examples, size, device)


def check_whole_model_per_process(parallel: "ParallelContext") -> None:
    """Raise ArgumentError if the layout splits the model.

    Preference pairs need the whole model in each process.
    """
    layout = parallel.layout
    for way in ("tensor", "pipeline", "context"):
        if getattr(layout, way) > 1:
            raise ArgumentError(
                f"training.parallel.{way}: preference training needs the whole model in each process; "
                "use data or shard",
                code="DL602",
            )


def _inputs_digest(state: str, content: pl.DataFrame) -> str:
    """Return a digest of the preprocessor's state and the rows."""
    return hashlib.blake2b(state.encode() + content.write_csv().encode(), digest_size=16).hexdigest()


def weights_digest(model: "nn.Module") -> str:
    """Return a digest of all weights."""
    import torch

    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in unique_state_dict(model).items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
