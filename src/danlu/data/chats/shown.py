"""A conversation as the model reads it, cut where learning begins and ends: for a person who checks the data."""

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from danlu.data.descriptors import TokenizerFile
from danlu.data.text.tokenize import plain_ids


@dataclass(frozen=True)
class Part:
    """Hold a piece of what a model reads, and whether it is learned."""

    text: str
    learned: bool


def shown_tokens(tokenizer: TokenizerFile, marked: np.ndarray, name: str, longest: int) -> dict[str, Any]:
    """Return marked tokens as parts of text, with how many are read, learned and cut.

    Args:
        marked: token ids, those that are not learned as complements.
        name: what the text is of its row.
        longest: positions of the model.
    """
    kept = marked[: longest + 1]
    learned = kept >= 0
    bounds = [0, *(np.flatnonzero(learned[1:] != learned[:-1]) + 1).tolist(), len(kept)]
    reader, ids = tokenizer.open(), plain_ids(kept).tolist()
    parts: list[Part] = []
    before = ""
    for start, end in pairwise(bounds):
        until = reader.decode(ids[:end], skip_special_tokens=False)  # from the beginning, for the blanks between
        parts.append(Part(until[len(before) :], bool(learned[start])))
        before = until
    return {
        "name": name,
        "parts": [asdict(part) for part in parts],
        "tokens": len(kept),
        "learned": int(learned.sum()),
        "cut": len(marked) - len(kept),
    }
