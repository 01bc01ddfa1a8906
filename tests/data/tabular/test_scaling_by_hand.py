"""Scalers by hand, each with its corners."""

import math

import numpy as np
import pytest

from danlu.data.tabular.scaling import (
    QUANTILES,
    SCALERS,
    Log1p,
    MinMax,
    Power,
    Quantile,
    Robust,
    Scaler,
    Scaling,
    Standard,
    Symmetric,
    inverse_yeo_johnson,
    signed_log1p,
    yeo_johnson,
)

VALUES = np.array([1.0, 2.0, 3.0, 4.0, 10.0])


@pytest.mark.parametrize(
    ("scaler", "expected"),
    [
        (Standard(), {4.0: 0.0, 4.0 + math.sqrt(10): 1.0}),  # mean 4, variance (9 + 4 + 1 + 0 + 36) / 5
        (MinMax(), {1.0: 0.0, 10.0: 1.0, 5.5: 0.5, 19.0: 2.0}),
        (Symmetric(), {1.0: -1.0, 10.0: 1.0, 5.5: 0.0}),
        (Robust(), {3.0: 0.0, 4.0: 0.5, 2.0: -0.5, 10.0: 3.5}),  # quartiles 2 and 4
    ],
)
def test_linear_scalers(scaler: Scaler, expected: dict[float, float]) -> None:
    scaling = scaler.fit(VALUES)
    assert scaling.apply(np.array(list(expected))) == pytest.approx(list(expected.values()))
    assert scaling.invert(np.array(list(expected.values()))) == pytest.approx(list(expected))


def test_a_logarithm_is_taken_before_mean_and_deviation() -> None:
    values = np.array([math.e - 1, math.e**3 - 1])  # logarithms 1 and 3: mean 2, deviation 1
    scaling = Log1p().fit(values)
    assert (scaling.offset, scaling.scale, scaling.bend) == (pytest.approx(2.0), pytest.approx(1.0), "log1p")
    assert scaling.apply(np.array([math.e - 1, 0.0])) == pytest.approx([-1.0, -2.0])
    assert signed_log1p(np.array([-(math.e - 1)])) == pytest.approx([-1.0])


@pytest.mark.parametrize("exponent", [-1.0, 0.0, 0.5, 1.0, 2.0, 3.0])
def test_yeo_johnson_is_their_formula(exponent: float) -> None:
    x, y = 3.0, -3.0
    above = math.log(4) if exponent == 0 else (4**exponent - 1) / exponent
    below = -math.log(4) if exponent == 2 else -(4 ** (2 - exponent) - 1) / (2 - exponent)
    found = yeo_johnson(np.array([x, y, 0.0]), exponent)
    assert found == pytest.approx([above, below, 0.0])
    assert inverse_yeo_johnson(found, exponent) == pytest.approx([x, y, 0.0])


def test_quantiles_are_ranks_from_minus_1_to_1() -> None:
    assert QUANTILES == 100
    scaling = Quantile().fit(np.arange(1001.0))
    assert len(scaling.quantiles) == 101
    found = scaling.apply(np.array([0.0, 250.0, 500.0, 1000.0, -5.0, 2000.0, 255.0]))
    assert found == pytest.approx([-1.0, -0.5, 0.0, 1.0, -1.0, 1.0, -0.49])
    assert scaling.invert(np.array([-1.0, 0.5])) == pytest.approx([0.0, 750.0])
    skewed = Quantile().fit(np.array([0.0] * 50 + [float(value) for value in range(1, 51)]))
    assert skewed.apply(np.array([0.0])) == pytest.approx([-1.0])


@pytest.mark.parametrize("name", ["standard", "minmax", "symmetric", "robust", "quantile", "power", "log1p"])
def test_a_constant_column_becomes_0(name: str) -> None:
    scaling = SCALERS[name]().fit(np.full(5, 7.0))  # type: ignore[attr-defined]
    assert scaling.apply(np.array([7.0])) == pytest.approx([0.0])
    assert np.isfinite(scaling.apply(np.array([8.0]))).all()


def test_quartiles_that_coincide_do_not_divide() -> None:
    scaling = Robust().fit(np.array([5.0] * 9 + [100.0]))
    assert (scaling.offset, scaling.scale) == (5.0, 1.0)
    tiny = Robust().fit(np.array([0.0, 1e-40, 2e-40, 3e-40, 1.0]))
    assert tiny.scale == 1.0


def test_the_power_is_the_likeliest_one() -> None:
    """A logarithm made normal values of these; its exponent is 0."""
    values = np.expm1(np.random.default_rng(0).normal(3.0, 0.5, size=2000))
    scaling = Power().fit(values)
    assert scaling.exponent == pytest.approx(0.0, abs=0.06)
    found = scaling.apply(values)
    assert found.mean() == pytest.approx(0.0, abs=1e-6) and found.std() == pytest.approx(1.0)


def test_missing_values_stay_missing() -> None:
    for scaling in (Scaling(offset=1.0, scale=2.0), Scaling(quantiles=(0.0, 1.0)), Scaling(bend="yeo-johnson")):
        assert np.isnan(scaling.apply(np.array([np.nan]))).all()


def test_a_width_that_is_not_finite_does_not_divide() -> None:
    with np.errstate(over="ignore"):
        assert MinMax().fit(np.array([-1.7e308, 1.7e308])).scale == 1.0


@pytest.mark.parametrize(("scale", "expected"), [("minmax", [0.0, 0.5, 1.0]), ("symmetric", [-1.0, 0.0, 1.0])])
def test_clip_moves_later_values_to_the_ends_as_scikit_learn_does(scale: str, expected: list[float]) -> None:
    """As `MinMaxScaler(clip=True)`: by the range of the training rows, not of those that are scaled."""
    from sklearn.preprocessing import MinMaxScaler

    from danlu.data.columns import Column
    from danlu.data.tabular.preprocessor import _fit_number
    from danlu.recipe.sections.data import Data

    train, later = np.array([2.0, 4.0, 10.0]), np.array([-50.0, 6.0, 99.0])
    column = Column(name="x", type="number", used=True, reason="numbers", missing=0, unique=3)

    def scaled(clip: bool) -> list[float]:
        section = Data.model_validate({"source": "x.csv", "scale": {"name": scale, "clip": clip}})
        state = _fit_number(column, None, train, section)
        return [float(value) for value in np.ravel(state.apply(later))]

    range_of = (0, 1) if scale == "minmax" else (-1, 1)
    by_peer = MinMaxScaler(feature_range=range_of, clip=True).fit(train[:, None]).transform(later[:, None])[:, 0]
    assert scaled(True) == pytest.approx(expected)
    assert scaled(True) == pytest.approx(by_peer.tolist())
    assert scaled(False)[0] < expected[0] and scaled(False)[2] > expected[2]
