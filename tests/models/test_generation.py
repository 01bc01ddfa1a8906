"""Generation: the same draws from the same seed, whatever stands beside; every limit and stop; and its refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import danlu as package
from danlu.core.seeds import Seed
from danlu.errors import ArgumentError, ArtifactError, DataError
from danlu.models.generation import generate
from danlu.models.predictor import Predictor
from danlu.models.sampling import Sampling, logits_processors
from tests.conftest import Command
from tests.support.chatting import chat_file, recipe, write_lines


@pytest.fixture(scope="module")
def chat_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat")
    return package.run(recipe(chat_file(folder / "chats.jsonl"), epochs=6), output=folder, name="run").path


@pytest.fixture(scope="module")
def predictor(chat_run: Path) -> Predictor:
    return Predictor.load(chat_run)


def chat(said: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": said}]


FEW = Sampling(max_new_tokens=12)


@pytest.mark.training
def test_a_run_on_conversations_is_judged_by_the_assistants_tokens(chat_run: Path) -> None:
    figures = json.loads((chat_run / "evaluation.json").read_text())
    assert "bits-per-byte" not in figures["test"]  # not all of the text is predicted
    assert figures["test"]["perplexity"]["value"] < figures["baselines"]["unigram"]["test"]["perplexity"]["value"]
    answers = package.load(chat_run).predict([*chat("Hi"), {"role": "assistant", "content": "Hello."}])
    assert 2 <= answers["tokens"][0] <= 7  # the answer and what ends it, not the question


def test_a_text_follows_from_its_seed_alone(predictor: Predictor) -> None:
    state = torch.get_rng_state()
    prompts = [chat("My screen is black."), chat("Why?"), "The printer"]
    together = generate(predictor, prompts, FEW, Seed(3), num_return=2)
    assert torch.equal(state, torch.get_rng_state())
    again = generate(predictor, prompts, FEW, Seed(3), num_return=2)
    assert [text.text for text in together] == [text.text for text in again]
    alone = generate(predictor, prompts[:1], FEW, Seed(3), num_return=2)
    assert [text.text for text in alone] == [text.text for text in together[:2]]
    other = generate(predictor, prompts, FEW, Seed(4), num_return=2)
    assert [text.text for text in other] != [text.text for text in together]


def test_greedy_takes_the_likeliest_token_each_time(predictor: Predictor) -> None:
    tokenizer = predictor.preprocessor.tokenizer  # type: ignore[union-attr]
    ids = [tokenizer.end, *tokenizer.open().encode("My computer", add_special_tokens=False).ids]
    begins = len(ids)
    with torch.inference_mode():
        for _ in range(12):
            ids.append(int(predictor.model(torch.tensor([ids]))[0, -1].argmax()))
            if ids[-1] in tokenizer.stops:
                break
    expected = tokenizer.open().decode(ids[begins:])
    for sampling in (FEW.model_copy(update={"temperature": 0.0}), FEW.model_copy(update={"top_k": 1})):
        assert generate(predictor, ["My computer"], sampling, Seed(0))[0].text == expected


def test_draws_have_the_probabilities_of_the_scores() -> None:
    scores = torch.tensor([2.0, 1.0, 0.0, -1.0]).log_softmax(0)
    draw = logits_processors(Sampling(), [Seed(at) for at in range(4000)], torch.zeros(4000), torch.device("cpu"))
    found = draw(torch.zeros(4000, 1, dtype=torch.long), scores.expand(4000, 4)).argmax(dim=1)
    shares = np.bincount(found.numpy(), minlength=4) / 4000
    assert np.abs(shares - scores.exp().numpy()).max() < 0.03


def test_padding_is_not_taken_for_a_repetition() -> None:
    sampling = Sampling(temperature=0.0, repetition_penalty=2.0)
    apply = logits_processors(sampling, [Seed(0)], torch.tensor([2]), torch.device("cpu"))
    scores = apply(torch.tensor([[0, 0, 3, 1]]), torch.ones(1, 5))
    assert scores.tolist() == [[1.0, 0.5, 1.0, 0.5, 1.0]]


def test_a_text_ends_at_a_stop_and_streams_what_it_returns(predictor: Predictor) -> None:
    sampling = Sampling(max_new_tokens=30, temperature=0.0)
    (whole,) = generate(predictor, [chat("My screen is black.")], sampling, Seed(0))
    stop = whole.text[4:6]
    pieces: list[str] = []
    (cut,) = generate(predictor, [chat("My screen is black.")], sampling, Seed(0), [stop], stream=pieces.append)
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert "".join(pieces) == cut.text
    assert cut.ended == "stop"
    (short,) = generate(predictor, ["A"], Sampling(max_new_tokens=1, temperature=0.0), Seed(0))
    assert short.tokens == 1


@pytest.mark.slow
@pytest.mark.training
def test_prompts_of_a_file_are_answered_in_order(chat_run: Path, tmp_path: Path, danlu: Command) -> None:
    rows = [{"messages": chat("My screen is black.")}, {"messages": chat("What is a printer?")}]
    file = write_lines(tmp_path / "prompts.jsonl", rows)
    written = tmp_path / "answers.jsonl"
    options = ("--seed", "5", "--max-new-tokens", "8", "--num-return", "2")
    done = danlu("generate", chat_run, "--data", file, "--output", written, *options)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in written.read_text(encoding="utf-8").splitlines()]
    assert [text["prompt"][0]["content"] for text in found] == [
        rows[at]["messages"][0]["content"] for at in (0, 0, 1, 1)
    ]
    same = package.generate(chat_run, source=file, seed=5, max_new_tokens=8, num_return=2)
    assert [text["text"] for text in found] == [text.text for text in same]


@pytest.mark.training
def test_what_cannot_be_written_is_refused(
    predictor: Predictor, chat_run: Path, text_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match=r"prompt 1 has [\d,]+ tokens.* takes 136 including the generated ones"):
        generate(predictor, ["word " * 200], FEW, Seed(0))
    with pytest.raises(ArtifactError, match="only language models from transformers can generate"):
        package.generate(text_run, prompt="Once")
    with pytest.raises(ArgumentError, match="one of the three"):
        package.generate(chat_run, prompt="Once", chat="Hi")
    with pytest.raises(ArgumentError, match=r"top_p: must be above 0 and at most 1, got 1\.5"):
        package.generate(chat_run, prompt="Once", top_p=1.5)
    empty = write_lines(tmp_path / "empty.jsonl", [{"words": "Hi"}])
    with pytest.raises(DataError, match=r"no column messages or prompt \(columns: words\)"):
        package.generate(chat_run, source=empty)


def test_a_prompt_at_the_models_end_is_gone_on_with_as_far_as_it_reaches(predictor: Predictor) -> None:
    tokenizer = predictor.preprocessor.tokenizer  # type: ignore[union-attr]
    text = "a" * 40
    room = 136 - 1 - len(tokenizer.open().encode(text, add_special_tokens=False).ids)
    (written,) = generate(predictor, [text], Sampling(max_new_tokens=500, temperature=5.0), Seed(1))
    assert written.tokens <= room
    assert written.ended == ("length" if written.tokens == room else "end")
