"""Figures by layer: names stay told apart, placeholders become colours, pixels stay in the file."""

import numpy as np
import pytest

from danlu.reporting.figures.layers import range_lines, short_layer
from danlu.reporting.figures.panels import heat_maps, scatter
from danlu.reporting.figures.svg import PAGE_COLOURS
from danlu.reporting.i18n import Translator

T = Translator("zh")


@pytest.mark.parametrize("number", [1, 12, 123])
def test_a_shortened_name_keeps_the_whole_number_of_its_layer(number: int) -> None:
    name = f"network.model.decoder.layers.{number}.attention.self.query_projection"
    assert short_layer(name) == f"…{number}.attention.self.query_projection"
    assert short_layer("conv1") == "conv1"
    assert len(short_layer("x" * 90)) == 40


def test_files_have_colours_of_their_own_and_pages_those_of_the_page() -> None:
    lines = [{"name": "first", "quantiles": [-2.0, -1.0, 0.0, 1.0, 2.0]}]
    drawn = range_lines(T, "ranges", {"": lines}, "权重")
    assert "var(--first)" in drawn.svg and not any(colour in drawn.svg for colour in PAGE_COLOURS)
    file = drawn.files()[".svg"].decode()
    assert "var(--" not in file and "权重" in file
    assert drawn.files()[".png"].startswith(b"\x89PNG")


def test_heat_maps_hold_their_pixels_and_a_scale() -> None:
    drawn = heat_maps(T, "maps", "两个", [("a", np.eye(5)), ("b", -np.eye(4))], ("输入", "输出"))
    assert drawn.svg.count("data:image/png;base64,") >= 2 and "http" not in drawn.svg.replace("http://www.w3.org", "")


@pytest.mark.parametrize("count", [1, 2, 200])
def test_classes_beyond_the_marks_are_grey_and_counted(count: int) -> None:
    points = np.random.default_rng(0).normal(size=(400, 2))
    svg = scatter(T, "points", "点", points, [f"类别{row % count}" for row in range(400)], ("一", "二")).svg
    assert ("其他 190 个" in svg) == (count == 200) and "类别0" in svg
