"""The families of models for tables: each trains by recipe, answers from its bundle, and is what its name says."""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn import functional

import danlu as package
from danlu.artifacts.bundle import open_bundle
from danlu.artifacts.run import RunDirectory
from danlu.core.seeds import Seed
from danlu.data.builtin import read_builtin
from danlu.data.descriptors import Origin
from danlu.data.preprocessing import fit_preprocessor
from danlu.data.specs import TabularInputs
from danlu.errors import ArgumentError, ArtifactError, RecipeError
from danlu.experiment.data_context import load_data
from danlu.models.predictor import Predictor
from danlu.models.table import MODELS
from danlu.models.tabular.options import MLP, Boosting, FTTransformer, ResNet, TabM, Tree
from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.table import get_task
from tests.support.real import adult

FAMILIES = {
    "resnet": {"width": 32},
    "ft-transformer": {"width": 16, "heads": 2},
    "tabm": {"members": 4, "width": 32},
    "additive": {},
    "tree": {"leaf_rows": 2},
    "boosting": {"leaf_rows": 5, "rounds": 40, "learning_rate": 0.2},
}
GROWN = ("tree", "boosting")


def recipe_of(data: dict[str, Any], family: str, **options: Any) -> dict[str, Any]:
    training = {} if family in GROWN else {"epochs": 8, "batch_size": 32}
    return {
        "data": data,
        "model": {"name": family, **FAMILIES[family], **options},
        "training": training,
        "evaluation": {"baselines": False},
    }


def trained(recipe: dict[str, Any], folder: Path) -> tuple[RunDirectory, Predictor]:
    run = package.train(recipe, output=folder, name="run", overwrite=True)
    return run, Predictor.load(run.path)


