"""danlu plan RECIPE, danlu plan --estimate 8,64"""

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from danlu.cli.options import Json, OptionalRecipe, Overrides
from danlu.cli.show import print_document, print_json, print_table
from danlu.core.console import info
from danlu.errors import ArgumentError, DanluError

if TYPE_CHECKING:
    from danlu.experiment.training_estimate import TrainingEstimate
    from danlu.recipe.schema import Recipe

Memory = Annotated[
    float | None, Parameter(name="--memory", help="Plan for this many GB instead of the free memory here.")
]


EstimateGpus = Annotated[
    str | None,
    Parameter(
        name="--estimate",
        help="Estimate a language model on numbers of GPUs such as 8,64,1024 by formulas; nothing is measured.",
    ),
]
Models = Annotated[
    str, Parameter(name="--model", help="With --estimate and no recipe: shapes of Llama 2: 7b, 13b or 70b.")
]
Card = Annotated[Literal["a100", "h100", "h200", "b200"], Parameter(help="With --estimate: the GPU, eight per node.")]
Precision = Annotated[str | None, Parameter(help="With --estimate: as training.precision; bf16 by default.")]
Tokens = Annotated[
    int | None,
    Parameter(help="With --estimate: tokens per step over all GPUs; by default the recipe's batch, or 4,194,304."),
]


Candidates = Annotated[
    str | None,
    Parameter(
        help="Compare pretrained models on the recipe's data by a linear probe and recommend one, as in "
        "timm:resnet18=weights.safetensors,hf:./MiniLM; nothing is trained.",
    ),
]


def plan(
    recipe: OptionalRecipe = None,
    *,
    overrides: Overrides = (),
    memory: Memory = None,
    candidates: Candidates = None,
    estimate: EstimateGpus = None,
    model: Models = "7b,70b",
    card: Card = "h100",
    precision: Precision = None,
    tokens: Tokens = None,
    json: Json = False,
) -> int:
    """Predict memory, FLOPs and time of a training; suggest settings if it does not fit."""
    from danlu.recipe.load import load_recipe

    loaded = None if recipe is None else load_recipe(recipe, overrides=overrides)
    if estimate is not None:
        from danlu.training.distributed.layout_plan import ASSUMPTIONS, estimate_layouts, table_row, to_dict

        models = [name.strip() for name in model.split(",")]
        lines = estimate_layouts(_parse_counts(estimate), models, loaded, card, precision, tokens)
        if json:
            print_json([to_dict(line) for line in lines])
        else:
            print_table(_align_columns([table_row(line) for line in lines]))
            info(ASSUMPTIONS)
        return 0
    if loaded is None:
        raise ArgumentError("give a recipe, or --estimate with numbers of GPUs", code="DL401")
    if candidates is not None:
        return _print_candidates(loaded, candidates, json)
    from danlu.api.plan import plan as plan_verb

    found = plan_verb(loaded, memory_bytes=None if memory is None else _to_bytes(memory))
    if json:
        print_document(asdict(found))
    else:
        _print(found)
    return 0 if found.fits else DanluError.exit_code


def _print_candidates(recipe: "Recipe", candidates: str, json: bool) -> int:
    """Probe the candidates and print one row each, best first."""
    from danlu.experiment.linear_probe import probe_models

    found = probe_models(recipe, [name.strip() for name in candidates.split(",") if name.strip()])
    if json:
        print_json([asdict(candidate) for candidate in found])
        return 0
    rows = [{**asdict(candidate), "take": "<- recommended" if candidate.take else ""} for candidate in found]
    print_table([{("s / 1000" if key == "seconds" else key): value for key, value in row.items()} for row in rows])
    info(
        "a linear model on frozen features, scored on validation samples; recommended is the fastest model whose "
        "interval reaches the best. Fine-tuning gains more if the score is low"
    )
    return 0


def _to_bytes(memory_gb: float) -> int:
    """Return `--memory` in bytes; raise ArgumentError unless it is a finite number above 0."""
    if not 0 < memory_gb < math.inf:
        raise ArgumentError(f"--memory {memory_gb:g}: must be a number of GB above 0", code="DL402")
    return max(1, round(memory_gb * 1e9))


def _parse_counts(said: str) -> list[int]:
    parts = [part.strip() for part in said.split(",")]
    if not all(part.isdigit() for part in parts):
        raise ArgumentError(f"--estimate {said}: give numbers of GPUs, such as 8,64,1024", code="DL402")
    return [int(part) for part in parts]


def _align_columns(lines: list[dict[str, object]]) -> list[dict[str, object]]:
    """Give all rows the columns of the longest one."""
    longest = max(lines, key=len)
    return [dict.fromkeys(longest) | line for line in lines]


def _print(found: "TrainingEstimate") -> None:
    free = "" if found.free_bytes is None else f" of {format_bytes(found.free_bytes)} available"
    print(f"device    {found.device}")
    print(f"model     {found.parameters:,} parameters; {format_bytes(found.state_bytes)} with gradients and optimizer")
    print(f"memory    {format_bytes(found.peak_bytes)} at its peak{free}, batch size {found.batch_size}")
    print(f"compute   {found.flops / 1e9:,.3g} GFLOP per step, {found.flops * found.steps / 1e12:,.3g} TFLOP in total")
    if found.step_seconds is not None and found.seconds is not None:
        duration = format_duration(found.seconds)
        print(f"time      {found.step_seconds * 1000:,.3g} ms per step; {found.steps:,} steps take {duration}")
    if found.warning is not None:
        print(f"warning   {found.warning}")
    if found.fits:
        return
    print("it does not fit" + ("; these settings would:" if found.cures else ", and no known setting helps"))
    for words, peak in found.cures.items():
        print(f"    {' '.join(f'--set {word}' for word in words.split())}    ({format_bytes(peak)})")


def format_bytes(count: int) -> str:
    """Format a number of bytes for people."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count} bytes"


def format_duration(seconds: float) -> str:
    """Format seconds for people."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} s"
