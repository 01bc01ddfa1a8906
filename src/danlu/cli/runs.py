"""danlu runs"""

from pathlib import Path

from danlu.cli.options import Json, Output
from danlu.cli.show import print_json, print_table
from danlu.core.console import info


def runs(*, output: Output = Path("runs"), json: Json = False) -> None:
    """List runs, newest first: model, seed, state and main test metric."""
    from danlu.api.runs import runs as runs_verb

    rows = runs_verb(output)
    if json:
        print_json(rows)
    elif rows:
        print_table(rows)
    else:
        info(f"no runs in {output}; `danlu run breast-cancer` makes one")
