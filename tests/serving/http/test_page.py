"""The page to try a model by hand, driven in a real browser: its form, answers, explanation and drift.

Where there is no Chromium these are skipped. Screenshots are kept in the folder that DANLU_SCREENSHOTS names.
"""

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import Browser, chromium
from tests.support.serving import Server, serving

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium, or put one on the PATH"),
    pytest.mark.training,
]
PHONE: dict[str, Any] = {"width": 390, "height": 800, "touch": True}
ANSWERED = "document.getElementById('prediction').textContent"
SEND = "document.getElementById('send').click()"
WIDTH = "document.documentElement.scrollWidth"


@pytest.fixture(scope="module")
def trial(table_run: Path, image_run: Path) -> Iterator[Server]:
    """A table and pictures."""
    with serving(f"wine={table_run}", f"digits={image_run}", "--engine", "torch") as running:
        yield running


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "profile") as running:
        yield running
        assert running.complaints() == []


def url(server: Server, path: str) -> str:
    return server.events[0]["url"] + path


def keep(browser: Browser, name: str) -> None:
    folder = os.environ.get("DANLU_SCREENSHOTS")
    if folder:
        browser.picture(Path(folder, f"serve-{name}.png"))


def test_the_form_asks_for_each_column_and_shows_what_the_server_answers(browser: Browser, trial: Server) -> None:
    browser.open(url(trial, "/models/wine"))
    labels = browser.run("[...document.querySelectorAll('.field label')].map((each) => each.textContent)")
    row = trial.get("/openapi.json").json["components"]["schemas"]["Model1Row"]
    assert labels == row["required"]
    assert browser.run("[...document.querySelectorAll('[data-column]')].every((each) => each.value)")
    browser.run("document.querySelector('[data-column]').value = '14.2'")
    browser.run(SEND)
    shown = browser.wait(ANSWERED)
    cells = browser.run("[...document.querySelectorAll('[data-column]')].map((each) => each.value)")
    sent = dict(zip(labels, [_number(cell) for cell in cells], strict=True))
    (answer,) = trial.post("/predict/wine", {"rows": [sent]}).json["answers"]
    assert sent["alcohol"] == 14.2
    assert shown == answer["prediction"]
    shares = browser.run("[...document.querySelectorAll('#shares .n')].map((each) => each.textContent)")
    assert shares == [f"{100 * share:.1f} %" for share in sorted(answer["probabilities"].values(), reverse=True)]
    browser.run("document.getElementById('explain').click()")
    browser.wait("document.querySelector('#shap h3')?.textContent")
    explained = browser.run("[...document.querySelectorAll('#shap .share > :first-child')].map((e) => e.textContent)")
    assert sorted(explained) == sorted(labels)
    keep(browser, "wine")
    assert all(address.startswith(url(trial, "/")) for address in browser.requests())


def test_a_category_is_chosen_from_the_known_words_or_written(browser: Browser, trial: Server) -> None:
    browser.open(url(trial, "/models/wine"))
    (name,) = browser.run("[...document.querySelectorAll('select')].map((each) => each.closest('.field').innerText)")
    options = browser.run("[...document.querySelector('select').options].map((each) => each.text)")
    known = trial.get("/openapi.json").json["components"]["schemas"]["Model1Row"]["properties"]
    assert name.partition("\n")[0] in known and options[-2:] == ["(missing)", "another word …"] and len(options) > 3
    other = "document.querySelector('.other')"
    assert browser.run(f"{other}.hidden") is True
    browser.run("""(() => { const select = document.querySelector('select');
        select.selectedIndex = select.options.length - 1; select.dispatchEvent(new Event('change')); })()""")
    assert browser.run(f"{other}.hidden") is False
    browser.run(f"{other}.value = 'never seen'")
    browser.run(SEND)
    assert browser.wait(ANSWERED)
    keep(browser, "other-word")


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def test_a_cell_that_cannot_be_read_is_marked_where_it_stands(browser: Browser, trial: Server) -> None:
    browser.open(url(trial, "/models/wine"))
    browser.run("document.querySelector('[data-column=\"1\"]').value = 'much'")
    browser.run(SEND)
    said = browser.wait("document.getElementById('problem').textContent")
    assert "malic_acid" in said
    assert browser.run("document.querySelector('.wrong label').textContent") == "malic_acid"
    assert browser.run(ANSWERED) == ""
    keep(browser, "wrong")


def test_a_phone_in_the_dark_has_it_in_chinese_without_scrolling_sideways(browser: Browser, trial: Server) -> None:
    browser.open(url(trial, "/models/wine?lang=zh"), dark=True, **PHONE)
    assert browser.run("document.documentElement.lang") == "zh-CN"
    assert browser.run("document.getElementById('send').textContent") == "询问模型"
    browser.run(SEND)
    browser.wait(ANSWERED)
    browser.run("document.getElementById('compare').click()")
    assert "比较了" in browser.wait("document.querySelector('#findings li')?.textContent")
    browser.run("document.getElementById('explain').click()")
    browser.wait("document.querySelector('#shap h3')?.textContent")
    assert browser.run(WIDTH) == PHONE["width"]
    keep(browser, "wine-zh-phone-dark")


def test_a_picture_that_is_chosen_is_shown_and_answered(browser: Browser, trial: Server, image_folder: Path) -> None:
    picture = sorted(image_folder.rglob("*.png"))[0]
    browser.open(url(trial, "/models/digits"), dark=True, **PHONE)
    browser.choose_file("input[type=file]", picture)
    shown = browser.wait(ANSWERED)
    sent = {"rows": [{"image": base64.b64encode(picture.read_bytes()).decode()}]}
    assert shown == trial.post("/predict/digits", sent).json["answers"][0]["prediction"]
    assert browser.run("document.getElementById('preview').naturalWidth") > 0
    assert browser.run(WIDTH) == PHONE["width"]
    keep(browser, "digits-phone-dark")


def test_a_server_of_several_models_lists_them(browser: Browser, trial: Server) -> None:
    browser.open(url(trial, "/"))
    assert browser.run("[...document.querySelectorAll('nav a')].map((each) => each.textContent)") == ["wine", "digits"]
    keep(browser, "list")
