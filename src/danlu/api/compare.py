"""`danlu compare`: paired differences of every metric between runs tested on the same rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from danlu.artifacts.files import StrPath
from danlu.artifacts.outputs import refuse_existing_file
from danlu.artifacts.run import RunDirectory
from danlu.core.arguments import checked
from danlu.errors import ArgumentError
from danlu.evaluation.run_comparison import compare_evaluated_runs, load_evaluated_run, run_label
from danlu.reporting.comparison import write_comparison
from danlu.reporting.results import ComparisonResult


@checked
def compare(
    runs: Sequence[StrPath], *, html: str | Path | None = None, language: str | None = None, overwrite: bool = False
) -> dict[str, Any]:
    """Compare runs with the first one.

    Args:
        runs: at least two run directories, evaluated on the same test rows.
        html: also write the comparison as a page into this file.
        language: of the page: en or zh; by default the one in the first run's recipe.
        overwrite: replace an existing page.

    Returns:
        `runs`, `rows`, `metrics` (metric -> run -> value), `recipes` (differing keys: key -> run -> value) and
        `differences`: for each run but the first, its `metrics` (value, low, high of the difference to the first run)
        and, for classification, `mcnemar`.

    Raises:
        ArgumentError: there are fewer than two runs, one is not evaluated, they were tested on different rows, or the
            language is unknown, or the page exists already.

    Example:
        >>> import danlu
        >>> other = danlu.run(danlu.load_recipe("wine", overrides=["model=linear"]), name="linear")
        >>> found = danlu.compare(["runs/wine", other])
        >>> len(found["runs"]), sorted(found["metrics"])[:2]
        (2, ['accuracy', 'auroc'])
    """
    if len(runs) < 2:
        raise ArgumentError("compare takes two runs or more; `danlu runs` lists the runs", code="DL401")
    if html is not None:
        refuse_existing_file(Path(html), overwrite)
    tested = [load_evaluated_run(RunDirectory.open(path)) for path in runs]
    found = compare_evaluated_runs(tested)
    if html is not None:
        named = {run_label(tested, each): each.run for each in tested}
        write_comparison(named, found, Path(html), language or tested[0].recipe.evaluation.language)
    return ComparisonResult(found)
