"""MODEL_CARD.md and the worst errors: what evaluation leaves for people, made of real runs."""

import base64
import json
import re
import shutil
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest

import danlu as package
from danlu.artifacts.bundle import open_bundle
from danlu.artifacts.run import RunDirectory
from danlu.reporting.card import BEGIN, END, write_card
from tests.conftest import Command
from tests.reporting.test_page import HOSTILE


def card_of(run: Path) -> str:
    return (run / "MODEL_CARD.md").read_text(encoding="utf-8")


@pytest.mark.training
def test_the_card_tells_what_the_evaluation_says(text_run: Path) -> None:
    card = card_of(text_run)
    test = json.loads((text_run / "evaluation.json").read_text())["test"]
    accuracy = test["accuracy"]
    assert re.search(
        rf"\| accuracy \| {accuracy['value']:.4g} \({accuracy['low']:.3g} – {accuracy['high']:.3g}\)", card
    )
    headings = re.findall(r"^#+ (.*)$", card, re.MULTILINE)
    assert headings[:4] == ["Model card: eras", "Intended use", "Model", "Data"]
    assert {"Metrics", "Limits", "Recipe", "Environment"} <= set(headings)
    for label in test["classes"]:
        assert re.search(rf"^\| {re.escape(label)} \|", card, re.MULTILINE)
    assert "**To be filled in by whoever gives this model away.**" in card
    assert "command:" not in card.split("## Environment")[1]
    assert open_bundle(text_run).manifest.name == "eras"


@pytest.mark.training
def test_what_a_person_wrote_into_a_card_is_kept(text_run: Path, tmp_path: Path) -> None:
    run = RunDirectory.open(shutil.copytree(text_run, tmp_path / "run"))
    untouched = card_of(run.path)
    begun, _, after = untouched.partition(BEGIN)
    (run.path / "MODEL_CARD.md").write_text(f"{begun}{BEGIN}\nFor historians.\n\nNot for courts.\n{END}{after}")
    card = write_card(run, "zh").read_text(encoding="utf-8")
    assert f"{BEGIN}\nFor historians.\n\nNot for courts.\n{END}" in card
    assert "## 用途" in card and "## Limits" not in card
    # What danlu itself put there changes with the language.
    (run.path / "MODEL_CARD.md").write_text(untouched)
    assert "请由发布者填写" in write_card(run, "zh").read_text(encoding="utf-8")


@pytest.mark.training
def test_a_card_lets_no_name_act(text_run: Path, tmp_path: Path) -> None:
    run = RunDirectory.open(shutil.copytree(text_run, tmp_path / "run"))
    told = json.loads((run.path / "evaluation.json").read_text())
    told["test"]["classes"] = {f"a | {HOSTILE}": each for each in told["test"]["classes"].values()}
    del told["digest"]
    (run.path / "evaluation.json").write_text(json.dumps(told))
    card = write_card(run).read_text(encoding="utf-8")
    assert "<script" not in card and "| a \\| &lt;script>" in card


@pytest.mark.training
def test_the_language_of_the_pages_is_the_recipes_or_the_commands(danlu: Command, tmp_path: Path) -> None:
    (tmp_path / "zh.yaml").write_text(
        "data: {source: 'builtin:breast-cancer'}\nmodel: linear\ntraining: {epochs: 1}\n"
        "evaluation: {language: zh, resamples: 100, slices: false}\n"
    )
    done = danlu("run", "zh.yaml", "--name", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "run"
    assert '<html lang="zh-CN">' in (run / "report.html").read_text(encoding="utf-8")
    assert "## 用途" in card_of(run)
    done = danlu("evaluate", "runs/run", "--lang", "en", cwd=tmp_path)
    assert done.returncode == 0 and "MODEL_CARD.md" in done.stdout
    assert '<html lang="en">' in (run / "report.html").read_text(encoding="utf-8")
    done = danlu("evaluate", "runs/run", "--lang", "fr", cwd=tmp_path)
    assert done.returncode == 2 and "fr" in done.stderr


def worst_of(run: Path) -> dict[str, object]:
    return dict(json.loads((run / "predictions" / "worst.json").read_text()))


@pytest.mark.training
def test_the_worst_errors_are_the_surest_wrong_answers(text_run: Path) -> None:
    worst = worst_of(text_run)
    answers = pl.read_parquet(text_run / "predictions" / "test.parquet")
    wrong = answers.filter(pl.col("prediction") != pl.col("truth"))
    assert worst["by"] == "confidence" and worst["count"] == wrong.height > 0
    rows = worst["rows"]
    assert isinstance(rows, list)
    surest = wrong.sort("probability", descending=True).head(12)
    assert [each["row"] for each in rows] == surest["row"].to_list()
    assert [each["figure"] for each in rows] == pytest.approx(surest["probability"].to_list())
    page = (text_run / "report.html").read_text(encoding="utf-8")
    assert rows[0]["values"][0][:20] in page


@pytest.mark.training
def test_the_worst_images_are_small_pictures(image_run: Path) -> None:
    from PIL import Image

    rows = worst_of(image_run)["rows"]
    assert isinstance(rows, list)
    for each in rows:
        picture = Image.open(BytesIO(base64.b64decode(each["png"])))
        assert max(picture.size) <= 72
        assert f"Image of row {each['row']}: {each['truth']}, answered {each['answer']}" in (
            image_run / "report.html"
        ).read_text(encoding="utf-8")


@pytest.mark.training
def test_columns_that_are_left_out_are_not_shown_among_the_errors(tmp_path: Path) -> None:
    rows = 200
    frame = pl.DataFrame(
        {
            "secret": [f"person {index}" for index in range(rows)],
            "x": [float(index % 17) for index in range(rows)],
            "y": [float(index % 5) + 0.5 for index in range(rows)],
        }
    )
    frame.write_csv(tmp_path / "rows.csv")
    recipe = {
        "data": {"source": str(tmp_path / "rows.csv"), "target": "y", "columns": {"secret": "drop"}},
        "model": "linear",
        "training": {"epochs": 1},
        "evaluation": {"resamples": 0},
    }
    run = package.run(recipe, output=tmp_path / "runs").path
    worst = worst_of(run)
    assert worst["by"] == "error" and worst["columns"] == ["x"]
    for file in ("report.html", "MODEL_CARD.md", "predictions/worst.json"):
        assert "person 1" not in (run / file).read_text(encoding="utf-8")
    answers = pl.read_parquet(run / "predictions" / "test.parquet")
    largest = (answers["prediction"] - answers["truth"]).abs().max()
    rows_told = worst["rows"]
    assert isinstance(rows_told, list) and rows_told[0]["figure"] == pytest.approx(largest)
