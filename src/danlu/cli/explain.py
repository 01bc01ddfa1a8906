"""danlu explain RUN|BUNDLE [DATA]"""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from danlu.cli.options import Json
from danlu.cli.show import print_json, print_table
from danlu.errors import ArgumentError

SHOWN = 10  # columns of a row in the terminal


def explain(
    bundle: Annotated[Path, Parameter(help="A bundle's or a run's folder.")],
    data: Annotated[
        str | None, Parameter(help="Rows to explain: a file, folder, glob or builtin:NAME; else a split of the run.")
    ] = None,
    *,
    rows: Annotated[
        str | None, Parameter(help="Numbers of the rows, from 0, as 3,17; by default the first 20.")
    ] = None,
    split: Annotated[Literal["validation", "test"], Parameter(help="The run's split.")] = "validation",
    method: Annotated[str | None, Parameter(help="shap, permutation, or both with a comma; by default all.")] = None,
    label: Annotated[str | None, Parameter(help="The label or output; by default what is predicted.")] = None,
    error: Annotated[float | None, Parameter(help="Stop when no interval is wider to either side, as 0.05.")] = None,
    budget: Annotated[int | None, Parameter(help="Most coalitions per row; by default 40 per column.")] = None,
    seed: Annotated[int, Parameter(help="Seed of what is drawn.")] = 0,
    output: Annotated[
        Path | None, Parameter(name=["--output", "-o"], help="Folder for explanation.json and values.npz.")
    ] = None,
    own_code: Annotated[
        bool, Parameter(help="Import the module that the bundle names, if its model is your own.", negative=())
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what each column adds to an answer, and how much the model needs it."""
    from danlu.api.explain import explain as explain_verb

    found = explain_verb(
        bundle,
        data,
        rows=None if rows is None else _numbers(rows),
        split=split,
        methods=None if method is None else [name.strip() for name in method.split(",")],
        label=label,
        error=error,
        budget=budget,
        seed=seed,
        output=output,
        own_code=own_code,
    )
    if as_json:
        print_json(found.to_json())
        return
    for one in found.local:
        named = f" of {one.label!r}" if one.label else ""
        print(f"\nrow {one.row}: {one.scale}{named} {one.answer:.4g}, of which {one.base:.4g} without any column")
        largest = sorted(one.values, key=lambda each: -abs(each.share.value))[:SHOWN]
        print_table([{"column": each.name, "input": each.input, **_shown(each.share)} for each in largest])
        if not one.told_apart:
            print("no column is told apart from 0")
    for method_found in found.overall:
        print(f"\n{method_found.method}: {method_found.metric} is larger by so much where a column is shuffled")
        largest_columns = sorted(method_found.columns, key=lambda each: -each.plain.value)[:SHOWN]
        print_table(
            [
                {"column": each.name, **_shown(each.plain), "conditional": f"{each.conditional.value:.3g}"}
                for each in largest_columns
            ]
        )
    if output is not None:
        print(f"\nexplanation  {output / 'explanation.json'}\narrays       {found.arrays}")


def _numbers(rows: str) -> list[int]:
    try:
        return [int(number) for number in rows.split(",")]
    except ValueError:
        raise ArgumentError(f"--rows: {rows!r} are no numbers of rows; write 3,17", code="DL402") from None


def _shown(share: Any) -> dict[str, str]:
    return {"value": f"{share.value:.3g}", "interval": f"{share.low:.3g} to {share.high:.3g}"}
