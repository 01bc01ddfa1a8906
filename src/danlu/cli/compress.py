"""danlu compress RUN"""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from danlu.cli.options import Json
from danlu.cli.show import print_json, print_table


def compress(
    run: Annotated[Path, Parameter(help="A run's folder, or a bundle inside one.")],
    *,
    steps: Annotated[
        str | None,
        Parameter(help="In order, as prune=0.5,quantize=int8-static; options as prune={amount: 0.5, epochs: 3}."),
    ] = None,
    output: Annotated[
        Path | None, Parameter(name=["--output", "-o"], help="The new bundle; RUN/compressed/p1 by default.")
    ] = None,
    own_code: Annotated[
        bool, Parameter(help="Import the module that the bundle names, if its model is your own.", negative=())
    ] = False,
    as_json: Json = False,
) -> int:
    """Make a run's model smaller or faster, and write it as a bundle."""
    from danlu.api.compress import compress as compress_verb

    found = compress_verb(run, steps=steps, output=output, own_code=own_code)
    if as_json:
        print_json(found.to_json())
        return 0
    print_table([_row(point) for point in found.points])
    print(f"\nbundle  {found.bundle}")
    return 0


def _row(point: Any) -> dict[str, str]:
    named = ", ".join(str(each.step["name"]) for each in point.steps)
    return {
        "model": point.id,
        "steps": named or "original",
        "engine": point.engine,
        "parameters": f"{point.parameters:,}",
        "zeros": f"{point.sparsity:.1%}",
        "bytes": f"{point.size_bytes:,}",
    }
