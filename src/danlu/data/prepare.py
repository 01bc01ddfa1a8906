"""One way from rows to model inputs for every kind of data: fit on the training split, apply to any frame."""

from typing import Annotated

from pydantic import Field

from danlu.data.dataset import Dataset
from danlu.data.images.preprocessor import ImagePreprocessor
from danlu.data.place import Hints
from danlu.data.splits import TrainSplit
from danlu.data.tabular import TabularPreprocessor
from danlu.data.texts import CorpusPreprocessor, TextPreprocessor
from danlu.recipe.sections import Data

Preprocessor = TabularPreprocessor | ImagePreprocessor | TextPreprocessor | CorpusPreprocessor
AnyPreprocessor = Annotated[Preprocessor, Field(discriminator="kind")]

PREPROCESSORS: dict[str, type[Preprocessor]] = {
    "tabular": TabularPreprocessor,
    "image": ImagePreprocessor,
    "text": TextPreprocessor,
    "corpus": CorpusPreprocessor,
}


def fit_preprocessor(train: TrainSplit, dataset: Dataset, section: Data, hints: Hints) -> Preprocessor:
    """Learn the preparation that fits the kind of data, from the training split alone."""
    return PREPROCESSORS[dataset.kind].fit(train, dataset, section, hints)
