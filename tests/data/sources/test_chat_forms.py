"""What a row of a conversation says: each message once, nothing dropped in silence, whatever the form of the file."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

import danlu as package
from danlu.data.descriptors import RawData
from danlu.data.sources.chat_rows import ChatRow, read_chat
from danlu.data.sources.conversations import as_chats
from danlu.data.sources.in_memory import read_in_memory
from danlu.data.sources.reader import read_source
from danlu.errors import DataError
from danlu.recipe.sections.data import Data
from tests.support.chatting import write_lines

USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
OTHER, SYSTEM = {"role": "assistant", "content": "Go"}, {"role": "system", "content": "Be kind."}
MORE = {"role": "user", "content": "More?"}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"unit": {"enum": ["C", None], "default": None}}},
    },
}


def interpreted(path: Path) -> RawData:
    return as_chats(read_source(str(path)), Data(source=str(path)))


def chats(path: Path) -> list[ChatRow]:
    return [read_chat(text) for text in interpreted(path).frame["messages"].to_list()]


def pairs(tmp_path: Path, *rows: dict[str, Any]) -> list[tuple[ChatRow, Any, Any]]:
    found = interpreted(write_lines(tmp_path / "pairs.jsonl", list(rows)))
    assert found.layout == "preference"
    return [
        (read_chat(prompt), json.loads(chosen), json.loads(rejected))
        for prompt, chosen, rejected in found.frame.select("prompt", "chosen", "rejected").iter_rows()
    ]


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"prompt": "Hi", "chosen": [USER, ANSWER], "rejected": [USER, OTHER], "score_chosen": 8.5}, [USER]),
        (
            {"prompt": "Hi", "chosen": [SYSTEM, {**USER, "content": "Hi "}, ANSWER], "rejected": [SYSTEM, USER, OTHER]},
            [SYSTEM, USER],
        ),
        ({"prompt": [USER], "chosen": [USER, ANSWER], "rejected": [OTHER]}, [USER]),
        ({"prompt": [SYSTEM, USER], "chosen": [USER, ANSWER], "rejected": [USER, OTHER]}, [SYSTEM, USER]),
        ({"prompt": [USER, ANSWER, MORE], "chosen": [ANSWER], "rejected": [OTHER]}, [USER, ANSWER, MORE]),
        ({"prompt": "Hi", "chosen": ANSWER, "rejected": OTHER}, [USER]),
        ({"chosen": [USER, ANSWER], "rejected": [USER, OTHER]}, [USER]),
        ({"system": "Be kind.", "question": "Hi", "chosen": "Hello", "rejected": "Go"}, [SYSTEM, USER]),
        (
            {
                "conversations": [{"from": "human", "value": "Hi"}],
                "chosen": {"from": "gpt", "value": "Hello"},
                "rejected": {"from": "gpt", "value": "Go"},
            },
            [USER],
        ),
        ({"instruction": "Hi", "input": "", "chosen": "Hello", "rejected": "Go"}, [USER]),
        ({"prompt": "\n\nHuman: Hi\n\nAssistant:", "chosen": " Hello", "rejected": " Go"}, [USER]),
        ({"chosen": "\n\nHuman: Hi\n\nAssistant: Hello", "rejected": "\n\nHuman: Hi\n\nAssistant: Go"}, [USER]),
        (
            {
                "chosen": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: More?\n\nAssistant: Hello",
                "rejected": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: More?\n\nAssistant: Go",
            },
            [USER, ANSWER, MORE],
        ),
    ],
)
def test_the_prompt_of_a_preference_is_said_once(
    tmp_path: Path, row: dict[str, Any], prompt: list[dict[str, Any]]
) -> None:
    ((asked, chosen, rejected),) = pairs(tmp_path, row)
    assert asked == ChatRow(prompt)
    assert [chosen[0]["content"].strip(), rejected[0]["content"].strip()] == ["Hello", "Go"]
    assert [len(chosen), len(rejected)] == [1, 1]


def test_texts_that_all_begin_with_their_prompt_say_it_once(tmp_path: Path) -> None:
    rows = [{"prompt": f"Say {n}", "chosen": f"Say {n} {n}!", "rejected": f"Say {n}No."} for n in range(12)]
    found = pairs(tmp_path, *rows)
    assert [(p.messages[0]["content"], c[0]["content"], r[0]["content"]) for p, c, r in found] == [
        (f"Say {n}", f"{n}!", "No.") for n in range(12)
    ]
    rows[3]["rejected"] = "No."  # then the others do so by chance, or by their answer
    assert pairs(tmp_path, *rows)[0][1][0]["content"] == "Say 0 0!"
    sums = [{"prompt": f"{n} and", "completion": f"{n} and more"} for n in range(12)]
    assert [chat.messages[1]["content"] for chat in chats(write_lines(tmp_path / "sums.jsonl", sums))] == ["more"] * 12


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "Hi", "chosen": [MORE, ANSWER], "rejected": [OTHER]}, "row 2: chosen: message 1 .* of the user"),
        ({"prompt": "Hi", "chosen": [ANSWER], "rejected": [OTHER, MORE, OTHER]}, "row 2: rejected: message 2 after"),
        (
            {"prompt": "Hi", "chosen": [USER], "rejected": [USER, OTHER]},
            "chosen: holds the prompt and no answer",
        ),
        (
            {"chosen": [USER, ANSWER, MORE, ANSWER], "rejected": [USER, OTHER]},
            "chosen: message 2 .* of the user",
        ),
        ({"prompt": "Hi", "chosen": [{**ANSWER, "weight": 0}], "rejected": "Go"}, "row 2: chosen .* not to be learned"),
        (
            {"chosen": "\n\nHuman: Hi\n\nAssistant: a", "rejected": "\n\nHuman: Hi\n\nAssistant:"},
            "row 2: rejected has no message of the assistant",
        ),
        ({"chosen": "Hello", "rejected": "Go"}, "row 2: there is no prompt.*docs/formats.md#conversations"),
    ],
)
def test_an_answer_that_holds_another_turn_is_refused_with_its_row(
    tmp_path: Path, row: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        pairs(tmp_path, {"chosen": [USER, ANSWER], "rejected": [USER, OTHER]}, row)


def test_what_stands_beside_a_conversation_reaches_the_template(tmp_path: Path) -> None:
    beside = {"tools": [TOOL], "documents": [{"title": "A", "text": "B"}], "chat_template_kwargs": {"thinking": True}}
    path = write_lines(tmp_path / "chats.jsonl", [{"messages": [USER, ANSWER], **beside}, {"messages": [USER, ANSWER]}])
    first, second = chats(path)
    assert first == ChatRow([USER, ANSWER], beside)
    assert second == ChatRow([USER, ANSWER])
    assert first.variables == {"tools": [TOOL], "documents": [{"title": "A", "text": "B"}], "thinking": True}


@pytest.mark.parametrize(
    ("row", "messages", "tools"),
    [
        ({"system": "Be kind.", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}],
          "tools": json.dumps([TOOL])}, [SYSTEM, USER, ANSWER], [TOOL]),
        ({"system": "Be kind.", "messages": [SYSTEM, USER, ANSWER], "tools": ""}, [SYSTEM, USER, ANSWER], None),
        ({"messages": [USER, ANSWER], "functions": [TOOL["function"]]}, [USER, ANSWER], [TOOL]),
        ({"messages": [USER, ANSWER], "tools": [json.dumps(TOOL)]}, [USER, ANSWER], [TOOL]),
        ({"instruction": "More?", "input": "", "output": "Go", "system": "Be kind.", "history": [["Hi", "Hello"]]},
         [SYSTEM, USER, ANSWER, MORE, OTHER], None),
        ({"system_prompt": "Be kind.", "question": "Hi", "response": "Hello"}, [SYSTEM, USER, ANSWER], None),
        ({"system_prompt": "", "question": "Hi", "response": "Hello"}, [USER, ANSWER], None),
        ({"instruction": "Hi", "context": "", "response": "Hello", "category": "x"}, [USER, ANSWER], None),
    ],
)  # fmt: skip
def test_systems_histories_and_tools_of_known_forms(
    tmp_path: Path, row: dict[str, Any], messages: list[Any], tools: list[Any] | None
) -> None:
    (found,) = chats(write_lines(tmp_path / "chats.jsonl", [row]))
    assert found.messages == messages
    assert found.beside.get("tools") == tools


def test_the_prompt_of_a_preference_has_its_tools(tmp_path: Path) -> None:
    row = {
        "prompt": "Hi",
        "chosen": "Hello",
        "rejected": "Go",
        "tools": [TOOL],
        "chat_template_kwargs": {"thinking": 0},
    }
    ((prompt, _, _),) = pairs(tmp_path, row)
    assert prompt == ChatRow([USER], {"tools": [TOOL], "chat_template_kwargs": {"thinking": 0}})


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"messages": [SYSTEM, USER, ANSWER], "system": "Be rude."}, "row 1: system says otherwise"),
        ({"messages": [USER, ANSWER], "tools": "a hammer"}, "row 1: tools: is no JSON"),
        ({"messages": [USER, ANSWER], "documents": ["text"]}, "row 1: documents is no list of objects"),
        (
            {"messages": [USER, ANSWER], "chat_template_kwargs": {"add_generation_prompt": True}},
            "sets add_gen",
        ),
        ({"messages": [USER, ANSWER], "images": ["a.png"]}, "row 1: has images; language models here read only text"),
        ({"prompt": "Hi", "completion": "Hello", "label": False}, "'label' says which answers are good"),
        ({"instruction": "a", "output": "b", "history": [["one"]]}, "row 1: history is no list of pairs"),
        (
            {"messages": [USER, {"role": "assistant", "words": "Hello"}]},
            "2: has no content; its keys are words",
        ),
        ({"talk": [{"who": "a", "utterance": "Hi"}]}, "no messages with a role; .*docs/formats.md#conversations"),
        ({"messages": ["Hi", "Hello"]}, "holds List.String., no messages.*docs/formats.md#conversations"),
    ],
)
def test_what_cannot_be_told_a_template_is_refused_by_name(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        chats(write_lines(tmp_path / "chats.jsonl", [row]))


def called(name: str, arguments: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": name, "arguments": arguments}}]}  # fmt: skip  # noqa: E501


CALLING = [
    {"messages": [USER, called("weather", {"city": "Rome", "unit": None})], "tools": [TOOL]},
    {"messages": [USER, called("sum", {"of": [1, 2.5, "three"], "city": 4})], "tools": [{"type": "function", "function": {"name": "sum"}}]},  # noqa: E501
    {"messages": [USER, called("text", '{"city": "Oslo"}')]},
]  # fmt: skip


def as_lines(path: Path) -> Any:
    return chats(write_lines(path / "calls.jsonl", CALLING))


def as_json(path: Path) -> Any:
    (path / "calls.json").write_text(json.dumps(CALLING))
    return chats(path / "calls.json")


def as_rows_in_memory(path: Path) -> Any:
    frame = as_chats(read_in_memory(CALLING), Data(source="memory:rows")).frame
    return [read_chat(text) for text in frame["messages"].to_list()]


def as_pandas(path: Path) -> Any:
    frame = as_chats(read_in_memory(pd.DataFrame(CALLING)), Data(source="memory:rows")).frame
    return [read_chat(text) for text in frame["messages"].to_list()]


@pytest.mark.parametrize("read", [as_lines, as_json, as_rows_in_memory, as_pandas])
def test_nested_json_is_kept_as_it_was_written(tmp_path: Path, read: Any) -> None:
    found = read(tmp_path)
    assert [chat.messages for chat in found] == [row["messages"] for row in CALLING]
    assert [chat.beside.get("tools") for chat in found] == [row.get("tools") for row in CALLING]


def test_rows_of_parquet_have_no_keys_of_other_rows(tmp_path: Path) -> None:
    """Of an Arrow schema, nobody can tell a null that was written from a key that another row has."""
    rows = [{"messages": [USER, called("a", {"city": "Rome"})]}, {"messages": [USER, called("b", {"day": 1})]}]
    pl.DataFrame(rows).write_parquet(tmp_path / "calls.parquet")
    assert [chat.messages for chat in chats(tmp_path / "calls.parquet")] == [row["messages"] for row in rows]


def test_calls_of_sharegpt_and_of_openais_older_form(tmp_path: Path) -> None:
    call = {"name": "weather", "arguments": {"city": "Rome"}}
    told = {"from": "observation", "value": "warm"}
    rows = [
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "function_call", "value": json.dumps(call)}, told,
                           {"from": "gpt", "value": "Hello"}]},
        {"conversations": [USER, {"role": "assistant", "content": None, "function_call": call},
                           {"role": "function", "name": "weather", "content": "warm"}, ANSWER]},
    ]  # fmt: skip
    calls = called("weather", {"city": "Rome"})
    tool = {"role": "tool", "content": "warm"}
    first, second = chats(write_lines(tmp_path / "calls.jsonl", rows))
    assert first.messages == [USER, calls, tool, ANSWER]
    assert second.messages == [USER, calls, {**tool, "name": "weather"}, ANSWER]


def test_calls_may_be_the_json_text_of_a_list(tmp_path: Path) -> None:
    calls = called("weather", {"city": "Rome"})
    written = {**calls, "tool_calls": json.dumps(calls["tool_calls"])}
    empty = {**ANSWER, "tool_calls": "[]"}
    found = chats(write_lines(tmp_path / "calls.jsonl", [{"messages": [USER, written]}, {"messages": [USER, empty]}]))
    assert found[0].messages == [USER, calls]
    assert found[1].messages == [USER, {**ANSWER, "tool_calls": []}]
    for wrong, said in (("[{", "tool_calls is no JSON"), ('"weather"', "tool_calls is no list of calls")):
        with pytest.raises(DataError, match=f"row 1, message 2: {said}"):
            chats(write_lines(tmp_path / "wrong.jsonl", [{"messages": [USER, {**ANSWER, "tool_calls": wrong}]}]))


LATER = [USER, ANSWER, MORE, OTHER]


def with_switch(name: str, values: list[Any]) -> list[dict[str, Any]]:
    said = zip(LATER, values, strict=True)
    return [message if value is None else {**message, name: value} for message, value in said]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": with_switch("weight", [None, 0, None, 1])},
        {"messages": with_switch("weight", [0, 0.0, 0.0, 1.0])},
        {"messages": with_switch("train", [False, False, False, True])},
        {"messages": with_switch("trainable", [None, False, None, None])},
        {"messages": with_switch("loss", [None, False, None, True])},
        {"messages": with_switch("loss_mask", [0, 0, 0, 1])},
        {"messages": with_switch("masked", [True, True, True, False])},
        {"messages": with_switch("train", [None, "false", None, None])},
        {"messages": LATER, "loss_mask": [0, 0, 0, 1]},
        {"messages": LATER, "loss_mask": "[0, 0, 0, 1]"},
        {"prompt": LATER[:3], "completion": [OTHER]},
        {"prompt": LATER[:3], "completion": LATER},
    ],
)
def test_answers_that_are_not_to_be_learned(tmp_path: Path, row: dict[str, Any]) -> None:
    (found,) = chats(write_lines(tmp_path / "chats.jsonl", [row]))
    assert found == ChatRow(LATER, {}, silent=(1,))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"messages": with_switch("weight", [None, 0.5, None, None])}, "row 1, message 2: weight is 0.5"),
        ({"messages": with_switch("train", [True, None, None, None])}, "message 1: train says .* of the user"),
        ({"messages": with_switch("mask", [None, 1, None, None])}, "message 2: mask cannot be followed"),
        ({"messages": with_switch("train_detail", [None, [{"begin_offset": 0}], None, None])}, "train_detail cannot"),
        ({"messages": with_switch("weight", [None, 0, None, 0])}, "row 1: says of every message of the assistant"),
        ({"messages": [USER, {**ANSWER, "weight": 0, "train": True}]}, "weight and train|train and weight"),
        ({"messages": LATER, "loss_mask": [0, 1]}, "loss_mask is not one 0 or 1 for each of the 4 messages"),
        ({"messages": LATER, "loss_mask": [1, 1, 0, 1]}, "message 1: loss_mask says"),
        ({"messages": LATER, "loss_mask": 0}, "loss_mask is not one 0 or 1"),
        ({"messages": with_switch("train_on_turn", [None, False, None, None])}, "message 2: train_on_turn seems to"),
        ({"messages": with_switch("in_loss", [None, 1, None, 0])}, "message 2: in_loss seems to"),
        (
            {"prompt": [USER], "chosen": [ANSWER], "rejected": [OTHER], "loss_mask": [0, 1]},
            "loss_mask cannot be .* pairs",
        ),
    ],
)
def test_switches_that_cannot_be_followed_are_refused_by_name(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        chats(write_lines(tmp_path / "chats.jsonl", [row]))


@pytest.mark.parametrize("name", ["train_mask", "learned", "mask"])
@pytest.mark.parametrize(
    "row",
    [{"messages": LATER}, {"prompt": "Hi", "completion": "Go"}, {"prompt": "Hi", "chosen": "Go", "rejected": "No"}],
)
@pytest.mark.parametrize("mask", [[0, 1], [False, True], "[0, 1]"])
def test_a_mask_of_another_name_is_refused_wherever_it_stands(
    tmp_path: Path, row: dict[str, Any], name: str, mask: Any
) -> None:
    rows = [row, {**row, name: None}, {**row, name: mask}]
    with pytest.raises(DataError, match=rf"column '{name}' seems to say what .* \(row 3\).*loss_mask"):
        chats(write_lines(tmp_path / "chats.jsonl", rows))
    interpreted(write_lines(tmp_path / "others.jsonl", [{**row, name: 0.5}, {**row, name: 1}]))  # a number is no mask


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"messages": [USER, ANSWER], "system": "Be kind.", "system_prompt": "Be brief."},
            "system and system_prompt say",
        ),
        ({"messages": [USER, ANSWER], "tools": [TOOL], "functions": [{"name": "clock"}]}, "has tools and functions"),
        ({"instruction": [USER], "input": "More", "output": "Hello"}, "row 1: input stands beside instruction"),
        ({"instruction": [USER], "input": "M", "chosen": "Hello", "rejected": "Go"}, "input stands beside instruction"),
        ({"conversation_a": [USER, ANSWER], "conversation_b": [USER, OTHER]}, "conversation_a, conversation_b hold"),
        ({"prompt": "Hi", "completion": "Hello", "label": 1}, "column 'label' says which answers are good"),
    ],
)
def test_of_two_that_say_different_things_none_is_dropped(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        interpreted(write_lines(tmp_path / "chats.jsonl", [row, row]))


@pytest.mark.parametrize("system", ["Be kind.", [{"text": "Be kind."}], [{"type": "text", "text": "Be kind."}], SYSTEM])
def test_a_system_text_may_be_parts_or_a_message(tmp_path: Path, system: Any) -> None:
    row = {"messages": [USER, ANSWER], "system": system, "system_prompt": " Be kind."}
    assert chats(write_lines(tmp_path / "chats.jsonl", [row])) == [ChatRow([SYSTEM, USER, ANSWER])]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [USER], "completion": [ANSWER]},
        {"prompt": [USER], "completion": "Hello"},
        {"prompt": "Hi", "completion": [ANSWER]},
        {"prompt": "\n\nHuman: Hi\n\nAssistant:", "response": "Hello"},
        {"query": "Hi", "response": "Hello"},
        {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}, {"role": "model", "parts": [{"text": "Hello"}]}]},
        {"messages": [{"role": "User", "text": "Hi"}, {"role": "Chatbot", "text": "Hello"}]},
        {"talk": [{"from": "user", "value": "Hi"}, {"from": "assistant", "value": "Hello"}]},
    ],
)
def test_other_forms_of_the_same_conversation(tmp_path: Path, row: dict[str, Any]) -> None:
    assert chats(write_lines(tmp_path / "chats.jsonl", [row])) == [ChatRow([USER, ANSWER])]


def test_a_conversation_of_an_earlier_reading_is_read_the_same(tmp_path: Path) -> None:
    row = {"messages": with_switch("weight", [None, 0, None, 1]), "tools": [TOOL]}
    once = interpreted(write_lines(tmp_path / "chats.jsonl", [row]))
    again = as_chats(RawData(once.frame, "again", tmp_path), Data(source="again"))
    assert again.frame["messages"].to_list() == once.frame["messages"].to_list()


def test_columns_say_what_became_of_them(tmp_path: Path) -> None:
    rows = [
        {"messages": [USER, {**ANSWER, "content": f"Hello {n}"}], "tools": [TOOL], "meta": {"n": n}, "id": f"a{n}"}
        for n in range(20)
    ]
    recipe = {
        "data": {"source": str(write_lines(tmp_path / "chats.jsonl", rows)), "vocabulary": 300},
        "model": {"name": "hf:llama"},
    }
    columns = {column["name"]: column for column in package.check(recipe)["columns"]}
    assert {name: column["used"] for name, column in columns.items()} == {
        "messages": True, "tools": False, "meta": False, "id": False,
    }  # fmt: skip
    assert columns["tools"]["reason"] == "part of the messages"
    assert columns["meta"]["reason"] == "only the messages are used"


@pytest.mark.parametrize("asked", ["prompt", "instruction"])
def test_the_columns_of_a_question_and_its_answer_are_read(asked: str, tmp_path: Path) -> None:
    """They are part of the messages, so the audit does not list them among what the model never reads."""
    answered = "response" if asked == "prompt" else "output"
    rows = [{asked: f"is {n} on", answered: f"no {n} is off", "score": n} for n in range(20)]
    found = package.check({"data": {"source": str(write_lines(tmp_path / "a.jsonl", rows))}})
    unread = [one["figures"]["columns"] for one in found["findings"] if one["key"] == "unread-columns"]
    assert unread == [["score"]]


def test_pairs_whose_answers_are_the_same_are_counted(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"is {n} on", "chosen": f"no {n} is off", "rejected": f"no {n} is off" if n % 2 else "on"}
        for n in range(20)
    ]
    found = package.check({"data": {"source": str(write_lines(tmp_path / "a.jsonl", rows))}})
    (equal,) = [one for one in found["findings"] if one["key"] == "equal-answers"]
    figures = equal["figures"]
    assert equal["severity"] == "warning" and "say the same" in equal["message"]
    assert figures["of"] == found["splits"]["train"] and 0 < figures["rows"] <= 10 and figures["rows"] < figures["of"]