@pytest.fixture(scope="module")
def holed_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that a number with gaps and a category decide together; one category is rare."""
    random = np.random.default_rng(5)
    size = random.normal(3.0, 2.0, 600)
    colour = random.choice(["red", "green", "blue"], 600)
    likely = (size > 3) ^ (colour == "red")
    holes = random.random(600) < 0.15
    frame = pl.DataFrame(
        {
            "size": pl.Series(np.where(holes, np.nan, size)).fill_nan(None),
            "colour": colour,
            "noise": random.normal(size=600),
            "answer": np.where(random.random(600) < 0.9, likely, ~likely).astype(int),
        }
    )
    path = tmp_path_factory.mktemp("holed") / "holed.csv"
    frame.write_csv(path)
    return path


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_learns_and_its_bundle_answers_alike(family: str, table_file: Path, tmp_path: Path) -> None:
    recipe = recipe_of({"source": str(table_file), "target": "cultivar"}, family)
    run = package.run(recipe, output=tmp_path, name="run")
    assert run.evaluation()["test"]["auroc"]["value"] > 0.9
    recorded = pl.read_parquet(run.path / "predictions" / "test.parquet")
    rows = pl.read_csv(table_file, try_parse_dates=True)[recorded["row"].to_list()]
    again = package.load(run.path).predict(rows)
    assert again["prediction"].to_list() == recorded["prediction"].to_list()
    np.testing.assert_allclose(again["probability"], recorded["probability"], atol=1e-5)
    assert any("validation/loss" in line for line in run.metrics())
    assert (run.path / "report.html").is_file()


@pytest.mark.slow
def test_defaults_do_well_on_census_rows(tmp_path: Path) -> None:
    lines = adult(tmp_path / "adult.csv").read_text().splitlines()
    (tmp_path / "some.csv").write_text("\n".join([lines[0], *lines[1::16]]))
    data = {"source": str(tmp_path / "some.csv"), "target": "income", "columns": {"part": "drop"}}
    found = {}
    for family in FAMILIES:
        recipe = {"data": data, "model": family, "evaluation": {"baselines": False}}
        figures = package.run(recipe, output=tmp_path, name=family).evaluation()
        found[family] = figures["test"]["auroc"]["value"]
    assert min(value for family, value in found.items() if family != "tree") > 0.85
    assert found["tree"] > 0.8
    assert found["tabm"] > found["boosting"] - 0.02


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_predicts_numbers(family: str, tmp_path: Path) -> None:
    recipe = recipe_of({"source": "builtin:diabetes"}, family)
    figures = package.run(recipe, output=tmp_path, name="run").evaluation()
    assert figures["test"]["r2"]["value"] > (0.1 if family == "tree" else 0.25)


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("family", ["resnet", "ft-transformer", "tabm", "additive"])
def test_a_stopped_run_of_networks_goes_on_bit_by_bit(family: str, table_file: Path, tmp_path: Path) -> None:
    recipe = recipe_of({"source": str(table_file), "target": "cultivar"}, family)
    recipe["training"] |= {"max_steps": 12, "epochs": None, "checkpoint": {"every_steps": 4, "keep": 9}}
    whole = package.train(recipe, output=tmp_path, name="whole")
    broken = package.train(recipe, output=tmp_path, name="broken")
    for path in (broken.path / "model").iterdir():
        path.unlink()
    broken.rollback(8)
    package.resume(broken.path)
    for name in ("metrics.jsonl", "model/weights.safetensors"):
        assert (broken.path / name).read_bytes() == (whole.path / name).read_bytes()


@pytest.mark.parametrize("embedding", ["none", "linear", "periodic", "piecewise-linear"])
@pytest.mark.parametrize("family", [ResNet, FTTransformer, TabM])
def test_every_numeric_embedding_reaches_every_network(embedding: Any, family: Any) -> None:
    inputs = TabularInputs(numeric=2, cardinalities=(3,), edges=((-1.0, 0.0, 1.0), (0.0, 1.0)))
    options = family(numeric_embedding=embedding)
    assert (options.data_requirements().bins is None) == (embedding != "piecewise-linear")
    torch.manual_seed(0)
    network = options.build(inputs, 2).eval()
    values, codes = torch.tensor([[0.1, 0.2], [0.6, 0.2]]), torch.tensor([[1], [1]])
    first, second = network(numeric=values, categories=codes)
    assert not torch.allclose(first, second)
    assert network(numeric=values, categories=codes).isfinite().all()


def test_bins_are_quantiles_of_the_training_rows_alone(tmp_path: Path) -> None:
    values = np.arange(100.0)
    frame = pl.DataFrame({"x": values, "y": values, "part": ["train"] * 60 + ["validation"] * 20 + ["test"] * 20})
    data = {"target": "y", "task": "regression", "scale": "none", "split": {"by": {"column": "part"}}}
    frame.write_csv(tmp_path / "rising.csv")
    recipe = {"data": {"source": str(tmp_path / "rising.csv"), **data}, "model": "tabm"}
    opened = load_data(package.Recipe.model_validate(recipe))
    hints = opened.model.data_requirements()
    inputs = fit_preprocessor(opened.splits.train, opened.dataset, opened.recipe.data, hints, Seed(0)).inputs
    assert isinstance(inputs, TabularInputs)
    np.testing.assert_allclose(inputs.edges[0], np.unique(np.quantile(values[:60], np.linspace(0, 1, 33))))


def test_members_of_an_ensemble_learn_on_their_own_and_answer_together() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(5, 3, 4, requires_grad=True), torch.tensor([0, 1, 2, 3, 0])
    head = get_task("classification").head(None)
    loss, count = head.loss(logits, target, LossWeighting())
    own = [functional.cross_entropy(logits[:, member], target, reduction="sum") for member in range(3)]
    torch.testing.assert_close(loss, sum(own) / 3)
    assert count == 5
    torch.testing.assert_close(head.predict(logits, target), logits.softmax(dim=2).mean(dim=1))
    numbers = torch.randn(5, 3, 1)
    loss, count = get_task("regression").head(None).loss(numbers, torch.ones(5), LossWeighting())
    torch.testing.assert_close(loss, ((numbers[..., 0] - 1) ** 2).mean(dim=1).sum())
    torch.testing.assert_close(get_task("regression").head(None).predict(numbers, None), numbers.mean(dim=1))


def test_a_loss_of_your_own_is_given_one_member_at_a_time(tmp_path: Path) -> None:
    recipe = recipe_of({"source": "builtin:wine"}, "tabm")
    logs = []
    for loss in (None, "torch.nn.functional:cross_entropy"):
        recipe["training"] = {"max_steps": 5, "batch_size": 32, "loss": loss}
        logs.append(package.train(recipe, output=tmp_path, name="run", overwrite=True).metrics())
    assert [line.keys() for line in logs[0]] == [line.keys() for line in logs[1]]
    for usual, own in zip(*logs, strict=True):
        assert usual == pytest.approx(own, rel=1e-4)


def test_members_of_tabm_differ_from_the_first_step() -> None:
    network = TabM(members=4).build(TabularInputs(numeric=3, cardinalities=(), edges=((0.0, 1.0),) * 3), 2)
    answers = network(numeric=torch.randn(6, 3))
    assert answers.shape == (6, 4, 2)
    assert answers.std(dim=1).min() > 0


@pytest.mark.parametrize("data", [{"target": "answer"}, {"target": "size", "clean": {"unlabelled": "drop"}}, "wine"])
def test_lightgbm_answers_the_same_from_the_file_it_is_given(data: Any, holed_file: Path, tmp_path: Path) -> None:
    import lightgbm

    section = {"source": "builtin:wine"} if data == "wine" else {"source": str(holed_file), **data}
    run, predictor = trained(recipe_of(section, "boosting"), tmp_path)
    assert isinstance(predictor.options, Boosting)
    predictor.options.write_weights(predictor.model, tmp_path)
    booster = lightgbm.Booster(model_file=tmp_path / "lightgbm.txt")
    frame = load_data(package.load_recipe(run.path / "recipe.yaml")).dataset.frame
    if data != "wine":  # what training never saw
        odd = pl.DataFrame({"size": [None, 1e6], "colour": ["mauve", None], "noise": [None, -1e6], "answer": [0, 1]})
        frame = pl.concat([frame.with_columns(pl.col("size", "noise").cast(pl.Float64)), odd], how="vertical_relaxed")
    numeric, codes = predictor.preprocessor.arrays(frame, "here")  # type: ignore[union-attr]
    theirs = booster.predict(np.concatenate([numeric, codes], axis=1).astype(np.float64), raw_score=True)
    with torch.inference_mode():
        given = {"numeric": torch.from_numpy(numeric), "categories": torch.from_numpy(codes)}
        ours = predictor.model(**{name: values for name, values in given.items() if values.shape[1]}).numpy()
    if ours.shape[1] == 2:
        assert not ours[:, 0].any()
        ours = ours[:, 1:]
    np.testing.assert_allclose(ours, np.asarray(theirs).reshape(len(ours), -1), atol=2e-6)


@pytest.mark.slow
@pytest.mark.training
def test_boosting_sees_gaps_and_categories_as_such(holed_file: Path, tmp_path: Path) -> None:
    run, predictor = trained(recipe_of({"source": str(holed_file), "target": "answer"}, "boosting"), tmp_path)
    assert package.load_recipe(run.path / "recipe.yaml").data.clean.missing.name == "keep"  # type: ignore[union-attr]
    examples = predictor.preprocessor.transform(pl.read_csv(holed_file), Origin("here", tmp_path))  # type: ignore[union-attr]
    numeric = examples.take(np.arange(600), torch.device("cpu"))[0]["numeric"]
    assert 0.1 < numeric.isnan().float().mean(dim=0).max() < 0.2
    assert predictor.model.has_category_splits
    figures = package.evaluate(run.path)
    assert figures["test"]["auroc"]["value"] > 0.75
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "At round" in page
    assert "training.optimizer" not in page  # advice on what it has not


@pytest.mark.slow
@pytest.mark.training
def test_baselines_stand_beside_a_model_that_takes_gaps(holed_file: Path, tmp_path: Path) -> None:
    recipe = recipe_of({"source": str(holed_file), "target": "answer"}, "boosting", rounds=3)
    recipe["evaluation"] = {}
    figures = package.run(recipe, output=tmp_path, name="run").evaluation()
    assert 0.4 < figures["baselines"]["logistic-regression"]["test"]["auroc"]["value"] < 0.8


def test_a_bundle_of_boosting_needs_no_lightgbm(
    holed_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = trained(recipe_of({"source": str(holed_file), "target": "answer"}, "boosting"), tmp_path)
    files = open_bundle(run.path).manifest.files
    assert "lightgbm.txt" in files
    assert "weights.safetensors" not in files
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    assert package.load(run.path).predict(pl.read_csv(holed_file)).height == 600


def test_a_boosting_file_that_was_changed_is_refused(holed_file: Path, tmp_path: Path) -> None:
    run, predictor = trained(recipe_of({"source": str(holed_file), "target": "answer"}, "boosting"), tmp_path)
    text = run.model / "lightgbm.txt"
    text.write_text(text.read_text().replace("leaf_value=", "leaf_value=1", 1))
    with pytest.raises(ArtifactError, match=r"lightgbm\.txt: differs from what was written"):
        package.load(run.path)
    with pytest.raises(ArtifactError, match="is not a LightGBM model"):
        predictor.model.load_text("import os")


def test_rounds_end_early_and_the_best_is_kept(holed_file: Path, tmp_path: Path) -> None:
    recipe = recipe_of({"source": str(holed_file), "target": "answer"}, "boosting", rounds=500)
    recipe["training"] = {"early_stopping": {"metric": "validation/auroc", "patience": 10}}
    run, predictor = trained(recipe, tmp_path)
    lines = run.metrics()
    assert 10 < len(lines) < 500
    watched = [line["validation/auroc"] for line in lines]
    assert len(lines) == int(np.argmax(watched)) + 11
    assert len(predictor.model.roots) == int(np.argmax(watched)) + 1


def test_rounds_that_improve_by_little_end_early_and_the_best_is_kept(holed_file: Path, tmp_path: Path) -> None:
    recipe = recipe_of({"source": str(holed_file), "target": "answer"}, "boosting", rounds=500)
    stopping = {"metric": "validation/loss", "patience": 5, "min_delta": 0.02}
    run, predictor = trained({**recipe, "training": {"early_stopping": stopping}}, tmp_path)
    losses = [line["validation/loss"] for line in run.metrics()]
    counted, since = losses[0], 0
    for index, loss in enumerate(losses[1:], start=2):
        counted, since = (loss, 0) if loss < counted - 0.02 else (counted, since + 1)
        assert (since == 5) == (index == len(losses))
    assert len(predictor.model.roots) == int(np.argmin(losses)) + 1
    assert min(losses) < counted, "a later round was better, by less than min_delta"


def test_a_grown_run_that_was_killed_begins_anew_and_comes_out_alike(holed_file: Path, tmp_path: Path) -> None:
    recipe = recipe_of({"source": str(holed_file), "target": "answer"}, "boosting", row_share=0.5)
    run = package.train(recipe, output=tmp_path, name="run")
    text, log = (run.model / "lightgbm.txt").read_bytes(), run.metrics()
    (run.model / "bundle.json").unlink()
    with pytest.raises(ArgumentError, match="--verify repeats steps, and boosting has none"):
        package.resume(run.path, verify=3)
    package.resume(run.path)
    assert (run.model / "lightgbm.txt").read_bytes() == text
    assert run.metrics() == log


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("balance", ["class-weights", "oversample", "undersample", "weighted-sampling", "smote"])
def test_grown_models_learn_from_balanced_rows(balance: str, holed_file: Path, tmp_path: Path) -> None:
    frame = pl.read_csv(holed_file)
    skewed = pl.concat([frame.filter(pl.col("answer") == 0), frame.filter(pl.col("answer") == 1).head(60)])
    skewed.write_csv(tmp_path / "skewed.csv")
    shares = {}
    for family in GROWN:
        for method in ("none", balance):
            data = {"source": str(tmp_path / "skewed.csv"), "target": "answer", "balance": method}
            _, predictor = trained(recipe_of(data, family), tmp_path)
            shares[method] = float(predictor.predict(skewed)["probability_1"].mean())  # type: ignore[arg-type]
        assert shares[balance] > shares["none"] + 0.1, family


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"optimizer": "sgd"}}, "training.optimizer: boosting is not trained by gradient steps"),
        ({"training": {"epochs": 3}}, "set max_steps to limit its rounds"),
        ({"training": {"precision": "bf16"}}, "training.precision: boosting is not trained by gradient steps"),
        ({"training": {"batch_size": "auto"}}, "set the number of rows per prediction batch"),
        ({"data": {"balance": "focal"}}, "focal changes the loss, and boosting has its own"),
        ({"data": {"augment": [{"noise": {"std": 0.1}}]}}, "has no epochs in which rows could be changed at random"),
        ({"data": {"balance": "smote", "clean": {"missing": "keep"}}}, "smote cannot handle missing values"),
    ],
)
def test_what_makes_no_sense_without_steps_is_refused(
    changes: dict[str, Any], message: str, holed_file: Path, tmp_path: Path
) -> None:
    recipe = recipe_of({"source": str(holed_file), "target": "answer"}, "boosting")
    for section, values in changes.items():
        recipe[section] |= values
    with pytest.raises(RecipeError, match=message):
        package.train(recipe, output=tmp_path)
    assert not list(tmp_path.iterdir())


def test_networks_do_not_take_gaps(holed_file: Path) -> None:
    data = {"source": str(holed_file), "target": "answer", "clean": {"missing": "keep"}}
    with pytest.raises(RecipeError, match="mlp cannot handle missing values; use impute"):
        package.check({"data": data, "model": "mlp"})


def test_plan_and_several_processes_are_refused(holed_file: Path, tmp_path: Path) -> None:
    from danlu.launch.processes import check_processes

    recipe = package.Recipe.model_validate(recipe_of({"source": str(holed_file), "target": "answer"}, "boosting"))
    with pytest.raises(ArgumentError, match="needs gradient steps to count and time, and boosting has none"):
        package.plan(recipe)
    with pytest.raises(ArgumentError, match="--processes 2: boosting trains in one process"):
        check_processes(recipe, 2)


@pytest.mark.slow
@pytest.mark.training
def test_a_dry_run_of_grown_models_goes_through_every_stage(holed_file: Path) -> None:
    from danlu.api.run import dry_run

    for family in GROWN:
        dry_run(recipe_of({"source": str(holed_file), "target": "answer"}, family))


def test_the_rules_of_a_tree_say_what_it_answers(holed_file: Path, tmp_path: Path) -> None:
    data = {"source": str(holed_file), "target": "answer", "clean": {"missing": "drop"}, "scale": "power"}
    _, predictor = trained(recipe_of(data, "tree"), tmp_path)
    assert isinstance(predictor.options, Tree)
    rules = predictor.read()
    assert rules["rule"].str.contains("colour is").any()
    frame = pl.read_csv(holed_file).drop_nulls()
    answers = predictor.predict(frame)
    met = np.zeros(frame.height, dtype=int)
    for rule, prediction, probability in rules.rows():
        holds = np.logical_and.reduce([_holds(frame, part) for part in rule.split(" and ")])
        met += holds
        assert set(answers.filter(pl.Series(holds))["prediction"]) <= {prediction}
        np.testing.assert_allclose(answers.filter(pl.Series(holds))["probability"], probability, atol=1e-6)
    assert (met == 1).all()


def _holds(frame: pl.DataFrame, condition: str) -> np.ndarray:
    for sign in (" <= ", " > "):
        if sign in condition:
            name, place = condition.split(sign)
            values = frame[name].to_numpy()
            return values <= float(place) if sign == " <= " else values > float(place)
    name, rest = condition.split(" is ", 1)
    named = rest.removeprefix("not ").split(" or ")
    inside = frame[name].is_in(named).to_numpy()
    return ~inside if rest.startswith("not ") else inside


def test_the_curves_of_an_additive_model_sum_to_what_it_answers(tmp_path: Path) -> None:
    _, predictor = trained(recipe_of({"source": "builtin:diabetes"}, "additive"), tmp_path)
    curves = predictor.read()
    frame = read_builtin("builtin:diabetes").frame
    (output,) = curves.columns[2:]
    summed = np.full(frame.height, curves.filter(pl.col("feature") == "(all rows)")[output].item())
    for (feature,), curve in curves.filter(pl.col("feature") != "(all rows)").group_by("feature"):
        places = curve["value"].cast(pl.Float64, strict=False)
        if places.null_count():
            table = dict(zip(curve["value"], curve[output], strict=True))
            summed += np.array([table[str(value)] for value in frame[feature]])
        else:
            summed += np.interp(frame[feature].to_numpy(), places, curve[output])
    np.testing.assert_allclose(summed, predictor.predict(frame)["prediction"], rtol=1e-3)


@pytest.mark.training
def test_only_models_that_can_be_read_are(table_run: Path) -> None:
    with pytest.raises(ArgumentError, match="mlp cannot be read as rules or curves; additive and tree can"):
        Predictor.load(table_run).read()


def test_grown_networks_travel_as_tensors() -> None:
    """Trees of any number and size are taken on by a network built for none."""
    from danlu.models.tabular.tree_arrays import TreeBuilder

    grower = TreeBuilder(1)
    grower.roots.append(0)
    grower.add_split(0, 0.5, False, 1, 2)
    grower.add_leaf([1.0])
    grower.add_leaf([2.0])
    inputs = TabularInputs(numeric=1, cardinalities=())
    first, second = (Tree().build(inputs, 1) for _ in range(2))
    first.set_trees(grower.to_arrays())
    second.load_state_dict(first.state_dict())
    answers = second(numeric=torch.tensor([[0.5], [0.6], [math.nan]]))
    assert answers[:, 0].tolist() == [1.0, 2.0, 2.0]


def test_every_family_is_listed() -> None:
    assert set(FAMILIES) < set(MODELS)


@pytest.mark.parametrize("width", [1, 2, 16])
def test_a_group_of_one_feature_answers_one_row(width: int) -> None:
    """Torch's own group norm refuses a single row of a single feature."""
    inputs = TabularInputs(numeric=3, cardinalities=())
    network = MLP(hidden=(width,), normalization="group").build(inputs, 2).eval()
    rows = torch.arange(12.0).reshape(4, 3)
    torch.testing.assert_close(network(numeric=rows[:1]), network(numeric=rows)[:1])
    assert network.train()(numeric=rows[:1]).isfinite().all()
