"""How a value shows itself: drawn by a function of a layer above, which is named and not imported."""

import importlib

import pytest

from danlu.core import display


def test_every_renderer_is_there() -> None:
    assert {"run", "predictor", "evaluation", "comparison", "profile", "runs"} <= set(display.RENDERERS)
    for place in display.RENDERERS.values():
        module, name = place.split(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_what_nobody_draws_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert display.render_html("a kind that no layer draws", 3) is None
    monkeypatch.setitem(display.RENDERERS, "number", "builtins:str")
    assert display.render_html("number", 3) == "3"
