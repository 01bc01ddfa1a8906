"""One word's canonical spelling in plain Python is that of a column, whatever the word."""

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from danlu.data.reading.spelling import canonical_series
from danlu.data.reading.word_spelling import canonical_word, merged_word
from danlu.data.tabular.categories import normalize_spelling

numbers = st.floats(allow_nan=False, allow_infinity=False).map(repr) | st.from_regex(
    r"\A[+-]?(0|[1-9][0-9]{0,20})(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,3})?\Z"
)
signs = st.text(alphabet="01.eE+-TRUEtruefalsE \t\n\x1c\x85\xa0\u2003ßİ:Z", max_size=8)
moments = st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(\.0+)?(Z|\+00:00)?\Z")


@given(numbers | signs | moments)
@example("4.036592478673509e-05")
@example("1e22")
@example("-0.0")
@example("1e400")
def test_a_word_is_spelled_as_a_column_spells_it(word: str) -> None:
    (column,) = canonical_series(pl.Series([word])).to_list()
    assert canonical_word(word) == column
    (merged,) = normalize_spelling(pl.Series([word])).to_list()
    assert merged_word(word) == merged


@pytest.mark.parametrize(
    ("word", "form"),
    [("+1.00", "1"), (" TRUE", "true"), ("1e2", "100"), ("2024-01-05T00:00:00Z", "2024-01-05"), ("007", "007")],
)
def test_known_spellings(word: str, form: str) -> None:
    assert canonical_word(word) == form
