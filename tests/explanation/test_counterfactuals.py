"""Counterfactuals: they flip when they are predicted, stay within the training rows, and change what may be changed."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import danlu
from danlu.artifacts.bundle import open_bundle
from danlu.errors import ArgumentError


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pl.DataFrame]:
    """A model of a known rule: granted from 50 of income, or with a guarantor; years do not count."""
    rng = np.random.default_rng(0)
    income, years = rng.uniform(10, 90, 600), rng.integers(18, 80, 600)
    helped = rng.choice(["yes", "no"], 600, p=[0.2, 0.8])
    granted = np.where((income > 50) | (helped == "yes"), "granted", "refused")
    frame = pl.DataFrame({"income": income, "years": years, "guarantor": helped, "loan": granted})
    recipe = {"name": "loans", "data": {"target": "loan"}, "model": {"name": "boosting", "rounds": 30}}
    run = danlu.train(recipe, data=frame, name="loans", output=tmp_path_factory.mktemp("loans"))
    return run.path, frame


def test_counterfactuals_flip_and_are_near_the_border_of_a_known_rule(loans: tuple[Path, pl.DataFrame]) -> None:
    run, frame = loans
    refused = frame.filter((pl.col("income") < 45) & (pl.col("guarantor") == "no"))[:5]
    found = danlu.explain(run, refused, rows=range(5), methods=["counterfactual"]).counterfactuals
    assert [one.row for one in found] == list(range(5))
    changed = pl.concat(
        [refused[one.row].with_columns(**{name: pl.lit(to) for name, (_, to) in one.changes.items()}) for one in found]
    )
    assert danlu.predict(run, changed)["prediction"].to_list() == ["granted"] * 5
    for one in found:
        assert "years" not in one.changes and one.prediction == "granted"
        if "income" in one.changes:
            was, now = one.changes["income"]
            assert was == refused["income"][one.row] and 48 < now < 53
            assert one.distance == pytest.approx((now - was) / 80, abs=0.02)


def test_only_actionable_columns_change_and_rows_without_a_way_are_named(loans: tuple[Path, pl.DataFrame]) -> None:
    run, frame = loans
    refused = frame.filter((pl.col("income") < 30) & (pl.col("guarantor") == "no"))[:2]
    found = danlu.explain(run, refused, methods=["counterfactual"], actionable=["guarantor"])
    assert [one.changes for one in found.counterfactuals] == [{"guarantor": ("no", "yes")}] * 2
    none = danlu.explain(run, refused, methods=["counterfactual"], actionable=["years"])
    assert none.counterfactuals == () and "no-counterfactual" in [code for code, _ in none.warnings]
    assert found.to_json()["counterfactuals"][0]["changes"] == {"guarantor": ["no", "yes"]}
    with pytest.raises(ArgumentError, match="the model reads no column 'incme'"):
        danlu.explain(run, refused, methods=["counterfactual"], actionable=["incme"])


def test_every_counterfactual_of_a_network_flips_within_the_ranges(tmp_path: Path) -> None:
    recipe = {"name": "w", "data": {"source": "builtin:wine"}, "model": "mlp", "training": {"epochs": 10}}
    run = danlu.train(recipe, name="w", output=tmp_path).path
    found = danlu.explain(run, rows=range(12), methods=["counterfactual"]).counterfactuals
    assert len(found) >= 11
    ranges = {name: told["quantiles"] for name, told in (open_bundle(run).reference() or {})["columns"].items()}
    for one in found:
        for name, (_, now) in one.changes.items():
            assert ranges[name][0] <= now <= ranges[name][-1]
        assert len(one.changes) <= 4
    label = found[0].prediction
    reached = danlu.explain(run, rows=range(12), methods=["counterfactual"], label=label).counterfactuals
    assert reached and {one.prediction for one in reached} == {label}


def test_numbers_have_no_counterfactuals(tmp_path: Path) -> None:
    recipe = {"name": "d", "data": {"source": "builtin:diabetes"}, "model": "linear", "training": {"epochs": 1}}
    run = danlu.train(recipe, name="d", output=tmp_path).path
    with pytest.raises(ArgumentError, match="counterfactual needs a model that predicts one label a row"):
        danlu.explain(run, methods=["counterfactual"])
