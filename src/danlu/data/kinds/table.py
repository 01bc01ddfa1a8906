"""The table of the kinds of data, in the order in which they are asked whether data is theirs."""

from collections.abc import Iterable

from danlu.core.text import suggestion
from danlu.data.kind import DataKind
from danlu.data.kinds.chat import ChatKind
from danlu.data.kinds.corpus import CorpusKind
from danlu.data.kinds.image import ImageKind
from danlu.data.kinds.preference import PreferenceKind
from danlu.data.kinds.tabular import TabularKind
from danlu.data.kinds.text import TextKind
from danlu.data.kinds.words import WordsKind
from danlu.errors import ArtifactError

KINDS: dict[str, DataKind] = {
    "chat": ChatKind(),
    "preference": PreferenceKind(),
    "words": WordsKind(),
    "corpus": CorpusKind(),
    "text": TextKind(),
    "image": ImageKind(),
    "tabular": TabularKind(),  # takes whatever is left
}


def iter_kinds() -> Iterable[DataKind]:
    """Return the kinds of data in the order of the table."""
    return KINDS.values()


def get_kind(name: str) -> DataKind:
    """Return the kind of data that a file names.

    Raises:
        ArtifactError: this version of danlu does not have it.
    """
    if name not in KINDS:
        raise ArtifactError(
            f"{name!r}: unknown kind of data{suggestion(name, KINDS)}; a later version may have made this", code="DL310"
        )
    return KINDS[name]
