"""Sources of different weights: training reads the rows of some more often than those of others."""

from dataclasses import replace

import numpy as np

from danlu.core.seeds import Seed
from danlu.data.dataset import Dataset
from danlu.data.splits import Splits, TrainSplit
from danlu.errors import DataError


def mix_sources(splits: Splits, dataset: Dataset, seed: Seed) -> Splits:
    """Repeat and draw training rows as the weights of their sources say.

    The other splits stay as they are. A row of weight 2.5 is there twice, and half of the rows of that weight a third
    time; which half follows from the seed.

    Raises:
        DataError: the weights leave no row to train on.
    """
    if dataset.weight_column is None:
        return splits
    rows, weights = splits.train.rows, splits.train.column(dataset.weight_column).to_numpy()
    mixed = [_repeat(rows[weights == weight], float(weight), seed) for weight in np.unique(weights)]
    kept = np.sort(np.concatenate(mixed))
    if len(kept) == 0:
        raise DataError(
            f"{dataset.origin}: the weights in data.source leave none of the {len(rows):,} training rows; raise them",
            code="DL203",
        )
    return replace(splits, train=TrainSplit(kept, splits.train.table))


def _repeat(rows: np.ndarray, weight: float, seed: Seed) -> np.ndarray:
    """Return rows as often as one weight says."""
    times = int(weight)
    more = round((weight - times) * len(rows))
    generator = np.random.default_rng(seed.derive("mixture", str(weight)).value)
    drawn = generator.choice(rows, more, replace=False)
    return np.concatenate([np.repeat(rows, times), drawn])
