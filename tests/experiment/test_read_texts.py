"""`danlu check` says which share of the texts is cut, and of which words the tokenizer knows nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

import danlu as package
from danlu.data.text.preprocessor import load_tokenizer
from tests.support.chatting import write_lines
from tests.support.tiny_folders import SENTENCES, tiny_folder
from tests.support.tiny_models import CHATML, CHATML_TOKENS, folder, tokenizer
from tests.support.warm import LIGHT, program

LIMIT = 12
TEXTS = [f"{sentence} {SENTENCES[0] if number % 3 == 0 else ''}" for number, sentence in enumerate(SENTENCES * 2)]
# Of each kind: its rows, and the recipe's `data` section besides.
KINDS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "text": (
        [{"text": text, "label": "ab"[n % 2]} for n, text in enumerate(TEXTS)],
        {"text": "text", "target": "label"},
    ),
    "words": ([{"tokens": text.split(), "tags": ["B-X", *["O"] * (len(text.split()) - 1)]} for text in TEXTS], {}),
    "chat": ([{"prompt": text, "response": "yes"} for text in TEXTS], {"chat_template": "chatml"}),
    "preference": (
        [{"prompt": "is it", "chosen": text, "rejected": "no"} for text in TEXTS],
        {"chat_template": "chatml"},
    ),
}


def recipe(path: Path, kind: str, longest: int, **data: Any) -> dict[str, Any]:
    rows, said = KINDS[kind]
    source = write_lines(path / f"{kind}.jsonl", rows)
    if kind in ("text", "words"):
        model = tiny_folder(path / "model", "bert", labels=["a", "b"])
    else:
        model = folder(path / "model", tokenizer(CHATML, CHATML_TOKENS))
    return {
        "data": {
            "source": str(source),
            "sequence_length": longest,
            "split": {"validation": 0.2, "test": 0.2},
            **said,
            **data,
        },
        "model": f"hf:{model}",
    }


def cut_finding(found: dict[str, Any]) -> dict[str, Any] | None:
    return next((one for one in found["findings"] if one["key"] == "cut-texts"), None)


def sizes(path: Path, kind: str) -> list[int]:
    """How many tokens each training row has, written out by hand."""
    reader = load_tokenizer(path / "model").open()

    def count(text: str) -> int:
        return len(reader.encode(text, add_special_tokens=kind in ("text", "words")).ids)

    if kind in ("text", "words"):
        return [count(text) for text in TEXTS]
    said = [(row.get("prompt"), row.get("response") or row["chosen"]) for row in KINDS[kind][0]]
    return [
        count(f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n") - 1
        for asked, answer in said
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_the_share_of_texts_that_are_cut_is_a_finding(kind: str, tmp_path: Path) -> None:
    said = recipe(tmp_path, kind, 200)
    assert cut_finding(package.check(said)) is None
    lengths = sizes(tmp_path, kind)
    said["data"]["sequence_length"] = sorted(lengths)[len(lengths) // 2]
    found = cut_finding(package.check(said))
    assert found is not None
    figures = found["figures"]
    assert figures["longest"] == said["data"]["sequence_length"]
    assert figures["share"] == figures["cut"] / figures["rows"]
    assert 0 < figures["cut"] <= sum(length > figures["longest"] for length in lengths)
    assert f"are longer than {figures['longest']} tokens" in found["message"]


def test_the_figures_are_those_of_the_training_rows(tmp_path: Path) -> None:
    said = recipe(tmp_path, "text", LIMIT)
    said["data"]["split"] = {"validation": 0.2, "test": 0.2, "by": "random"}
    context = package.check(said)
    from danlu.experiment.data_context import load_input

    texts = load_input(said).splits.train.column("text").to_list()
    reader = load_tokenizer(tmp_path / "model").open()
    lengths = [len(reader.encode(text).ids) for text in texts]
    found = cut_finding(context)
    assert found is not None
    figures = found["figures"]
    assert figures["rows"] == len(texts)
    assert figures["cut"] == sum(length > LIMIT for length in lengths)
    assert figures["lost"] == sum(max(0, length - LIMIT) for length in lengths) / sum(lengths)


def test_words_that_the_tokenizer_does_not_know_are_a_warning(tmp_path: Path) -> None:
    said = recipe(tmp_path, "text", 100)
    unigram = tokenizer(unigram=True)
    unigram.pad_token = "<s>"
    unigram.save_pretrained(tmp_path / "model")
    rows = [{"text": "屏幕 是 黑 的 cable", "label": "ab"[n % 2], "n": n} for n in range(20)]
    source = write_lines(tmp_path / "unknown.jsonl", [{**row, "text": f"{row['text']} {row['n']}"} for row in rows])
    said["data"]["source"] = str(source)
    found = [one for one in package.check(said)["findings"] if one["key"] == "unknown-tokens"]
    assert len(found) == 1
    assert found[0]["severity"] == "warning"
    assert "of the tokens are <unk>" in found[0]["message"]


def test_a_corpus_is_cut_into_blocks_and_loses_nothing(tmp_path: Path) -> None:
    model = folder(tmp_path / "model", tokenizer())
    source = write_lines(tmp_path / "texts.jsonl", [{"text": text} for text in TEXTS])
    data = {"source": str(source), "task": "language-modelling", "text": "text", "sequence_length": 8}
    assert cut_finding(package.check({"data": data, "model": f"hf:{model}"})) is None


def test_a_tokenizer_that_training_makes_tells_nothing_yet(tmp_path: Path) -> None:
    said = {**recipe(tmp_path, "text", LIMIT), "model": "hf:bert"}
    assert cut_finding(package.check(said)) is None


@pytest.mark.parametrize("kind", ["text", "words"])
def test_it_needs_no_torch(kind: str, tmp_path: Path) -> None:
    said = recipe(tmp_path, kind, LIMIT)
    (tmp_path / "recipe.json").write_text(json.dumps(said), encoding="utf-8")
    code = (
        "import json, sys, danlu\n"
        f"found = danlu.check(json.load(open({str(tmp_path / 'recipe.json')!r})))\n"
        "print('torch' in sys.modules, any(one['key'] == 'cut-texts' for one in found['findings']))"
    )
    done = program(code, forks=LIGHT)
    assert done.stdout.split() == ["False", "True"]
