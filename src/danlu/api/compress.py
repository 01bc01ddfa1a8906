"""`danlu compress`: make a run's model smaller or faster, and write it as a bundle."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, PositiveFloat

from danlu.artifacts.files import StrPath
from danlu.artifacts.ownership import RECIPE
from danlu.artifacts.run_recipe import load_run_recipe
from danlu.core.arguments import checked
from danlu.errors import ArgumentError
from danlu.recipe.sections.compression import Budget, Target

if TYPE_CHECKING:
    from danlu.compression.results import CompressionResult


Confidence = Annotated[float, Field(gt=0.5, lt=1.0)]


@checked
def compress(
    run: StrPath,
    *,
    steps: str | Sequence[Any] | None = None,
    budget: str | Mapping[str, float] | None = None,
    confidence: Confidence | None = None,
    target: Target | None = None,
    minutes: PositiveFloat | None = None,
    resume: bool = False,
    output: str | Path | None = None,
    own_code: bool = False,
) -> "CompressionResult":
    """Make a run's model smaller or faster, and write it as a bundle.

    By steps, in order, or by a search within a budget. The bundle is used as every other is. Its golden samples are its
    own answers; preparation, calibration and threshold are the original's. compression.json in the run says what came
    out, and the report shows it.

    With a budget one half of the validation rows is searched on, and the other half judges: the promise is kept where
    the upper bound of the drop on rows that were not searched is within the budget. Test rows are only reported on.

    Args:
        run: a run, or a bundle inside one, such as RUN/compressed/p1, which is compressed further.
        steps: `prune=0.5,quantize=int8-static`, or a sequence as a recipe's `compression.steps`; by default those of
            the run's recipe. With a budget, each further step is measured and may be left out.
        budget: what it may cost: `accuracy=0.005`, or {metric: drop}, in the metric's own units; without steps, they
            are searched.
        confidence: of the bound of the drop; 0.95 by default.
        target: what a search makes small: latency (by default), size or memory.
        minutes: after which a search begins nothing new.
        resume: go on with an interrupted search.
        output: folder of the new bundle; by default below RUN/compressed.
        own_code: import the module that the bundle names, if its model is your own.

    Raises:
        ArgumentError: there is no run, a step is unknown or does not fit the model, or the metric is not evaluated.
        DataError: there are too few rows, or the run's data has changed.
        ArtifactError: the run is damaged, or the disk is full.
        MissingExtra: packages that a step needs are not installed.

    Example:
        >>> import danlu
        >>> found = danlu.compress("runs/wine", steps="prune={amount: 0.5, what: weights}")
        >>> round(found.points[1].sparsity, 2)
        0.5
    """
    from danlu.compression.compress import compress_by_steps
    from danlu.compression.material import find_run
    from danlu.compression.parsing import parse_steps
    from danlu.compression.search import SearchOptions, search_steps

    directory, _ = find_run(run)
    asked = load_run_recipe(directory.path / RECIPE).compression
    written = steps if steps is not None else asked.steps if asked is not None else ()
    limit = _budget(budget, confidence) if budget is not None else asked.budget if asked is not None else None
    folder = None if output is None else Path(output)
    if limit is not None:
        aim = target or (asked.target if asked is not None else "latency")
        options = SearchOptions(limit, aim, minutes or (asked.minutes if asked is not None else None))
        given = parse_steps(written) if written else ()
        return search_steps(run, options, steps=given, resume=resume, output=folder, own_code=own_code)
    if not written:
        raise ArgumentError(
            "steps: give steps, as --steps prune=0.5,quantize=int8-static, a budget, as --budget accuracy=0.005, or a "
            "section `compression` in the recipe",
            code="DL401",
        )
    return compress_by_steps(run, parse_steps(written), folder, own_code=own_code)


def _budget(written: str | Mapping[str, float], confidence: float | None) -> Budget:
    """Return a budget as a command line or a caller has it."""
    limits = dict([written.split("=", 1)] if "=" in written else []) if isinstance(written, str) else dict(written)
    sure = {} if confidence is None else {"confidence": confidence}
    try:
        ((metric, drop),) = limits.items()
        return Budget.model_validate({"metric": metric.strip(), "max_drop": drop, **sure})
    except ValueError:  # pydantic's errors are such, and so is another number of limits
        raise ArgumentError(
            f"budget: {written!r} is none; write METRIC=DROP with a drop of 0 or more, as accuracy=0.005", code="DL402"
        ) from None
