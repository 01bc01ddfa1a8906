"""What stands for a missing number, and which values lie too far out, by hand."""

import numpy as np
import polars as pl
import pytest

from danlu.core.seeds import Seed
from danlu.data.tabular.impute import Impute, IterativeFiller, KNNFiller
from danlu.data.tabular.numbers import NumberState, quantile
from danlu.data.tabular.outliers import is_outlier, outlier_limits
from danlu.data.tabular.scaling import Standard
from danlu.recipe.sections.data import Outliers

NAN = float("nan")


def state(fill: str, values: list[float], limits: tuple[float, float] | None = None) -> NumberState:
    return NumberState.fit("x", None, np.array(values), fill, -7.0, Standard(), limits)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fill", "expected"), [("median", 2.5), ("mean", 3.25), ("most-frequent", 2.0), ("constant", -7.0)]
)
def test_what_stands_in(fill: str, expected: float) -> None:
    assert state(fill, [2.0, 2.0, NAN, 6.0, 3.0]).fill == expected


def test_of_equally_frequent_values_the_smallest() -> None:
    assert state("most-frequent", [5.0, 1.0, 5.0, 1.0, 9.0]).fill == 1.0


def test_scaling_is_learned_from_filled_values() -> None:
    # 0, 4 and the mean 2 for the gap: mean 2, variance 8/3.
    found = state("mean", [0.0, 4.0, NAN])
    assert (found.scaling.offset, found.scaling.scale) == (pytest.approx(2.0), pytest.approx((8 / 3) ** 0.5))
    assert found.scaled_fill == pytest.approx(0.0)
    kept = state("keep", [0.0, 4.0, NAN])
    assert kept.fill is None and kept.scaling.scale == pytest.approx(2.0) and np.isnan(kept.scaled_fill)


def test_values_are_moved_to_the_limits_before_anything_is_learned() -> None:
    found = state("mean", [0.0, 4.0, 100.0], limits=(0.0, 8.0))
    assert found.fill == pytest.approx(4.0)
    assert found.apply(np.array([1000.0, -1000.0])) == pytest.approx(found.apply(np.array([8.0, 0.0])))


def test_a_column_without_values_is_0() -> None:
    found = state("mean", [NAN, NAN])
    assert found.fill == 0.0 and found.apply(np.array([0.0])) == pytest.approx([0.0])


def test_quantiles_are_interpolated() -> None:
    values = np.array([4.0, 1.0, 2.0, 3.0])
    assert [quantile(values, share) for share in (0.0, 0.25, 0.5, 1.0)] == pytest.approx([1.0, 1.75, 2.5, 4.0])


def test_neighbours_are_the_nearest_rows() -> None:
    matrix = np.array([[0.0, 1.0], [0.1, 3.0], [5.0, 100.0], [5.1, 200.0]])
    filler = KNNFiller.fit(matrix, Impute(strategy="knn", neighbors=2), Seed(0))
    found = filler.fill(np.array([[0.05, NAN], [5.0, NAN], [9.0, 9.0]]))
    assert found.tolist() == [[0.05, 2.0], [5.0, 150.0], [9.0, 9.0]]


def test_a_regression_finds_a_straight_line() -> None:
    x = np.linspace(-1, 1, 40)
    matrix = np.stack([x, 2 * x + 1], axis=1)
    matrix[3, 1] = NAN
    filler = IterativeFiller.fit(matrix, Impute(strategy="iterative"), Seed(0))
    found = filler.fill(np.array([[0.5, NAN], [0.5, 7.0]]))
    assert found[0, 1] == pytest.approx(2.0, abs=1e-3) and found[1].tolist() == [0.5, 7.0]


COLUMN = np.array([0.0, 10.0, 20.0, 30.0, 40.0, NAN])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Outliers(), (10.0 - 3 * 20.0, 30.0 + 3 * 20.0)),  # quartiles 10 and 30, three times their distance
        (Outliers(factor=1.5), (-20.0, 60.0)),
        (Outliers(method="z-score"), (20.0 - 3 * 200**0.5, 20.0 + 3 * 200**0.5)),
        (Outliers(method="z-score", factor=1.0), (20.0 - 200**0.5, 20.0 + 200**0.5)),
    ],
)
def test_limits(options: Outliers, expected: tuple[float, float]) -> None:
    assert outlier_limits(COLUMN, options) == pytest.approx(expected)


def test_a_column_without_spread_has_no_limits() -> None:
    for method in ("iqr", "z-score"):
        assert outlier_limits(np.full(5, 2.0), Outliers(method=method)) is None  # type: ignore[arg-type]
        assert outlier_limits(np.array([NAN]), Outliers(method=method)) is None  # type: ignore[arg-type]


def test_values_beyond_the_limits() -> None:
    found = is_outlier(np.array([-1.1, -1.0, 0.0, 1.0, 1.1, NAN]), (-1.0, 1.0))
    assert found.tolist() == [True, False, False, False, True, False]
    assert not is_outlier(np.array([1e9]), None).any()


def test_words_are_read_as_numbers() -> None:
    found = NumberState.fit("x", None, np.array([1.0, 3.0]), "mean", 0.0, Standard(), None)
    assert found.read(pl.DataFrame({"x": [" 1.5 ", None, "inf"]}), "t").tolist()[0] == 1.5
    assert np.isnan(found.read(pl.DataFrame({"x": [" 1.5 ", None, "inf"]}), "t")[1:]).all()
