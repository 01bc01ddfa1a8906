"""danlu new DATA --target COLUMN"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from danlu.cli.options import Overwrite
from danlu.core.console import info


def new(
    data: Annotated[str, Parameter(help="A file, folder, glob or builtin:NAME.")],
    *,
    target: Annotated[str | None, Parameter(help="The column to predict.")] = None,
    output: Annotated[
        Path | None, Parameter(name=["--output", "-o"], help="File for the recipe; stdout by default.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Inspect data and write a commented recipe for it."""
    from danlu.api.new import new as new_verb

    text = new_verb(data, target=target, output=output, overwrite=overwrite)
    if output is None:
        print(text, end="")
    else:
        info(f"wrote {output}; next: danlu check {output}")
