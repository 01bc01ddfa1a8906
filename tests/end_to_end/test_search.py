"""A search over recipes, from the recipe to the report: on real small tables, with trainings of a second or less."""

import json
import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import danlu
from danlu.artifacts.files import read_jsonl
from danlu.artifacts.run import RunDirectory
from danlu.artifacts.trials import read_trials
from danlu.core.imports import missing_packages
from danlu.data.splits import Split, Splits, TrainSplit
from danlu.errors import ArgumentError, DanluError, MissingExtra, RecipeError, Stopped
from danlu.experiment.data_context import DataContext, load_data
from danlu.recipe.load import check_recipe, dump_recipe, load_recipe
from danlu.search import study
from danlu.search.study import resume_search, run_search
from danlu.training.monitoring.callbacks import Callback
from tests.conftest import Command

WINE: dict[str, Any] = {
    "name": "wine",
    "data": {"source": "builtin:wine", "target": "cultivar"},
    "model": {"name": "mlp", "hidden": [8]},
    "training": {"epochs": 2, "batch_size": 32},
    "evaluation": {"resamples": 0, "baselines": False, "slices": False},
}
NEEDS_OPTUNA = pytest.mark.skipif(bool(missing_packages("tuning")), reason="no optuna here")
SPACE: dict[str, Any] = {"training.optimizer.lr": {"log": [1e-3, 1e-1]}, "model.dropout": [0.0, 0.5]}


def recipe(space: Mapping[str, Any] = SPACE, sampler: Any = "random", trials: int = 4, **more: Any) -> dict[str, Any]:
    tuning = {"sampler": sampler, "trials": trials, "space": dict(space)}
    if "metric" in more:
        tuning["metric"] = more.pop("metric")
    return {**WINE, "tuning": tuning, **more}


def told(run: RunDirectory | Path) -> list[dict[str, Any]]:
    """The lines of trials.jsonl, without the time they took."""
    lines = read_jsonl(getattr(run, "path", run) / "trials.jsonl")
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return danlu.run(recipe(), output=tmp_path_factory.mktemp("runs"), name="search")


def test_each_trial_is_recorded_and_the_best_one_is_the_runs_own(search: RunDirectory) -> None:
    lines = told(search)
    assert [line["number"] for line in lines] == [0, 1, 2, 3]
    assert all(line["state"] == "done" and line["metric"] == "validation/loss" for line in lines)
    assert len({line["values"]["training.optimizer.lr"] for line in lines}) == 4
    best = min(lines, key=lambda line: line["value"])
    kept = load_recipe(search.path / "recipe.yaml")
    assert kept.training.optimizer.lr == best["values"]["training.optimizer.lr"]  # type: ignore[attr-defined]
    assert kept.model is not None and kept.model.dropout == best["values"]["model.dropout"]  # type: ignore[attr-defined]
    assert kept.tuning is None
    assert min(line["validation/loss"] for line in search.metrics() if "validation/loss" in line) == best["value"]


def test_a_search_keeps_no_model_but_the_best_and_no_checkpoints(search: RunDirectory) -> None:
    assert (search.path / "model" / "weights.safetensors").is_file()
    folders = sorted((search.path / "trials").iterdir())
    assert [folder.name for folder in folders] == [f"trial-{number:03}" for number in range(4)]
    assert not any((folder / part).exists() for folder in folders for part in ("model", "checkpoints"))
    assert all((folder / "recipe.yaml").is_file() for folder in folders)


def test_training_the_best_recipe_gives_the_very_same_model(search: RunDirectory, tmp_path: Path) -> None:
    again = danlu.train(search.path / "best.yaml", output=tmp_path)
    weights = "model/weights.safetensors"
    assert (again.path / weights).read_bytes() == (search.path / weights).read_bytes()


def test_a_searched_run_is_evaluated_and_predicts_as_any_other(search: RunDirectory, tmp_path: Path) -> None:
    evaluation = search.evaluation()
    assert evaluation["looks"] == {"test": 1}
    assert 0 <= evaluation["test"]["accuracy"]["value"] <= 1
    rows = load_data(check_recipe(WINE)).splits.test.frame
    rows.write_csv(tmp_path / "rows.csv")
    assert danlu.predict(search.path, str(tmp_path / "rows.csv")).height == rows.height
    assert [row["state"] for row in danlu.runs(search.path.parent)] == ["evaluated"]


