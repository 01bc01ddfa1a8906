"""The report's pictures: matplotlib figures as inline SVG that takes its colours and its font from the page.

In: readings of a run. Out: SVG text, each with role="img" and a label that says what it shows. No file, no global
state: figures are plain `Figure` objects, and matplotlib's settings are the same whatever the user's are.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from danlu.core.errors import ArtifactError
from danlu.report.learning import training_at
from danlu.report.readings import Json, Kept, kept_step, series, validation_metrics
from danlu.report.words import number, short

# Colours that stand for the page's, which differ between light and dark. Not #000000: matplotlib leaves that unsaid.
INK, FAINT, FIRST, SECOND = "#000001", "#000002", "#000003", "#000004"
PAGE_COLOURS = {INK: "currentColor", FAINT: "var(--faint)", FIRST: "var(--first)", SECOND: "var(--second)"}
FILE_COLOURS = {
    "currentColor": "#1b1f24",
    "var(--faint)": "#c4cad1",
    "var(--first)": "#1f5fbf",
    "var(--second)": "#b4531a",
}
FONT = "system-ui, Segoe UI, Roboto, Noto Sans, sans-serif"
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, and the page's font has the letters DejaVu lacks
    "svg.hashsalt": "danlu",
    "text.parse_math": False,  # a class may be called "$x"
    "font.size": 9.0,
    "text.color": INK,
    "axes.formatter.useoffset": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}
PIXELS_A_POINT = 1.35  # makes the figures' 9 points about the page's small text
WIDTH = 5.4  # inches
STRONGEST = 0.5  # opacity of a cell's colour; at more, its count is hard to read
MOST_MARKED = 40  # points of a curve above which marks run into one another
LOG_RANGE = 50.0  # a loss that falls further than this is drawn on a logarithmic scale
SVG_NAME = re.compile(r"\{[^}]*\}")


def training_curves(log: list[Json]) -> str:
    """Training and validation loss by step, and below them any other validation metric; nothing without a log."""
    names = validation_metrics(log)
    losses = [name for name in ("train/loss", "validation/loss") if series(log, name)[0]]
    others = [name for name in names if name != "validation/loss"]
    panels = [group for group in (losses, *([name] for name in others)) if group]
    if not panels:
        return ""
    kept = kept_step(log)
    with drawing(WIDTH, 2.7 * len(panels)) as figure:
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axis, group in zip(axes, panels, strict=True):
            _curves(axis, log, group, kept)
        axes[-1].set_xlabel("step")
        return _svg(figure, "curves", _curves_label(log, [*losses, *others], kept))


def confusion_matrix(confusion: Json) -> str:
    """Counts by class (row) and answer (column); the stronger a cell's colour, the larger its share of the class."""
    labels, counts = [short(label, 16) for label in confusion["labels"]], confusion["counts"]
    size, longest = len(labels), max(map(len, labels))
    cell = 0.62 if size <= 4 else 0.42
    room = 0.5 + 0.075 * longest
    with drawing(cell * size + room + 0.2, cell * size + room) as figure:
        axis = figure.subplots()
        for truth, row in enumerate(counts):
            for answer, count in enumerate(row):
                if count:
                    _cell(axis, answer, truth, count, count / sum(row))
        axis.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal", ylabel="class", xlabel="answer")
        axis.set_xticks(range(size), labels, rotation=90 if size > 4 or longest > 9 else 0)
        axis.set_yticks(range(size), labels)
        axis.tick_params(length=0)
        right, total = sum(counts[index][index] for index in range(size)), sum(map(sum, counts))
        told = f"Confusion matrix of the test split, {size} classes: {right} of {total} answered rightly"
        return _svg(figure, "confusion", told)


def class_bars(counts: dict[str, int]) -> str:
    """How many samples each class has."""
    labels, values = [short(label, 20) for label in counts], list(counts.values())
    with drawing(WIDTH, 0.5 + 0.24 * len(labels)) as figure:
        axis = figure.subplots()
        bars = axis.barh(range(len(labels)), values, color=FIRST, height=0.7)
        axis.bar_label(bars, [f"{value:,}" for value in values], padding=3)
        axis.set_yticks(range(len(labels)), labels)
        axis.set_xticks([])
        axis.spines[["bottom"]].set_visible(False)
        axis.tick_params(length=0)
        axis.margins(x=0.12)
        axis.invert_yaxis()
        told = ", ".join(f"{label} {value:,}" for label, value in zip(labels, values, strict=True))
        return _svg(figure, "classes", f"Samples a class: {told}")


