"""One way from rows to model inputs for every kind of data: fit on the training split, apply to any frame."""

import tempfile
from typing import TYPE_CHECKING

import numpy as np

from danlu.artifacts.cache import scratch_folder
from danlu.core.prefetch import prefetch
from danlu.core.seeds import Seed
from danlu.data.dataset import Dataset
from danlu.data.descriptors import DataRequirements, Origin
from danlu.data.frames import num_parallel_parts
from danlu.data.kind import Preprocessor
from danlu.data.sources.scans import LARGE
from danlu.data.splits import Split, TrainSplit
from danlu.data.tabular.preprocessor import TabularPreprocessor, to_dataset, training_targets
from danlu.recipe.sections.data import Data

if TYPE_CHECKING:
    from danlu.data.loader import PreparedDataset

BLOCK_ROWS = 1 << 16  # prepared at a time: little memory, and few calls


def fit_preprocessor(
    train: TrainSplit, dataset: Dataset, section: Data, hints: DataRequirements, seed: Seed
) -> Preprocessor:
    """Fit the preprocessor of this kind of data on the training split."""
    return dataset.kind.preprocessor.fit(train, dataset, section, hints, seed)


def prepare_split(preprocessor: Preprocessor, part: Split, place: Origin) -> "PreparedDataset":
    """Convert a split's rows to model inputs, as they will be when predicting."""
    if isinstance(preprocessor, TabularPreprocessor) and len(part) > BLOCK_ROWS:
        return _prepare_in_blocks(preprocessor, part, place)
    return preprocessor.transform(part.frame, place)


def prepare_training(preprocessor: Preprocessor, train: TrainSplit, dataset: Dataset, seed: Seed) -> "PreparedDataset":
    """Convert the training rows to model inputs.

    Cross-fitted: what was learned from a row's own label is kept from it.
    """
    place = Origin(dataset.origin, dataset.folder)
    if isinstance(preprocessor, TabularPreprocessor) and preprocessor.cross_fitted:
        answers = training_targets(train, dataset, seed)
        return to_dataset(*preprocessor.arrays(train.frame, dataset.origin, answers))
    return prepare_split(preprocessor, train, place)


def _prepare_in_blocks(preprocessor: TabularPreprocessor, part: Split, place: Origin) -> "PreparedDataset":
    """Convert a large table block by block, with only a few blocks' copies in memory."""
    inputs = preprocessor.inputs
    numeric = _allocate((len(part), inputs.numeric), np.float32)
    codes = _allocate((len(part), len(inputs.cardinalities)), np.int64)
    size = part.block_rows(preprocessor.columns, BLOCK_ROWS)

    def fill(start: int) -> None:
        rows = slice(start, start + size)
        block = Split(part.rows[rows], part.table).columns(*preprocessor.columns)
        numeric[rows], codes[rows] = preprocessor.arrays(block, place.name)

    for _ in prefetch(fill, range(0, len(part), size), num_parallel_parts(part.table)):
        pass
    return to_dataset(numeric, codes)


def _allocate(shape: tuple[int, int], dtype: type[np.generic]) -> np.ndarray:
    """Allocate an array, in an anonymous memory-mapped file where it would be large."""
    if np.prod(shape) * np.dtype(dtype).itemsize <= LARGE:
        return np.empty(shape, dtype=dtype)
    with tempfile.TemporaryFile(dir=scratch_folder()) as file:
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)