def spoiled(opened: DataContext) -> DataContext:
    """The same data with other test rows: no number right, and every answer another one."""
    rows = opened.splits.test.rows
    frame = opened.dataset.frame.lazy().collect()
    judged = pl.Series(np.isin(np.arange(frame.height), rows))
    numbers = [name for name, kind in frame.schema.items() if kind == pl.Float64]
    labels = frame["cultivar"].unique().sort()
    other = frame["cultivar"].replace_strict(labels, labels.gather([1, 2, 0]))
    frame = frame.with_columns(
        *(pl.when(judged).then(1e6).otherwise(pl.col(name)).alias(name) for name in numbers),
        pl.when(judged).then(other).otherwise(pl.col("cultivar")).alias("cultivar"),
    )
    train, validation, test = (Split(part.rows, frame) for _, part in opened.splits.items())
    splits = Splits(TrainSplit(train.rows, train.table), validation, test)
    return replace(opened, dataset=replace(opened.dataset, frame=frame), splits=splits)


def test_the_test_split_has_no_part_in_a_search(search: RunDirectory, tmp_path: Path) -> None:
    opened = load_data(check_recipe(recipe()))
    assert len(opened.splits.test)
    other = run_search(spoiled(opened), tmp_path, "other", overwrite=False)
    assert told(other) == told(search)
    weights = "model/weights.safetensors"
    assert (other.path / weights).read_bytes() == (search.path / weights).read_bytes()
    for folder in (other.path / "trials").iterdir():
        assert set(pl.read_parquet(folder / "data" / "split.parquet")["part"]) == {"train", "validation"}
    assert set(pl.read_parquet(other.path / "data" / "split.parquet")["part"]) == {"train", "validation", "test"}


def test_a_search_learns_from_the_splits_that_it_is_given(tmp_path: Path) -> None:
    opened = load_data(check_recipe(recipe(trials=2)))
    fewer = TrainSplit(opened.splits.train.rows[::2], opened.splits.train.table)
    half = replace(opened, splits=replace(opened.splits, train=fewer))
    run = run_search(half, tmp_path, "half", overwrite=False)
    parts = pl.read_parquet(run.path / "data" / "split.parquet")
    assert parts.filter(pl.col("part") == "train")["row"].to_list() == fewer.rows.tolist()
    assert told(run) != told(run_search(opened, tmp_path, "whole", overwrite=False))


