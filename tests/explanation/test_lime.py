"""LIME: finds planted linear rules, and gives the same answer each time."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import danlu
from danlu.core.seeds import Seed
from danlu.explanation.lime import draw_near, fit_linear, kernel


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pl.DataFrame]:
    """A linear model of y = 3 a - 2 n + 4 (c is up), and noise columns."""
    rng = np.random.default_rng(0)
    a, z = rng.standard_normal((2, 400))
    n, c = rng.integers(0, 8, 400), rng.choice(["up", "down"], 400)
    frame = pl.DataFrame({"a": a, "n": n, "c": c, "z": z, "y": 3 * a - 2 * n + 4 * (c == "up")})
    recipe = {"name": "p", "data": {"target": "y"}, "model": "linear", "training": {"epochs": 150}}
    return danlu.train(recipe, data=frame, name="p", output=tmp_path_factory.mktemp("lime")).path, frame


def test_lime_finds_a_planted_linear_rule(planted: tuple[Path, pl.DataFrame]) -> None:
    run, frame = planted
    kept = frame.filter(pl.col("a").abs() < 1, pl.col("n").is_between(2, 5), pl.col("c") == "up")[:3]
    for one in danlu.explain(run, kept, methods=["lime"]).local:
        slopes = {each.name: each.share.value for each in one.values}
        assert slopes["a"] == pytest.approx(3 * frame["a"].std(), rel=0.1)  # type: ignore[operator]
        assert slopes["n"] == pytest.approx(-2 * frame["n"].std(), rel=0.1)  # type: ignore[operator]
        assert slopes["c"] == pytest.approx(4, rel=0.1) and abs(slopes["z"]) < 0.2
        assert one.fidelity is not None and one.fidelity > 0.98 and one.completeness_error is None


def test_lime_answers_the_same_each_time_and_whatever_other_rows_are_asked_for(
    planted: tuple[Path, pl.DataFrame], tmp_path: Path
) -> None:
    run, frame = planted
    for name in ("one", "two"):
        danlu.explain(run, frame[:3], methods=["lime", "shap"], output=tmp_path / name)
    assert (tmp_path / "one" / "values.npz").read_bytes() == (tmp_path / "two" / "values.npz").read_bytes()
    together = danlu.explain(run, frame[:3], methods=["lime"]).local[2]
    alone = danlu.explain(run, frame[:3], rows=[2], methods=["lime"]).local[0]
    assert [each.share for each in together.values] == [each.share for each in alone.values]


def test_slopes_of_an_exact_rule_are_exact_and_intervals_hold_noisy_ones() -> None:
    row = pl.DataFrame({"a": [0.5], "b": [1.0], "c": ["x"]})
    rng = np.random.default_rng(1)
    background = pl.DataFrame(
        {"a": rng.standard_normal(100), "b": rng.standard_normal(100), "c": rng.choice(["x", "y"], 100)}
    )
    near, moves = draw_near(row, background, 500, Seed(0))
    assert near.columns == row.columns and near.height == 500
    true = np.array([2.0, 0.0, -1.0])
    exact = fit_linear(moves, 7 + moves @ true, kernel(moves))
    assert np.allclose(exact.slopes, true, atol=1e-6) and exact.intercept == pytest.approx(7)
    assert exact.fidelity == pytest.approx(1)
    inside = []
    for _ in range(200):
        noisy = fit_linear(moves, 7 + moves @ true + rng.standard_normal(500), kernel(moves))
        inside.append(np.abs(noisy.slopes - true) <= noisy.half_widths)
    assert 0.92 <= np.mean(inside) <= 0.98


def test_a_missing_cell_is_told_from_any_other(planted: tuple[Path, pl.DataFrame]) -> None:
    row = pl.DataFrame({"a": [None], "n": [3]}, schema={"a": pl.Float64, "n": pl.Int64})
    background = pl.DataFrame({"a": [1.0, None, 2.0, 3.0], "n": [1, 2, 3, 4]})
    near, moves = draw_near(row, background, 200, Seed(0))
    assert ((moves[:, 0] == 0) == near["a"].is_null().to_numpy()).all()
    assert near["n"].dtype == pl.Int64 and near["n"].is_between(1, 4).all()