def balance_bars(before: dict[str, int], after: dict[str, int]) -> str:
    """How many training samples each class has before balancing (above) and after it (below)."""
    labels = [short(label, 20) for label in before]
    with drawing(WIDTH, 0.8 + 0.42 * len(labels)) as figure:
        axis = figure.subplots()
        for name, counts, colour, shift in (("before", before, SECOND, -0.2), ("after", after, FIRST, 0.2)):
            places = [index + shift for index in range(len(labels))]
            bars = axis.barh(places, list(counts.values()), color=colour, height=0.36, label=name)
            axis.bar_label(bars, [f"{value:,}" for value in counts.values()], padding=3)
        axis.set_yticks(range(len(labels)), labels)
        axis.set_xticks([])
        axis.spines[["bottom"]].set_visible(False)
        axis.tick_params(length=0)
        axis.margins(x=0.12)
        axis.invert_yaxis()
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
        pairs = zip(labels, before.values(), after.values(), strict=True)
        told = ", ".join(f"{label} {was:,} to {is_now:,}" for label, was, is_now in pairs)
        return _svg(figure, "balance", f"Training samples a class before and after balancing: {told}")


def number_bars(name: str, spread: Json) -> str:
    """The histogram of a numeric target."""
    counts, low, high = spread["histogram"], spread["min"], spread["max"]
    width = (high - low) / len(counts) or 1.0
    with drawing(WIDTH, 2.1) as figure:
        axis = figure.subplots()
        axis.bar([low + width * index for index in range(len(counts))], counts, width * 0.92, align="edge", color=FIRST)
        axis.set(xlabel=short(name, 60), ylabel="samples")
        told = f"Histogram of {short(name, 60)} from {number(low)} to {number(high)}, median {number(spread['median'])}"
        return _svg(figure, "target", told)


def sparkline(spread: Json) -> str:
    """A column's histogram, as small as a word."""
    counts = spread["histogram"]
    tallest = max(max(counts), 1)
    bars = "".join(f"M{5 * i} 20v-{max(18 * c / tallest, 1):.0f}h4V20z" for i, c in enumerate(counts) if c)
    told = f"Histogram from {number(spread['min'])} to {number(spread['max'])}"
    return (
        f'<svg class="spark" role="img" aria-label="{told}" viewBox="0 0 {5 * len(counts)} 20"><path d="{bars}"/></svg>'
    )


def _curves(axis: Any, log: list[Json], names: Sequence[str], kept: Kept | None) -> None:
    """One panel: the curves, and where the kept weights are."""
    everything: list[float] = []
    for name in names:
        steps, values = series(log, name)
        everything += values
        if name == "train/loss":
            axis.plot(steps, values, color=SECOND, linewidth=0.9, label="training")
        else:
            mark = "o" if len(steps) <= MOST_MARKED else ""
            axis.plot(steps, values, color=FIRST, linewidth=2.0, marker=mark, markersize=3.5, label="validation")
    steps, validation = series(log, "validation/loss")
    training = training_at(log, steps)
    if "train/loss" in names and "validation/loss" in names and training is not None:
        axis.fill_between(steps, training, validation, color=FIRST, alpha=0.12, linewidth=0, label="gap")
    if names[0].endswith("/loss") and 0 < LOG_RANGE * min(everything) < max(everything):
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")  # the default writes powers in TeX, which needs parse_math
        axis.yaxis.set_minor_formatter("")
    if kept is not None:
        axis.axvline(kept.step, color=INK, linewidth=1.0, linestyle=":", label=f"kept: step {kept.step:,}")
    axis.set_ylabel(names[0].partition("/")[2])
    axis.grid(axis="y", color=FAINT, linewidth=0.5)
    axis.set_axisbelow(True)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)


