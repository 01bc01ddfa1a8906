"""How far values can be trusted: figures are right for games whose values are known, and dummies lose."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import danlu
from danlu.explanation.answers import Answer
from danlu.explanation.removal import lost_by_removal, removal_sizes, sum_up
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
    assert found.completeness is not None and found.removal is not None
    assert found.rows == 10 and found.completeness.value < 1e-2
    assert found.infidelity.value < (1e-6 if name == "linear" else 0.3)
    assert found.infidelity.value < min(each.value for each in found.dummies.values())
    assert found.beats_dummies
    if name == "linear":  # its values follow the row, and no interaction is in them
        assert 0 < found.stability.value < 0.05
    assert found.randomisation is not None and abs(found.randomisation.value) < 0.8
    assert set(found.removal.areas) == {"shap", "lime", "random", "input-magnitude"}
    assert found.removal.areas["shap"].value > found.removal.areas["random"].value


def test_one_row_tells_no_method_from_a_dummy(runs: dict[str, Path]) -> None:
    found = danlu.explain(runs["linear"], rows=[0], methods=["shap", "trust"])
    assert not found.trust[0].beats_dummies  # one row has no interval
    assert "not-told-apart" in [code for code, _ in found.warnings]
    trust = found.to_json()["trust"][0]
    assert set(trust) >= {"method", "completeness", "infidelity", "stability", "randomisation", "beats_dummies"}
    assert json.loads(json.dumps(found.to_json())) == found.to_json()


class _Sum:
    """A model whose answer is the sum of its columns."""

    columns, target = ("a", "b", "c"), None

    def mixed(self, row: pl.DataFrame, background: pl.DataFrame, answer: Any) -> Any:
        own, others = row.to_numpy()[0], background.to_numpy()
        return lambda kept: np.where(kept[:, None, :], own, others[None]).sum(axis=-1)


def test_what_is_removed_is_filled_from_rows_alike_in_what_stays() -> None:
    a = np.repeat([0.0, 10.0], 10)
    background = pl.DataFrame({"a": a, "b": a + 1.0, "c": np.zeros(20)})
    row = pl.DataFrame({"a": [10.0], "b": [11.0], "c": [5.0]})
    values = {"first": np.array([3.0, 0.0, 1.0]), "last": np.array([0.0, 1.0, 3.0])}
    lost = lost_by_removal(_Sum(), row, background, Answer(None, 0, False), values)  # type: ignore[arg-type]
    # b = 11 stays, so a is filled by rows of 10 and nothing is lost; any row would lose 5. Then c goes as well.
    assert lost["first"].tolist() == [0.0, 5.0]
    assert lost["last"].tolist() == [5.0, 5.0]


def test_methods_are_ranked_only_where_intervals_tell_them_apart() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, (30, 4))
    lost = [
        {
            "shap": np.full(2, 2 + one),
            "lime": np.full(2, 2.01 + two),
            "random": np.full(2, three),
            "flat": np.full(2, four),
        }
        for one, two, three, four in noise
    ]
    found = sum_up(lost, removal_sizes(3), ("random", "flat"))
    assert [set(each) for each in found.ranks] == [{"shap", "lime"}, {"random", "flat"}]
    assert found.beats_dummies == {"shap": True, "lime": True}
    assert found.areas["shap"].value == pytest.approx(2, abs=0.1) and found.sizes == (1, 2)
    alone = sum_up(lost[:1], removal_sizes(3), ("random", "flat"))  # one row has no interval
    assert len(alone.ranks) == 1 and alone.beats_dummies == {"shap": False, "lime": False}
