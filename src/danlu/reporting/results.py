"""Results of the public functions: plain dicts and lists that show themselves in a notebook.

What they show is drawn by `notebook`, which is imported only then. Everything else treats them as what they are.
"""

from typing import Any

from danlu.core.display import render_html
from danlu.reporting.format import format_bound, format_number

Json = dict[str, Any]


class EvaluationResult(Json):
    """Hold the contents of evaluation.json."""

    def __repr__(self) -> str:
        metric = self["main"]["metric"]
        figures = [
            f"{split} {_figure(self[split].get(metric, {}))}"
            for split in ("test", "validation", "data")
            if split in self
        ]
        return f"{type(self).__name__}({self['task']}: {metric} {', '.join(figures)}; {_keys(self)})"

    def _repr_html_(self) -> str | None:
        return render_html("evaluation", self)


class ComparisonResult(Json):
    """Hold the result of `danlu.compare`."""

    def __repr__(self) -> str:
        metric = self["main"]["metric"]
        figures = [f"{run} {_figure({'value': value})}" for run, value in self["metrics"].get(metric, {}).items()]
        return f"{type(self).__name__}({metric}: {', '.join(figures)}; {_keys(self)})"

    def _repr_html_(self) -> str | None:
        return render_html("comparison", self)


class ReportResult(Json):
    """Hold where `danlu.report` wrote a page, and the page's sections."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self['path']}: {self['lang']}, {len(self['sections'])} sections)"


class DataProfile(Json):
    """Hold the profile that `danlu.check` returns."""

    def __repr__(self) -> str:
        sizes = f"{self['rows']:,} rows, {len(self['columns'])} columns, {len(self['findings'])} findings"
        return f"{type(self).__name__}({self['task']}: {sizes}; {_keys(self)})"

    def _repr_html_(self) -> str | None:
        return render_html("profile", self)


class DriftReport(Json):
    """Hold what `danlu.check(data, against=bundle)` returns."""

    def __repr__(self) -> str:
        sizes = f"{self['rows']:,} rows, {len(self['missing_columns'])} columns missing"
        return f"{type(self).__name__}({sizes}, {len(self['findings'])} findings; {_keys(self)})"


class RunList(list[Json]):
    """Hold the rows of `danlu.runs`."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(row['run'] for row in self)})"

    def _repr_html_(self) -> str | None:
        return render_html("runs", self)


def _keys(result: Json) -> str:
    """Name the keys, since the values are too many to print."""
    return f"keys: {', '.join(result)}"


def _figure(figure: Json) -> str:
    """Return a figure with its interval, in a line."""
    if figure.get("value") is None:
        return "undefined"
    interval = f" [{format_bound(figure['low'])}, {format_bound(figure['high'])}]" if "low" in figure else ""
    return format_number(figure["value"]) + interval
