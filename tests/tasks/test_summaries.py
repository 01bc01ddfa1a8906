"""Columns that are described together are described as each would be alone, and as numpy has it."""

import numpy as np
import polars as pl
import pytest

from danlu.tasks.summaries import BINS, describe_number_columns, describe_numbers

COLUMNS = {
    "many": np.random.default_rng(0).normal(size=50),
    "others": np.random.default_rng(1).lognormal(size=50),
    "with gaps": np.where(np.arange(50) % 7, np.arange(50.0), np.nan),
    "infinite": np.where(np.arange(50) % 9, np.linspace(-3, 8, 50), np.inf),
    "constant": np.full(50, 2.5),
    "one": np.array([4.0]),
    "none": np.array([np.nan, np.inf]),
    "huge": np.array([-1e300, 0.0, 1e300]),
}


def test_columns_described_together_are_described_as_each_alone() -> None:
    columns = [pl.Series(name, values) for name, values in COLUMNS.items()]
    assert describe_number_columns(columns) == [describe_numbers(values) for values in columns]
    assert describe_numbers(pl.Series([None, None], dtype=pl.Float64)) == {}


@pytest.mark.parametrize("name", ["many", "others", "with gaps", "infinite", "constant", "one"])
def test_a_description_is_that_of_numpy(name: str) -> None:
    told = describe_numbers(pl.Series(COLUMNS[name]))
    values = COLUMNS[name][np.isfinite(COLUMNS[name])]
    assert [told["min"], told["median"], told["max"]] == np.quantile(values, [0, 0.5, 1]).tolist()
    assert (told["mean"], told["std"]) == (values.mean(), values.std())
    shares = (values - values.min()) / (np.ptp(values) or 1.0)
    assert told["histogram"] == np.histogram(shares, bins=BINS)[0].tolist()
