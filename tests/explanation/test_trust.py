"""How far values can be trusted: figures are right for games whose values are known, and dummies lose."""

import json
from pathlib import Path

import numpy as np
import pytest

import danlu
from danlu.explanation.trust import _scaled, infidelity


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("trusted")
    models = {
        "linear": "linear",
        "trees": {"name": "boosting", "rounds": 10},
        "network": {"name": "mlp", "hidden": [8]},
    }
    found = {}
    for name, model in models.items():
        recipe = {"name": name, "data": {"source": "builtin:diabetes"}, "model": model}
        recipe |= {} if name == "trees" else {"training": {"epochs": 5}}
        found[name] = danlu.train(recipe, name=name, output=folder).path
    return found


def test_infidelity_of_right_values_is_none_and_of_no_values_all() -> None:
    rng = np.random.default_rng(0)
    values, removed = rng.standard_normal(6), rng.random((50, 6)) < 0.5
    lost = removed @ values
    assert infidelity(values, removed, lost) == pytest.approx(0)
    assert infidelity(np.zeros(6), removed, lost) == pytest.approx(1)
    assert infidelity(values / 2, removed, lost) == pytest.approx(0.25)
    assert infidelity(_scaled(values / 2, removed, lost), removed, lost) == pytest.approx(0)


@pytest.mark.parametrize("name", ["linear", "trees", "network"])
def test_values_are_trusted_beside_dummies(runs: dict[str, Path], name: str) -> None:
    found = danlu.explain(runs[name], rows=range(10), methods=["trust"]).trust[0]
    assert found.rows == 10 and found.completeness.value < 1e-2
    assert found.infidelity.value < (1e-6 if name == "linear" else 0.3)
    assert found.infidelity.value < min(each.value for each in found.dummies.values())
    assert found.beats_dummies
    if name == "linear":  # its values follow the row, and no interaction is in them
        assert 0 < found.stability.value < 0.05
    assert found.randomisation is not None and abs(found.randomisation.value) < 0.8


def test_one_row_tells_no_method_from_a_dummy(runs: dict[str, Path]) -> None:
    found = danlu.explain(runs["linear"], rows=[0], methods=["shap", "trust"])
    assert not found.trust[0].beats_dummies  # one row has no interval
    assert "not-told-apart" in [code for code, _ in found.warnings]
    trust = found.to_json()["trust"][0]
    assert set(trust) >= {"method", "completeness", "infidelity", "stability", "randomisation", "beats_dummies"}
    assert json.loads(json.dumps(found.to_json())) == found.to_json()