@pytest.mark.parametrize(
    "sampler",
    [
        "random",
        {"grid": {"points": 2}},
        pytest.param({"bayesian": {"startup": 2}}, marks=NEEDS_OPTUNA),
        {"genetic": {"population": 2}},
    ],
)
def test_a_killed_search_goes_on_to_the_same_trials(
    sampler: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = recipe(sampler=sampler, training={"epochs": 1, "batch_size": 64})
    whole = danlu.tune(asked, output=tmp_path, name="whole")
    begun, train_opened = [], study.train_run

    def dies(*arguments: Any, **options: Any) -> RunDirectory:
        begun.append(1)
        if len(begun) == 3:
            raise KeyboardInterrupt
        return train_opened(*arguments, **options)

    monkeypatch.setattr(study, "train_run", dies)
    with pytest.raises(KeyboardInterrupt):
        danlu.tune(asked, output=tmp_path, name="killed")
    assert [row["state"] for row in danlu.runs(tmp_path) if row["run"] == "killed"] == ["2 trials"]
    resumed = danlu.resume(tmp_path / "killed")
    assert len(begun) == 5
    assert told(resumed) == told(whole)
    for file in ("model/weights.safetensors", "best.yaml", "recipe.yaml"):
        assert (resumed.path / file).read_bytes() == (whole.path / file).read_bytes()


class StopsOnce(Callback):
    """Asks for an end in the fifth step of the second training, as Ctrl-C would."""

    trainings = 0

    def on_start(self, setting: Any) -> None:
        StopsOnce.trainings += 1

    def on_step(self, step: int, loss: Any) -> None:
        if step == 5 and StopsOnce.trainings == 2:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_search_that_is_stopped_goes_on_within_its_trial(tmp_path: Path) -> None:
    asked = recipe(trials=3, training={**WINE["training"], "callbacks": ["tests.end_to_end.test_search:StopsOnce"]})
    StopsOnce.trainings = 10
    whole = danlu.tune(asked, output=tmp_path, name="whole")
    StopsOnce.trainings = 0
    with pytest.raises(Stopped, match=r"trial 2; resume with `danlu tune --resume .*stopped`"):
        danlu.tune(asked, output=tmp_path, name="stopped")
    assert (tmp_path / "stopped" / "trials" / "trial-001" / "checkpoints" / "step-000005").is_dir()
    resumed = resume_search(tmp_path / "stopped")
    assert told(resumed) == told(whole)
    lines = RunDirectory(resumed.path / "trials" / "trial-001").metrics()
    assert lines == RunDirectory(whole.path / "trials" / "trial-001").metrics()


def test_a_failed_trial_is_recorded_and_the_search_goes_on(tmp_path: Path) -> None:
    space = {"training.optimizer.lr": {"choices": [1e-2, 1e25]}}
    run = danlu.tune(recipe(space, "grid", training={**WINE["training"], "clip_norm": None}), output=tmp_path)
    states = {line["values"]["training.optimizer.lr"]: line for line in told(run)}
    assert states[1e-2]["state"] == "done" and states[1e25]["state"] == "failed"
    assert states[1e25]["value"] is None and "lower training.optimizer.lr" in states[1e25]["why"].lower()


def test_a_search_whose_trials_all_fail_says_so(tmp_path: Path) -> None:
    space = {"training.optimizer.lr": {"choices": [1e24, 1e25]}}
    with pytest.raises(DanluError, match=r"all 2 trials failed; the last one: the .* loss is nan"):
        danlu.tune(recipe(space, "grid"), output=tmp_path, name="all")
    assert len(told(tmp_path / "all")) == 2


def test_what_no_trial_would_be_spared_ends_the_search(tmp_path: Path) -> None:
    asked = recipe(training={**WINE["training"], "device": "mps"})
    with pytest.raises(ArgumentError, match="mps"):
        danlu.tune(asked, output=tmp_path, name="none")
    assert not (tmp_path / "none").exists()


def test_the_metric_may_be_another_than_training_watches(tmp_path: Path) -> None:
    run = danlu.tune(recipe(metric="validation/accuracy", trials=3), output=tmp_path)
    best = max(told(run), key=lambda line: line["value"])
    assert best["metric"] == "validation/accuracy"
    assert danlu.evaluate(run.path)["validation"]["accuracy"]["value"] == pytest.approx(best["value"])


def test_the_metric_that_training_watches_is_the_usual_one(tmp_path: Path) -> None:
    stopping = {"metric": "validation/accuracy", "patience": 1}
    asked = recipe(trials=2, training={**WINE["training"], "early_stopping": stopping})
    run = danlu.tune(asked, output=tmp_path)
    assert {line["metric"] for line in told(run)} == {"validation/accuracy"}
    kept = [line["validation/accuracy"] for line in run.metrics() if "validation/accuracy" in line]
    assert max(line["value"] for line in told(run)) == max(kept)


def test_families_of_models_are_searched_each_with_its_own_defaults(tmp_path: Path) -> None:
    space = {"model": {"choices": [{"name": "mlp", "hidden": [8]}, "tree", {"tabm": {"width": 8, "members": 2}}]}}
    asked = {key: value for key, value in recipe(space, "grid").items() if key != "model"}
    run = danlu.tune({**asked, "training": {"max_steps": 8}}, output=tmp_path)
    states = {json.dumps(line["values"]["model"])[:10]: line["state"] for line in told(run)}
    assert list(states.values()) == ["done"] * 3
    recipes = [load_recipe(path / "recipe.yaml") for path in sorted((run.path / "trials").iterdir())]
    grown = next(each for each in recipes if each.model and each.model.name == "tree")
    assert grown.training.schedule is None
    assert all(each.training.schedule is not None for each in recipes if each is not grown)


def test_data_is_prepared_anew_only_where_a_trial_prepares_it_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted, fit = [], study.fit_preprocessing
    monkeypatch.setattr(
        study, "fit_preprocessing", lambda opened: fitted.append(opened.recipe.data.scale.name) or fit(opened)
    )
    space = {"data.scale": ["standard", "minmax"], "training.optimizer.lr": {"choices": [1e-3, 1e-2, 1e-1]}}
    run = danlu.tune(recipe(space, "grid", trials=6), output=tmp_path)
    assert sorted(fitted) == ["minmax", "standard"]
    states = json.loads((run.path / "model" / "bundle.json").read_text())["preprocessing"]
    best = min(told(run), key=lambda line: line["value"])
    assert load_recipe(run.path / "recipe.yaml").data.scale.name == best["values"]["data.scale"]
    assert states


def test_the_same_values_are_not_trained_twice(tmp_path: Path) -> None:
    run = danlu.tune(recipe({"model.dropout": {"choices": [0.1, 0.2]}}, "random", trials=5), output=tmp_path)
    assert len(told(run)) == 5
    assert (
        len(list((run.path / "trials").iterdir())) == len({line["values"]["model.dropout"] for line in told(run)}) <= 2
    )
    assert sum(line["why"].startswith("as trial") for line in told(run)) >= 3


REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"model.dropot": [0.0, 0.5]},
        r'tuning\.space\.model\.dropot: 0\.0 cannot be tried: unknown key; the nearest is "dropout"',
    ),
    ({"model.dropout": [0.0, 1.5]}, r"tuning\.space\.model\.dropout: 1\.5 cannot be tried: must be less than 1"),
    ({"training.optimizr.lr": [0.1, 0.5]}, r'training\.optimizr: unknown key; the nearest is "optimizer"'),
    ({"model.name": ["mlp", "tree"], "model.dropout": [0.0, 0.5]}, r"dropout: with model\.name: tree, 0\.0 cannot"),
    ({"training.optimizer": ["adamw", "sgdd"]}, r'the nearest is "sgd"'),
    ({"training.accumulate": [1, 64]}, r"64 cannot be tried: a batch of 32 cannot be split into 64 parts"),
    ({"data.split.validation": [0.1, 0.2]}, r"all trials train and validate on the same rows"),
    ({"evaluation.confidence": [0.9, 0.95]}, r"cannot be searched"),
    ({"seed": [1, 5]}, r"cannot be searched"),
    ({"training.optimizer.lr": {"lgo": [1e-3, 1e-1]}}, r"must be \[low, high\], \{log: \[low, high\]\}"),
    ({"training.optimizer.lr": {"log": [0, 1e-1]}}, r"a log range must rise from above 0"),
    ({"training.optimizer.lr": [0.1, 0.01]}, r"a range must rise, got \[0\.1, 0\.01\]"),
    ({"training.batch_size": {"range": [16, 64], "step": 0}}, r"greater than 0"),
    ({"model.dropout": []}, r"an empty list leaves nothing to choose from"),
    ({}, r"tuning\.space"),
]


