"""SHAP values of trees against LightGBM's own, and against all coalitions."""

from typing import Any

import numpy as np
import pytest

from danlu.explanation.coalitions import all_coalitions
from danlu.explanation.shapley import enumerate_all
from danlu.explanation.trees import interventional_tree_values, path_dependent_tree_values
from danlu.models.tabular.boosting import BoostedTrees
from tests.explanation.games import table_game

lightgbm = pytest.importorskip("lightgbm")
ROWS, COLUMNS, CODES = 300, 6, 12


def _table(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers, some missing, and a category in the last column; the score that is learned."""
    rng = np.random.default_rng(seed)
    table = rng.standard_normal((ROWS, COLUMNS))
    table[:, -1] = rng.integers(0, CODES, ROWS)
    score = table[:, 0] * table[:, 1] + np.sin(table[:, 2]) + (table[:, -1] % 3)
    table[rng.random((ROWS, COLUMNS)) < 0.1] = np.nan
    table[:, -1] = np.nan_to_num(table[:, -1])
    return table.astype(np.float32), score


def _fit(table: np.ndarray, target: np.ndarray, **options: Any) -> tuple[Any, BoostedTrees]:
    data = lightgbm.Dataset(table, target, categorical_feature=[COLUMNS - 1])
    settings = {"verbosity": -1, "num_leaves": 9, "min_data_in_leaf": 5, "cat_smooth": 1, **options}
    booster = lightgbm.train(settings, data, 12)
    classes = options.get("num_class", 2 if options.get("objective") == "binary" else 1)
    network = BoostedTrees(classes)
    network.load_text(booster.model_to_string())
    return booster, network


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
def test_path_dependent_values_are_lightgbms_own(kind: str) -> None:
    table, score = _table(3)
    classes = {"regression": {}, "binary": {}, "multiclass": {"num_class": 3}}[kind]
    target = score if kind == "regression" else (score > 1) * 1.0 if kind == "binary" else np.digitize(score, [0, 2])
    booster, network = _fit(table, target, objective=kind, **classes)
    assert network.has_category_splits
    counts = network.node_counts()
    for row in table[:8]:
        theirs = np.asarray(booster.predict(row[None], pred_contrib=True)).reshape(-1, COLUMNS + 1)
        values, mean = path_dependent_tree_values(network, row[None], counts, np.arange(COLUMNS), COLUMNS)
        outputs = range(1, 2) if kind == "binary" else range(len(theirs))
        for place, output in enumerate(outputs):
            assert np.allclose(values[:, output], theirs[place, :-1], atol=2e-6)
            assert mean[output] == pytest.approx(theirs[place, -1], abs=2e-6)


def test_values_with_background_are_those_of_all_coalitions() -> None:
    import torch

    table, score = _table(4)
    _, network = _fit(table, score, objective="regression")
    row, background = table[:1], table[1:31]
    values = interventional_tree_values(network, row, background, np.arange(COLUMNS), COLUMNS)
    members = all_coalitions(COLUMNS, 0, 2**COLUMNS)
    mixed = np.where(members[:, None, :], row, background[None]).reshape(-1, COLUMNS)
    with torch.inference_mode():
        answers = network(torch.from_numpy(mixed[:, :-1]), torch.from_numpy(mixed[:, -1:].astype(np.int64)))
    game = table_game(answers.double().numpy().reshape(len(members), -1).mean(axis=1))
    assert np.allclose(values[:, 0], enumerate_all(game).values, atol=1e-6)


def test_a_column_of_several_features_is_one_player() -> None:
    import torch

    table, score = _table(5)
    _, network = _fit(table, score, objective="regression")
    row, background, owners = table[:1], table[1:21], np.array([0, 0, 1, 1, 2, 2])
    values = interventional_tree_values(network, row, background, owners, 3)
    members = all_coalitions(3, 0, 8)
    mixed = np.where(members[:, None, owners], row, background[None]).reshape(-1, COLUMNS)
    with torch.inference_mode():
        answers = network(torch.from_numpy(mixed[:, :-1]), torch.from_numpy(mixed[:, -1:].astype(np.int64)))
    game = table_game(answers.double().numpy().reshape(8, -1).mean(axis=1))
    assert np.allclose(values[:, 0], enumerate_all(game).values, atol=1e-6)
