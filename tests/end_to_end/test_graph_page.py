"""The page of a network's structure in a real browser: offline, by keyboard alone, on a phone, light and dark.

Where there is no Chromium these are skipped. Screenshots are kept in the folder that DANLU_SCREENSHOTS names.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from danlu.core.imports import patch_torchvision
from danlu.inspection.graph import build_graph
from danlu.reporting.graph_page import graph_page
from danlu.reporting.i18n import get_translator
from tests.end_to_end.test_browser import CONTRAST, LEAST_CONTRAST
from tests.support.browser import Browser, chromium

patch_torchvision()
pytestmark = pytest.mark.skipif(
    chromium() is None, reason="no Chromium here: apt-get install chromium, or put one on the PATH"
)
LARGEST = 1_000_000
CHOSEN = "document.querySelector('[aria-selected=true]').id"
FOCUSED = "document.activeElement.id"
LINES = "document.querySelectorAll('[role=treeitem]').length"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """ResNet-50 in both languages, and a network that fails."""
    import timm

    folder = tmp_path_factory.mktemp("pages")
    resnet = build_graph(timm.create_model("resnet50"), {"x": torch.zeros(1, 3, 64, 64)}).as_json()
    broken = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Sequential(nn.Linear(17, 2)))
    failed = build_graph(broken, {"input": torch.zeros(4, 8)}).as_json()
    written = {}
    for name, language, graph in (("resnet", "en", resnet), ("chinese", "zh", resnet), ("broken", "en", failed)):
        written[name] = folder / f"{name}.html"
        written[name].write_text(graph_page(get_translator(language), "<b>&ResNet", graph), encoding="utf-8")
    return written


def keep(browser: Browser, name: str) -> None:
    if folder := os.environ.get("DANLU_SCREENSHOTS"):
        browser.picture(Path(folder) / f"graph-{name}.png")


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["resnet", "chinese", "broken"])
def test_the_page_is_small_offline_and_readable(
    browser: Browser, pages: dict[str, Path], name: str, dark: bool, width: int
) -> None:
    assert pages[name].stat().st_size <= LARGEST
    browser.open(pages[name], width=width, dark=dark, touch=width < 500)
    keep(browser, f"{name}-{width}-{'dark' if dark else 'light'}")
    assert browser.complaints() == []
    assert browser.requests() == [pages[name].resolve().as_uri()]
    assert browser.run(LINES) > 3 and not browser.run("document.getElementById('graph').hidden")
    assert browser.run("document.documentElement.scrollWidth") <= width
    found = browser.run(CONTRAST)
    assert found["contrast"] >= LEAST_CONTRAST, found
    cut = "[...document.querySelectorAll('.line .name')].every((each) => each.clientWidth > 60)"
    assert browser.run(cut), "names have room"


def test_the_tree_is_used_by_keyboard_alone(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["resnet"])
    for _ in range(8):  # skip link, theme, find, depth, bars, then the tree
        browser.press("Tab", 9)
        if browser.run("document.activeElement.getAttribute('role')") == "treeitem":
            break
    assert browser.run(FOCUSED) == browser.run(CHOSEN) == "line-n:input.x"
    before = browser.run(LINES)
    for _ in range(6):
        browser.press("ArrowDown", 40)
    assert browser.run(FOCUSED) == "line-m:layer1.0"
    browser.press("ArrowRight", 39)
    assert browser.run(LINES) > before and browser.run("document.activeElement.ariaExpanded") == "true"
    browser.press("ArrowRight", 39)
    assert browser.run(FOCUSED) == "line-n:layer1.0.conv1"
    details = browser.run("document.getElementById('details').textContent")
    assert "4,096" in details and "maxpool" in details
    browser.press("ArrowLeft", 37)
    browser.press("Enter", 13)
    assert browser.run(LINES) == before and browser.run(FOCUSED) == "line-m:layer1.0"
    browser.press("End", 35)
    assert browser.run(FOCUSED) == "line-n:output"


def put(browser: Browser, field: str, value: str, event: str) -> None:
    script = f"const each = document.getElementById('{field}'); each.value = '{value}'"
    browser.run(f"(() => {{ {script}; each.dispatchEvent(new Event('{event}')); }})()")


def test_a_layer_is_found_by_its_name_and_a_sum_stands_at_its_module(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["resnet"])
    put(browser, "find", "layer3.2.conv2", "input")
    assert browser.run(CHOSEN) == "line-n:layer3.2.conv2"
    assert browser.run("document.getElementById('found').textContent") == "1 found"
    put(browser, "depth", "1", "change")
    assert browser.run(LINES) == 12
    shown = browser.run("document.querySelector('[id=\"line-m:layer4\"] .bar').textContent")
    assert shown == "15 M", "14,964,736 parameters"


def test_a_failed_network_shows_the_layer_and_both_shapes(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["broken"])
    assert browser.run("document.querySelector('.line.failed').id") == "line-n:2.0"
    assert browser.run("document.querySelector('.line.failed .shape').textContent") == "4×16 ↔ 2×17"
    note = browser.run("document.getElementById('failed').textContent")
    assert "2.0" in note and "4×16" in note and "2×17" in note
