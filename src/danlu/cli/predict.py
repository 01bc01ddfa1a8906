"""danlu predict BUNDLE DATA"""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from danlu.core.console import info


def predict(
    bundle: Annotated[Path, Parameter(help="A bundle's or a run's folder.")],
    data: Annotated[str, Parameter(help="A file, folder, glob or builtin:NAME.")],
    *,
    output: Annotated[
        Path | None,
        Parameter(name=["--output", "-o"], help="A .parquet, .csv or .jsonl file; CSV on stdout by default."),
    ] = None,
    keep: Annotated[
        tuple[str, ...], Parameter(help="An input column to put before the predictions. May be repeated.", negative=())
    ] = (),
    own_code: Annotated[
        bool, Parameter(help="Import the module that the bundle names, if its model is your own.", negative=())
    ] = False,
    processes: Annotated[
        int | None,
        Parameter(help="Start this many processes on this machine, each of which predicts a share."),
    ] = None,
) -> int:
    """Predict every row of a file, folder or glob in order: labels and probabilities."""
    from danlu.api.predict import predict as predict_verb
    from danlu.api.predict import without_lists

    if processes is not None:
        from danlu.launch.processes import launch_predict

        return launch_predict(sys.argv[1:], output, processes)
    answers = predict_verb(bundle, data, output=output, keep=keep, own_code=own_code)
    if output is None:
        print(without_lists(answers).write_csv(), end="")
    else:
        info(f"{answers.height:,} predictions in {output}")
    return 0
