"""Free text within a table as a few numbers: its topics (latent semantic analysis, Deerwester et al. 1990).

TF-IDF over words and pairs of words, or pairs of characters where words are not separated, then the directions in which
the training texts vary most. Kept as plain arrays; nothing but numpy is needed to apply them.
"""

import itertools
import re
from collections import Counter
from typing import Literal, Self

import numpy as np
import polars as pl

from danlu.core.component import Frozen
from danlu.core.seeds import Seed
from danlu.data.tabular.categories import TargetValues
from danlu.data.tabular.json_array import JsonArray
from danlu.data.tabular.scaling import Scaling, Standard

DIRECTIONS, MOST_TERMS = 16, 2_000
FEWEST_TEXTS = 2  # minimum document frequency of a term
WORD = re.compile(r"(?u)\b\w+\b")
IDEOGRAPHS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


class TfidfState(Frozen):
    """Hold the fitted state of a text column.

    Attributes:
        unit: of terms: words, or characters.
        terms: in the order of the rows of `directions`.
        weights: how much rarer terms count more (inverse document frequency), [terms].
        directions: [terms, kept].
        scalings: of each kept direction.
    """

    kind: Literal["words"] = "words"
    column: str
    unit: Literal["word", "character"]
    terms: tuple[str, ...]
    weights: JsonArray
    directions: JsonArray
    scalings: tuple[Scaling, ...]

    @classmethod
    def fit(cls, values: pl.Series, seed: Seed) -> Self | None:
        """Learn from the training split's texts; None where no term occurs in two of them."""
        from scipy.sparse import csr_matrix
        from sklearn.decomposition import TruncatedSVD

        texts = _texts(values)
        unit: Literal["word", "character"] = "character" if _unspaced(texts) else "word"
        counted = [Counter(tokenize_terms(text, unit)) for text in texts]
        frequency = Counter(term for counts in counted for term in counts)
        usual = sorted(frequency.items(), key=lambda item: (-item[1], item[0]))[:MOST_TERMS]
        terms = tuple(sorted(term for term, count in usual if count >= FEWEST_TEXTS))
        if len(terms) < 2:
            return None
        idf = np.log((1 + len(texts)) / (1 + np.array([frequency[term] for term in terms]))) + 1
        rows, columns, entries = _entries(counted, terms, idf)
        matrix = csr_matrix((entries, (rows, columns)), shape=(len(texts), len(terms)))
        kept = min(DIRECTIONS, len(terms) - 1, len(texts) - 1)
        svd = TruncatedSVD(kept, random_state=seed.derive("words", values.name).value % 2**32).fit(matrix)
        state = cls(
            column=values.name,
            unit=unit,
            terms=terms,
            weights=JsonArray.from_numpy(idf),
            directions=JsonArray.from_numpy(svd.components_.T),
            scalings=(),
        )
        projected = state._projected(values)
        scalings = tuple(Standard().fit(column.astype(np.float64)) for column in projected.T)
        return state.model_copy(update={"scalings": scalings})

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        return (self.column,)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{self.column} topic {index + 1}" for index in range(len(self.scalings)))

    def apply(self, frame: pl.DataFrame, answers: TargetValues | None) -> np.ndarray:
        """Return the topic features, [rows, kept] float32."""
        projected = self._projected(frame[self.column])
        scaled = [scaling.apply(column) for scaling, column in zip(self.scalings, projected.T, strict=True)]
        return np.stack(scaled, axis=1).astype(np.float32)

    def _projected(self, values: pl.Series) -> np.ndarray:
        counted = [Counter(tokenize_terms(text, self.unit)) for text in _texts(values)]
        rows, columns, entries = _entries(counted, self.terms, self.weights.array)
        projected = np.zeros((len(counted), self.directions.shape[1]))
        np.add.at(projected, rows, self.directions.array[columns] * entries[:, None])
        return projected


def tokenize_terms(text: str, unit: Literal["word", "character"]) -> list[str]:
    """Return words and word pairs, or characters and character pairs."""
    lower = text.lower()
    parts = WORD.findall(lower) if unit == "word" else list("".join(lower.split()))
    joint = " " if unit == "word" else ""
    return parts + [joint.join(pair) for pair in itertools.pairwise(parts)]


def _entries(
    counted: list[Counter[str]], terms: tuple[str, ...], idf: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the TF-IDF matrix as row, column and value of its entries.

    Sublinear in counts, rows of length 1.
    """
    position = {term: index for index, term in enumerate(terms)}
    found = [
        (row, position[term], 1 + np.log(count))
        for row, counts in enumerate(counted)
        for term, count in counts.items()
        if term in position
    ]
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    rows, columns, entries = (np.array(part) for part in zip(*found, strict=True))
    entries = entries * idf[columns]
    lengths = np.sqrt(np.bincount(rows, entries**2, minlength=len(counted)))
    return rows, columns, entries / lengths[rows]


def _texts(values: pl.Series) -> list[str]:
    return values.cast(pl.String).fill_null("").to_list()


def _unspaced(texts: list[str]) -> bool:
    return sum(bool(IDEOGRAPHS.search(text)) for text in texts) > len(texts) / 2
