"""Which training rows taught an answer: products of gradients, and rows whose absence costs the answer most."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import danlu
from danlu.artifacts.checkpoints import WEIGHTS, open_checkpoint
from danlu.artifacts.run import RunDirectory
from danlu.data.builtin import read_builtin
from danlu.errors import ArgumentError, DataError, RecipeError
from danlu.models.predictor import Predictor
from tests.conftest import Command

ROWS = 160


def _table() -> pl.DataFrame:
    """Two groups of columns: `a` decides where `s` is 0, `b` where it is 1."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, ROWS))
    s = rng.integers(0, 2, ROWS)
    return pl.DataFrame({"a": a, "b": b, "s": s.astype(float), "y": np.where(s == 0, 2 * a, -3 * b)})


def _train(folder: Path, name: str, frame: pl.DataFrame, model: object = "linear") -> Path:
    recipe = {"name": name, "data": {"target": "y"}, "model": model, "training": {"epochs": 6}}
    if model == "boosting":
        del recipe["training"]
    return danlu.train(recipe, data=frame, name=name, output=folder).path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _train(tmp_path_factory.mktemp("influence"), "influence", _table())


def test_the_influence_of_a_row_is_the_sum_of_rates_times_products_of_gradients(run: Path) -> None:
    found = danlu.explain(run, rows=[1], methods=["tracin"]).influence[0]
    split = pl.read_parquet(run / "data" / "split.parquet")
    rows = {part: split.filter(pl.col("part") == part)["row"].to_numpy() for part in ("train", "validation")}
    predictor, table = Predictor.load(run), _table()
    inputs = predictor.preprocessor.arrays(table, "")[0].astype(np.float64)
    truth = ((table["y"] - predictor.target.mean) / predictor.target.std).to_numpy()
    kept = RunDirectory.open(run)
    rates = {each["step"]: each["lr"] for each in kept.metrics() if "lr" in each}
    expected = np.zeros(len(rows["train"]))
    for step in found.steps:
        tensors = open_checkpoint(kept, step).tensors(WEIGHTS)
        slopes, start = tensors["linear.weight"].double().numpy()[0], float(tensors["linear.bias"])
        errors = 2 * (inputs @ slopes + start - truth)  # the derivative of the squared error
        gradients = np.concatenate([errors[:, None] * inputs, errors[:, None]], axis=1)
        expected += rates[step] * gradients[rows["train"]] @ gradients[rows["validation"][1]]
    assert np.allclose(found.shares, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    best = int(expected.argmax())
    assert found.helped[0] == (int(rows["train"][best]), pytest.approx(expected[best], rel=1e-3))
    assert found.hindered[0][1] == pytest.approx(expected.min(), rel=1e-3)


def test_the_document_holds_the_rows_on_both_sides(run: Path, danlu: Command, tmp_path: Path) -> None:
    ran = danlu("explain", run, "--method", "shap,tracin", "--rows", "0,2", "-o", tmp_path / "out")
    assert ran.returncode == 0 and "row 2: training rows that taught this answer" in ran.stdout, ran.stderr
    document = json.loads((tmp_path / "out" / "explanation.json").read_text())
    influence = document["influence"]
    page = (Path(__file__).parents[2] / "docs" / "explain.md").read_text(encoding="utf-8")
    shown = json.loads(page.split("```json\n")[1].split("```")[0])
    assert list(document) == list(shown)
    for name in ("local", "influence"):
        assert list(document[name][0]) == list(shown[name][0])
    assert [each["row"] for each in influence] == [0, 2] and influence[0]["method"] == "tracin"
    assert {"row", "value"} == set(influence[0]["helped"][0])
    with np.load(tmp_path / "out" / "values.npz") as arrays:
        assert arrays["influence/2/tracin"].shape == (influence[0]["rows"],)


def test_what_has_no_gradients_or_no_checkpoints_is_refused_by_name(run: Path, tmp_path: Path) -> None:
    frame = _table()
    with pytest.raises(ArgumentError, match="tracin needs a run, whose kept checkpoints it reads; here can be had"):
        danlu.explain(run / "model", frame, methods=["tracin"])
    with pytest.raises(DataError, match="no column 'y', which holds what the model predicts"):
        danlu.explain(run, frame.drop("y"), methods=["shap", "tracin"])
    trees = _train(tmp_path, "trees", frame, "boosting")
    with pytest.raises(ArgumentError, match="tracin needs a network that gradients trained; boosting fits itself"):
        danlu.explain(trees, methods=["tracin"])


@pytest.mark.slow
def test_an_answer_suffers_most_without_the_rows_that_taught_it(tmp_path: Path) -> None:
    frame = read_builtin("builtin:breast-cancer").frame.lazy().collect()
    whole = danlu.train(
        {"name": "w", "data": {"target": "diagnosis"}, "model": {"name": "mlp", "hidden": [16]}}, data=frame, name="w",
        output=tmp_path,
    ).path  # fmt: skip
    split = pl.read_parquet(whole / "data" / "split.parquet")
    tested = split.filter(pl.col("part") == "validation")["row"].to_numpy()
    answers = danlu.predict(whole, frame[tested])
    doubtful = np.argsort(answers["probability"].to_numpy())[:3]
    rng, train = np.random.default_rng(0), split.filter(pl.col("part") == "train")["row"].to_numpy()
    lost: dict[str, list[float]] = {"helped": [], "drawn": []}
    for place in doubtful.tolist():
        found = danlu.explain(whole, rows=[place], methods=["tracin"]).influence[0]
        helped = train[np.argsort(-found.shares)[:80]]
        truth = str(frame["diagnosis"][int(tested[place])])
        before = float(danlu.predict(whole, frame[tested[place : place + 1]])[f"probability_{truth}"][0])
        for name, left_out in (("helped", helped), ("drawn", rng.choice(train, 80, replace=False))):
            rest = frame.with_row_index("at").filter(~pl.col("at").is_in(left_out.tolist())).drop("at")
            without = danlu.train(
                {"name": "r", "data": {"target": "diagnosis"}, "model": {"name": "mlp", "hidden": [16]}}, data=rest,
                name=f"{name}{place}", output=tmp_path,
            ).path  # fmt: skip
            after = float(danlu.predict(without, frame[tested[place : place + 1]])[f"probability_{truth}"][0])
            lost[name].append(before - after)
    assert np.mean(lost["helped"]) > np.mean(lost["drawn"]) + 0.05


def test_a_recipe_asks_for_the_rows_that_taught_its_answers(tmp_path: Path) -> None:
    recipe = {"name": "taught", "data": {"target": "y"}, "model": "linear", "training": {"epochs": 3}}
    recipe |= {"explanation": {"methods": ["tracin"], "samples": 2}}
    run = danlu.run(recipe, data=_table(), name="taught", output=tmp_path).path
    document = json.loads((run / "explanation" / "explanation.json").read_text())
    assert [each["row"] for each in document["influence"]] == [0, 1]
    again = danlu.explain(run, rows=[0, 1], methods=["tracin"])
    assert [each.to_json() for each in again.influence] == document["influence"]
    assert "Training rows that taught these answers" in (run / "report.html").read_text(encoding="utf-8")
    with pytest.raises(RecipeError, match="tracin needs a network that gradients trained; boosting fits itself"):
        danlu.check({**recipe, "model": "boosting", "training": {}}, data=_table())
