"""danlu evaluate RUN"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from danlu.cli.options import Json, Lang
from danlu.cli.show import metric_rows, print_json, print_table


def evaluate(
    run: Annotated[Path, Parameter(help="A run directory.")],
    *,
    lang: Lang = None,
    json: Json = False,
) -> None:
    """Evaluate a run's model on its validation and test splits; write report and model card."""
    from danlu.api.evaluate import evaluate as evaluate_verb

    evaluation = evaluate_verb(run, language=lang)
    if json:
        print_json(evaluation)
        return
    print_table(metric_rows(evaluation))
    print(f"\nreport  {run / 'report.html'}\ncard    {run / 'MODEL_CARD.md'}")
