"""Training rows as a network takes them, for whatever a step has to see of them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from danlu.compression.base import Material
from danlu.core.seeds import Seed
from danlu.errors import DataError
from danlu.experiment.data_context import FittedPreprocessing

if TYPE_CHECKING:
    from torch import Tensor

    from danlu.data.loader import PreparedDataset

FEWEST_ROWS = 8  # to calibrate on


def drawn_training_rows(material: Material, count: int, seed: Seed, *, fewest: int = 1) -> "PreparedDataset":
    """Return some training rows, prepared, with their targets.

    All of them where there are fewer than asked.

    Args:
        count: of rows.
        seed: they are drawn by it.
        fewest: that the caller can do with.

    Raises:
        DataError: there are fewer.
    """
    from danlu.data.splits import TrainSplit
    from danlu.experiment.loaders import build_prepared_dataset

    train = material.context.splits.train
    if len(train) < fewest:
        raise DataError(
            f"{material.context.dataset.origin}: has {len(train)} training rows, and {fewest} are needed; train on "
            "more rows",
            code="DL203",
        )
    order = np.random.default_rng(seed.value).permutation(len(train))[:count]
    part = TrainSplit(np.sort(train.rows[order]), train.table)
    prepared = FittedPreprocessing(material.predictor.preprocessor, material.predictor.target)
    return build_prepared_dataset(material.context, prepared, part)


def iter_batches(rows: "PreparedDataset", size: int) -> "Iterator[tuple[dict[str, Tensor], Tensor | None]]":
    """Yield inputs and targets of prepared rows in batches, in order, on the CPU."""
    import torch

    from danlu.data.loader import sequential_batches

    for numbers in sequential_batches(len(rows), size):
        yield rows.take(numbers, torch.device("cpu"))
