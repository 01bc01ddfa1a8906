"""Questions travel from the source to the dataset, and whoever trains refuses while one is open."""

import json
from pathlib import Path

import polars as pl
import pytest

import danlu
from danlu.data.descriptors import RawData
from danlu.data.interpret import interpret
from danlu.data.questions import Answer, Question, require_answers
from danlu.errors import DataError
from danlu.recipe.load import load_recipe
from danlu.recipe.sections.data import Data

QUESTION = Question(
    "DL211",
    "d",
    "is 01/02/2024 the first of February or the second of January?",
    (
        Answer("data.columns.d.format=%d/%m/%Y", "2024-02-01"),
        Answer("data.columns.d.format=%m/%d/%Y", "2024-01-02"),
    ),
)


def test_an_open_question_is_refused_with_its_code_and_every_answer() -> None:
    with pytest.raises(DataError) as refused:
        require_answers((QUESTION,))
    assert refused.value.code == "DL211"
    assert str(refused.value) == (
        "d: is 01/02/2024 the first of February or the second of January? "
        "Answer with --set 'data.columns.d.format=%d/%m/%Y' (2024-02-01); "
        "or --set 'data.columns.d.format=%m/%d/%Y' (2024-01-02)"
    )
    require_answers(())


def test_a_dataset_keeps_the_questions_of_its_source() -> None:
    frame = pl.DataFrame({"d": ["north", "south"], "y": ["a", "b"]})
    source = RawData(frame, "memory", Path.cwd(), questions=(QUESTION,))
    assert interpret(source, Data(source="x.csv", target="y")).questions == (QUESTION,)


@pytest.mark.parametrize("name", ["d", "my day", "a.b", "a=b", "日期", "1"])
def test_answers_settle_their_question_whatever_the_column_is_called(tmp_path: Path, name: str) -> None:
    days = [f"01/{row % 12 + 1:02}/{2012 + row // 12}" for row in range(48)]
    pl.DataFrame({name: days, "x": range(48), "y": ["a", "b"] * 24}).write_csv(tmp_path / "t.csv")
    recipe = {"data": {"source": str(tmp_path / "t.csv"), "target": "y", "columns": {"x": "number"}}}
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    (question,) = danlu.check(tmp_path / "r.yaml")["questions"]
    for reading in question["readings"]:
        found = danlu.check(load_recipe(tmp_path / "r.yaml", overrides=[reading["write"]]))
        assert found["questions"] == []
        assert [each["type"] for each in found["columns"]] == ["datetime", "number"]
