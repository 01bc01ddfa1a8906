"""The date that a chat template writes is that of the training, whenever the model is asked."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

import danlu as package
from danlu.artifacts.bundle import open_bundle
from danlu.data.descriptors import TokenizerFile
from danlu.data.text.chat_template import asks_for_date, render, render_prompt
from danlu.experiment.run_data import load_run_data
from danlu.recipe.load import load_recipe
from tests.conftest import TINY_TEXT

ASKED = [{"role": "user", "content": "hi %d"}]
BODY = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


def rendered(template: str, day: str | None) -> str:
    tokenizer = TokenizerFile(
        json_text='{"added_tokens": []}', pad=0, end=0, vocabulary=1, chat_template=template, date=day
    )
    return render(tokenizer, ASKED, answer_next=False)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("{{ strftime_now('%d %b %Y') }}", "05 Feb 2024"),
        ("{{ strftime_now('%-d/%m/%y') }}", "5/02/24"),
        ("{{ strftime_now('%A, 100%%d') }}", "Monday, 100%d"),
        ("{{ strftime_now('%H:%M') }}", "00:00"),
        ("{%- set form = '%Y' %}{%- set day = strftime_now(form) %}{{ day }}", "2024"),
        ("{% if strftime_now is defined %}{{ strftime_now('%j') }}{% else %}none{% endif %}", "036"),
        ("{% macro head() %}{{ strftime_now('%B') }}{% endmacro %}{{ head() }}", "February"),
        ("{{ strftime_now('no directive') }}", "no directive"),
    ],
)
def test_every_format_is_of_the_fixed_date(written: str, told: str) -> None:
    assert rendered(written + " " + BODY, "2024-02-05") == f"{told} hi %d"


def test_without_a_fixed_date_it_is_todays() -> None:
    assert rendered("{{ strftime_now('%Y-%m') }}" + BODY, None).startswith(f"{date.today():%Y-%m}")
    plain = TokenizerFile(json_text="", pad=0, end=0, vocabulary=1, chat_template=BODY)
    assert not asks_for_date(plain) and rendered(BODY, "2024-02-05") == "hi %d"


@pytest.mark.slow
@pytest.mark.training
def test_a_bundle_keeps_the_date_of_its_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template = tmp_path / "dated.jinja"
    template.write_text(
        "{{ strftime_now('%d %B %Y') }}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    chats = [
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"{n}!"}]}
        for n in range(30)
    ]
    recipe: dict[str, Any] = {
        "data": {"vocabulary": 300, "sequence_length": 64, "chat_template": str(template)},
        "model": {"name": "hf:llama", "config": TINY_TEXT},
        "training": {"max_steps": 3},
        "evaluation": {"resamples": 0, "baselines": False},
    }

    class Earlier(date):
        @classmethod
        def today(cls) -> date:
            return date(2023, 7, 9)

    with monkeypatch.context() as patched:
        patched.setattr("danlu.experiment.data_context.date", Earlier)
        run = package.run(recipe, data=chats, output=tmp_path)
    bundle = open_bundle(run)
    assert bundle.manifest.template_date == "2023-07-09"
    assert "date" not in (run.model / "bundle.json").read_text(encoding="utf-8").replace("template_date", "")
    tokenizer = TokenizerFile.model_validate(bundle.manifest.preprocessing["tokenizer"])
    assert render(tokenizer, ASKED, answer_next=False).startswith("09 July 2023<user>")
    assert load_run_data(load_recipe(run.path / "recipe.yaml"), run).date == "2023-07-09"  # what resumes, goes on so
    assert package.load(run).preprocessor.on_date("2030-01-01") != package.load(run).preprocessor
    told: list[str] = []
    seen = monkeypatch.setattr
    seen("danlu.data.chats.encode.render_prompt", lambda *given: told.append(render_prompt(*given)) or told[-1])
    package.generate(run, chat="12?", max_new_tokens=1)
    assert told == [f"{date.today():%d %B %Y}<user>12?<assistant>"]  # generation alone is told today's


@pytest.mark.training
def test_preferences_go_on_with_the_day_that_they_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [{"prompt": f"{n}?", "chosen": f"{n}!", "rejected": "no"} for n in range(30)]
    recipe: dict[str, Any] = {
        "data": {"vocabulary": 300, "sequence_length": 64},
        "model": {"name": "hf:llama", "config": TINY_TEXT},
        "training": {"max_steps": 2},
    }

    class Earlier(date):
        @classmethod
        def today(cls) -> date:
            return date(2023, 7, 9)

    with monkeypatch.context() as patched:
        patched.setattr("danlu.experiment.data_context.date", Earlier)
        run = package.train(recipe, data=pairs, output=tmp_path)
    assert load_run_data(load_recipe(run.path / "recipe.yaml"), run).date == "2023-07-09"
