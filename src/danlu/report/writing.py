"""Numbers and labels as every page writes them, in whatever language. In: values. Out: text, not escaped for HTML."""

from typing import Any


def number(value: Any) -> str:
    """A number as the page writes it: four significant digits, thousands apart; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if 1000 <= abs(value) < 1e6:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def rounded(value: float | None) -> str:
    """A bound of an interval: three digits say as much as it knows."""
    return "–" if value is None else number(float(f"{value:.3g}"))


def signed(value: float | None) -> str:
    """A difference, with its sign."""
    return "–" if value is None else f"{'+' if value > 0 else ''}{rounded(value)}"


def percent(share: float) -> str:
    """A confidence: `95%`, `99.5%`."""
    return f"{100 * share:.4g}%"


def short(text: Any, most: int = 24) -> str:
    """A label that fits a figure or a table's cell: one line of printable characters, cut where it is long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"
