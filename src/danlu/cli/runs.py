"""danlu runs [RUN RUN …]"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from danlu.cli.options import Json, Output
from danlu.cli.show import print_json, print_table
from danlu.core.console import info


def runs(
    compared: Annotated[
        tuple[Path, ...], Parameter(help="Runs to compare; lists all when left out.", negative=())
    ] = (),
    /,
    *,
    output: Output = Path("runs"),
    json: Json = False,
) -> None:
    """List runs, or compare some: differing recipe keys and test metrics."""
    from danlu.api.runs import compare
    from danlu.api.runs import runs as runs_verb

    rows = compare(list(compared)) if compared else runs_verb(output)
    if json:
        print_json(rows)
    elif rows:
        print_table(rows)
    else:
        info(f"no runs in {output}; `danlu run breast-cancer` makes one")