@pytest.mark.parametrize(("space", "message"), REFUSED)
def test_a_space_that_does_not_fit_the_recipe_is_refused(space: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        check_recipe(recipe(space))


def test_a_refusal_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "wine.yaml"
    file.write_text(
        "data: {source: x.csv}\nmodel: mlp\ntuning:\n  space:\n    training.epochs: [1, 5]\n    model.dropout: [0, 2]\n"
    )
    with pytest.raises(RecipeError, match=r"wine\.yaml:6: tuning\.space\.model\.dropout: 2 cannot be tried"):
        load_recipe(file)


def test_a_choice_that_does_not_fit_the_data_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"tuning\.space\.model\.name: timm:resnet18 cannot be tried: timm:resnet18 takes"
    ):
        danlu.tune(recipe({"model.name": ["mlp", "timm:resnet18"]}), output=tmp_path)
    with pytest.raises(RecipeError, match=r"tuning\.metric: 'validation/rmse' is not a classification metric"):
        danlu.check(recipe(metric="validation/rmse"))
    with pytest.raises(RecipeError, match="the recipe names no model, so its options are unknown"):
        danlu.check({key: value for key, value in recipe().items() if key != "model"})
    with pytest.raises(RecipeError, match=r'mlpp cannot be tried: model: unknown name .mlpp.; the nearest is "mlp"'):
        danlu.check({key: value for key, value in recipe({"model.name": ["mlpp"]}).items() if key != "model"})
    assert not list(tmp_path.iterdir())


