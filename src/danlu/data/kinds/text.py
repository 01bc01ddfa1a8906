"""Texts, each with its answer: a column of text is the whole sample. And what all kinds of text share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl

from danlu.data.columns import Column
from danlu.data.descriptors import RawData
from danlu.data.kind import DataKind, Preprocessor, TypicalSample, use_only
from danlu.data.messages import reason
from danlu.data.near_duplicates import near_texts
from danlu.data.specs import TextInputs
from danlu.data.text.preprocessor import TextPreprocessor
from danlu.recipe.sections.data import Data

VOCABULARY_LINE = "  vocabulary: 4096       # tokens of the tokenizer trained on the training split"


class TokenizedKind(DataKind):
    """Decide what all texts share, whatever their form: copies are found by their characters."""

    def near_duplicates(self, values: Sequence[Any], folder: Path, similarity: float) -> np.ndarray:
        return near_texts(values, similarity)


class TextKind(TokenizedKind):
    """Decide all that is particular to classified or scored texts."""

    name = "text"
    preprocessor: ClassVar[type[Preprocessor]] = TextPreprocessor
    default_model = "hf:bert"
    default_epochs = 10
    typical = TypicalSample("texts", TextInputs(vocabulary=30_000, longest=128, pad=0), "128 tokens", outputs=2)
    content_is_text = True
    reads_rows_apart = True
    starter_lines = (VOCABULARY_LINE,)
    row_noun = "text"

    def recognize(self, columns: tuple[Column, ...], section: Data, source: RawData) -> tuple[Column, ...] | None:
        """Claim data whose text the recipe names, or that holds nothing but texts."""
        if section.text:
            return use_only(columns, (section.text,), reason("only-text"))
        used = [column for column in columns if column.used]
        if section.image or not used or any(column.type != "text" for column in used):
            return None
        return use_only(columns, (used[0].name,), reason("only-this-text", name=used[0].name))

    def default_batch_size(self, rows: int) -> int:
        return 32

    def unnamed_to_frame(self, samples: Any, columns: Sequence[str]) -> pl.DataFrame:
        """Convert a text, or several, to a column of text."""
        texts = [samples] if isinstance(samples, str) else list(samples)
        return pl.DataFrame({columns[0]: texts}, schema={columns[0]: pl.String})
