"""The page at `/` driven in a real browser: ask, explain, compare; a wrong cell; a picture; a phone, dark, Chinese.

Where there is no Chromium these are skipped. Screenshots are kept in the folder that DANLU_SCREENSHOTS names.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.test_browser import CONTRAST, LEAST_CONTRAST
from tests.support.browser import Browser, chromium
from tests.support.serving import Server, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium, or put one on the PATH"),
]
PREDICTION = "document.getElementById('prediction').textContent"
ASK = "document.getElementById('send').click()"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pictures(image_run: Path) -> Iterator[Server]:
    with serving(f"digits={image_run}") as running:
        yield running


def url(server: Server, path: str = "/") -> str:
    return server.events[0]["url"] + path


def keep(browser: Browser, name: str) -> None:
    if folder := os.environ.get("DANLU_SCREENSHOTS"):
        browser.picture(Path(folder) / f"serve-{name}.png")


def test_a_row_is_asked_explained_and_compared(browser: Browser, server: Server) -> None:
    browser.visit(url(server))
    assert browser.requests() == [url(server)]
    browser.run(ASK)
    assert browser.wait(PREDICTION) in ("benign", "malignant")
    assert browser.run("document.querySelectorAll('#shares .share').length") == 2
    browser.run("document.getElementById('explain').click()")
    browser.wait("document.querySelector('#shap h3')?.textContent")
    assert browser.run("document.querySelectorAll('#shap .share').length") == 30
    browser.run("document.getElementById('compare').click()")
    browser.wait("document.querySelectorAll('#findings li').length")
    keep(browser, "table")
    assert browser.complaints() == []
    assert {request.partition("?")[0] for request in browser.requests()} == {
        url(server),
        url(server, "/predict/tumour"),
        url(server, "/drift"),
    }


def test_a_wrong_cell_is_named_at_its_field(browser: Browser, server: Server) -> None:
    browser.visit(url(server))
    browser.run(f"document.querySelector('[data-column=\"2\"]').value = 'wide'; {ASK}")
    assert "wide" in browser.wait("document.getElementById('problem').textContent")
    wrong = "[...document.querySelectorAll('[aria-invalid=true]')].map((each) => each.dataset.column).join()"
    assert browser.run(wrong) == "2"


def test_a_chosen_picture_is_answered(browser: Browser, pictures: Server, image_folder: Path) -> None:
    browser.visit(url(pictures))
    browser.choose_file("input[type=file]", next(image_folder.rglob("*.png")))
    assert browser.wait(PREDICTION).startswith("digit-")
    assert browser.run("document.getElementById('preview').naturalWidth") > 0
    keep(browser, "picture")
    assert browser.complaints() == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_is_readable_on_a_phone(browser: Browser, server: Server, language: str, dark: bool) -> None:
    browser.visit(url(server, f"/models/tumour?lang={language}"), width=390, dark=dark, touch=True)
    browser.run(ASK)
    assert browser.wait(PREDICTION)
    keep(browser, f"phone-{language}-{'dark' if dark else 'light'}")
    assert browser.run("document.documentElement.scrollWidth") <= 390
    assert browser.run("document.documentElement.lang").startswith(language)
    found = browser.run(CONTRAST)
    assert found["contrast"] >= LEAST_CONTRAST, found
