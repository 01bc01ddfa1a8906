"""danlu new DATA --target COLUMN"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from danlu.cli.options import Lang, Overwrite
from danlu.core.console import info
from danlu.core.language import console_language


def new(
    data: Annotated[str, Parameter(help="A file, folder, glob or builtin:NAME.")],
    *,
    target: Annotated[str | None, Parameter(help="The column to predict.")] = None,
    output: Annotated[
        Path | None, Parameter(name=["--output", "-o"], help="File for the recipe; stdout by default.")
    ] = None,
    lang: Lang = None,
    overwrite: Overwrite = False,
) -> None:
    """Inspect data and write a commented recipe for it."""
    from danlu.api.new import new as new_verb

    language = lang or console_language()
    text = new_verb(data, target=target, output=output, language=language, overwrite=overwrite)
    if output is None:
        print(text, end="")
    else:
        info(f"wrote {output}; next: danlu check {output}")
