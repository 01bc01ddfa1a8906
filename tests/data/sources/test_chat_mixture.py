"""Conversations of several public forms stand together: in a mixture, in a folder, and as splits."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from danlu.data.interpret import interpret
from danlu.data.sources.reader import read_source
from danlu.errors import DataError
from danlu.recipe.sections.data import Data, WeightedSource
from tests.support.chatting import write_lines

TOOL = {"type": "function", "function": {"name": "router", "parameters": {}}}
SHOWN = [{"role": "user", "content": "Help!"}, {"role": "assistant", "content": "Gladly."}]
# The same conversation, as each form says it.
FORMS: dict[str, dict[str, Any]] = {
    "openai": {"messages": SHOWN},
    "sharegpt": {"conversations": [{"from": "human", "value": "Help!"}, {"from": "gpt", "value": "Gladly."}]},
    "named": {"messages": [{"from": "human", "value": "Help!"}, {"from": "gpt", "value": "Gladly."}], "id": 3},
    "alpaca": {"instruction": "Help!", "input": "", "output": "Gladly.", "id": "x"},
    "dolly": {"instruction": "Help!", "context": None, "response": "Gladly.", "category": "aid"},
    "trl": {"prompt": SHOWN[:1], "completion": SHOWN[1:]},
    "gsm8k": {"question": "Help!", "answer": "Gladly."},
}
PAIRS: dict[str, dict[str, Any]] = {
    "plain": {"prompt": "Help!", "chosen": "Gladly.", "rejected": "No."},
    "whole": {"chosen": SHOWN, "rejected": [SHOWN[0], {"role": "assistant", "content": "No."}], "score": 1},
    "orca": {"question": "Help!", "chosen": "Gladly.", "rejected": "No."},
}


def files(folder: Path, forms: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: str(write_lines(folder / f"{name}.jsonl", [row, row])) for name, row in forms.items()}


def frame(source: Any) -> pl.DataFrame:
    section = Data(source=source)
    return interpret(read_source(section.source), section).frame.lazy().collect()


def test_all_forms_of_conversations_mix(tmp_path: Path) -> None:
    found = frame(list(files(tmp_path, FORMS).values()))
    assert found.columns == ["messages"]
    assert [json.loads(text) for text in found["messages"]] == [SHOWN] * 2 * len(FORMS)
    assert frame(str(tmp_path)).equals(frame([str(path) for path in sorted(tmp_path.iterdir())]))


def test_so_do_forms_of_preferences(tmp_path: Path) -> None:
    found = frame(list(files(tmp_path, PAIRS).values()))
    assert found.columns == ["prompt", "chosen", "rejected"]
    assert found.unique().height == 1
    assert json.loads(found["rejected"][0]) == [{"role": "assistant", "content": "No."}]


def test_weights_and_splits_stay(tmp_path: Path) -> None:
    named = files(tmp_path, FORMS)
    mixed = frame([WeightedSource(path=named["sharegpt"], weight=3), named["alpaca"]])
    assert mixed["weight"].to_list() == [3.0, 3.0, 1.0, 1.0]
    assert frame({"train": named["openai"], "test": named["dolly"]})["split"].to_list() == ["train"] * 2 + ["test"] * 2


def test_what_stands_beside_the_messages_of_one_form_stays_there(tmp_path: Path) -> None:
    told = {"conversations": FORMS["sharegpt"]["conversations"], "system": "Be kind.", "tools": json.dumps([TOOL])}
    found = frame(list(files(tmp_path, {"told": told, "openai": FORMS["openai"]}).values()))
    first, last = json.loads(found["messages"][0]), json.loads(found["messages"][-1])
    assert first["messages"] == [{"role": "system", "content": "Be kind."}, *SHOWN]
    assert first["tools"] == [TOOL]
    assert last == SHOWN


def test_columns_that_all_have_stay_to_split_by(tmp_path: Path) -> None:
    rows = {name: {**FORMS[name], "user": name} for name in ("openai", "alpaca")}
    assert frame(list(files(tmp_path, rows).values()))["user"].to_list() == ["openai"] * 2 + ["alpaca"] * 2


def test_nested_columns_of_other_types_do_not_keep_them_apart(tmp_path: Path) -> None:
    pl.DataFrame([FORMS["openai"]]).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame([FORMS["named"]]).drop("id").write_parquet(tmp_path / "b.parquet")
    write_lines(tmp_path / "c.jsonl", [FORMS["openai"]])
    found = frame([str(tmp_path / name) for name in ("a.parquet", "b.parquet", "c.jsonl")])
    assert [json.loads(text) for text in found["messages"]] == [SHOWN] * 3


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (PAIRS["plain"], "holds pairs of answers, and .*openai.jsonl conversations"),
        ({"x": 1, "y": 2}, "other columns than"),
    ],
)
def test_other_data_beside_conversations_is_refused(other: dict[str, Any], said: str, tmp_path: Path) -> None:
    named = files(tmp_path, {"openai": FORMS["openai"], "other": other})
    with pytest.raises(DataError, match=said) as caught:
        frame(list(named.values()))
    assert caught.value.code == "DL204"
