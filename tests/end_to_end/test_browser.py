"""Reports as a reader has them: opened in a real browser, of each kind of task, light and dark, wide and narrow.

Where there is no Chromium these are skipped. Screenshots are kept in the folder that DANLU_SCREENSHOTS names.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import danlu
from danlu.artifacts.run import RunDirectory
from danlu.artifacts.trials import read_trials
from danlu.reporting.page import write_report
from tests.data.text.test_tagging import recipe as tags_recipe
from tests.data.text.test_tagging import sentences
from tests.end_to_end.test_multi_label import SIGNS, tumours
from tests.end_to_end.test_multi_label import recipe as labels_recipe
from tests.reporting.test_page import HOSTILE
from tests.support.browser import Browser, chromium
from tests.support.chatting import chat_file, preference_file, recipe, write_lines

pytestmark = pytest.mark.skipif(
    chromium() is None, reason="no Chromium here: apt-get install chromium, or put one on the PATH"
)
LARGEST = 5_000_000
PAPER = 718  # pixels between the margins of A4
QUICK: dict[str, Any] = {"epochs": 3}
COSTS = {"costs": {"false_positive": 1, "false_negative": 5}}
LEAST_CONTRAST = 4.5  # WCAG 2.2, 1.4.3

# Every text's contrast with what is behind it, by WCAG's formula; the least of the page.
CONTRAST = """(() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, place) => sum + v * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = numbers(getComputedStyle(each).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  let least = { contrast: 99 };
  for (const element of document.body.querySelectorAll("*:not(script)")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const colour = numbers(element.closest("svg") ? style.fill : style.color);
    const pair = [light(colour), light(behind(element))].sort((a, b) => b - a);
    const contrast = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (contrast < least.contrast) least = { contrast, text: element.textContent.slice(0, 60) };
  }
  return least;
})()"""
# Pictures that are not drawn, with every folded part open.
UNDRAWN = """(() => {
  for (const part of document.querySelectorAll("details")) part.open = true;
  const pictures = [...document.querySelectorAll("svg, img")];
  const drawn = (each) => {
    const box = each.getBoundingClientRect();
    return box.width > 4 && box.height > 4 && (each.tagName !== "IMG" || (each.complete && each.naturalWidth > 0));
  };
  return { count: pictures.length, undrawn: pictures.filter((each) => !drawn(each)).map((each) => each.outerHTML) };
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def decided_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    evaluation = {"resamples": 200, "threshold": COSTS, "calibration": "temperature", "folds": 2}
    told = {"name": "bc", "data": {"source": "builtin:breast-cancer"}, "training": QUICK, "evaluation": evaluation}
    return danlu.run(told, output=tmp_path_factory.mktemp("runs")).path


@pytest.fixture(scope="module")
def linear_run(decided_run: Path) -> Path:
    told = {"name": "bc", "data": {"source": "builtin:breast-cancer"}, "training": QUICK, "model": "linear"}
    return danlu.run(told | {"evaluation": {"resamples": 200}}, output=decided_run.parent, name="linear").path


@pytest.fixture(scope="module")
def number_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    told = {"name": "diabetes", "data": {"source": "builtin:diabetes"}, "training": QUICK}
    return danlu.run(told, output=tmp_path_factory.mktemp("runs")).path


@pytest.fixture(scope="module")
def search_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    space = {
        "training.optimizer.lr": {"log": [1e-4, 1e20]},
        "model.dropout": [0.0, 0.5],
        "model.hidden": {"choices": [[8], [16, 16], [4, 4, 4]]},
        "data.scale": ["standard", "robust"],
    }
    told = {"name": "bc", "data": {"source": "builtin:breast-cancer"}, "model": "mlp", "training": QUICK}
    tuning = {"sampler": "random", "trials": 6, "space": space}
    run = danlu.tune({**told, "tuning": tuning, "evaluation": {"resamples": 0}}, output=tmp_path_factory.mktemp("runs"))
    assert {trial.state for trial in read_trials(run.path)} == {"done", "failed"}
    danlu.evaluate(run.path)
    return run.path


@pytest.fixture(scope="module")
def chat_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chats")
    return danlu.run(recipe(chat_file(folder / "chats.jsonl", 60), epochs=1), output=folder).path


@pytest.fixture(scope="module")
def preference_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    return danlu.run(recipe(preference_file(folder / "pairs.jsonl", 60), epochs=1), output=folder).path


@pytest.fixture(scope="module")
def labels_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    tumours().write_csv(folder / "tumours.csv")
    return danlu.run(labels_recipe(folder / "tumours.csv", target=list(SIGNS)), output=folder).path


@pytest.fixture(scope="module")
def tags_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tags")
    write_lines(folder / "names.jsonl", sentences(300))
    return danlu.run(tags_recipe(folder / "names.jsonl", training={"epochs": 1}), output=folder).path


def keep_picture(browser: Browser, name: str) -> None:
    folder = os.environ.get("DANLU_SCREENSHOTS")
    if folder:
        browser.picture(Path(folder) / f"{name}.png")


def assert_sound(browser: Browser, page: Path, name: str) -> None:
    """What holds of any page, in every way that it is looked at."""
    assert page.stat().st_size < LARGEST
    for dark, width in ((False, 1100), (True, 1100), (False, 390)):
        browser.open(page, width, dark=dark, touch=width < 600)
        pictures = browser.run(UNDRAWN)
        assert pictures["count"] > 0 and pictures["undrawn"] == []
        least = browser.run(CONTRAST)
        assert least["contrast"] >= LEAST_CONTRAST, least
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
        assert browser.requests() == [page.resolve().as_uri()]
        assert browser.complaints() == []
        keep_picture(browser, f"{name}-{'dark' if dark else 'light' if width > 600 else 'phone'}")
    assert browser.printed().startswith(b"%PDF")
    browser.open(page, PAPER, dark=True)
    browser.ask("Emulation.setEmulatedMedia", media="print")
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    browser.ask("Emulation.setEmulatedMedia", media="")


def test_what_is_wrong_with_a_page_is_noticed(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        '<body style="background: #fff"><p style="color: #999; width: 3000px">faint</p>'
        '<img src="http://127.0.0.1:9/x.png"><script>console.error("told"); undefined.thing</script>'
    )
    browser.open(page, 390)
    assert [url for url in browser.requests() if url != page.as_uri()] == ["http://127.0.0.1:9/x.png"]
    assert {"told" in told or "undefined" in told for told in browser.complaints()} >= {True}
    assert len(browser.run(UNDRAWN)["undrawn"]) == 1
    assert browser.run(CONTRAST)["contrast"] < 3
    assert not browser.run("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["table", "image", "text", "corpus", "decided", "number", "chat", "preference", "labels", "tags"]
)
def test_the_report_of_each_kind_of_task_opens_without_a_complaint(
    kind: str, browser: Browser, request: pytest.FixtureRequest
) -> None:
    run: Path = request.getfixturevalue(f"{kind}_run")
    assert_sound(browser, run / "report.html", kind)


@pytest.mark.slow
def test_the_report_in_chinese_is_as_sound(browser: Browser, decided_run: Path) -> None:
    page = write_report(RunDirectory.open(decided_run), "zh")
    try:
        assert_sound(browser, page, "decided-zh")
        assert browser.run("document.documentElement.lang") == "zh-CN"
        assert browser.run("document.getElementById('metrics').textContent") == "指标"
    finally:
        write_report(RunDirectory.open(decided_run))


def test_hostile_names_are_shown_and_not_obeyed(browser: Browser, decided_run: Path, tmp_path: Path) -> None:
    run = RunDirectory.open(shutil.copytree(decided_run, tmp_path / "run"))
    hostile = f"\"'>{HOSTILE}"
    written = json.dumps(hostile)[1:-1]
    for name in ("evaluation.json", "data/profile.json", "predictions/worst.json"):
        told = (run.path / name).read_text(encoding="utf-8")
        assert "malignant" in told
        named = told.replace("malignant", written).replace("mean radius", written)
        content = {key: value for key, value in json.loads(named).items() if key not in ("digest", "files")}
        (run.path / name).write_text(json.dumps(content, ensure_ascii=False))
    page = write_report(run)
    assert page.read_text(encoding="utf-8").lower().count("<script") == 1
    assert_sound(browser, page, "hostile")
    for name in ("slices", "worst", "classes"):
        assert HOSTILE in browser.run(f"document.querySelector('section[aria-labelledby={name}]').innerText")


def test_the_threshold_moves_by_keyboard_and_shows_what_the_evaluation_says(
    browser: Browser, decided_run: Path
) -> None:
    table = json.loads((decided_run / "evaluation.json").read_text())["test"]["thresholds"]
    browser.open(decided_run / "report.html")
    script = """(() => {
      const told = (name) => document.querySelector(`[data-column="${name}"]`).textContent;
      return [Number(document.getElementById("threshold-slider").value), told("false_negatives"), told("cost"),
        document.getElementById("threshold-value").textContent,
        document.getElementById("threshold-mark").getBoundingClientRect().x];
    })()"""
    start, missed, cost, _, x = browser.run(script)
    assert (missed, float(cost)) == (
        str(int(table["false_negatives"][start])),
        pytest.approx(table["cost"][start], 1e-3),
    )
    browser.run("document.getElementById('threshold-slider').focus()")
    browser.press("End", 35)
    place, missed, cost, shown, moved = browser.run(script)
    assert (place, shown, missed) == (100, "1.00", str(int(table["false_negatives"][100])))
    assert float(cost) == pytest.approx(table["cost"][100], 1e-3) and moved > x + 100
    browser.press("ArrowLeft", 37)
    assert browser.run(script)[0] == 99
    browser.run("document.getElementById('threshold-reset').click()")
    assert browser.run(script)[0] == start


SCROLLED = """[...document.querySelectorAll("#metrics ~ .scroll, #metrics ~ details .scroll")]
  .map((each) => each.scrollWidth - each.clientWidth)"""
FIGURES = """[...document.querySelectorAll("#metrics ~ .scroll td")].map((each) => ({
  label: getComputedStyle(each, "::before").content, size: parseFloat(getComputedStyle(each).fontSize),
}))"""


@pytest.mark.parametrize("kind", ["decided", "table", "number", "text"])
@pytest.mark.parametrize("width", [1100, 390])
def test_metrics_are_read_without_scrolling_sideways(
    kind: str, width: int, browser: Browser, request: pytest.FixtureRequest
) -> None:
    run: Path = request.getfixturevalue(f"{kind}_run")
    browser.open(run / "report.html", width, touch=width < 600)
    browser.run("document.querySelector('#metrics ~ details').open = true")
    assert browser.run(SCROLLED) == [0, 0]  # of test, and of validation below it
    figures = browser.run(FIGURES)
    assert min(each["size"] for each in figures) >= 14
    # On a narrow screen every figure says whose it is, since the heads are not above it any more.
    told = {each["label"].strip('"') for each in figures}
    judged = {"model", *json.loads((run / "evaluation.json").read_text())["baselines"]}
    assert told == (judged if width < 600 else {"none"})


def test_dark_and_light_follow_the_system_and_the_button(browser: Browser, table_run: Path) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    seen = {}
    for dark in (False, True):
        browser.open(table_run / "report.html", dark=dark)
        seen[dark] = browser.run(paper)
        browser.run("document.getElementById('theme').click()")
        assert browser.run(paper) != seen[dark]
    assert seen[False] == "rgb(255, 255, 255)" != seen[True]


def test_the_keyboard_reaches_the_content_first(browser: Browser, table_run: Path) -> None:
    browser.open(table_run / "report.html")
    browser.press("Tab", 9)
    assert browser.run("document.activeElement.getAttribute('href')") == "#content"
    browser.press("Tab", 9)
    assert browser.run("document.activeElement.id") == "theme"


@pytest.mark.slow
def test_the_report_of_a_search_is_as_sound(browser: Browser, search_run: Path) -> None:
    for language in ("en", "zh"):
        assert_sound(browser, write_report(RunDirectory.open(search_run), language), f"search-{language}")
    drawn = browser.run("document.querySelectorAll('section[aria-labelledby=search] svg').length")
    assert drawn == 1 + 4


def test_the_page_of_a_comparison_is_as_sound(
    browser: Browser, decided_run: Path, linear_run: Path, tmp_path: Path
) -> None:
    page = tmp_path / "compare.html"
    found = danlu.compare([decided_run, linear_run], html=page)
    assert_sound(browser, page, "compare")
    told = browser.run("document.body.innerText")
    apart = found["differences"][0]["metrics"]["accuracy"]["value"]
    assert f"{apart:+.3g}" in told or apart == 0
    assert "What differs in the recipes" in told and "model.name" in told
    labels = browser.run("[...document.querySelectorAll('svg')].map((each) => each.getAttribute('aria-label'))")
    assert any(label.startswith("validation loss by step of 2 runs") for label in labels)
    assert any("ROC" in label for label in labels)
