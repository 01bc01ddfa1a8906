"""danlu compare RUN RUN [RUN …]"""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from danlu.cli.options import Json, Lang, Overwrite
from danlu.cli.show import format_value, print_document, print_table, say


def compare(
    runs: Annotated[
        tuple[Path, ...],
        Parameter(help="Runs tested on the same rows; each is compared with the first one.", negative=()),
    ],
    /,
    *,
    html: Annotated[Path | None, Parameter(help="Also write the comparison as a page into this file.")] = None,
    lang: Lang = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Compare runs on their shared test rows: paired differences with intervals, and differing recipe keys."""
    from danlu.api.compare import compare as compare_verb

    found = compare_verb(list(runs), html=html, language=lang, overwrite=overwrite)
    if json:
        print_document(found)
        return
    print_table(_metric_rows(found))
    for each in found["differences"]:
        say(f"\n{_mcnemar_sentence(each)}" if "mcnemar" in each else "")
    if found["recipes"]:
        say("\ndifferences between the recipes")
        print_table(found["recipes"])
    if html is not None:
        say(f"\npage  {html}")


def _metric_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one row per metric: each run's value, and each difference to the first run."""
    rows: list[dict[str, Any]] = []
    for name, figures in found["metrics"].items():
        row: dict[str, Any] = {"metric": name, **{run: figures.get(run) for run in found["runs"]}}
        for each in found["differences"]:
            row[f"{each['run']} less {each['against']}"] = _format_difference(each["metrics"].get(name))
        rows.append(row)
    return rows


def _format_difference(figure: dict[str, float] | None) -> str:
    """Format as `+0.012 (-0.003 to +0.027)`, with a star if the interval excludes 0."""
    if figure is None:
        return ""
    if "low" not in figure:
        return f"{figure['value']:+.4g}"
    clear = " *" if figure["low"] > 0 or figure["high"] < 0 else ""
    return f"{figure['value']:+.4g} ({figure['low']:+.4g} to {figure['high']:+.4g}){clear}"


def _mcnemar_sentence(each: dict[str, Any]) -> str:
    test = each["mcnemar"]
    return (
        f"only {each['run']} is right on {test['first_alone']:,} rows, only {each['against']} on "
        f"{test['second_alone']:,} (McNemar's test: p = {format_value(float(test['p_value']))})"
    )
