"""Preferences: a prompt with two answers, of which one was chosen."""

from collections.abc import Sequence

from danlu.data.chats.preprocessor import PreferencePreprocessor
from danlu.data.columns import Column
from danlu.data.descriptors import RawData
from danlu.data.kind import use_only
from danlu.data.kinds.chat import MessagesKind
from danlu.data.messages import reason
from danlu.data.sources.conversations import PREFERENCE, preferences
from danlu.recipe.sections.data import Data
from danlu.tasks.preference import Preference


class PreferenceKind(MessagesKind):
    """Decide all that is particular to pairs of answers."""

    name = "preference"
    own_columns = PREFERENCE
    preprocessor = PreferencePreprocessor
    default_epochs = 1
    own_task = Preference()
    own_task_reason = "task.pairs"
    row_noun = "pair"

    def recognize(self, columns: tuple[Column, ...], section: Data, source: RawData) -> tuple[Column, ...] | None:
        return use_only(columns, PREFERENCE, reason("only-pairs")) if source.layout == self.name else None

    def read_samples(self, source: RawData, columns: Sequence[str]) -> RawData:
        return preferences(source)
