"""danlu compress RUN"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from danlu.cli.options import Json, OwnCode
from danlu.cli.show import print_json, print_table

if TYPE_CHECKING:
    from danlu.compression.results import CompressionResult, Figure, Point


def compress(
    run: Annotated[Path, Parameter(help="A run's folder, or a bundle inside one.")],
    *,
    steps: Annotated[
        str | None,
        Parameter(help="In order, as prune=0.5,quantize=int8-static; options as prune={amount: 0.5, epochs: 3}."),
    ] = None,
    budget: Annotated[
        str | None, Parameter(help="What it may cost, as accuracy=0.005; without steps, they are searched within it.")
    ] = None,
    confidence: Annotated[float | None, Parameter(help="Of the bound of that cost; 0.95 by default.")] = None,
    target: Annotated[
        Literal["latency", "size", "memory"] | None, Parameter(help="What a search makes small; latency by default.")
    ] = None,
    minutes: Annotated[float | None, Parameter(help="After which a search begins nothing new.")] = None,
    resume: Annotated[bool, Parameter(help="Go on with an interrupted search.", negative=())] = False,
    output: Annotated[
        Path | None, Parameter(name=["--output", "-o"], help="The new bundle; RUN/compressed/p1 by default.")
    ] = None,
    own_code: OwnCode = False,
    as_json: Json = False,
) -> int:
    """Make a run's model smaller or faster, and write it as a bundle."""
    from danlu.api.compress import compress as compress_verb

    found = compress_verb(
        run,
        steps=steps,
        budget=budget,
        confidence=confidence,
        target=target,
        minutes=minutes,
        resume=resume,
        output=output,
        own_code=own_code,
    )
    kept = found.promise is None or found.promise.kept
    if as_json:
        print_json(found.to_json())
        return 0 if kept else 1
    print_table([_row(point) for point in found.points])
    if found.promise is not None:
        print(f"\n{_promise(found)}")
    print(f"\nbundle  {found.bundle}")
    return 0 if kept else 1


def _row(point: "Point") -> dict[str, str]:
    named = ", ".join(each.label for each in point.steps)
    return {
        "model": point.id,
        "steps": named or "original",
        "engine": point.engine,
        "parameters": f"{point.parameters:,}",
        "zeros": f"{point.sparsity:.1%}",
        "bytes": f"{point.size_bytes:,}",
        **{f"speed, batch {size}": f"{each.value:.2f}x" for size, each in point.speedup.items()},
        **({} if point.drop is None else {"drop": _drop(point.drop)}),
    }


def _drop(drop: "Figure") -> str:
    return f"{drop.value:.4f}" + ("" if drop.high is None else f" (at most {drop.high:.4f})")


def _promise(found: "CompressionResult") -> str:
    promise = found.promise
    assert promise is not None
    rows = f"on {found.accepted:,} rows that were not searched"
    limit = f"{promise.metric} is at most {promise.max_drop:g} worse, with {promise.confidence:.0%} confidence, {rows}"
    if promise.kept:
        return f"kept: {found.chosen}: {limit}"
    few = ""
    if promise.smallest_drop is not None:
        few = f"; so few rows can promise {promise.smallest_drop:.4f} at best"
    return f"not kept by any: {limit}{few}"
