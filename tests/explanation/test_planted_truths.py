"""The method that danlu recommends finds all twenty planted truths of benchmarks/explanation."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from danlu.core.seeds import Seed
from danlu.explanation.games import Game, interventional_value
from danlu.explanation.shapley import shapley_values

CASES = Path(__file__).parents[2] / "benchmarks" / "explanation" / "cases.py"


def _cases() -> Any:
    spec = importlib.util.spec_from_file_location("planted_cases", CASES)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


PLANTED = _cases()


def shap_values(planted: Any) -> np.ndarray:
    """SHAP values of one instance: columns, squares or tokens are the players."""
    cells = np.zeros((len(planted.players), len(planted.row)), dtype=bool)
    for player, own in enumerate(planted.players):
        cells[player, list(own)] = True

    def answers(coalitions: np.ndarray) -> np.ndarray:
        kept = coalitions @ cells
        mixed = np.where(kept[:, None, :], planted.row, planted.background[None])
        found: np.ndarray = planted.model(mixed.reshape(-1, len(planted.row)))
        return found.reshape(len(coalitions), -1)

    value = interventional_value(answers, len(planted.background), len(planted.row))
    return shapley_values(Game(len(planted.players), value), Seed(0), budget=PLANTED.CALLS).values


@pytest.mark.parametrize("name", list(PLANTED.CASES))
def test_shap_values_put_the_planted_truth_first(name: str) -> None:
    planted = PLANTED.CASES[name](0)
    assert PLANTED.solves(planted, shap_values(planted))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(PLANTED.CASES))
def test_shap_values_put_the_planted_truth_first_for_every_seed(name: str) -> None:
    for seed in PLANTED.SEEDS:
        planted = PLANTED.CASES[name](seed)
        assert PLANTED.solves(planted, shap_values(planted)), seed


def test_there_are_twenty_cases_of_tables_images_and_texts() -> None:
    kinds = [case(0).kind for case in PLANTED.CASES.values()]
    assert (len(kinds), kinds.count("table"), kinds.count("image"), kinds.count("text")) == (20, 12, 4, 4)
