"""danlu compare RUN RUN [RUN …]"""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from danlu.cli.options import Json, Lang
from danlu.cli.show import print_json, print_table, shown


def compare(
    runs: Annotated[
        tuple[Path, ...], Parameter(help="Runs tested on the same rows; all are compared with the first.", negative=())
    ],
    /,
    *,
    html: Annotated[Path | None, Parameter(help="A file to write a page into that shows the comparison.")] = None,
    lang: Lang = None,
    json: Json = False,
) -> None:
    """Compare runs on the test rows that they share: paired differences with intervals, and what differs in recipes."""
    from danlu.verbs.compare import compare as compare_verb

    found = compare_verb(list(runs), html, lang)
    if json:
        print_json(found)
        return
    print_table(_metric_rows(found))
    for each in found["differences"]:
        print(f"\n{_sentence(each)}" if "mcnemar" in each else "")
    if found["recipes"]:
        print("\nwhat differs in the recipes")
        print_table(found["recipes"])
    if html is not None:
        print(f"\npage  {html}")


def _metric_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """A row a metric: each run's figure, and each difference from the first with its interval."""
    rows: list[dict[str, Any]] = []
    for name, figures in found["metrics"].items():
        row: dict[str, Any] = {"metric": name, **{run: figures.get(run) for run in found["runs"]}}
        for each in found["differences"]:
            row[f"{each['run']} less {each['against']}"] = _difference(each["metrics"].get(name))
        rows.append(row)
    return rows


def _difference(figure: dict[str, float] | None) -> str:
    """`+0.012 (-0.003 to +0.027)`, with a star where 0 is outside."""
    if figure is None:
        return ""
    if "low" not in figure:
        return f"{figure['value']:+.4g}"
    clear = " *" if figure["low"] > 0 or figure["high"] < 0 else ""
    return f"{figure['value']:+.4g} ({figure['low']:+.4g} to {figure['high']:+.4g}){clear}"


def _sentence(each: dict[str, Any]) -> str:
    test = each["mcnemar"]
    return (
        f"{each['run']} alone is right on {test['first_alone']:,} rows, {each['against']} alone on "
        f"{test['second_alone']:,} (McNemar's test: p = {shown(float(test['p_value']))})"
    )
