"""danlu doctor, danlu doctor RUN, danlu doctor --cache"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from danlu.cli.options import Json
from danlu.cli.show import print_json, say


def doctor(
    run: Annotated[Path | None, Parameter(help="A run to check and mend; the installation by default.")] = None,
    *,
    cache: Annotated[bool, Parameter(help="Show and prune the cache instead.", negative=())] = False,
    unused_days: Annotated[
        float, Parameter(help="With --cache: delete results that nothing has used for so many days; 0 empties it.")
    ] = 30.0,
    json: Json = False,
) -> int:
    """Check this installation, a run or the cache, and say how to fix problems.

    The exit code is 1 for a damaged run.
    """
    from danlu.api.doctor import doctor as doctor_verb

    found = doctor_verb(run, cache=cache, unused_days=unused_days)
    if json:
        print_json([item.model_dump() for item in found])
    else:
        for item in found:
            say(f"{_mark(item.well, item.mended)}  {item.subject}: {item.message}")
            if item.cure:
                say(f"      {item.cure}")
    return int(run is not None and not all(item.well for item in found))


def _mark(well: bool, mended: bool) -> str:
    return "done" if mended else "ok  " if well else "fix "
