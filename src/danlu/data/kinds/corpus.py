"""A corpus: documents whose next token is predicted."""

from danlu.data.columns import Column
from danlu.data.descriptors import RawData
from danlu.data.frames import Table
from danlu.data.kind import TypicalSample, use_only
from danlu.data.kinds.text import TextKind
from danlu.data.messages import reason
from danlu.data.sources.chat_forms import PAGE
from danlu.data.specs import CorpusInputs
from danlu.data.text.preprocessor import CorpusPreprocessor
from danlu.errors import DataError
from danlu.recipe.sections.data import Data
from danlu.tasks.language_modelling import LanguageModelling

DOCUMENT, TEXT = "document", "text"  # columns of a corpus that was read from text files
MIN_GROUPS = 20  # documents needed before a corpus is split by document


class CorpusKind(TextKind):
    """Decide all that is particular to texts for language modelling."""

    name = "corpus"
    preprocessor = CorpusPreprocessor
    default_model = "hf:llama"
    default_epochs = 3
    own_task = LanguageModelling()
    own_task_reason = "task.corpus"
    typical = TypicalSample(
        "language", CorpusInputs(vocabulary=32_000, longest=256, end=0, packed=False), "256 tokens", outputs=32_000
    )
    generates_text = True
    has_task_head = False
    loss_per_byte = True
    row_noun = "document"

    def mark(self, column: Column, section: Data, source: RawData) -> Column:
        if source.layout != self.name or column.name not in (DOCUMENT, TEXT):
            return column
        if column.name == DOCUMENT:
            return column.model_copy(update={"type": "identifier", "used": False, "reason": reason("names-document")})
        return column.model_copy(update={"type": "text", "used": True, "reason": reason("corpus")})

    def recognize(self, columns: tuple[Column, ...], section: Data, source: RawData) -> tuple[Column, ...] | None:
        if source.layout != self.name and not isinstance(section.task, LanguageModelling):
            return None
        text = section.text or next((each.name for each in columns if each.used and each.type == "text"), None)
        if text is None:
            raise DataError(
                f"{source.origin}: no column of text for language modelling; name it with data.text; {PAGE} shows how "
                "conversations are named",
                code="DL212",
            )
        return use_only(columns, (text,), reason("only-text"))

    def default_batch_size(self, rows: int) -> int:
        return 16

    def default_split(self, frame: Table, target: str | None) -> dict[str, str]:
        """Split by document, so that none stands on both sides, where there are enough."""
        if DOCUMENT in frame.columns and frame[DOCUMENT].n_unique() >= MIN_GROUPS:
            return {"name": "group", "column": DOCUMENT}
        return {"name": "random"}
