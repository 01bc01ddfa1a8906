"""OpenAI's own clients, unchanged: chat, streams, completions, embeddings, tools, errors, retries."""

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import danlu
from danlu.errors import DataError
from tests.serving.language.conftest import CALL, TOOLS
from tests.support.serving import Server, serving

openai = pytest.importorskip("openai", reason="openai is not installed")
pytestmark = pytest.mark.training
ASKED = [{"role": "user", "content": "Is day 7 warm?"}]


@pytest.fixture(scope="module")
def client(talking: Server) -> Iterator[Any]:
    with openai.OpenAI(base_url=talking.events[0]["url"] + "/v1", api_key="none", max_retries=0) as made:
        yield made


def counted(server: Server, name: str) -> float:
    lines = server.get("/metrics").body.decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f'{name}{{model="talker"'))


def test_an_answer_is_danlus_own_and_counts_its_tokens(client: Any, chat_run: Path) -> None:
    answer = client.chat.completions.create(model="talker", messages=ASKED, max_tokens=9, seed=5, n=2, top_p=0.9)
    own = danlu.generate(chat_run, chat=ASKED, max_new_tokens=9, seed=5, num_return=2, top_p=0.9)
    assert [choice.message.content for choice in answer.choices] == [each.text for each in own]
    assert answer.usage.completion_tokens == sum(each.tokens for each in own)
    assert [choice.finish_reason for choice in answer.choices] == [
        "length" if each.ended == "length" else "stop" for each in own
    ]
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_says_what_the_whole_answer_says(client: Any) -> None:
    asked: dict[str, Any] = {"model": "talker", "messages": ASKED, "max_tokens": 12, "seed": 1, "logprobs": True}
    whole = client.chat.completions.create(**asked, top_logprobs=2)
    pieces = list(
        client.chat.completions.create(**asked, top_logprobs=2, stream=True, stream_options={"include_usage": True})
    )
    assert pieces[0].choices[0].delta.role == "assistant"
    assert "".join(p.choices[0].delta.content or "" for p in pieces[:-1]) == whole.choices[0].message.content
    assert pieces[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert pieces[-1].usage.completion_tokens == whole.usage.completion_tokens
    scores = [token for p in pieces[:-1] if p.choices[0].logprobs for token in p.choices[0].logprobs.content]
    assert [token.token for token in scores] == [token.token for token in whole.choices[0].logprobs.content]
    assert all(len(token.top_logprobs) == 2 and token.logprob <= token.top_logprobs[0].logprob for token in scores)


def test_texts_are_gone_on_with_until_a_stop(client: Any, chat_run: Path) -> None:
    own = danlu.generate(chat_run, ["Is day", "Day 3"], max_new_tokens=10, temperature=0.0)
    found = client.completions.create(model="talker", prompt=["Is day", "Day 3"], max_tokens=10, temperature=0)
    assert [choice.text for choice in found.choices] == [each.text for each in own]
    stop = own[0].text[3:5]
    cut = client.completions.create(
        model="talker", prompt="Is day", max_tokens=10, temperature=0, stop=stop, logprobs=1
    )
    assert cut.choices[0].text == own[0].text[: own[0].text.index(stop)]
    assert cut.choices[0].finish_reason == "stop"
    assert len(cut.choices[0].logprobs.tokens) == cut.usage.completion_tokens


@pytest.mark.parametrize("streams", [False, True])
def test_a_tool_is_called_and_its_result_is_read(client: Any, streams: bool) -> None:
    asked: dict[str, Any] = {"model": "talker", "messages": ASKED, "tools": TOOLS, "temperature": 0, "max_tokens": 80}
    if streams:
        pieces = [piece.choices[0] for piece in client.chat.completions.create(**asked, stream=True)]
        (called,) = [call for piece in pieces for call in piece.delta.tool_calls or []]
        assert "".join(piece.delta.content or "" for piece in pieces) == ""
        reason = pieces[-1].finish_reason
    else:
        choice = client.chat.completions.create(**asked).choices[0]
        (called,), reason = choice.message.tool_calls, choice.finish_reason
        told = [*ASKED, choice.message, {"role": "tool", "tool_call_id": called.id, "content": "12 degrees"}]
        again = client.chat.completions.create(**{**asked, "messages": told, "max_tokens": 3})
        assert again.usage.prompt_tokens > 60
    assert reason == "tool_calls"
    assert {"name": called.function.name, "arguments": json.loads(called.function.arguments)} == CALL


def test_vectors_are_of_unit_length_and_the_same_alone(client: Any) -> None:
    texts = ["To be or not to be.", "A horse, a horse!", "Now is the winter of our discontent"]
    together = client.embeddings.create(model="encoder", input=texts)  # asks for base64
    alone = [client.embeddings.create(model="encoder", input=text, encoding_format="float") for text in texts]
    vectors = np.array([each.embedding for each in together.data])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert np.allclose(vectors, [each.data[0].embedding for each in alone], atol=1e-5)
    assert together.usage.prompt_tokens == sum(each.usage.prompt_tokens for each in alone)


def test_errors_are_of_the_classes_that_clients_expect(client: Any, talking: Server) -> None:
    assert [model.id for model in client.models.list()] == ["talker", "encoder"]
    assert client.models.retrieve("talker").id == "talker"
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="talkr", messages=ASKED)
    assert unknown.value.code == "model_not_found" and "talker" in unknown.value.message
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")
    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(model="talker", messages=[{"role": "user", "content": "warm " * 500}])
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match="presence_penalty is not supported"):
        client.chat.completions.create(model="talker", messages=ASKED, presence_penalty=1)
    with pytest.raises(openai.BadRequestError, match="gives no embeddings"):
        client.embeddings.create(model="talker", input="a")
    with pytest.raises(openai.BadRequestError, match="is no language model"):
        client.chat.completions.create(model="encoder", messages=ASKED)
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="talker", messages=ASKED, extra_headers={"X-Deadline-Ms": "0.001"})
    assert talking.post("/v1/chat/completions", b"{").json["error"]["type"] == "invalid_request_error"
    assert talking.get("/v1/none").json["error"]["message"] == "Not Found"


