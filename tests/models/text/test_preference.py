"""Preferences: the loss as it is written, likelihoods as the logits have them, a reference that is asked once."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import danlu as package
from danlu.data.descriptors import RawData
from danlu.data.sources.conversations import as_chats, read_messages
from danlu.data.specs import PreferenceInputs
from danlu.errors import DataError, RecipeError
from danlu.experiment import dpo_reference as reference
from danlu.experiment.checks import check_task_options
from danlu.models.text.hf_wrapper import enable_chunked_loss
from danlu.models.text.options import Transformer
from danlu.models.text.preference import AnswerLikelihood
from danlu.recipe.load import check_recipe
from danlu.recipe.sections.data import Data
from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.preference import preference_loss
from danlu.tasks.table import get_task
from danlu.tasks.token_losses import IGNORED
from tests.support.chatting import TINY, preference_file, recipe


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_that_of_the_paper(smoothing: float) -> None:
    made = np.random.default_rng(0)
    likelihoods, first, beta = made.normal(-20, 5, (7, 2)), made.normal(-20, 5, (7, 2)), 0.3
    margin = beta * ((likelihoods[:, 0] - first[:, 0]) - (likelihoods[:, 1] - first[:, 1]))
    expected = -(1 - smoothing) * np.log(1 / (1 + np.exp(-margin))) - smoothing * np.log(1 / (1 + np.exp(margin)))
    given = torch.tensor(likelihoods), torch.tensor(first)
    found, count = preference_loss(*given, LossWeighting(smoothing=smoothing), beta)
    assert count == 7
    assert float(found) == pytest.approx(expected.sum(), rel=1e-6)


@pytest.mark.parametrize("chunk", [None, 8])
def test_a_likelihood_is_the_sum_of_the_answers_tokens(chunk: int | None) -> None:
    torch.manual_seed(0)
    spec = PreferenceInputs(vocabulary=60, longest=16, end=0, pad=0)
    model = Transformer(name="hf:llama", config=TINY).build(spec, 60)
    assert isinstance(model, AnswerLikelihood)
    ids, answers = torch.randint(1, 60, (3, 2, 12)), torch.randint(1, 60, (3, 2, 12))
    answers[:, :, :5] = IGNORED
    answers[1, 0, 8:] = IGNORED
    logits = model.network(ids.view(6, 12)).logits.log_softmax(-1).view(3, 2, 12, 60)
    kept = answers.clamp(min=0)
    expected = (logits.gather(-1, kept[..., None])[..., 0] * (answers != IGNORED)).sum(-1)
    assert enable_chunked_loss(model, chunk or "none", 72) == chunk
    found = model(ids, answers)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    weight = model.network.get_output_embeddings().weight
    (own,) = torch.autograd.grad(found.sum(), weight, retain_graph=True)
    (whole,) = torch.autograd.grad(expected.sum(), weight)
    torch.testing.assert_close(own, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.training
def test_preferences_are_learned_against_a_reference_that_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "cache"))
    said = recipe(preference_file(tmp_path / "preferences.jsonl"), epochs=3)
    run = package.run(said, output=tmp_path, name="first")
    assert "computing reference log-probabilities of 120 preference pairs" in capsys.readouterr().err
    figures = json.loads((run.path / "evaluation.json").read_text())
    assert figures["test"]["preference-accuracy"]["value"] > 0.8
    assert figures["test"]["reward-margin"]["value"] > 0.0
    assert figures["test"]["preference-loss"]["value"] < np.log(2)
    # The figures are of the ratios to the first model's likelihoods, which the run keeps.
    kept = pl.read_parquet(run.path / "data" / "reference.parquet")
    answers = pl.read_parquet(run.path / "predictions" / "test.parquet")
    first = kept[answers["row"].to_numpy()]
    margin = (answers["chosen"] - first["reference_chosen"]) - (answers["rejected"] - first["reference_rejected"])
    assert 0.1 * margin.mean() == pytest.approx(figures["test"]["reward-margin"]["value"], rel=1e-4)
    assert package.evaluate(run.path)["test"] == figures["test"]
    capsys.readouterr()
    monkeypatch.setattr(reference, "info", lambda words: pytest.fail(words))
    package.train(
        {**said, "training": {**said["training"], "max_steps": 1, "preference": {"beta": 0.5}}},
        output=tmp_path,
        name="second",
    )


def test_a_prompt_that_is_not_said_is_what_both_answers_begin_with() -> None:
    asked = {"role": "user", "content": "Hi"}
    row = {name: json.dumps([asked, {"role": "assistant", "content": name}]) for name in ("chosen", "rejected")}
    found = as_chats(RawData(pl.DataFrame([row]), "p.jsonl", Path()), Data(source="p.jsonl"))
    assert found.layout == "preference"
    assert read_messages(found.frame["prompt"][0]) == [asked]
    assert read_messages(found.frame["rejected"][0]) == [{"role": "assistant", "content": "rejected"}]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "Hi", "chosen": "Hello", "rejected": " "}, "row 1: rejected: is empty"),
        ({"prompt": "Hi", "chosen": "Hello", "reject": "No"}, "no column 'rejected'.*reject"),
        ({"chosen": "Hello", "rejected": "No"}, "row 1: there is no prompt"),
    ],
)
def test_broken_preferences_are_refused(row: dict[str, str], message: str) -> None:
    source = RawData(pl.DataFrame([row]), "p.jsonl", Path())
    with pytest.raises(DataError, match=message):
        as_chats(source, Data(source="p.jsonl", task="preference"))


def test_beta_is_refused_where_nothing_is_preferred() -> None:
    recipe = check_recipe({"data": {"source": "x"}, "training": {"preference": {"beta": 0.2}}})
    with pytest.raises(RecipeError, match=r"training\.preference: applies only to preferences"):
        check_task_options(recipe, get_task("regression"))
