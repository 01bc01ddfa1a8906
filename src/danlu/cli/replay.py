"""danlu replay LOG BUNDLE"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from danlu.cli.options import Json, OwnCode
from danlu.cli.show import print_document, print_table, say

SHOWN = 10  # differences


def replay(
    log: Annotated[Path, Parameter(help="The file of danlu serve --log.")],
    bundle: Annotated[Path, Parameter(help="A bundle or a run: the one that answered, or a candidate.")],
    *,
    model: Annotated[
        str | None, Parameter(help="Whose requests, as wine or wine/3; where the log has several.")
    ] = None,
    engine: Annotated[str | None, Parameter(help="What computes the network; that of the log by default.")] = None,
    own_code: OwnCode = False,
    json: Json = False,
) -> int:
    """Answer a server's log again, and show where answers differ.

    The exit code is 1 where the very bundle of the log answers otherwise than it did.
    """
    from danlu.api.replay import replay as replay_log

    found = replay_log(log, bundle, model=model, engine=engine, own_code=own_code)
    if json:
        print_document(found.to_json())
    else:
        say(
            f"{found.requests:,} requests, {found.equal:,} answered the same ({found.exact:,} held to every byte); "
            f"largest deviation {found.max_deviation:.2g}; {found.labels_changed:,} labels changed"
        )
        if found.skipped:
            say(f"{found.skipped:,} requests of language models are skipped")
        print_table([_row(each) for each in found.differences[:SHOWN]])
        if len(found.differences) > SHOWN:
            say(f"and {len(found.differences) - SHOWN:,} more; --json lists them all")
    return 0 if found.is_kept else 1


def _row(difference: dict[str, object]) -> dict[str, object]:
    """Show the first answer of a request that differs."""
    was, now = difference["was"], difference["is"]
    assert isinstance(was, list) and isinstance(now, list)
    row = next((at for at, (a, b) in enumerate(zip(was, now, strict=True)) if a != b), 0)
    return {"id": difference["id"], "row": row, "was": _short(was[row]), "is": _short(now[row])}


def _short(answer: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in answer.items() if name != "probabilities")
