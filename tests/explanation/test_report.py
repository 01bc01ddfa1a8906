"""The report's section on explanations, in both languages."""

import json
from pathlib import Path
from typing import Any

import pytest

import danlu
from danlu.artifacts.run import RunDirectory
from danlu.errors import RecipeError
from danlu.reporting.page import write_report


@pytest.mark.parametrize(
    ("language", "words"),
    [
        (
            "en",
            (
                "Explanations",
                "Permutation importance",
                "A small tree in place of the model",
                "Row 1 ",
                "Training rows that taught",
            ),
        ),
        ("zh", ("解释", "置换重要性", "代替模型的小树", "第 1 行", "教会这些预测的训练行")),
    ],
)
def test_the_report_shows_what_was_explained(tmp_path: Path, language: str, words: tuple[str, ...]) -> None:
    recipe = {"name": "w", "data": {"source": "builtin:wine"}, "model": "linear", "training": {"epochs": 3}}
    run = danlu.train(recipe, name="w", output=tmp_path).path
    directory = RunDirectory.open(run)
    assert 'id="explanation"' not in write_report(directory, language).read_text()
    methods = ["shap", "permutation", "surrogate", "counterfactual", "trust", "tracin"]
    found = danlu.explain(run, rows=[1, 2], methods=methods, output=run / "explanation")
    page = write_report(directory, language).read_text()
    section = page[page.index('id="explanation"') :]
    section = section[: section.index("</section>")]
    assert all(word in section for word in words)
    largest = max(found.overall[0].columns, key=lambda each: each.plain.value)  # type: ignore[union-attr]
    assert f'<th scope="row">{largest.name}</th>' in section
    assert 'href="#explanation"' in page


def test_a_recipe_asks_for_explanations_and_the_command_gives_the_same(tmp_path: Path) -> None:
    recipe = {
        "name": "w",
        "data": {"source": "builtin:wine"},
        "model": "linear",
        "training": {"epochs": 3},
        "explanation": {"methods": ["shap", "surrogate"], "samples": 3},
    }
    run = danlu.train(recipe, name="w", output=tmp_path)
    danlu.evaluate(run.path)
    document = json.loads((run.path / "explanation" / "explanation.json").read_text())
    assert [one["row"] for one in document["local"]] == [0, 1, 2]
    again = danlu.explain(run.path, rows=range(3), methods=["shap", "surrogate"], output=run.path / "explanation")
    assert again.to_json() == document
    assert 'id="explanation"' in (run.path / "report.html").read_text()


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"explanation": {"methods": ["lime"]}, "bundle": {"reference": "none"}}, "lime needs training rows"),
        (
            {
                "explanation": {"methods": ["counterfactual"]},
                "data": {"source": "builtin:digits"},
                "model": {"name": "small-resnet"},
            },
            "counterfactual does not explain models of image data; these do: shap, lime, .*grad-cam",
        ),
        (
            {
                "explanation": {"methods": ["grad-cam"]},
                "data": {"source": "builtin:speeches", "text": "text"},
                "model": {"name": "hf:bert"},
            },
            "grad-cam does not explain models of text data; these do: shap, .*attention-rollout",
        ),
        (
            {
                "explanation": {"actionable": ["a"]},
                "data": {"source": "builtin:digits"},
                "model": {"name": "small-resnet"},
            },
            "explanation.actionable: names columns of tables",
        ),
        ({"explanation": {"methods": ["grad-cam"]}}, "grad-cam explains networks of images and texts"),
        ({"explanation": {}, "bundle": {"reference": "none"}}, "shap needs training rows"),
        ({"explanation": {"methods": ["shapp"]}}, "explanation.methods"),
        ({"explanation": {"actionable": ["alcohl"]}}, "explanation.actionable: the model reads no column 'alcohl'"),
        ({"explanation": {"budget": 53}}, "explanation.budget: too few calls for 13 columns; give at least 54"),
        (
            {"explanation": {"methods": ["counterfactual"]}, "data": {"source": "builtin:diabetes"}},
            "counterfactual needs a model that predicts one label a row",
        ),
    ],
)
def test_what_a_recipe_cannot_have_explained_is_said_before_training(section: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        danlu.check({"name": "w", "data": {"source": "builtin:wine"}, "model": "linear", **section})
