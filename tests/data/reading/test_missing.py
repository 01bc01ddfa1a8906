"""Words for a missing value are taken out of columns of every type that can hold them."""

from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from danlu.data.reading.missing import without_missing


@pytest.mark.parametrize(
    ("word", "mark", "other", "dtype"),
    [
        ("-999", -999, 5, pl.Int16()),
        ("255", 255, 5, pl.UInt8()),
        ("-999", -999.0, 2.5, pl.Float32()),
        ("9999.9", 9999.9, 2.5, pl.Float32()),  # as 32 bits hold it
        ("9999.9", 9999.9, 2.5, pl.Float64()),
        ("-999", Decimal("-999.00"), Decimal("1.25"), pl.Decimal(10, 2)),
        ("true", True, False, pl.Boolean()),
        ("unk", "unk", "a", pl.String()),
        ("unk", "unk", "a", pl.Categorical()),
        ("unk", "unk", "a", pl.Enum(["a", "unk"])),
        ("unk", " unk", "a", pl.Categorical()),
        ("1900-01-01", date(1900, 1, 1), date(2024, 1, 1), pl.Date()),
        ("1900-01-01", datetime(1900, 1, 1), datetime(2024, 1, 1), pl.Datetime("ns")),
        ("00:00:00", time(0), time(8, 30), pl.Time()),
    ],
)
def test_a_mark_of_any_type_is_taken_out(word: str, mark: Any, other: Any, dtype: pl.DataType) -> None:
    table = pl.DataFrame({"x": pl.Series([mark, other, None], dtype=dtype)})
    found, occurred = without_missing(table, ["", word])
    assert found["x"].is_null().to_list() == [True, False, True]
    assert found["x"].dtype == dtype
    assert list(occurred) == ["x"]
    assert without_missing(table, ["", "other"])[1] == {}
