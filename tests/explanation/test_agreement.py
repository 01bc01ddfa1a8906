"""danlu's values are those of shapiq's exact computer and of shap's tree explainer, where these are installed."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import danlu
from danlu.core.seeds import Seed
from danlu.explanation.answers import Answer
from danlu.explanation.games import Game, interventional_value
from danlu.explanation.shapley import enumerate_all, shapley_values
from danlu.explanation.tabular import TabularAnswers
from danlu.models.predictor import Predictor


def _table() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    table = rng.standard_normal((300, 6)).astype(np.float32).astype(np.float64)
    target = table[:, 0] * table[:, 1] + 2 * np.abs(table[:, 2]) - table[:, 3]
    return pl.DataFrame(table, schema=list("abcdef")).with_columns(y=pl.Series(target))


@pytest.fixture(scope="module")
def boosted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = {"name": "b", "data": {"target": "y"}, "model": {"name": "boosting", "rounds": 20}}
    return danlu.train(recipe, data=_table(), name="b", output=tmp_path_factory.mktemp("agreement")).path


@pytest.mark.parametrize("players", [3, 7, 10])
def test_values_of_a_game_are_those_of_shapiqs_exact_computer(players: int) -> None:
    pytest.importorskip("shapiq")
    from shapiq.game_theory.exact import ExactComputer

    values = np.random.default_rng(players).standard_normal(2**players)
    bits = 2 ** np.arange(players)

    def game(coalitions: np.ndarray) -> np.ndarray:
        return np.asarray(values[np.atleast_2d(coalitions).astype(np.int64) @ bits])

    theirs = ExactComputer(game, n_players=players)("SV", 1)
    expected = [theirs[(player,)] for player in range(players)]
    assert enumerate_all(Game(players, game)).values == pytest.approx(expected, abs=1e-9)
    # With calls for every coalition, estimators give the same values and say that they are exact.
    found = shapley_values(Game(players, game), Seed(0), budget=2**players)
    assert found.exact and found.values == pytest.approx(expected, abs=1e-9)


def test_values_of_trees_are_those_of_shap_with_the_same_background(boosted: Path) -> None:
    shap = pytest.importorskip("shap")
    import lightgbm

    predictor = Predictor.load(boosted)
    rows, frame = TabularAnswers(predictor), _table()
    kept = predictor.bundle.reference_rows()
    assert kept is not None
    booster = lightgbm.Booster(model_file=str(predictor.bundle.require("lightgbm.txt")))
    background = rows.prepare(kept[:100]).numeric.astype(np.float64)
    explainer = shap.TreeExplainer(booster, background, feature_perturbation="interventional")
    target = predictor.target
    expected = explainer.shap_values(rows.prepare(frame[:5]).numeric.astype(np.float64)) * target.std
    found = danlu.explain(boosted, frame[:5], rows=range(5), methods=["shap"]).local
    for one, theirs in zip(found, expected, strict=True):
        named = dict(zip(predictor.preprocessor.names, theirs.tolist(), strict=True))
        assert {each.name: each.share.value for each in one.values} == pytest.approx(named, abs=1e-4)


def test_values_of_trees_are_those_of_all_coalitions(boosted: Path) -> None:
    """The same by the definition, without any other library: each column's gain in every order it may join."""
    rows, frame = TabularAnswers(Predictor.load(boosted)), _table()
    kept = rows.predictor.bundle.reference_rows()
    assert kept is not None
    found = danlu.explain(boosted, frame[:2], rows=[0, 1], methods=["shap"]).local
    for place, one in enumerate(found):
        assert one.estimator == "trees"
        mixed = rows.mixed(frame[place : place + 1], kept[:100], Answer(None, 0, False))
        exact = enumerate_all(Game(6, interventional_value(mixed, len(kept[:100]), 6)))
        assert [each.share.value for each in one.values] == pytest.approx(exact.values.tolist(), abs=1e-5)
