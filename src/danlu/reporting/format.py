"""Formatting of numbers and labels, alike in every language. In: values. Out: text, not escaped for HTML."""

from typing import Any


def format_number(value: Any) -> str:
    """Format a number: four significant digits, thousands separators; empty for None."""
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if 1000 <= abs(value) < 1e6:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def format_bound(value: float | None) -> str:
    """Format an interval bound with three digits, which is all it knows."""
    return "–" if value is None else format_number(float(f"{value:.3g}"))


def format_signed(value: float | None) -> str:
    """Format a difference with its sign."""
    return "–" if value is None else f"{'+' if value > 0 else ''}{format_bound(value)}"


def format_percent(share: float) -> str:
    """Format a confidence level: `95%`, `99.5%`."""
    return f"{100 * share:.4g}%"


def shorten(text: Any, most: int = 24) -> str:
    """Shorten a label to one line of printable characters for a figure or table cell."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"
