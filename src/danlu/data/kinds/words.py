"""Tagged sentences: a list of words as JSON text, and a tag for each word."""

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from danlu.data.columns import Column
from danlu.data.descriptors import RawData
from danlu.data.frames import Table
from danlu.data.kind import use_only
from danlu.data.kinds.text import TokenizedKind
from danlu.data.messages import reason
from danlu.data.sources.tags import TOKENS, as_tagged, with_words
from danlu.data.text.tagging import TaggingPreprocessor
from danlu.recipe.sections.data import Data
from danlu.tasks.tagging import Tagging, read_list


class WordsKind(TokenizedKind):
    """Decide all that is particular to sentences whose words are tagged."""

    name = "words"
    preprocessor = TaggingPreprocessor
    default_model = "hf:bert"
    default_epochs = 10
    own_task = Tagging()
    own_task_reason = "task.tags"
    answers_each_word = True
    trains_in_processes = False

    def read(self, source: RawData, section: Data) -> RawData:
        return as_tagged(source, section)

    def mark(self, column: Column, section: Data, source: RawData) -> Column:
        if source.layout != self.name or column.name != (section.text or TOKENS):
            return column
        return column.model_copy(update={"type": "text", "used": True, "reason": reason("words-alone")})

    def recognize(self, columns: tuple[Column, ...], section: Data, source: RawData) -> tuple[Column, ...] | None:
        if source.layout != self.name:
            return None
        return use_only(columns, (section.text or TOKENS,), reason("only-words"))

    def default_batch_size(self, rows: int) -> int:
        return 32

    def default_split(self, frame: Table, target: str | None) -> dict[str, str]:
        """Split at random: a sentence has many tags, so it belongs to no class."""
        return {"name": "random"}

    def unnamed_to_frame(self, samples: Any, columns: Sequence[str]) -> pl.DataFrame:
        """Convert a sentence, or several, each a list of words, to a column."""
        given = list(samples)
        sentences = [given] if given and isinstance(given[0], str) else given
        return pl.DataFrame({columns[0]: sentences}, schema={columns[0]: pl.List(pl.String)})

    def read_samples(self, source: RawData, columns: Sequence[str]) -> RawData:
        return with_words(source, columns[0])

    def cell_formatter(self, name: str, used: Sequence[str], target: str | None) -> Callable[[Any], Any] | None:
        return (lambda text: " ".join(read_list(text))) if name in (used[0], target) else None