def test_sixteen_streams_say_what_each_says_alone(client: Any) -> None:
    def said(number: int) -> str:
        asked = [{"role": "user", "content": f"Is day {number} warm{'er' * (number % 5)}?"}]
        made: dict[str, Any] = {
            "model": "talker",
            "messages": asked,
            "max_tokens": 20,
            "seed": number,
            "temperature": number % 2,
        }
        return "".join(
            piece.choices[0].delta.content or "" for piece in client.chat.completions.create(**made, stream=True)
        )

    alone = [said(number) for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(said, range(16))) == alone


def test_who_leaves_makes_room_at_once(talking: Server) -> None:
    body = json.dumps({"model": "talker", "prompt": "Is", "max_tokens": 200, "n": 16, "stream": True, "temperature": 5})
    left = _metric(talking, "danlu_clients_left_total")
    with talking.connect() as link:
        link.sendall(f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
        assert b"200" in link.recv(100)
    until = time.monotonic() + 20
    while _metric(talking, "danlu_clients_left_total") == left and time.monotonic() < until:
        time.sleep(0.05)
    assert _metric(talking, "danlu_clients_left_total") == left + 1
    answered = talking.post("/v1/completions", {"model": "talker", "prompt": "a", "max_tokens": 1})
    assert answered.status == 200
    assert _metric(talking, "danlu_running_texts") == 0
    assert _metric(talking, "danlu_written_tokens_total") > 0 and _metric(talking, "danlu_known_tokens_total") > 0


_metric = counted


def test_requests_are_logged_whole_and_not_replayed(talking: Server, chat_run: Path) -> None:
    asked = {"model": "talker", "messages": ASKED, "max_tokens": 2, "stream": True}
    talking.post("/v1/chat/completions", asked, {"x-request-id": "logged"})
    log: Path = talking.log  # type: ignore[attr-defined]
    until = time.monotonic() + 20
    while "logged" not in (log.read_text() if log.exists() else "") and time.monotonic() < until:
        time.sleep(0.1)
    line = next(told for told in map(json.loads, log.read_text().splitlines()) if told["id"] == "logged")
    assert line["route"] == "/v1/chat/completions" and line["request"] == asked
    assert line["answer"]["usage"]["completion_tokens"] == 2
    with pytest.raises(DataError, match="only requests of language models"):
        danlu.replay(log, chat_run)


@pytest.mark.slow
def test_a_key_is_needed_and_a_client_comes_again_when_told(chat_run: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"one {hashlib.sha256(b'secret').hexdigest()} 2\n")
    with serving(f"talker={chat_run}", "--keys", str(keys)) as server:
        url = server.events[0]["url"] + "/v1"
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=url, api_key="wrong", max_retries=0).chat.completions.create(
                model="talker", messages=ASKED
            )
        asked: dict[str, Any] = {"model": "talker", "messages": ASKED, "max_tokens": 1}
        strict = openai.OpenAI(base_url=url, api_key="secret", max_retries=0)
        with pytest.raises(openai.RateLimitError):
            [strict.chat.completions.create(**asked) for _ in range(20)]
        patient = openai.OpenAI(base_url=url, api_key="secret", max_retries=5)
        for _ in range(4):
            assert patient.chat.completions.create(**asked).usage.completion_tokens == 1


@pytest.mark.slow
def test_a_stream_that_is_cut_says_why(chat_run: Path) -> None:
    with serving(f"talker={chat_run}") as server:
        client = openai.OpenAI(base_url=server.events[0]["url"] + "/v1", api_key="none", max_retries=0)
        endless: dict[str, Any] = {"model": "talker", "prompt": "Is", "n": 16, "max_tokens": 240, "temperature": 5}
        pieces = client.completions.create(**endless, stream=True, extra_headers={"X-Deadline-Ms": "60"})
        with pytest.raises(openai.APIError, match="before its deadline"):
            list(pieces)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_openai_for_node_is_answered(talking: Server, tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"type": "module", "dependencies": {"openai": "6"}}')
    done = subprocess.run(
        [str(shutil.which("npm")), "install", "--silent", "--no-audit", "--no-fund"], cwd=tmp_path, capture_output=True
    )
    if done.returncode:
        pytest.skip("the npm registry is out of reach")
    script = Path(__file__).parent / "client.mjs"
    (tmp_path / "client.mjs").write_text(script.read_text())
    url = talking.events[0]["url"] + "/v1"
    asked = subprocess.run(["node", "client.mjs", url, json.dumps(TOOLS)], cwd=tmp_path, capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr
    told = json.loads(asked.stdout)
    assert told["streamed"] == told["whole"]
    assert told["usage"] == told["tokens"]
    assert told["call"] == {"name": CALL["name"], "arguments": json.dumps(CALL["arguments"])}
    assert told["width"] == 32 and abs(told["length"] - 1) < 1e-5
    assert told["errors"] == ["NotFoundError", "BadRequestError"]
    assert told["models"] == ["talker", "encoder"]
    assert told["completed"]
