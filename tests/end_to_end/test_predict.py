"""Predictions from a bundle: the same as at training time, in order, whatever the input looks like."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors import safe_open

import danlu as package
from danlu.artifacts.bundle import open_bundle
from danlu.artifacts.files import sha256_of_json
from danlu.data.sources.reader import read_source
from danlu.errors import ArgumentError, ArtifactError, DataError
from danlu.models.predictor import Predictor
from tests.conftest import TINY_TEXT, Command
from tests.support.warm import LIGHT, program


@pytest.fixture
def danlu(installed_danlu: Command) -> Command:
    """Here in a process of its own, as whoever installed it has it."""
    return installed_danlu


def rows_of_test(run: Path) -> pl.Series:
    return pl.read_parquet(run / "predictions" / "test.parquet")["row"]


def recorded(run: Path) -> pl.DataFrame:
    kept = pl.read_parquet(run / "predictions" / "test.parquet")
    return kept.drop("row", "truth", "right", "bytes", "group", strict=False)


def assert_same(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    assert found.columns == expected.columns
    assert found.height == expected.height
    for name in expected.columns:
        if expected[name].dtype.is_float():
            np.testing.assert_allclose(found[name].to_numpy(), expected[name].to_numpy(), rtol=1e-6, atol=1e-6)
        else:
            assert found[name].to_list() == expected[name].to_list()


def test_a_new_process_predicts_a_table_as_training_did(
    table_run: Path, table_file: Path, tmp_path: Path, danlu: Command
) -> None:
    rows = pl.read_csv(table_file)[rows_of_test(table_run).to_list()]
    rows.write_csv(tmp_path / "test.csv")
    for suffix, read in ((".parquet", pl.read_parquet), (".csv", pl.read_csv), (".jsonl", pl.read_ndjson)):
        done = danlu("predict", table_run, tmp_path / "test.csv", "-o", tmp_path / f"out{suffix}")
        assert done.returncode == 0, done.stderr
        found = read(tmp_path / f"out{suffix}")
        assert found["prediction"].to_list() == recorded(table_run)["prediction"].to_list()
        if suffix == ".parquet":
            assert_same(found, recorded(table_run))


def test_predicting_a_table_imports_no_compiler(table_run: Path, table_file: Path) -> None:
    code = (
        "import sys, danlu, polars as pl; "
        "danlu.load(sys.argv[1]).predict(pl.read_csv(sys.argv[2], try_parse_dates=True).head(2)); "
        "print({'torch._dynamo', 'torch._inductor', 'transformers', 'torchvision', 'sklearn'} & set(sys.modules))"
    )
    done = program(code, table_run, table_file, forks=LIGHT)
    assert done.stdout.strip() == "set()", done.stderr


@pytest.mark.slow
def test_a_new_process_predicts_images_as_training_did(
    image_run: Path, image_folder: Path, tmp_path: Path, danlu: Command
) -> None:
    done = danlu("predict", image_run, image_folder, "-o", tmp_path / "out.parquet", "--keep", "image")
    assert done.returncode == 0, done.stderr
    found = pl.read_parquet(tmp_path / "out.parquet")
    assert found["image"][0].endswith(".png")
    assert_same(found.drop("image")[rows_of_test(image_run).to_list()], recorded(image_run))


@pytest.mark.slow
def test_a_new_process_predicts_texts_as_training_did(
    text_run: Path, text_file: Path, tmp_path: Path, danlu: Command
) -> None:
    rows = pl.read_ndjson(text_file)[rows_of_test(text_run).to_list()].drop("era")
    rows.write_ndjson(tmp_path / "test.jsonl")
    done = danlu("predict", text_run, tmp_path / "test.jsonl", "-o", tmp_path / "out.parquet")
    assert done.returncode == 0, done.stderr
    assert_same(pl.read_parquet(tmp_path / "out.parquet"), recorded(text_run))


@pytest.mark.slow
def test_a_new_process_judges_a_corpus_as_training_did(
    corpus_run: Path, corpus_folder: Path, tmp_path: Path, danlu: Command
) -> None:
    done = danlu("predict", corpus_run, corpus_folder, "-o", tmp_path / "out.parquet")
    assert done.returncode == 0, done.stderr
    assert_same(pl.read_parquet(tmp_path / "out.parquet")[rows_of_test(corpus_run).to_list()], recorded(corpus_run))


def test_unseen_categories_and_missing_values_are_answered(table_run: Path, table_file: Path) -> None:
    predictor = package.load(table_run)
    frame = pl.read_csv(table_file, try_parse_dates=True).head(4)
    odd = frame.with_columns(
        shelf=pl.Series(["orange", None, "red", "red"]),
        ash=pl.Series([None, 2.1, float("nan"), float("inf")], dtype=pl.Float64),
        bottled=pl.Series([None] * 4, dtype=pl.Date),
    )
    answers = predictor.predict(odd)
    assert answers.height == 4
    assert answers["probability"].is_finite().all()


def test_infinite_numbers_are_said_to_be_read_as_missing(
    table_run: Path, table_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pl.read_csv(table_file, try_parse_dates=True).head(3)
    gap, infinite = ([None, 2.1, None], [float("inf"), 2.1, float("-inf")])
    expected = package.predict(table_run, rows.with_columns(ash=pl.Series(gap, dtype=pl.Float64)))
    assert "infinite" not in capsys.readouterr().err
    assert package.predict(table_run, rows.with_columns(ash=pl.Series(infinite))).equals(expected)
    assert "column 'ash': 2 infinite numbers are read as missing" in capsys.readouterr().err


def test_order_and_count_of_rows_are_kept(table_run: Path, table_file: Path) -> None:
    predictor = package.load(table_run)
    frame = pl.read_csv(table_file, try_parse_dates=True)
    forward, backward = predictor.predict(frame), predictor.predict(frame.reverse())
    assert_same(backward.reverse(), forward)
    assert forward.height == frame.height


def test_pandas_frames_are_answered_as_polars_frames(table_run: Path, table_file: Path) -> None:
    import pandas as pd

    predictor = package.load(table_run)
    frame = pl.read_csv(table_file, try_parse_dates=True)
    assert_same(predictor.predict(pd.read_csv(table_file)), predictor.predict(frame))


def test_images_in_any_form_are_answered_alike(image_run: Path, image_folder: Path) -> None:
    from PIL import Image

    predictor = package.load(image_run)
    paths = sorted(image_folder.rglob("*.png"))[:5]
    expected = predictor.predict(paths)
    assert_same(predictor.predict([str(path) for path in paths]), expected)
    assert_same(predictor.predict([path.read_bytes() for path in paths]), expected)
    assert_same(predictor.predict([Image.open(path) for path in paths]), expected)
    assert_same(predictor.predict(np.stack([np.asarray(Image.open(path)) for path in paths])), expected)
    assert_same(predictor.predict(paths[0]), expected.head(1))


def test_texts_are_answered_one_or_many(text_run: Path) -> None:
    predictor = package.load(text_run)
    texts = ["The gold and silver of the Treasury.", "", "Medicare, television and the Soviet Union"]
    answers = predictor.predict(texts)
    assert answers.height == 3
    np.testing.assert_allclose(
        predictor.predict(texts[0])["probability"][0], answers["probability"][0], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("samples", [3, 2.5, object(), [3, {"alcohol": 1.0}], lambda: 3])
@pytest.mark.parametrize("kind", ["table", "image", "text"])
def test_samples_of_no_known_form_are_refused(request: pytest.FixtureRequest, kind: str, samples: object) -> None:
    model = package.load(request.getfixturevalue(f"{kind}_run"))
    with pytest.raises(DataError, match=r"^(the samples given|data): ") as caught:
        model.predict(samples)
    assert caught.value.code in ("DL207", "DL210")


def test_a_missing_column_is_named_with_the_nearest(table_run: Path, table_file: Path) -> None:
    frame = pl.read_csv(table_file).rename({"alcohol": "alcool"})
    with pytest.raises(DataError, match=r'no column .alcohol.*nearest is "alcool"'):
        package.load(table_run).predict(frame)


def test_a_word_in_a_column_of_numbers_is_refused(table_run: Path, table_file: Path) -> None:
    frame = pl.read_csv(table_file).with_columns(alcohol=pl.lit("strong"))
    answers = package.load(table_run).predict(frame)
    assert answers["error"].unique().to_list() == ["DL211: column 'alcohol': strong is not a number"]
    assert answers["prediction"].null_count() == frame.height
    with pytest.raises(DataError, match=r"column 'alcohol': strong is not a number"):
        package.load(table_run).predict(frame, broken="fail")


def test_a_row_that_cannot_be_read_is_an_error_of_its_own(table_run: Path, table_file: Path) -> None:
    frame = pl.read_csv(table_file)
    expected = package.load(table_run).predict(frame)
    row = pl.int_range(frame.height) == 5
    worded = frame.with_columns(
        pl.when(row).then(pl.lit("strong")).otherwise(pl.col("alcohol").cast(pl.String)).alias("alcohol")
    )
    answers = package.load(table_run).predict(worded)
    assert [at for at, why in enumerate(answers["error"]) if why is not None] == [5]
    assert answers["prediction"][5] is None
    assert answers.drop("error").filter(~(pl.int_range(frame.height) == 5)).equals(expected.filter(~row))
    assert package.load(table_run).predict(worded, broken="skip").equals(expected.filter(~row))


@pytest.mark.parametrize("value", [1e39, -1e300])
def test_numbers_beyond_those_of_a_model_are_refused_by_row(table_run: Path, table_file: Path, value: float) -> None:
    frame = pl.read_csv(table_file).head(3)
    changed = frame.with_columns(alcohol=pl.Series([13.0, value, 12.0]))
    answers = package.load(table_run).predict(changed)
    assert answers["error"].is_null().to_list() == [True, False, True]
    assert "beyond any number of 32 bits" in answers["error"][1]
    assert answers["prediction"].is_null().to_list() == [False, True, False]


def test_labels_keep_their_type(image_run: Path, tmp_path: Path) -> None:
    recipe = package.load_recipe("wine", overrides=["training.epochs=1"])
    frame = pl.DataFrame({"x": [float(i % 7) for i in range(90)], "y": [i % 3 for i in range(90)]})
    frame.write_parquet(tmp_path / "numbers.parquet")
    run = package.train(
        {"data": {"source": str(tmp_path / "numbers.parquet"), "target": "y"}, "training": {"epochs": 1}},
        output=tmp_path / "runs",
    )
    assert package.load(run.path).predict(frame)["prediction"].dtype == pl.Int64
    assert recipe.training.epochs == 1


def test_golden_samples_are_replayed(table_run: Path) -> None:
    bundle = open_bundle(table_run)
    golden = bundle.golden()
    assert golden is not None
    assert golden.height == 8
    assert Predictor.load(bundle).replay(golden) < 1e-6


def test_a_model_that_answers_otherwise_than_its_golden_samples_is_refused(table_run: Path) -> None:
    predictor, golden = package.load(table_run), open_bundle(table_run).golden()
    assert golden is not None
    with torch.no_grad():
        predictor.model.linear.weight[0].add_(0.5)
    with pytest.raises(ArtifactError, match="golden samples"):
        predictor.replay(golden)


@pytest.mark.parametrize("name", ["weights.safetensors", "config.json", "golden.parquet"])
def test_a_changed_file_is_refused(table_run: Path, tmp_path: Path, name: str, danlu: Command) -> None:
    shutil.copytree(table_run / "model", tmp_path / "model")
    content = bytearray((tmp_path / "model" / name).read_bytes())
    content[-5] ^= 1
    (tmp_path / "model" / name).write_bytes(content)
    done = danlu("predict", tmp_path / "model", "builtin:wine")
    assert done.returncode == 1
    assert name in done.stderr
    assert "SHA-256" in done.stderr


def test_a_bundle_of_a_later_format_is_refused(table_run: Path, tmp_path: Path) -> None:
    shutil.copytree(table_run / "model", tmp_path / "model")
    manifest = json.loads((tmp_path / "model" / "bundle.json").read_text())
    (tmp_path / "model" / "bundle.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(ArtifactError, match="format 99"):
        open_bundle(tmp_path / "model")


def test_a_bundle_cannot_name_files_outside_itself(table_run: Path, tmp_path: Path) -> None:
    shutil.copytree(table_run / "model", tmp_path / "model")
    manifest = json.loads((tmp_path / "model" / "bundle.json").read_text())
    manifest["files"]["../secret"] = "0" * 64
    (tmp_path / "secret").write_text("x")
    manifest["digest"] = sha256_of_json({key: value for key, value in manifest.items() if key != "digest"})
    (tmp_path / "model" / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="no file inside the bundle"):
        open_bundle(tmp_path / "model")


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path, danlu: Command) -> None:
    done = danlu("predict", tmp_path, "builtin:wine")
    assert done.returncode == 1
    assert "no bundle here" in done.stderr


def test_a_kept_column_named_as_an_answer_is_refused(table_run: Path, table_file: Path, tmp_path: Path) -> None:
    pl.read_csv(table_file).with_columns(prediction=1).write_csv(tmp_path / "a.csv")
    with pytest.raises(ArgumentError, match="'prediction' is also the name of a prediction column"):
        package.predict(table_run, str(tmp_path / "a.csv"), keep=["prediction"])


def test_a_damaged_run_hides_no_other(table_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("whole", "damaged"):
        shutil.copytree(table_run, tmp_path / name)
    (tmp_path / "damaged" / "evaluation.json").write_text("{")
    assert [row["run"] for row in package.runs(tmp_path)] == ["whole"]
    assert "damaged: skipped" in capsys.readouterr().err


def test_an_output_of_unknown_kind_is_refused(table_run: Path, danlu: Command) -> None:
    done = danlu("predict", table_run, "builtin:wine", "-o", "out.xlsx")
    assert done.returncode == 2
    assert ".parquet, .csv, .jsonl" in done.stderr


@pytest.mark.slow
def test_weights_that_are_shared_are_stored_once_and_answer_alike(
    corpus_recipe: dict[str, Any], corpus_folder: Path, tmp_path: Path
) -> None:
    model = {"name": "hf:llama", "config": {**TINY_TEXT, "tie_word_embeddings": True}}
    run = package.run(
        {**corpus_recipe, "model": model, "training": {"max_steps": 3, "batch_size": 8}}, output=tmp_path
    ).path
    with safe_open(run / "model" / "weights.safetensors", framework="numpy") as weights:
        embeddings = [name for name in weights.keys() if weights.get_slice(name).get_shape() == [512, 32]]  # noqa: SIM118
    assert len(embeddings) == 1
    answers = package.load(run).predict_source(read_source(str(corpus_folder)))
    assert_same(answers[rows_of_test(run).to_list()], recorded(run))
