"""danlu report RUN"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from danlu.cli.options import Json, Lang, Overwrite
from danlu.cli.show import print_document, say


def report(
    run: Annotated[Path, Parameter(help="A run directory.")],
    *,
    output: Annotated[
        Path | None, Parameter(name=["--output", "-o"], help="File for the page; the run's report.html by default.")
    ] = None,
    lang: Lang = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Draw a run's report again from its files, in any language; compute nothing."""
    from danlu.api.report import report as report_verb

    written = report_verb(run, language=lang, output=output, overwrite=overwrite)
    if json:
        print_document(written)
    else:
        say(f"report  {written['path']}")
