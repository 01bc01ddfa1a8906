"""danlu predict BUNDLE DATA"""

import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from danlu.cli.options import EngineName, Overwrite, OwnCode
from danlu.cli.standard_input import NAMES as STDIN
from danlu.cli.standard_input import as_file, is_json_lines
from danlu.core.console import info
from danlu.errors import ArgumentError, DataError


def predict(
    bundle: Annotated[Path, Parameter(help="A bundle's or a run's folder.")],
    data: Annotated[
        str, Parameter(help="A file, folder, glob or builtin:NAME; - reads CSV or lines of JSON from stdin.")
    ],
    *,
    output: Annotated[
        Path | None,
        Parameter(
            name=["--output", "-o"],
            help="A .parquet, .csv or .jsonl file; by default CSV on stdout. - writes stdout in the form of the data.",
        ),
    ] = None,
    keep: Annotated[
        tuple[str, ...], Parameter(help="An input column to put before the predictions. May be repeated.", negative=())
    ] = (),
    engine: EngineName = "auto",
    explain: Annotated[
        bool,
        Parameter(
            help="Add the column explanation: what each column or word adds to the answer, as JSON.", negative=()
        ),
    ] = False,
    own_code: OwnCode = False,
    processes: Annotated[
        int | None,
        Parameter(help="Start this many processes on this machine, each of which predicts a share."),
    ] = None,
    broken: Annotated[
        Literal["row", "skip", "fail"],
        Parameter(
            help="A row that cannot be answered, such as a broken image: keep it without a prediction and with its "
            "reason in the column error (row), leave it out (skip), or refuse all (fail)."
        ),
    ] = "row",
    overwrite: Overwrite = False,
    strict: Annotated[bool, Parameter(help="Exit with code 3 if a row could not be answered.", negative=())] = False,
) -> int:
    """Predict every row of a file, folder or glob in order: labels and probabilities."""
    from danlu.api.predict import Asked, checked_output, predicted
    from danlu.artifacts.cache import temporary_copies

    if processes is not None:
        from danlu.launch.processes import launch_predict

        if data in STDIN:
            raise ArgumentError(f"--processes: each reads the rows by itself; name a file, not {data}", code="DL401")
        return launch_predict(sys.argv[1:], output, processes)
    target = None if output is None or str(output) == "-" else output
    asked = Asked(keep=keep, engine=engine, explain=explain, own_code=own_code, broken=broken)
    with as_file(data) as source, ExitStack() as stack:
        if target is None:
            suffix = ".jsonl" if output is not None and is_json_lines(source) else ".csv"
            path = stack.enter_context(temporary_copies()) / f"answers{suffix}"
        else:
            path = checked_output(target, bundle, source, overwrite)
        with predicted(bundle, source, asked, path) as found:
            height, errors = found.table.height, found.errors
        if target is None:
            sys.stdout.flush()
            with path.open("rb") as whole:
                shutil.copyfileobj(whole, sys.stdout.buffer)
        else:
            info(f"{height:,} predictions in {output}")
    if errors.first is not None:
        row, reason = errors.first
        done = "left out" if broken == "skip" else "without a prediction"
        info(f"{errors.count:,} rows {done}; the first, row {row + 1}: {reason}")
    return DataError.exit_code if strict and errors.count else 0
