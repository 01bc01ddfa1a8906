"""SVG figures inside a page: matplotlib's output with the page's colours and font, and no active content.

In: matplotlib figures, or SVG files of a run. Out: SVG text with role="img" and a label that describes it. No global
state: figures are plain `Figure` objects, drawn with fixed matplotlib settings whatever the user's are.
"""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from danlu.errors import ArtifactError

# Placeholders for the page's colours, which differ between light and dark. Not #000000: matplotlib omits that.
INK, FAINT, FIRST, SECOND = "#000001", "#000002", "#000003", "#000004"
THIRD, FOURTH, FIFTH, SIXTH = "#000005", "#000006", "#000007", "#000008"
PAGE_COLOURS = {
    INK: "currentColor",
    FAINT: "var(--faint)",
    FIRST: "var(--first)",
    SECOND: "var(--second)",
    THIRD: "var(--third)",
    FOURTH: "var(--fourth)",
    FIFTH: "var(--fifth)",
    SIXTH: "var(--sixth)",
}
SERIES = (FIRST, SECOND, THIRD, FOURTH, FIFTH, SIXTH)
DASHES: tuple[Any, ...] = ("-", "--", ":", "-.")
FILE_COLOURS = {
    "currentColor": "#1b1f24",
    "var(--faint)": "#c4cad1",
    "var(--first)": "#1f5fbf",
    "var(--second)": "#b4531a",
    "var(--third)": "#14735a",
    "var(--fourth)": "#8a3fb0",
    "var(--fifth)": "#a0264d",
    "var(--sixth)": "#5b6470",
    "var(--quiet)": "#57606a",
    "var(--raised)": "#f4f6f8",
    "var(--note)": "#fff4e0",
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
WIDTH = 5.4  # inches
PIXELS_A_POINT = 1.35  # makes the figures' 9 points about the page's small text
PIXELS = "data:image/png;base64,"
PIXELS_AN_INCH = 130  # of a PNG
# Fonts with Chinese letters, the first of these that is installed.
CHINESE_FONTS = (
    "Noto Sans CJK SC",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "PingFang SC",
    "SimHei",
)
SVG_NAME = re.compile(r"\{[^}]*\}")


def line_style(place: int) -> dict[str, Any]:
    """Return colour and dashes of the n-th curve, distinguishable without colour."""
    return {"color": SERIES[place % len(SERIES)], "linestyle": DASHES[(place // len(SERIES) + place) % len(DASHES)]}


@contextmanager
def new_figure(width: float, height: float) -> Iterator[Any]:
    """Create a figure of a size in inches; use our settings until it is saved."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")  # the page's font draws the letters
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield Figure(figsize=(width, height), layout="constrained")


def as_svg(figure: Any, name: str, label: str) -> str:
    """Convert a figure to an SVG element of the page, with label and unique ids."""
    content = BytesIO()
    figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
    return _sanitize(ElementTree.fromstring(content.getvalue()), name, label)  # noqa: S314 - matplotlib wrote it


def as_png(figure: Any) -> bytes:
    """Convert a figure to a PNG on white, Chinese letters included."""
    fonts = file_fonts()
    for artist in figure.findobj():
        if hasattr(artist, "set_fontfamily"):
            artist.set_fontfamily(fonts)
        for part in ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor"):
            _recolour(artist, part)
    content = BytesIO()
    figure.savefig(content, format="png", dpi=PIXELS_AN_INCH, facecolor="#ffffff", metadata={"Software": None})
    return content.getvalue()


def file_fonts() -> list[str]:
    """Return the fonts of a PNG: Latin letters, then Chinese ones where installed."""
    from matplotlib import font_manager

    # Fonts that come in one weight alone are taken in that weight, which needs no warning for every text.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    known = set(font_manager.get_font_names())
    return ["DejaVu Sans", *[name for name in CHINESE_FONTS if name in known][:1]]


def _recolour(artist: Any, part: str) -> None:
    """Replace a placeholder for a page's colour by the colour of files."""
    from matplotlib.colors import to_hex, to_rgba, to_rgba_array

    read, write = getattr(artist, f"get_{part}", None), getattr(artist, f"set_{part}", None)
    if read is None or write is None:
        return
    value = read()
    if value is None or (isinstance(value, str) and value in ("auto", "none", "face", "inherit")):
        return
    try:
        rows = to_rgba_array(value)
    except (ValueError, TypeError):
        return
    if not any(to_hex(row) in PAGE_COLOURS for row in rows):
        return
    changed = []
    for row in rows:
        named = FILE_COLOURS.get(PAGE_COLOURS.get(to_hex(row), ""))
        changed.append(tuple(row) if named is None else (*to_rgba(named)[:3], float(row[3])))
    write(changed[0] if len(changed) == 1 else changed)


def inline_svg(file: Path, name: str, label: str) -> str:
    """Embed an SVG file of the run in the page, without active content.

    Raises:
        ArtifactError: it is not an SVG image.
    """
    try:
        root = ElementTree.fromstring(file.read_bytes())  # noqa: S314 - of a run's own folder
        return _sanitize(root, name, label)
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise ArtifactError(f"{file}: not an SVG image ({error}); delete it", code="DL303") from error


def _sanitize(root: ElementTree.Element, name: str, label: str) -> str:
    """Adapt an SVG to the page: its colours and font, unique ids, nothing active."""
    for parent in list(root.iter()):
        for child in list(parent):
            # Metadata is useless here, a style would apply to the whole page, and the others run code or load files.
            tag = SVG_NAME.sub("", child.tag)
            if tag in ("metadata", "style", "script", "foreignObject", "a") or (tag == "image" and not _holds(child)):
                parent.remove(child)
    for element in root.iter():
        element.tag = SVG_NAME.sub("", element.tag)
        plain = {SVG_NAME.sub("", key): value for key, value in element.attrib.items()}
        element.attrib = {
            key: _page_attribute(key, value, name) for key, value in plain.items() if _is_harmless(key, value)
        }
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


def standalone_svg(figure: Any, name: str, label: str) -> str:
    """Convert a figure to the text of an SVG file with fixed colours on white."""
    return as_file(as_svg(figure, name, label))


def as_file(svg: str) -> str:
    """Convert an SVG element of the page to a file with fixed colours on white."""
    for words, colour in FILE_COLOURS.items():
        svg = svg.replace(words, colour)
    begun = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" font-family="{FONT}" '
    return begun + svg.removeprefix("<svg ").replace('style="', 'style="background: #ffffff; ', 1)


def _holds(image: ElementTree.Element) -> bool:
    """Return whether an image's pixels stand in the file itself."""
    return all(value.startswith(PIXELS) for key, value in image.attrib.items() if SVG_NAME.sub("", key) == "href")


def _is_harmless(key: str, value: str) -> bool:
    """Return whether an attribute neither runs code nor links outside the page."""
    if key.startswith("on"):
        return False
    return value.startswith(("#", PIXELS)) if key.endswith("href") else "url(" not in value or "url(#" in value


def _page_attribute(key: str, value: str, name: str) -> str:
    """Rewrite an attribute's value for an SVG inside a page."""
    if key == "id":
        return f"{name}-{value}"
    if key.endswith("href") and not value.startswith(PIXELS):
        return value.replace("#", f"#{name}-", 1)
    if key == "clip-path":
        return value.replace("url(#", f"url(#{name}-")
    if key == "style":
        value = re.sub(r"font: (?:[\w-]+ )*([\d.]+px)[^;]*", r"font-size: \1", value)
        for colour, of_page in PAGE_COLOURS.items():
            value = value.replace(colour, of_page)
    return value
