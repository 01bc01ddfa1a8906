"""Conversations: read from any usual form, learned from the assistant's part alone, packed, sandboxed."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import danlu as package
from danlu.data.chats.batches import pack
from danlu.data.chats.preprocessor import ChatPreprocessor
from danlu.data.descriptors import Origin, RawData, TokenizerFile
from danlu.data.sources.conversations import as_chats, dump_messages, read_messages
from danlu.data.specs import CorpusInputs
from danlu.data.text.chat_template import CHATML, PLAIN, choose_template, render, render_answers
from danlu.data.text.preprocessor import train_tokenizer
from danlu.errors import DataError, RecipeError
from danlu.experiment.data_context import fit_preprocessing, load_data
from danlu.models.text.options import Transformer
from danlu.recipe.load import check_recipe
from danlu.recipe.sections.data import Data
from danlu.tasks.language_modelling import LanguageModelling
from danlu.tasks.token_losses import IGNORED
from tests.support.chatting import TINY, chat_file, preference_file, recipe

CPU = torch.device("cpu")
HERE = Origin("chats.jsonl", Path())
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "The screen is black."},
    {"role": "assistant", "content": "Turn it on."},
    {"role": "user", "content": "Now it is white."},
    {"role": "assistant", "content": "Good."},
]
MARKED = (
    "{% for message in messages %}[{{ message['role'] }}]"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] }}{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] }}{% endif %}{% endfor %}"
)


@pytest.fixture(scope="module")
def tokenizer() -> TokenizerFile:
    made = train_tokenizer(
        [message["content"] for message in CHAT] * 20, 400, add_special_tokens=False, add_turn_tokens=True
    )
    return choose_template(made, None)


def preprocessor(tokenizer: TokenizerFile, longest: int = 200, packed: bool = True) -> ChatPreprocessor:
    return ChatPreprocessor(column="messages", longest=longest, tokenizer=tokenizer, packed=packed)


def rows(*chats: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame({"messages": [dump_messages(chat) for chat in chats]})


@pytest.mark.parametrize("template", [None, "plain", MARKED])
def test_only_what_the_assistant_says_is_learned(
    tokenizer: TokenizerFile, template: str | None, tmp_path: Path
) -> None:
    if template == MARKED:
        (tmp_path / "marked.jinja").write_text(MARKED)
        template = str(tmp_path / "marked.jinja")
    # As with many pretrained tokenizers, padding is the token that ends a text.
    chosen = choose_template(tokenizer, template).model_copy(update={"pad": tokenizer.end})
    examples = preprocessor(chosen).transform(rows(CHAT, CHAT[:3]), HERE)
    inputs, answers = examples.take(np.arange(len(examples)), CPU)
    assert answers is not None
    reader = chosen.open()
    learned = reader.decode(answers[answers != IGNORED].tolist(), skip_special_tokens=False)
    end = "<|im_end|>" if template is None else "</s>"
    assert learned == f"Turn it on.{end}Good.{end}Turn it on.{end}"
    # Each answer is the token that follows its input.
    apart, _ = preprocessor(chosen).transform_each(rows(CHAT))
    inputs, answers = apart.take(np.arange(1), CPU)
    assert answers is not None
    for row in range(len(answers)):
        for place in (answers[row, :-1] != IGNORED).nonzero().flatten().tolist():
            assert answers[row, place] == inputs["input_ids"][row, place + 1]


def test_blocks_hold_whole_conversations_and_attention_stays_within(tokenizer: TokenizerFile) -> None:
    chats = [CHAT, CHAT[:3], CHAT[1:3], [*CHAT[:2], {"role": "assistant", "content": "Good. " * 9}]]
    ready = preprocessor(tokenizer)
    examples = ready.transform(rows(*chats), HERE)
    each, owners = ready.transform_each(rows(*chats))
    assert len(examples) < len(chats)
    assert owners.tolist() == [0, 1, 2, 3]
    torch.manual_seed(0)
    spec = CorpusInputs(vocabulary=tokenizer.vocabulary, longest=200, end=0, packed=True)
    model = Transformer(name="hf:llama", config=TINY).build(spec, tokenizer.vocabulary).eval()
    together, answers = examples.take(np.arange(len(examples)), CPU)
    alone, expected = each.take(np.arange(4), CPU)
    assert answers is not None and expected is not None
    with torch.no_grad():
        packed, single = model(**together)[answers != IGNORED], model(**alone)[expected != IGNORED]
    # In another order, since packing moves conversations; each answered token finds its own logits.
    order, other = answers[answers != IGNORED].sort(stable=True), expected[expected != IGNORED].sort(stable=True)
    assert order.values.tolist() == other.values.tolist()
    assert torch.cdist(single, packed, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1).values.max() < 1e-4


def test_packing_wastes_little_and_loses_nothing() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 500)
    members, bounds = pack(lengths, 128)
    assert sorted(members.tolist()) == list(range(500))
    sums = [int(lengths[members[begin:end]].sum()) for begin, end in pairwise(bounds)]
    assert max(sums) <= 128
    assert len(sums) <= 1.05 * lengths.sum() / 128 + 1


def test_long_conversations_are_cut_and_counted(tokenizer: TokenizerFile, capsys: pytest.CaptureFixture[str]) -> None:
    late = [{"role": "user", "content": "black " * 60}, {"role": "assistant", "content": "Good."}]
    longest = len(preprocessor(tokenizer).tokens(rows(CHAT[:3])).ids) - 1
    examples = preprocessor(tokenizer, longest).transform(rows(CHAT, CHAT[:3], late), HERE)
    told = capsys.readouterr().err
    assert f"2 of 3 conversations are longer than {longest} tokens and were cut; 1 of them are not trained on" in told
    _, answers = examples.take(np.arange(len(examples)), CPU)
    assert answers is not None and answers.shape[1] == longest


OPENAI = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}]


@pytest.mark.parametrize(
    "given",
    [
        OPENAI,
        [{"messages": json.dumps(OPENAI[0]["messages"])}],
        [
            {
                "messages": [
                    {**one, "content": [{"type": "text", "text": one["content"]}]} for one in OPENAI[0]["messages"]
                ]
            }
        ],
        [{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}],
        [{"prompt": "Hi", "response": "Hello"}],
        [{"question": "Hi", "answer": "Hello"}],
        [{"instruction": "Hi", "input": "", "output": "Hello"}],
    ],
)
def test_every_usual_form_is_the_same_conversation(given: list[dict[str, Any]]) -> None:
    source = RawData(pl.read_ndjson("\n".join(map(json.dumps, given)).encode()), "chats.jsonl", Path())
    found = as_chats(source, Data(source="chats.jsonl"))
    assert found.layout == "chat"
    assert read_messages(found.frame["messages"][0]) == OPENAI[0]["messages"]


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "row 1: has no messages"),
        ([{"content": "Hi"}], "row 1, message 1: has no role"),
        ([{"role": "user", "content": None}], "row 1, message 1: has no content"),
        ([{"role": "asistant", "content": "Hi"}], "unknown role 'asistant'.*assistant"),
        ([{"role": "user", "content": "Hi"}], "row 1: has no message of the assistant"),
        ([{"role": "user", "content": [{"image": "x"}]}], "parts other than text"),
    ],
)
def test_broken_conversations_are_refused_by_row(messages: list[Any], message: str) -> None:
    source = RawData(pl.DataFrame({"messages": [json.dumps(messages) or "[]"]}), "chats.jsonl", Path())
    if not messages:
        source = RawData(
            pl.DataFrame({"messages": [[]]}, {"messages": pl.List(pl.Struct({"role": pl.String}))}), "c", Path()
        )
    with pytest.raises(DataError, match=message):
        as_chats(source, Data(source="chats.jsonl"))


def test_samples_of_conversations_are_shown_a_line_a_message(tmp_path: Path) -> None:
    chats = package.check(recipe(chat_file(tmp_path / "chats.jsonl", 30)))["samples"]
    assert chats["columns"] == ["messages"]
    for (shown,) in chats["rows"]:
        user, assistant, *_ = shown.splitlines()
        assert user.startswith("user: ") and assistant.startswith("assistant: ")
    pairs = package.check(recipe(preference_file(tmp_path / "pairs.jsonl", 30)))["samples"]
    assert pairs["columns"] == ["prompt", "chosen", "rejected"]
    assert all([said.split(": ")[0] for said in row] == ["user", "assistant", "assistant"] for row in pairs["rows"])


def test_a_tokenizer_without_a_template_is_refused_with_what_to_say(tokenizer: TokenizerFile) -> None:
    bare = train_tokenizer(["some words"] * 20, 300, add_special_tokens=False)
    with pytest.raises(RecipeError, match=r"chat_template.*has no chat template; set plain"):
        choose_template(bare, None)
    with pytest.raises(RecipeError, match=r"has no <\|im_start\|>"):
        choose_template(bare, "chatml")
    assert render(choose_template(bare, "plain"), CHAT[1:3], answer_next=False).endswith("Turn it on.</s>\n")


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ raise_exception('no') }}",
    ],
)
def test_a_template_runs_in_the_sandbox_alone(tokenizer: TokenizerFile, template: str) -> None:
    untrusted = tokenizer.model_copy(update={"chat_template": template})
    with pytest.raises(DataError, match="the chat template cannot write a conversation of user, assistant"):
        render_answers(untrusted, CHAT[1:3])


@pytest.mark.parametrize(
    ("template", "error", "said"),
    [
        (None, RecipeError, "is not chatml, plain or a readable file"),
        ("{% for message in messages %}", DataError, "cannot write a conversation of user, assistant"),
        ("{{ raise_exception('only tools here') }}", DataError, "only tools here"),
        ("no answer is written", DataError, "leaves out what the assistant says"),
    ],
)
@pytest.mark.parametrize("write", [chat_file, preference_file])
def test_a_wrong_template_is_refused_before_training(
    tmp_path: Path, write: Any, template: str | None, error: type[Exception], said: str
) -> None:
    asked, file = recipe(write(tmp_path / "chats.jsonl", 30)), tmp_path / "template.jinja"
    if template is not None:
        file.write_text(template, encoding="utf-8")
    asked["data"]["chat_template"] = str(file)
    with pytest.raises(error, match=said) as caught:
        package.check(asked)
    assert getattr(caught.value, "code", None) == "DL119"


@pytest.mark.parametrize("template", [MARKED, CHATML, "{{ bos_token + '' }}" + PLAIN])
def test_a_template_that_writes_answers_passes_the_check(tmp_path: Path, template: str) -> None:
    asked, file = recipe(chat_file(tmp_path / "chats.jsonl", 30)), tmp_path / "template.jinja"
    file.write_text(template, encoding="utf-8")
    asked["data"]["chat_template"] = str(file)
    assert package.check(asked)["kind"] == "chat"


def test_a_template_that_rewrites_what_was_said_is_refused(tokenizer: TokenizerFile) -> None:
    rewriting = "{{ messages | length }}{% for message in messages %}{{ message['content'] }}{% endfor %}"
    with pytest.raises(DataError, match="the assistant's part cannot be told"):
        render_answers(tokenizer.model_copy(update={"chat_template": rewriting}), CHAT)


def test_a_tokenizer_trained_here_has_chatml(tmp_path: Path) -> None:
    opened = load_data(check_recipe(recipe(chat_file(tmp_path / "chats.jsonl"))))
    assert (opened.dataset.kind.name, opened.dataset.task) == ("chat", LanguageModelling())
    found = fit_preprocessing(opened).preprocessor
    assert isinstance(found, ChatPreprocessor)
    assert found.tokenizer.chat_template == CHATML
    assert found.tokenizer.open().token_to_id("<|im_end|>") in found.tokenizer.stops
