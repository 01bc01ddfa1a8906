"""`danlu chat`: a conversation with history, streaming and stop, in Python and by a pipe."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import danlu as package
from danlu.api.chat import chat
from danlu.errors import ArgumentError, ArtifactError
from tests.support.chatting import TINY
from tests.support.warm import command

pytestmark = pytest.mark.training
GREEDY = {"temperature": 0.0, "max_new_tokens": 6}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = {"prompt": [f"{n} and {n}?" for n in range(60)], "response": [f"{2 * n}." for n in range(60)]}
    recipe = {
        "data": {"sequence_length": 64, "vocabulary": 320},
        "model": {"name": "hf:llama", "config": {**TINY, "max_position_embeddings": 512}},
        "training": {"max_steps": 8, "batch_size": 8},
        "evaluation": {"baselines": False},
    }
    return package.run(recipe, data=rows, output=tmp_path_factory.mktemp("runs"), name="sums").path


def test_an_answer_is_that_to_the_whole_conversation(run: Path) -> None:
    talk = chat(run, system="Add.", **GREEDY)
    answers = [talk.answer(text).text for text in ("1 and 1?", "2 and 2?")]
    said = [
        {"role": "system", "content": "Add."},
        {"role": "user", "content": "1 and 1?"},
        {"role": "assistant", "content": answers[0]},
        {"role": "user", "content": "2 and 2?"},
    ]
    (expected,) = package.generate(run, chat=said, **GREEDY)
    assert answers[1] == expected.text
    assert talk.messages == [*said, {"role": "assistant", "content": expected.text}]
    talk.clear()
    assert talk.messages == said[:1]
    assert talk.answer("1 and 1?").text == answers[0]


def test_the_pieces_are_the_answer_and_the_seed_decides_it(run: Path) -> None:
    pieces: list[str] = []
    first = chat(run, seed=4, max_new_tokens=12).answer("3 and 3?", pieces.append)
    assert "".join(pieces) == first.text
    assert len(pieces) > 1
    assert chat(run, seed=4, max_new_tokens=12).answer("3 and 3?").text == first.text
    assert chat(run, seed=5, max_new_tokens=12).answer("3 and 3?").text != first.text


def test_an_answer_that_is_stopped_keeps_what_was_said(run: Path) -> None:
    talk, pieces = chat(run, max_new_tokens=40, seed=1), list[str]()

    def stop_at_third(piece: str) -> None:
        pieces.append(piece)
        if len(pieces) == 3:
            raise KeyboardInterrupt

    stopped = talk.answer("4 and 4?", stop_at_third)
    assert stopped.ended == "interrupted"
    assert stopped.text == "".join(pieces)
    assert talk.messages[-1] == {"role": "assistant", "content": stopped.text}
    assert talk.answer("5 and 5?").ended in ("end", "length")


def test_what_no_longer_fits_is_refused_and_forgotten(run: Path) -> None:
    talk = chat(run, **GREEDY)
    talk.answer("1 and 1?")
    before = list(talk.messages)
    with pytest.raises(ArgumentError, match=r"and the model takes 512 including the generated ones"):
        talk.answer("word " * 600)
    assert talk.messages == before


def test_models_and_options_that_cannot_talk_are_refused(run: Path, table_run: Path) -> None:
    with pytest.raises(ArtifactError, match="only language models from transformers can generate"):
        chat(table_run)
    with pytest.raises(ArgumentError, match=r"top_p: must be above 0 and at most 1"):
        chat(run, top_p=1.5)


def talk_to(run: Path, lines: str, *options: str) -> "subprocess.CompletedProcess[str]":
    return command("chat", run, "--greedy", "--max-new-tokens", "6", *options, text=lines)


def test_lines_of_a_pipe_are_answered_in_order_until_exit(run: Path) -> None:
    talk = chat(run, system="Add.", **GREEDY)
    expected = [talk.answer("1 and 1?").text, talk.answer("2 and 2?").text]
    talk.clear()
    expected.append(talk.answer("3 and 3?").text)
    lines = "1 and 1?\n\n2 and 2?\n/clear\n3 and 3?\n/exit\n4 and 4?\n"
    done = talk_to(run, lines, "--system", "Add.", "--json")
    assert done.returncode == 0, done.stderr
    events: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["text"] for event in events] == expected
    assert {(event["format"], event["event"]) for event in events} == {(1, "answer")}
    plain = talk_to(run, "1 and 1?\n", "--system", "Add.")  # the input's end is the conversation's too
    assert plain.stdout == expected[0] + "\n"


@pytest.mark.slow
def test_ctrl_c_ends_the_answer_and_not_the_conversation(run: Path) -> None:
    words = [sys.executable, "-m", "danlu", "chat", str(run), "--max-new-tokens", "400", "--seed", "3"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as talking:
        assert talking.stdin is not None
        assert talking.stdout is not None
        talking.stdin.write("1 and 1?\n")
        talking.stdin.flush()
        os.read(talking.stdout.fileno(), 1)  # it has begun to answer
        talking.send_signal(signal.SIGINT)
        time.sleep(0.5)
        talking.stdin.write("/exit\n")
        talking.stdin.flush()
        assert talking.wait(timeout=60) == 0