def test_paths_among_the_choices_are_taken_from_the_recipes_folder(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "data: {source: x.csv}\nmodel: hf:bert\ntuning:\n  space:\n    model.name: [hf:./small, hf:bert]\n"
        "    model:\n      choices: [{name: 'hf:./large', finetune: {mode: head}}, hf:../other]\n"
    )
    tuning = load_recipe(file).tuning
    assert tuning is not None
    assert tuning.space["model.name"] == (f"hf:{tmp_path}/small", "hf:bert")
    first, second = tuning.space["model"].choices  # type: ignore[union-attr]
    assert (first["name"], second) == (f"hf:{tmp_path}/large", f"hf:{tmp_path}/../other")


def test_a_recipe_with_a_search_loads_back_to_itself() -> None:
    space = {
        **SPACE,
        "training.batch_size": {"range": [16, 64], "step": 16},
        "model.hidden": {"choices": [[8], [8, 8]]},
    }
    asked = check_recipe(recipe(space))
    assert check_recipe(asked.model_dump(mode="json")) == asked
    assert "training.batch_size" in dump_recipe(asked)


def test_bayesian_search_without_its_library_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("danlu.core.imports.missing_packages", lambda extra: ("optuna",) if extra == "tuning" else ())
    with pytest.raises(MissingExtra, match=r"tuning\.sampler: bayesian needs optuna, .*pip install 'danlu\[tuning\]'"):
        danlu.tune(recipe(sampler="bayesian"), output=tmp_path)
    danlu.tune(recipe(sampler="genetic", trials=1), output=tmp_path)


def test_training_alone_searches_nothing_and_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = danlu.train(recipe(), output=tmp_path)
    assert "use `danlu tune` or `danlu run` to search" in capfd.readouterr().err
    assert load_recipe(run.path / "recipe.yaml").tuning is None and not (run.path / "trials").exists()


def test_what_is_no_search_is_not_gone_on_with(search: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="has no `tuning` section"):
        danlu.tune(WINE, output=tmp_path)
    with pytest.raises(ArgumentError, match="the search has finished"):
        resume_search(search.path)
    shutil.copytree(search.path / "trials" / "trial-000", tmp_path / "plain")
    with pytest.raises(ArgumentError, match="is not a search"):
        resume_search(tmp_path / "plain")


def test_the_command_tells_a_line_a_trial_and_prints_the_best(danlu: Command, tmp_path: Path) -> None:
    file = tmp_path / "wine.yaml"
    file.write_text(json.dumps(recipe()), encoding="utf-8")
    done = danlu("tune", file, "--trials", "2", "--name", "one", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line[:12] for line in done.stderr.splitlines()] == ["trial 1 of 2", "trial 2 of 2"]
    assert "model.dropout 0." in done.stderr and "; best so far 0." in done.stderr
    found = json.loads(done.stdout)
    assert found["best"]["value"] == min(trial["value"] for trial in found["trials"])
    assert len(read_trials(tmp_path / "runs" / "one")) == 2
    table = danlu("tune", file, "--trials", "1", "--name", "two", cwd=tmp_path)
    assert table.returncode == 0 and "best.yaml" in table.stdout and "validation/loss" in table.stdout
    assert danlu("run", file, "--processes", "2", cwd=tmp_path).returncode == 2


def test_the_report_shows_the_search(search: RunDirectory) -> None:
    from danlu.reporting.page import write_report

    page = write_report(search).read_text(encoding="utf-8")
    assert '<h2 id="search">' in page and "4 trials of 2 keys by the sampler random" in page
    assert page.count("<h4>") == 2 and "validation/loss by trial, 4 of them" in page
    best = min(told(search), key=lambda line: line["value"])
    assert f"Best is trial {best['number'] + 1} with" in page
    chinese = write_report(search, "zh").read_text(encoding="utf-8")
    assert '<h2 id="search">搜索</h2>' in chinese and "没有任何一次试验见过测试集" in chinese
    write_report(search)


def test_other_reports_have_no_search(table_run: Path) -> None:
    assert 'id="search"' not in (table_run / "report.html").read_text(encoding="utf-8")
