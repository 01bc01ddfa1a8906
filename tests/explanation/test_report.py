"""The report's section on explanations, in both languages."""

from pathlib import Path

import pytest

import danlu
from danlu.artifacts.run import RunDirectory
from danlu.reporting.page import write_report


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ("Explanations", "Permutation importance", "A small tree in place of the model", "Row 1 ")),
        ("zh", ("解释", "置换重要性", "代替模型的小树", "第 1 行")),
    ],
)
def test_the_report_shows_what_was_explained(tmp_path: Path, language: str, words: tuple[str, ...]) -> None:
    recipe = {"name": "w", "data": {"source": "builtin:wine"}, "model": "linear", "training": {"epochs": 3}}
    run = danlu.train(recipe, name="w", output=tmp_path).path
    directory = RunDirectory.open(run)
    assert 'id="explanation"' not in write_report(directory, language).read_text()
    methods = ["shap", "permutation", "surrogate", "counterfactual", "trust"]
    found = danlu.explain(run, rows=[1, 2], methods=methods, output=run / "explanation")
    page = write_report(directory, language).read_text()
    section = page[page.index('id="explanation"') :]
    section = section[: section.index("</section>")]
    assert all(word in section for word in words)
    largest = max(found.overall[0].columns, key=lambda each: each.plain.value)  # type: ignore[union-attr]
    assert f'<th scope="row">{largest.name}</th>' in section
    assert 'href="#explanation"' in page
