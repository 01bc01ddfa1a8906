"""Curves over a column and surrogate trees: right where the answer's form is known."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from danlu.core.seeds import Seed
from danlu.errors import ArgumentError
from danlu.explanation.answers import Answer
from danlu.explanation.curves import accumulated_effects, partial_dependence
from danlu.explanation.interactions import pair_interactions
from danlu.explanation.surrogate import fit_surrogate

ROWS = 400
SHIFTS = {"low": -1.0, "mid": 0.5, "top": 4.0}


class _Decoding:
    def decode(self, outputs: np.ndarray) -> pl.DataFrame:
        return pl.DataFrame({"prediction": outputs[:, 0]})


class _Known:
    """A model whose answer is a sum: 3 a + b squared + a shift of c + 2 n, with a product of a and b on demand."""

    columns, target = ("a", "b", "c", "n"), _Decoding()

    def __init__(self, product: float = 0.0) -> None:
        self.product = product

    def outputs(self, frame: pl.DataFrame) -> np.ndarray:
        a, b, n = (frame[name].cast(pl.Float64).to_numpy() for name in ("a", "b", "n"))
        shifts = frame["c"].replace_strict(SHIFTS, return_dtype=pl.Float64).to_numpy()
        return np.asarray((3 * a + b**2 + shifts + 2 * n + self.product * a * b)[:, None])


def _frame(correlated: bool = False) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    a = rng.standard_normal(ROWS)
    b = a + 0.1 * rng.standard_normal(ROWS) if correlated else rng.standard_normal(ROWS)
    return pl.DataFrame({"a": a, "b": b, "c": rng.choice(list(SHIFTS), ROWS), "n": rng.integers(0, 6, ROWS)})


EVERY = pytest.mark.parametrize("curves", [partial_dependence, accumulated_effects])
ANSWER = Answer(None, 0, False)


@EVERY
def test_curves_of_a_sum_are_its_parts(curves: Any) -> None:
    found = {curve.name: curve for curve in curves(_Known(), _frame(), ANSWER)}
    parts = {
        "a": lambda x: 3 * x,
        "b": lambda x: x**2,
        "c": lambda x: np.vectorize(SHIFTS.get)(x),
        "n": lambda x: 2 * x,
    }
    for name, part in parts.items():
        expected = part(found[name].places.to_numpy())
        assert np.allclose(np.diff(found[name].values), np.diff(expected), atol=1e-9)
    assert found["n"].places.dtype.is_integer() and found["n"].places.to_list() == [0, 1, 2, 3, 4, 5]


def test_single_rows_average_to_partial_dependence_and_their_spread_is_the_interval() -> None:
    curve = next(iter(partial_dependence(_Known(product=1.0), _frame(), ANSWER)))
    assert curve.single is not None and curve.single.shape == (ROWS, len(curve.places))
    assert np.allclose(curve.single.mean(axis=0), curve.values)
    standard = curve.single.std(axis=0, ddof=1) / np.sqrt(ROWS)
    assert np.allclose(curve.half_widths, 1.966 * standard, rtol=1e-3)


def test_accumulated_effects_stay_where_rows_occur() -> None:
    """With b about a, moving a within its bin adds 3 + b = 3 + a a step: 3 a + a squared / 2."""
    curve = next(iter(accumulated_effects(_Known(product=1.0), _frame(correlated=True), ANSWER)))
    places = curve.places.to_numpy()
    expected = 3 * places + places**2 / 2
    inner = slice(2, -2)
    assert np.allclose(np.diff(curve.values[inner]), np.diff(expected[inner]), atol=0.06)
    assert (curve.half_widths > 0).all()


def test_intervals_of_accumulated_effects_hold_the_truth() -> None:
    inside = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        a, b = rng.standard_normal((2, 200))
        frame = pl.DataFrame({"a": a, "b": b, "c": ["low"] * 200, "n": [0] * 200})
        curve = next(iter(accumulated_effects(_Known(product=1.0), frame, ANSWER)))
        spread = curve.places.to_numpy()[[4, -5]]
        rise = curve.values[-5] - curve.values[4]  # in expectation 3 a step
        inside.append(abs(rise - 3 * (spread[1] - spread[0])) < curve.half_widths[4] + curve.half_widths[-5])
    assert np.mean(inside) >= 0.93


def test_a_column_with_gaps_or_one_value_makes_no_fault() -> None:
    frame = _frame().with_columns(a=pl.when(pl.col("b") > 0).then(pl.col("a")), n=pl.lit(3), c=pl.lit("low"))

    class Filled(_Known):
        def outputs(self, frame: pl.DataFrame) -> np.ndarray:
            return super().outputs(frame.with_columns(pl.col("a").fill_null(0.0)))

    found = {curve.name: curve for curve in accumulated_effects(Filled(), frame, ANSWER)}  # type: ignore[arg-type]
    assert set(found) == {"a", "b"} and found["a"].rows < ROWS
    assert np.allclose(np.diff(found["a"].values), 3 * np.diff(found["a"].places.to_numpy()))


def test_the_pair_that_is_multiplied_is_the_one_that_acts_together() -> None:
    class Mixed(_Known):
        def mixed(self, row: pl.DataFrame, background: pl.DataFrame, answer: Answer) -> Any:
            def answers(coalitions: np.ndarray) -> np.ndarray:
                found = []
                for coalition in coalitions:
                    kept = {name: row[name][0] for name, there in zip(self.columns, coalition, strict=True) if there}
                    found.append(self.outputs(background.with_columns(**{k: pl.lit(v) for k, v in kept.items()}))[:, 0])
                return np.array(found)

            return answers

    frame = _frame()[:60]
    found = pair_interactions(Mixed(product=1.0), frame, ANSWER, Seed(0))  # type: ignore[arg-type]
    first, *others = found.pairs
    assert first.names == ("a", "b") and (first.share.low or 0.0) > 0.1
    assert all(each.share.value < 1e-6 for each in others)
    a, b = (frame[name].to_numpy() for name in ("a", "b"))
    whole = 3 * a + b**2 + a * b
    rest = (a - a.mean()) * (b - b.mean())
    assert first.share.value == pytest.approx(np.sqrt(rest.var() / whole.var()), rel=1e-6)
    still = pair_interactions(Mixed(), frame, ANSWER, Seed(0))  # type: ignore[arg-type]
    assert all(each.share.value < 1e-6 for each in still.pairs)


def test_a_surrogate_finds_a_rule_and_says_how_faithful_it_is() -> None:
    frame = _frame()
    answers = np.where((frame["a"].to_numpy() > 0.5) & (frame["c"] == "top").to_numpy(), 1.0, 0.0)
    found = fit_surrogate(frame, answers, "yes", Seed(0))
    top = max(found.rules, key=lambda rule: rule.value)
    assert top.value == 1.0 and "c is top" in top.conditions
    assert any(condition.startswith("a > 0.") for condition in top.conditions)
    assert found.fidelity.value > 0.9 and sum(rule.rows for rule in found.rules) == found.rows == ROWS // 2
    noise = fit_surrogate(frame, np.random.default_rng(0).standard_normal(ROWS), None, Seed(0))
    assert noise.fidelity.value < 0.1
    with pytest.raises(ArgumentError, match="needs at least 20 rows, got 5"):
        fit_surrogate(frame[:5], answers[:5], None, Seed(0))
