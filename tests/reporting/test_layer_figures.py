"""Figures by layer: names stay told apart, placeholders become colours, pixels stay in the file."""

import numpy as np
import pytest

from danlu.reporting.figures.graph import graph_picture
from danlu.reporting.figures.layers import range_lines, short_layer
from danlu.reporting.figures.line_png import lines_png
from danlu.reporting.figures.panels import heat_maps, scatter, token_maps
from danlu.reporting.figures.svg import PAGE_COLOURS, as_file
from danlu.reporting.i18n import Translator, get_translator
from danlu.reporting.network_pictures import draw_activations

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
    drawn = heat_maps(T, "maps", "两个", [("a", np.eye(5), (5, 5)), ("b", -np.eye(4), (400, 4))], ("输入", "输出"))
    assert drawn.svg.count("data:image/png;base64,") >= 2 and "http" not in drawn.svg.replace("http://www.w3.org", "")
    assert ">300<" in drawn.svg, "ticks count the rows that were averaged"


def test_states_of_a_network_are_named_in_the_language() -> None:
    layers = [{"name": "first", "quantiles": [-2.0, -1.0, 0.0, 1.0, 2.0], "dead": 0, "is_saturated": False}]
    data = {"states": {"step 1,200": layers, "model": layers}}
    svg = draw_activations(get_translator("zh"), data, {})[""].svg
    assert "第 1,200 步" in svg and "保留的模型" in svg and ">model<" not in svg


def test_attention_without_names_counts_its_places() -> None:
    svg = token_maps(T, "attention", "x", [np.full((2, 40, 40), 1 / 40)], []).svg
    assert svg.count(">20<") >= 3, "both heads along, the first down"


def test_the_graph_is_the_same_picture_as_pixels() -> None:
    from io import BytesIO

    from PIL import Image

    shape, within = [1, 16], {"module": "", "parameters": 5}
    nodes = [
        {"id": name, "name": name, "type": "Linear", "inputs": [shape], "outputs": [shape], **within} for name in "abc"
    ]
    root = {"id": "", "name": "", "type": "N", "parent": None, "inputs": [], "outputs": []}
    graph = {"nodes": nodes, "edges": [["a", "b"], ["b", "c"], ["a", "c"]], "modules": [root], "failed_at": None}
    svg = as_file(graph_picture(get_translator("zh"), graph))
    width, height = (float(each) for each in svg.split('viewBox="0 0 ')[1].split('"')[0].split())
    with Image.open(BytesIO(lines_png(svg))) as picture:
        assert picture.width / picture.height == pytest.approx(width / height, rel=0.02)
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24) or ()}
    assert {(255, 255, 255), (0x1F, 0x5F, 0xBF)} <= colours, "the lane of what is read further down"


@pytest.mark.parametrize("count", [1, 2, 200])
def test_classes_beyond_the_marks_are_grey_and_counted(count: int) -> None:
    points = np.random.default_rng(0).normal(size=(400, 2))
    svg = scatter(T, "points", "点", points, [f"类别{row % count}" for row in range(400)], ("一", "二")).svg
    assert ("其他 190 个" in svg) == (count == 200) and "类别0" in svg
