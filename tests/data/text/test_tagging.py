"""A tag for each word: read, put where words begin, learned, judged as conlleval does, answered as lists."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import danlu as package
from danlu.artifacts.run import RunDirectory
from danlu.data.builtin import read_builtin
from danlu.data.descriptors import Origin
from danlu.data.text.preprocessor import train_tokenizer
from danlu.data.text.tagging import TaggingPreprocessor
from danlu.errors import DataError, RecipeError
from danlu.metrics.base import Predictions
from danlu.metrics.tags import entities
from danlu.tasks.metric_table import compute_metrics, resolve_metrics
from danlu.tasks.table import get_task
from danlu.tasks.tagging import ragged_array
from danlu.tasks.token_losses import IGNORED
from tests.conftest import TINY_TEXT

HERE = Origin("here", Path.cwd())


@functools.cache
def sentences(count: int = 700) -> list[dict[str, list[str]]]:
    """Sentences of the speeches; runs of words with a capital, the first of a sentence left out, are names."""
    found = []
    for text in read_builtin("builtin:speeches").frame["text"].to_list():
        for sentence in text.replace("\n", " ").split(". "):
            words, tags = sentence.split()[:12], []
            for place, word in enumerate(words):
                named = place > 0 and word[:1].isupper()
                tags.append("O" if not named else "I-NAME" if tags[-1] != "O" else "B-NAME")
            if len(words) > 5:
                found.append({"tokens": words, "tags": tags})
    return found[:: len(found) // count][:count]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tags") / "names.jsonl"
    path.write_text("\n".join(map(json.dumps, sentences())), encoding="utf-8")
    return path


def recipe(file: Path, **more: Any) -> dict[str, Any]:
    return {
        "data": {"source": str(file), "vocabulary": 1024, "sequence_length": 64},
        "model": {"name": "hf:bert", "config": TINY_TEXT},
        "training": {"epochs": 5, "batch_size": 16, "optimizer": {"lr": 3e-3}},
        "evaluation": {"resamples": 100},
        **more,
    }


@pytest.fixture(scope="module")
def run(file: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return package.run(recipe(file), output=tmp_path_factory.mktemp("runs"), name="names")


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("O O B-MISC I-MISC I-MISC I-MISC O", {("MISC", 2, 5)}),
        ("B-PER I-PER O B-PER", {("PER", 0, 1), ("PER", 3, 3)}),
        ("B-PER B-PER I-LOC", {("PER", 0, 0), ("PER", 1, 1), ("LOC", 2, 2)}),
        ("I-PER I-PER", {("PER", 0, 1)}),
        ("B-PER E-PER I-PER S-PER", {("PER", 0, 1), ("PER", 2, 2), ("PER", 3, 3)}),
        ("O O", set()),
    ],
)
def test_entities_are_those_of_conlleval(tags: str, found: set[tuple[str, int, int]]) -> None:
    assert entities(tuple(tags.split())) == found


def test_metrics_are_seqevals_and_sklearns() -> None:
    from sklearn.metrics import accuracy_score, f1_score

    true = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    said = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    found = compute_metrics(
        resolve_metrics(get_task("token-classification"), None), Predictions(ragged_array(true), ragged_array(said))
    )
    flat_true, flat_said = ([tag for row in rows for tag in row] for rows in (true, said))
    assert (found["entity-precision"], found["entity-recall"], found["entity-f1"]) == (0.5, 0.5, 0.5)
    assert found["tag-accuracy"] == pytest.approx(accuracy_score(flat_true, flat_said))
    assert found["tag-f1"] == pytest.approx(f1_score(flat_true, flat_said, average="macro"))
    of_words = compute_metrics(("entity-f1", "tag-f1"), Predictions(ragged_array([["NOUN"]]), ragged_array([["NOUN"]])))
    assert of_words == {"tag-f1": 1.0}  # parts of speech have no entities


def test_tags_stand_at_the_first_token_of_each_word() -> None:
    rows = sentences(20)
    tokenizer = train_tokenizer([" ".join(row["tokens"]) for row in rows], 400, add_special_tokens=True)
    form = TaggingPreprocessor(column="tokens", longest=48, tokenizer=tokenizer)
    frame = pl.DataFrame({"tokens": [json.dumps([*row["tokens"], " "]) for row in rows]})
    codes = [np.arange(len(row["tokens"]) + 1) for row in rows]
    examples = form.tagged(form.transform(frame, HERE), codes)
    inputs, target = examples.take(np.array([3, 0, 23]), torch.device("cpu"))
    assert target is not None and target.shape == inputs["input_ids"].shape
    for place, row in enumerate((3, 0, 3)):
        words = [" " + word if at else word for at, word in enumerate([*rows[row]["tokens"], "?"])]
        pieces = [tokenizer.open().encode(word, add_special_tokens=False).ids for word in words]
        starts = 1 + np.cumsum([0, *map(len, pieces)])[:-1]
        within = starts[starts < 47]
        own, ids = target[place].numpy(), inputs["input_ids"][place].numpy()
        assert own[within].tolist() == list(range(len(within)))
        assert (np.delete(own, within) == IGNORED).all()
        assert ids[inputs["attention_mask"][place].numpy() == 1][-1] == tokenizer.end
        assert ids[within].tolist() == [piece[0] for piece in pieces[: len(within)]]


@pytest.mark.training
def test_names_are_learned_from_their_words(run: RunDirectory) -> None:
    figures = run.evaluation()
    assert figures["task"] == "token-classification"
    assert set(figures["baselines"]) == {"majority", "word"}
    assert figures["test"]["entity-f1"]["value"] > 0.5
    assert figures["test"]["tag-f1"]["value"] > figures["baselines"]["majority"]["test"]["tag-f1"]["value"] + 0.2
    assert figures["test"]["entity-f1"]["low"] < figures["test"]["entity-f1"]["high"]


def test_a_bundle_answers_a_list_a_sentence(run: RunDirectory, tmp_path: Path) -> None:
    kept = pl.read_parquet(run.path / "predictions" / "test.parquet")
    rows = [sentences()[row] for row in kept["row"].to_list()]
    assert [row["tags"] for row in rows] == kept["truth"].to_list()
    model = package.load(run.path)
    answers = model.predict([row["tokens"] for row in rows])["prediction"].to_list()
    assert answers == kept["prediction"].to_list()
    assert [len(tags) for tags in answers] == [len(row["tokens"]) for row in rows]
    assert model.predict(rows[0]["tokens"])["prediction"].to_list() == answers[:1]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"tokens": row["tokens"]}) for row in rows))
    package.predict(run.path, str(tmp_path / "rows.jsonl"), output=tmp_path / "answers.jsonl")
    assert pl.read_ndjson(tmp_path / "answers.jsonl")["prediction"].to_list() == answers


def test_the_worst_sentences_show_both_tags_of_each_wrong_word(run: RunDirectory) -> None:
    worst = json.loads((run.path / "predictions" / "worst.json").read_text())
    kept = pl.read_parquet(run.path / "predictions" / "test.parquet")
    off = {
        row: sum(one != other for one, other in zip(own, said, strict=True))
        for row, own, said in zip(*(kept[name].to_list() for name in ("row", "truth", "prediction")), strict=True)
    }
    assert worst["by"] == "tags" and worst["count"] == sum(map(bool, off.values())) > 0
    shown = [each["row"] for each in worst["rows"]]
    assert [off[row] for row in shown] == sorted(off.values(), reverse=True)[: len(shown)]
    for each in worst["rows"]:
        words = [told for told in each["words"] if told]
        assert sum(own != said for _, own, said in words) == off[each["row"]]
        own = dict(zip(sentences()[each["row"]]["tokens"], sentences()[each["row"]]["tags"], strict=True))
        assert all(word in own for word, _, _ in words)
    page = (run.path / "report.html").read_text(encoding="utf-8")
    word, own, said = next(told for told in worst["rows"][0]["words"] if told and told[1] != told[2])
    assert f"<b>{word}</b> <small>{own} → {said}</small>" in page


@pytest.mark.training
def test_runs_of_tags_are_compared(run: RunDirectory, file: Path, tmp_path: Path) -> None:
    asked = recipe(file)
    asked["training"] = {**asked["training"], "max_steps": 20}
    asked["training"]["early_stopping"] = {"metric": "validation/tag-accuracy"}
    other = package.run(asked, output=tmp_path, name="shorter")
    found = package.compare([run.path, other.path])
    assert found["metrics"]["tag-f1"]["names"] == pytest.approx(run.evaluation()["test"]["tag-f1"]["value"])
    assert found["differences"][0]["metrics"]["tag-f1"]["value"] < 0


def test_words_beyond_the_longest_get_no_answer_and_count_as_wrong(run: RunDirectory) -> None:
    answers = package.load(run.path).predict([["word"] * 200, ["word"]])["prediction"].to_list()
    assert len(answers[0]) < 200
    assert len(answers[1]) == 1
    found = compute_metrics(("tag-accuracy",), Predictions(ragged_array([["O", "O"]]), ragged_array([["O", ""]])))
    assert found == {"tag-accuracy": 0.5}


def test_wrong_tags_are_refused_by_row(file: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.jsonl"
    rows = [*sentences(30), {"tokens": ["a", "b"], "tags": ["O"]}]
    wrong.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match="row 31: 2 words and 1 tags"):
        package.check(recipe(wrong))
    with pytest.raises(RecipeError, match="gives one prediction per text"):
        package.check(recipe(file, model={"name": "hf:bert", "config": TINY_TEXT, "pooling": "mean"}))
    with pytest.raises(RecipeError, match="mlp takes tabular data"):
        package.check(recipe(file, model="mlp"))
    with pytest.raises(DataError, match="no column 'word'"):
        package.check(recipe(file, data={"source": str(file), "task": "token-classification", "text": "word"}))


@pytest.mark.slow
@pytest.mark.training
def test_folds_of_sentences_of_any_length_end_in_a_refit(file: Path, tmp_path: Path) -> None:
    folds = {"folds": {"folds": 2, "final": "refit"}, "resamples": 0, "baselines": False}
    training = {"epochs": 2, "max_steps": 30, "batch_size": 16, "optimizer": {"lr": 3e-3}}
    found = package.run(recipe(file, training=training, evaluation=folds), output=tmp_path).evaluation()
    assert set(found["folds"]["metrics"]) >= {"tag-accuracy", "tag-f1"}
    assert "validation" not in found
    assert found["test"]["tag-accuracy"]["value"] > 0.5
