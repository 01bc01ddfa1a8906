"""One way from rows to model inputs for every kind of data: fit on the training split, apply to any frame."""

import tempfile
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from danlu.artifacts.cache import scratch_folder
from danlu.core.ahead import ahead
from danlu.core.seeds import Seed
from danlu.data.chats.preprocessor import ChatPreprocessor, PreferencePreprocessor
from danlu.data.dataset import Dataset
from danlu.data.disk import threads_for
from danlu.data.images.preprocessor import ImagePreprocessor
from danlu.data.place import Hints, Place
from danlu.data.splits import Part, TrainSplit
from danlu.data.tables import LARGE
from danlu.data.tabular.preprocessor import TabularPreprocessor, examples_of, training_answers
from danlu.data.texts import CorpusPreprocessor, TextPreprocessor
from danlu.data.words import WordsPreprocessor
from danlu.recipe.sections import Data

if TYPE_CHECKING:
    from danlu.data.examples import Examples

BLOCK_ROWS = 1 << 16  # prepared at a time: little memory, and few calls

Preprocessor = (
    TabularPreprocessor
    | ImagePreprocessor
    | TextPreprocessor
    | WordsPreprocessor
    | CorpusPreprocessor
    | ChatPreprocessor
    | PreferencePreprocessor
)
AnyPreprocessor = Annotated[Preprocessor, Field(discriminator="kind")]

PREPROCESSORS: dict[str, type[Preprocessor]] = {
    "tabular": TabularPreprocessor,
    "image": ImagePreprocessor,
    "text": TextPreprocessor,
    "words": WordsPreprocessor,
    "corpus": CorpusPreprocessor,
    "chat": ChatPreprocessor,
    "preference": PreferencePreprocessor,
}


def fit_preprocessor(train: TrainSplit, dataset: Dataset, section: Data, hints: Hints, seed: Seed) -> Preprocessor:
    """Fit the preprocessor of this kind of data on the training split."""
    return PREPROCESSORS[dataset.kind].fit(train, dataset, section, hints, seed)


def prepare_part(preprocessor: Preprocessor, part: Part, place: Place) -> "Examples":
    """Convert a split's rows to model inputs, as they will be when predicting."""
    if isinstance(preprocessor, TabularPreprocessor) and len(part) > BLOCK_ROWS:
        return _in_blocks(preprocessor, part, place)
    return preprocessor.transform(part.frame, place)


def prepare_training(preprocessor: Preprocessor, train: TrainSplit, dataset: Dataset, seed: Seed) -> "Examples":
    """Convert the training rows to model inputs.

    Cross-fitted: what was learned from a row's own label is kept from it.
    """
    place = Place(dataset.origin, dataset.folder)
    if isinstance(preprocessor, TabularPreprocessor) and preprocessor.cross_fitted:
        answers = training_answers(train, dataset, seed)
        return examples_of(*preprocessor.arrays(train.frame, dataset.origin, answers))
    return prepare_part(preprocessor, train, place)


def _in_blocks(preprocessor: TabularPreprocessor, part: Part, place: Place) -> "Examples":
    """Convert a large table block by block, with only a few blocks' copies in memory."""
    inputs = preprocessor.inputs
    numeric = _room((len(part), inputs.numeric), np.float32)
    codes = _room((len(part), len(inputs.cardinalities)), np.int64)
    size = part.block_rows(preprocessor.columns, BLOCK_ROWS)

    def fill(start: int) -> None:
        rows = slice(start, start + size)
        block = Part(part.rows[rows], part.whole).columns(*preprocessor.columns)
        numeric[rows], codes[rows] = preprocessor.arrays(block, place.origin)

    for _ in ahead(fill, range(0, len(part), size), threads_for(part.whole)):
        pass
    return examples_of(numeric, codes)


def _room(shape: tuple[int, int], dtype: type[np.generic]) -> np.ndarray:
    """Allocate an array, in an anonymous memory-mapped file where it would be large."""
    if np.prod(shape) * np.dtype(dtype).itemsize <= LARGE:
        return np.empty(shape, dtype=dtype)
    with tempfile.TemporaryFile(dir=scratch_folder()) as file:
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)
