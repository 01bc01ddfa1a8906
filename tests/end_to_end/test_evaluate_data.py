"""`danlu evaluate RUN DATA`: a model judged on other labelled rows, for every task; the run stays as it is."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import accuracy_score, f1_score, mean_squared_error

import danlu as package
from danlu.artifacts.files import sha256, sha256_of_json
from danlu.data.builtin import read_builtin
from danlu.errors import ArgumentError, ArtifactError, DataError
from tests.conftest import TINY_TEXT, Command

QUICK = {"epochs": 2, "batch_size": 32}
PLAIN = {"resamples": 50, "baselines": False}


def state_of(run: Path) -> dict[str, str]:
    return {
        str(path.relative_to(run)): sha256(path)
        for path in sorted(run.rglob("*"))
        if path.is_file() and "evaluations" not in path.parts
    }


@pytest.fixture(scope="module")
def wine() -> pl.DataFrame:
    frame = read_builtin("builtin:wine").frame
    assert isinstance(frame, pl.DataFrame)
    return frame


@pytest.fixture(scope="module")
def wine_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = {
        "name": "wine",
        "data": {"source": "builtin:wine"},
        "model": "linear",
        "training": QUICK,
        "evaluation": {"resamples": 200, "baselines": False},
    }
    return package.run(recipe, output=tmp_path_factory.mktemp("runs")).path


def test_the_figures_are_of_the_rows_that_were_given(
    wine_run: Path, wine: pl.DataFrame, tmp_path: Path, danlu: Command
) -> None:
    before = state_of(wine_run)
    rows = wine.sample(60, seed=1, shuffle=True)
    rows.write_csv(tmp_path / "later.csv")
    done = danlu("evaluate", wine_run, tmp_path / "later.csv", "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    kept = json.loads((wine_run / "evaluations" / "later.json").read_text(encoding="utf-8"))
    assert kept.pop("digest")
    assert figures == {"format": 1, **kept}
    answers = package.predict(wine_run, tmp_path / "later.csv")["prediction"].to_list()
    truth = rows["cultivar"].to_list()
    assert figures["data"]["accuracy"]["value"] == pytest.approx(accuracy_score(truth, answers))
    assert figures["data"]["f1"]["value"] == pytest.approx(f1_score(truth, answers, average="macro"))
    low, value, high = (figures["data"]["accuracy"][key] for key in ("low", "value", "high"))
    assert low <= value <= high and high > low
    assert set(figures["data"]["classes"]) == {"class_0", "class_1", "class_2"}
    assert figures["data"]["curves"]["calibration"]["count"] and "test" not in figures and "looks" not in figures
    assert figures["source"] == {"origin": str(tmp_path / "later.csv"), "rows": 60, "left_out": 0}
    assert figures["worst"]["count"] == sum(one != other for one, other in zip(truth, answers, strict=True))
    assert figures["slices"]["rows"] == 60
    recorded = pl.read_parquet(wine_run / "evaluations" / "later.parquet")
    assert recorded["prediction"].to_list() == answers and recorded["truth"].to_list() == truth
    assert state_of(wine_run) == before


def test_rows_in_memory_and_a_folder_of_ones_own(wine_run: Path, wine: pl.DataFrame, tmp_path: Path) -> None:
    found = package.evaluate(wine_run, data=wine.to_dict(as_series=False), output=tmp_path / "out")
    of_file = package.evaluate(wine_run, "builtin:wine", output=tmp_path / "out")
    assert found["data"] == of_file["data"] and found["source"]["rows"] == 178
    assert "data 0." in repr(found)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("memory.json", "memory.parquet", "wine.json", "wine.parquet")
    ]


def test_two_files_of_one_name_keep_their_figures(wine_run: Path, wine: pl.DataFrame, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        wine.head(30 if folder == "a" else 90).write_csv(tmp_path / folder / "new.csv")
        for _ in range(2):
            package.evaluate(wine_run, tmp_path / folder / "new.csv", output=tmp_path / "out")
    kept = {name: json.loads((tmp_path / "out" / f"{name}.json").read_text())["source"] for name in ("new", "new-2")}
    assert {name: source["rows"] for name, source in kept.items()} == {"new": 30, "new-2": 90}
    assert not (tmp_path / "out" / "new-3.json").exists()


def test_a_file_of_one_class_or_one_row_is_judged(wine_run: Path, wine: pl.DataFrame, tmp_path: Path) -> None:
    one = wine.filter(pl.col("cultivar") == "class_1")
    answers = package.predict(wine_run, one)["prediction"]
    found = package.evaluate(wine_run, one, output=tmp_path)
    assert found["data"]["accuracy"]["value"] == pytest.approx((answers == "class_1").mean())
    assert "auroc" not in found["data"]
    assert package.evaluate(wine_run, wine.head(1), output=tmp_path)["source"]["rows"] == 1


def test_rows_that_cannot_be_read_are_left_out_and_counted(wine_run: Path, wine: pl.DataFrame, tmp_path: Path) -> None:
    odd = pl.when(pl.int_range(178) == 3).then(pl.lit("n.b.")).otherwise(pl.col("ash").cast(pl.String)).alias("ash")
    wine.with_columns(odd).write_csv(tmp_path / "new.csv")
    found = package.evaluate(wine_run, tmp_path / "new.csv", output=tmp_path / "out")
    assert found["source"]["rows"] == 177 and found["source"]["left_out"] == 1
    rows = pl.read_parquet(tmp_path / "out" / "new.parquet")["row"]
    assert rows.to_list() == [row for row in range(178) if row != 3]
    wine.with_columns(ash=pl.lit("n.b.")).write_csv(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"column 'ash': n\.b\. is not a number"):
        package.evaluate(wine_run, tmp_path / "none.csv", output=tmp_path / "out")


def test_a_missing_target_is_named(wine_run: Path, wine: pl.DataFrame, danlu: Command, tmp_path: Path) -> None:
    wine.drop("cultivar").rename({"ash": "cultivars"}).write_csv(tmp_path / "new.csv")
    done = danlu("evaluate", wine_run, tmp_path / "new.csv")
    assert done.returncode == 3
    assert "no column 'cultivar'" in done.stderr and 'nearest is "cultivars"' in done.stderr


def test_a_missing_feature_is_named(wine_run: Path, wine: pl.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'ash', which the model reads"):
        package.evaluate(wine_run, wine.drop("ash"), output=tmp_path)


def test_labels_that_the_model_never_learned_are_counted(wine_run: Path, wine: pl.DataFrame, tmp_path: Path) -> None:
    odd = wine.with_columns(
        pl.when(pl.int_range(178) < 7).then(pl.lit("class_9")).otherwise("cultivar").alias("cultivar")
    )
    with pytest.raises(DataError, match=r"holds 'class_9' in 7 of 178 rows") as refused:
        package.evaluate(wine_run, odd, output=tmp_path)
    assert refused.value.code == "DL227"
    gaps = wine.with_columns(pl.when(pl.int_range(178) < 3).then(None).otherwise("cultivar").alias("cultivar"))
    with pytest.raises(DataError, match="missing in 3 of 178 rows"):
        package.evaluate(wine_run, gaps, output=tmp_path)


def test_an_output_folder_needs_data(wine_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="give data"):
        package.evaluate(wine_run, output=tmp_path)


def test_a_bundle_that_predict_refuses_is_not_judged(wine_run: Path, wine: pl.DataFrame, tmp_path: Path) -> None:
    """Nor evaluated on its own splits, which would write golden samples anew."""
    run = Path(shutil.copytree(wine_run, tmp_path / "run"))
    weights = run / "model" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2] ^= 0x40
    weights.write_bytes(content)
    manifest = json.loads((run / "model" / "bundle.json").read_text(encoding="utf-8"))
    manifest["files"]["weights.safetensors"] = sha256(weights)
    manifest["digest"] = sha256_of_json({key: value for key, value in manifest.items() if key != "digest"})
    (run / "model" / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    before = state_of(run)
    for attempt in (
        lambda: package.predict(run, wine),
        lambda: package.evaluate(run),
        lambda: package.evaluate(run, wine),
        lambda: package.export(run, tmp_path / "out"),
    ):
        with pytest.raises(ArtifactError) as refused:
            attempt()
        assert refused.value.code == "DL311"
    assert state_of(run) == before


def trained(recipe: dict[str, Any], rows: Any, folder: Path) -> Path:
    return package.run({"evaluation": PLAIN, **recipe}, data=rows, output=folder).path


def table(rows: int = 240) -> pl.DataFrame:
    generator = np.random.default_rng(0)
    x, z = generator.normal(size=rows), generator.normal(size=rows)
    return pl.DataFrame({"x": x, "z": z, "user": [f"u{index % 30}" for index in range(rows)]})


def test_numbers_with_intervals(tmp_path: Path) -> None:
    rows = table().with_columns(y=3 * pl.col("x") + pl.col("z")).drop("user")
    recipe = {"data": {"target": "y"}, "model": "linear", "training": QUICK}
    run = trained({**recipe, "evaluation": {**PLAIN, "intervals": "conformal"}}, rows, tmp_path)
    new = rows.head(50).with_columns(pl.col("y").cast(pl.String))  # a file may hold numbers as words
    found = package.evaluate(run, new)
    answers = package.predict(run, rows.head(50))
    expected = mean_squared_error(rows["y"][:50].to_numpy(), answers["prediction"].to_numpy()) ** 0.5
    assert found["data"]["rmse"]["value"] == pytest.approx(expected)
    held = ((answers["low"] <= rows["y"][:50]) & (rows["y"][:50] <= answers["high"])).mean()
    assert found["conformal"]["data"]["coverage"]["value"] == pytest.approx(held)
    with pytest.raises(DataError, match="'y' in row 2: many is not a number"):
        package.evaluate(
            run, new.with_columns(pl.when(pl.int_range(50) == 1).then(pl.lit("many")).otherwise("y").alias("y"))
        )


def test_an_answer_may_be_a_number_as_people_write_it(tmp_path: Path) -> None:
    rows = table().select("x", y=(3000 * pl.col("x") + 20_000).round(2))
    rows.write_csv(tmp_path / "plain.csv")
    recipe = {"data": {"target": "y", "source": str(tmp_path / "plain.csv")}, "model": "linear", "training": QUICK}
    run = package.run({"evaluation": PLAIN, **recipe}, output=tmp_path).path
    expected = package.evaluate(run, tmp_path / "plain.csv")["data"]["rmse"]
    german = str.maketrans(",.", ".,")
    spelled = {
        "grouped": [f"{value:,.2f}" for value in rows["y"]],
        "german": [f"{value:,.2f}".translate(german) for value in rows["y"]],
        "euro": [f"{value:.2f} €" for value in rows["y"]],
    }
    for name, words in spelled.items():
        rows.with_columns(y=pl.Series(words)).write_csv(tmp_path / f"{name}.csv", separator=";")
        assert package.evaluate(run, tmp_path / f"{name}.csv")["data"]["rmse"] == expected, name


def test_what_stands_in_the_place_of_an_answer_does_not_matter_to_predict(tmp_path: Path) -> None:
    worded = (3000 * pl.col("x") + 20_000).round(2).cast(pl.String)
    rows = table().select("x", y=worded.str.replace(".", ",", literal=True))
    run = trained({"data": {"target": "y"}, "model": "linear", "training": QUICK}, rows, tmp_path)
    expected = package.predict(run, rows.drop("y"))
    unknown = rows.with_columns(y=pl.lit("to come"))
    assert package.predict(run, unknown).equals(expected)
    assert package.load(run).predict(unknown).equals(expected)


@pytest.mark.parametrize("spelled", [("TRUE", "FALSE"), ("true", "false"), (" True", "False ")])
def test_labels_are_known_in_any_spelling_of_truth(tmp_path: Path, spelled: tuple[str, str]) -> None:
    rows = table().select("x", y=pl.when(pl.col("x") > 0).then(pl.lit("True")).otherwise(pl.lit("False")))
    run = trained({"data": {"target": "y"}, "model": "linear", "training": QUICK}, rows, tmp_path)
    yes, no = spelled
    new = rows.with_columns(y=pl.when(pl.col("y") == "True").then(pl.lit(yes)).otherwise(pl.lit(no)))
    assert package.evaluate(run, new)["data"]["accuracy"] == package.evaluate(run, rows)["data"]["accuracy"]


def test_two_classes_as_numbers_and_groups(tmp_path: Path) -> None:
    rows = table().with_columns(y=(pl.col("x") > 0).cast(pl.Int64))
    recipe = {"data": {"target": "y", "split": {"by": {"group": "user"}}}, "model": "linear", "training": QUICK}
    run = trained(recipe, rows, tmp_path)
    found = package.evaluate(run, rows.with_columns(pl.col("y").cast(pl.Float64)))  # a gap elsewhere makes floats
    assert found["intervals"]["resampled_by"] == "user"
    assert found["data"]["thresholds"]["threshold"][-1] == 1.0
    alone = package.evaluate(run, rows.drop("user"))
    assert alone["intervals"]["resampled_by"] == "row"
    assert alone["data"]["accuracy"]["value"] == found["data"]["accuracy"]["value"]


def test_several_labels_of_which_one_never_occurs(tmp_path: Path) -> None:
    rows = table().with_columns(a=(pl.col("x") > 0).cast(pl.Int64), b=(pl.col("z") > 0).cast(pl.Int64)).drop("user")
    run = trained({"data": {"target": ["a", "b"]}, "model": "mlp", "training": QUICK}, rows, tmp_path)
    new = rows.with_columns(b=pl.lit(0), labels=pl.lit("a column of that name"))
    found = package.evaluate(run, new)
    said = package.predict(run, new)["prediction"].to_list()
    right = [set(labels) == ({"a"} if a else set()) for labels, a in zip(said, new["a"].to_list(), strict=True)]
    assert found["data"]["subset-accuracy"]["value"] == pytest.approx(np.mean(right))


def test_lists_of_labels(tmp_path: Path) -> None:
    rows = table().select(
        "x", "z", tags=pl.concat_list(pl.when(pl.col("x") > 0).then(pl.lit("p")).otherwise(pl.lit("q")))
    )
    run = trained({"data": {"target": "tags"}, "model": "mlp", "training": QUICK}, rows, tmp_path)
    assert package.evaluate(run, rows)["source"]["rows"] == 240
    with pytest.raises(DataError, match="holds 'r'"):
        package.evaluate(run, rows.with_columns(tags=pl.lit(["r"])))


def test_several_numbers(tmp_path: Path) -> None:
    rows = table().with_columns(a=pl.col("x") * 2, b=pl.col("z") - 1).drop("user")
    run = trained({"data": {"target": ["a", "b"]}, "model": "mlp", "training": QUICK}, rows, tmp_path)
    found, answers = package.evaluate(run, rows.tail(40)), package.predict(run, rows.tail(40))
    rmse = mean_squared_error(rows["a"].tail(40).to_numpy(), answers["prediction_a"].to_numpy()) ** 0.5
    assert found["data"]["outputs"]["a"]["rmse"]["value"] == pytest.approx(rmse)


def test_classes_in_an_order(tmp_path: Path) -> None:
    rows = (
        table()
        .with_columns(
            y=pl.when(pl.col("x") < -0.5)
            .then(pl.lit("low"))
            .when(pl.col("x") < 0.5)
            .then(pl.lit("mid"))
            .otherwise(pl.lit("high"))
        )
        .drop("user")
    )
    task = {"name": "ordinal", "order": ["low", "mid", "high"]}
    run = trained({"data": {"target": "y", "task": task}, "model": "linear", "training": QUICK}, rows, tmp_path)
    found, answers = package.evaluate(run, rows), package.predict(run, rows)["prediction"]
    assert found["data"]["accuracy"]["value"] == pytest.approx((answers == rows["y"]).mean())


@pytest.mark.slow
@pytest.mark.training
def test_pictures_texts_and_a_corpus(
    image_run: Path, text_run: Path, corpus_run: Path, image_folder: Path, text_file: Path, corpus_folder: Path
) -> None:
    for run, data, metric in (
        (image_run, image_folder, "accuracy"),
        (text_run, text_file, "accuracy"),
        (corpus_run, corpus_folder / "*.txt", "perplexity"),
    ):
        before = state_of(run)
        found = package.evaluate(run, data)
        assert found["data"][metric]["value"] > 0
        assert found["worst"]["rows"] or found["worst"]["count"] == 0
        assert state_of(run) == before


@pytest.mark.slow
@pytest.mark.training
def test_tags_conversations_and_preferences(tmp_path: Path) -> None:
    small = {"name": "hf:llama", "config": TINY_TEXT}
    tokens = [["Ann", "met", name] for name in ("Bob", "Eve", "Tom", "Kim")] * 10
    tags = [["P", "O", "P"]] * 40
    tagging = {"data": {"vocabulary": 300}, "model": {"name": "hf:bert", "config": TINY_TEXT}, "training": QUICK}
    words = pl.DataFrame({"tokens": tokens, "tags": tags})
    found = package.evaluate(trained(tagging, words, tmp_path), words.head(8))
    assert found["source"]["rows"] == 8 and 0 <= found["data"]["tag-accuracy"]["value"] <= 1
    with pytest.raises(DataError, match="holds 'X'"):
        package.evaluate(
            trained({**tagging, "name": "b"}, words, tmp_path), pl.DataFrame({"tokens": [["a"]], "tags": [["X"]]})
        )
    chats = [
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"{n}!"}]}
        for n in range(40)
    ]
    chat = {"data": {"vocabulary": 300, "sequence_length": 64}, "model": small, "training": {"max_steps": 3}}
    run = trained({**chat, "name": "chat"}, chats, tmp_path)
    assert package.evaluate(run, data=chats[:5])["data"]["perplexity"]["value"] > 1
    pairs = [{"prompt": f"{n}?", "chosen": f"{n}!", "rejected": "no"} for n in range(40)]
    run = trained({**chat, "name": "pairs"}, pairs, tmp_path)
    found = package.evaluate(run, data=pairs)
    tested = json.loads((run / "evaluation.json").read_text())["test"]
    rows = pl.read_parquet(run / "predictions" / "test.parquet")["row"].to_list()
    again = package.evaluate(run, data=[pairs[row] for row in rows])["data"]
    assert again["reward-margin"]["value"] == pytest.approx(tested["reward-margin"]["value"], abs=1e-6)
    assert found["source"]["rows"] == 40