def _curves_label(log: list[Json], names: Sequence[str], kept: Kept | None) -> str:
    told = []
    for name in names:
        _, values = series(log, name)
        told.append(f"{name.replace('/', ' ')} from {number(values[0])} to {number(values[-1])}")
    best = f"; weights kept from step {kept.step:,}" if kept else ""
    return f"Training curves: {', '.join(told)}{best}"


def _cell(axis: Any, column: int, row: int, count: int, share: float) -> None:
    from matplotlib.patches import Rectangle

    colour = FIRST if column == row else SECOND
    opacity = round(STRONGEST * (0.15 + 0.85 * share), 3)
    axis.add_patch(Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, color=colour, alpha=opacity, linewidth=0))
    axis.text(column, row, f"{count:,}", ha="center", va="center", size=9 if count < 1000 else 7)


@contextmanager
def drawing(width: float, height: float) -> Iterator[Any]:
    """A figure of so many inches, with our settings while it is drawn and saved."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")  # the page's font draws the letters
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Any, name: str, label: str) -> str:
    """A figure as an SVG element of the page: its colours and font, its label, ids that no other figure has."""
    content = BytesIO()
    figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
    return _of_the_page(ElementTree.fromstring(content.getvalue()), name, label)  # noqa: S314 - matplotlib wrote it


def inlined(file: Path, name: str, label: str) -> str:
    """A picture that another stage left in the run, as an element of the page that can do nothing.

    Raises:
        ArtifactError: it is no picture.
    """
    try:
        root = ElementTree.fromstring(file.read_bytes())  # noqa: S314 - of a run's own folder
        return _of_the_page(root, name, label)
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise ArtifactError(f"{file}: is no SVG picture ({error}); delete it") from error


def _of_the_page(root: ElementTree.Element, name: str, label: str) -> str:
    """An SVG as a page holds it: the page's colours and font, ids that no other figure has, nothing that acts."""
    for parent in list(root.iter()):
        for child in list(parent):
            # Metadata is of no use here, the style would apply to the whole page, and the others act or load.
            if SVG_NAME.sub("", child.tag) in ("metadata", "style", "script", "foreignObject", "image", "a"):
                parent.remove(child)
    for element in root.iter():
        element.tag = SVG_NAME.sub("", element.tag)
        plain = {SVG_NAME.sub("", key): value for key, value in element.attrib.items()}
        element.attrib = {key: _inlined(key, value, name) for key, value in plain.items() if _harmless(key, value)}
    _, _, width, _ = map(float, root.attrib["viewBox"].split())
    shown = width * PIXELS_A_POINT
    root.attrib = {
        "class": "figure",
        "role": "img",
        "aria-label": label,
        "viewBox": root.attrib["viewBox"],
        "style": f"width: {shown:.0f}px; min-width: {0.6 * shown:.0f}px",
    }
    return ElementTree.tostring(root, encoding="unicode")


def standalone(figure: Any, name: str, label: str) -> str:
    """A figure as the text of an SVG file: with colours of its own, on white."""
    svg = _svg(figure, name, label)
    for words, colour in FILE_COLOURS.items():
        svg = svg.replace(words, colour)
    begun = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" font-family="{FONT}" '
    return begun + svg.removeprefix("<svg ").replace('style="', 'style="background: #ffffff; ', 1)


def _harmless(key: str, value: str) -> bool:
    """Whether an attribute neither acts nor leads out of the page."""
    if key.startswith("on"):
        return False
    return value.startswith("#") if key.endswith("href") else "url(" not in value or "url(#" in value


def _inlined(key: str, value: str, name: str) -> str:
    """An attribute's value once the SVG stands within a page."""
    if key == "id":
        return f"{name}-{value}"
    if key.endswith("href"):
        return value.replace("#", f"#{name}-", 1)
    if key == "clip-path":
        return value.replace("url(#", f"url(#{name}-")
    if key == "style":
        value = re.sub(r"font: (?:[\w-]+ )*([\d.]+px)[^;]*", r"font-size: \1", value)
        for colour, of_page in PAGE_COLOURS.items():
            value = value.replace(colour, of_page)
    return value
