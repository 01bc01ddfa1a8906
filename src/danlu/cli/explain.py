"""danlu explain RUN|BUNDLE|FILE.onnx [DATA]"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from danlu.cli.options import Json, OwnCode
from danlu.cli.show import print_json, print_table
from danlu.errors import ArgumentError

SHOWN = 10  # columns of a row in the terminal


def explain(
    bundle: Annotated[Path, Parameter(help="A bundle's or a run's folder, or an exported ONNX file of a table.")],
    data: Annotated[
        str | None, Parameter(help="Rows to explain: a file, folder, glob or builtin:NAME; else a split of the run.")
    ] = None,
    *,
    rows: Annotated[
        str | None, Parameter(help="Numbers of the rows, from 0, as 3,17; by default the first 20.")
    ] = None,
    split: Annotated[Literal["validation", "test"], Parameter(help="The run's split.")] = "validation",
    method: Annotated[
        str | None,
        Parameter(
            help="shap, permutation, lime, partial-dependence, accumulated-effects, interactions, surrogate, "
            "counterfactual, trust or tracin, several with commas; by default the first two. Of images and texts: shap "
            "(the default), lime, occlusion, integrated-gradients, deep-lift, gradient-shap, gradient-x-input, "
            "grad-cam, attention-rollout or trust."
        ),
    ] = None,
    label: Annotated[
        str | None, Parameter(help="The label, output, tag or next token; by default what is predicted.")
    ] = None,
    error: Annotated[float | None, Parameter(help="Stop when no interval is wider to either side, as 0.05.")] = None,
    budget: Annotated[
        int | None, Parameter(help="Most coalitions per row; by default 40 per column, 20 per segment or word.")
    ] = None,
    actionable: Annotated[
        str | None, Parameter(help="Columns that counterfactuals may change, with commas; by default all.")
    ] = None,
    target: Annotated[
        str | None, Parameter(help="Of an exported file: the column of DATA that holds what it predicts.")
    ] = None,
    seed: Annotated[int, Parameter(help="Seed of what is drawn.")] = 0,
    output: Annotated[
        Path | None, Parameter(name=["--output", "-o"], help="Folder for explanation.json and values.npz.")
    ] = None,
    own_code: OwnCode = False,
    as_json: Json = False,
) -> None:
    """Say what each column, word or pixel adds to an answer, with intervals."""
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
        actionable=None if actionable is None else [name.strip() for name in actionable.split(",")],
        target=target,
        seed=seed,
        output=output,
        own_code=own_code,
    )
    if as_json:
        print_json(found.to_json())
        return
    for one in found.local:
        _print_local(one)
    for other in found.counterfactuals:
        print(f"\nrow {other.row} would be {other.prediction!r} with")
        print_table([{"column": name, "from": was, "to": now} for name, (was, now) in other.changes.items()])
    for trust in found.trust:
        print(
            f"\ntrust in {trust.method}, on {trust.rows} rows: beats dummies: {'yes' if trust.beats_dummies else 'no'}"
        )
        figures = {"infidelity": trust.infidelity, "stability": trust.stability, "randomisation": trust.randomisation}
        figures |= {f"infidelity of {name} values": each for name, each in trust.dummies.items()}
        print_table([{"figure": name, **_shown(each)} for name, each in figures.items() if each is not None])
        if trust.removal is None:
            continue
        areas, told = trust.removal.areas, " > ".join(", ".join(group) for group in trust.removal.ranks)
        print(f"without the largest columns the answer moves by (told apart: {told})")
        print_table([{"method": name, **_shown(each)} for name, each in areas.items()])
    for taught in found.influence:
        print(f"\nrow {taught.row}: training rows that taught this answer, and rows that spoke against it")
        sides = (("for", taught.helped), ("against", taught.hindered))
        print_table(
            [{"side": side, "row": row, "influence": f"{value:.3g}"} for side, each in sides for row, value in each]
        )
    for overall in found.overall:
        PRINTERS[overall.method](overall)
    if output is not None:
        print(f"\nexplanation  {output / 'explanation.json'}\narrays       {found.arrays}")
        for picture in sorted(output.glob("row-*.png")) if any(one.pixels is not None for one in found.local) else ():
            print(f"picture      {picture}")


def _print_local(one: Any) -> None:
    named = f" of {one.label!r}" if one.label else ""
    about = f" at {one.about!r}" if one.about else ""
    said = f"row {one.row}: {one.scale}{named}{about} {one.answer:.4g}"
    is_network = one.pixels is not None or one.values[0].start is not None
    method = f"{one.method}, " if is_network else ""
    if one.fidelity is not None:
        print(f"\n{said}; {method}slopes of a linear model nearby, fidelity {one.fidelity:.2f}")
    elif not is_network:
        print(f"\n{said}, of which {one.base:.4g} without any column")
    elif one.completeness_error is not None:
        print(f"\n{said}, of which {one.base:.4g} with nothing there; {one.method}")
    else:
        print(f"\n{said}, and {one.base:.4g} with nothing there; {one.method}, which does not add up to the rest")
    if one.pixels is not None:
        values = one.pixels.values
        height, width = values.shape
        line, column = divmod(int(abs(values).argmax()), width)
        print(f"largest at line {line} and column {column} of {height} x {width} pixels")
        return
    noun = "words" if is_network else "column"
    largest = sorted(one.values, key=lambda each: -abs(each.share.value))[:SHOWN]
    beside = [{} if is_network else {"input": each.input} for each in largest]
    print_table([{noun: each.name, **cell, **_shown(each.share)} for each, cell in zip(largest, beside, strict=True)])
    if not one.told_apart and one.values[0].share.low is not None:
        print(f"no {noun} {'are' if is_network else 'is'} told apart from 0")


def _print_importance(found: Any) -> None:
    print(f"\n{found.method}: {found.metric} is larger by so much where a column is shuffled")
    largest = sorted(found.columns, key=lambda each: -each.plain.value)[:SHOWN]
    print_table(
        [
            {"column": each.name, **_shown(each.plain), "conditional": f"{each.conditional.value:.3g}"}
            for each in largest
        ]
    )


def _print_curves(found: Any) -> None:
    named = f" of {found.label!r}" if found.label else ""
    print(f"\n{found.method}: {found.scale}{named} from the first to the last place of each column")
    largest = sorted(found.columns, key=lambda each: -each.height)[:SHOWN]
    print_table(
        [
            {
                "column": each.name,
                "from": f"{each.points[0].input} {each.points[0].share.value:.3g}",
                "to": f"{each.points[-1].input} {each.points[-1].share.value:.3g}",
                "height": f"{each.height:.3g}",
            }
            for each in largest
        ]
    )


def _print_pairs(found: Any) -> None:
    print(f"\n{found.method}: the share of what two columns do together that neither does alone")
    print_table([{"columns": " and ".join(each.names), **_shown(each.share)} for each in found.pairs[:SHOWN]])


def _print_rules(found: Any) -> None:
    print(f"\n{found.method}: fidelity {found.fidelity.value:.3g} ({_shown(found.fidelity)['interval']})")
    print_table(
        [
            {"if": " and ".join(each.conditions) or "any row", "value": f"{each.value:.3g}", "rows": each.rows}
            for each in found.rules
        ]
    )


PRINTERS: dict[str, Callable[[Any], None]] = {
    "permutation": _print_importance,
    "partial-dependence": _print_curves,
    "accumulated-effects": _print_curves,
    "interactions": _print_pairs,
    "surrogate": _print_rules,
}


def _numbers(rows: str) -> list[int]:
    try:
        return [int(number) for number in rows.split(",")]
    except ValueError:
        raise ArgumentError(f"--rows: {rows!r} are no numbers of rows; write 3,17", code="DL402") from None


def _shown(share: Any) -> dict[str, str]:
    if share.low is None:
        return {"value": f"{share.value:.3g}", "interval": "-"}
    interval = "exact" if share.low == share.high else f"{share.low:.3g} to {share.high:.3g}"
    return {"value": f"{share.value:.3g}", "interval": interval}
