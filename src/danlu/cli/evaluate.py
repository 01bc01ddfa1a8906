"""danlu evaluate RUN [DATA]"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from danlu.cli.options import EngineName, Json, Lang
from danlu.cli.show import print_document, print_evaluation, say


def evaluate(
    run: Annotated[Path, Parameter(help="A run directory.")],
    data: Annotated[
        str | None, Parameter(help="Other labelled data to judge the model on: a file, folder, glob or builtin:NAME.")
    ] = None,
    *,
    output: Annotated[
        Path | None,
        Parameter(name=["--output", "-o"], help="With DATA, the folder of its figures; RUN/evaluations by default."),
    ] = None,
    engine: EngineName = "auto",
    lang: Lang = None,
    json: Json = False,
) -> None:
    """Evaluate a run's model on its validation and test splits, or on other data."""
    from danlu.api.evaluate import evaluate as evaluate_verb

    evaluation = evaluate_verb(run, data, language=lang, output=output, engine=engine)
    if json:
        print_document(evaluation)
        return
    print_evaluation(evaluation)
    if data is None:
        say(f"\nreport  {run / 'report.html'}\ncard    {run / 'MODEL_CARD.md'}")
    else:
        judged = evaluation["source"]
        left_out = f", {judged['left_out']:,} left out" if judged["left_out"] else ""
        say(f"\n{judged['rows']:,} rows{left_out}; figures in {output or run / 'evaluations'}")
