"""`data.target_transform`: learned transformed; answered, judged and exported in the own units."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.preprocessing import PowerTransformer

import danlu as package
from danlu.errors import RecipeError
from danlu.experiment.data_context import fit_preprocessing, load_input

TRANSFORMS = ("none", "standard", "minmax", "log1p", "yeo-johnson")


def rows() -> pl.DataFrame:
    generator = np.random.default_rng(0)
    x = generator.normal(size=240)
    return pl.DataFrame({"x": x, "price": np.exp(1.2 * x + 4)})


def recipe(transform: str, **changes: Any) -> dict[str, Any]:
    return {
        "data": {"target": "price", "target_transform": transform},
        "model": "linear",
        "training": {"epochs": 40, "batch_size": 32, "optimizer": {"lr": 0.1}},
        "evaluation": {"resamples": 0, "baselines": False},
        **changes,
    }


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_the_network_sees_the_transformed_number(transform: str) -> None:
    context = load_input(recipe(transform), rows())
    target: Any = fit_preprocessing(context).target
    train = context.splits.train.frame
    prices = train["price"].to_numpy()
    expected = {
        "none": prices,
        "standard": (prices - prices.mean()) / prices.std(),
        "minmax": (prices - prices.min()) / np.ptp(prices),
        "log1p": (np.log1p(prices) - np.log1p(prices).mean()) / np.log1p(prices).std(),
        "yeo-johnson": PowerTransformer().fit_transform(prices[:, None])[:, 0],
    }[transform]
    seen = target.encode(train).numpy()
    assert seen == pytest.approx(expected, rel=2e-3, abs=2e-3)
    assert target.in_units(seen[:, None])[:, 0] == pytest.approx(prices, rel=1e-4)
    assert type(target).model_validate(json.loads(target.model_dump_json())) == target


@pytest.mark.training
def test_answers_metrics_and_exports_are_in_the_own_units(tmp_path: Path) -> None:
    errors = {}
    for transform in ("standard", "log1p"):
        run = package.run(recipe(transform), data=rows(), output=tmp_path, name=transform)
        errors[transform] = run.evaluation()["test"]["mae"]["value"]
        judged = pl.read_parquet(run.path / "predictions" / "test.parquet")
        assert errors[transform] == pytest.approx((judged["truth"] - judged["prediction"]).abs().mean())
    assert errors["log1p"] < errors["standard"] / 3  # the prices are exponential in x
    found = package.predict(tmp_path / "log1p", rows().head(20))
    assert np.corrcoef(np.log(found["prediction"]), np.log(rows()["price"][:20]))[0, 1] > 0.99
    for form in ("onnx", "numpy"):
        folder = package.export(tmp_path / "log1p", tmp_path / form, to=form)  # proved on rows by its own engine
        told = json.loads((folder / "danlu.json").read_text(encoding="utf-8"))
        assert "unbend" in json.dumps(told["inside"])


def test_where_no_number_is_learned_it_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"data.target_transform: transforms the number of .*this task is class"):
        load_input({"data": {"source": "builtin:wine", "target_transform": "log1p"}})


@pytest.mark.parametrize(
    ("bend", "exponent", "bent"),
    [("yeo-johnson", -0.5, 2.5), ("yeo-johnson", 2.5, -2.5), ("yeo-johnson", -0.01, 200.0), ("log1p", 1.0, 1e4)],
)
def test_beyond_the_range_all_engines_give_one_finite_number(bend: Any, exponent: float, bent: float) -> None:
    import torch

    from danlu.exporters.answer_module import unbend
    from danlu.tasks.bends import UNBENDS

    wanted = UNBENDS[bend](np.array([bent, -bent, np.nan]), exponent)
    found = unbend(torch.tensor([bent, -bent, np.nan], dtype=torch.float64), bend, exponent).numpy()
    assert np.isfinite(wanted[:2]).all() and np.isnan(wanted[2])
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
    assert abs(wanted[0]) > 1e10 or abs(wanted[1]) > 1e10
