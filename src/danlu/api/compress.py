"""`danlu compress`: make a run's model smaller or faster, and write it as a bundle."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.artifacts.files import StrPath
from danlu.artifacts.ownership import RECIPE
from danlu.artifacts.run_recipe import load_run_recipe
from danlu.core.arguments import checked
from danlu.errors import ArgumentError

if TYPE_CHECKING:
    from danlu.compression.results import CompressionResult


@checked
def compress(
    run: StrPath,
    *,
    steps: str | Sequence[Any] | None = None,
    output: str | Path | None = None,
    own_code: bool = False,
) -> "CompressionResult":
    """Make a run's model smaller or faster by steps, in order, and write it as a bundle.

    The bundle is used as every other is. Its golden samples are its own answers; preparation, calibration and
    threshold are the original's. compression.json in the run says what came out.

    Args:
        run: a run, or a bundle inside one, such as RUN/compressed/p1, which is compressed further.
        steps: `prune=0.5,quantize=int8-static`, or a sequence as a recipe's `compression.steps`; by default those of
            the run's recipe.
        output: folder of the new bundle; by default RUN/compressed/p1.
        own_code: import the module that the bundle names, if its model is your own.

    Raises:
        ArgumentError: there is no run, a step is unknown, or it does not fit the model.
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

    directory, _ = find_run(run)
    asked = load_run_recipe(directory.path / RECIPE).compression
    written = steps if steps is not None else asked.steps if asked is not None else ()
    if not written:
        raise ArgumentError(
            "steps: give steps, as --steps prune=0.5,quantize=int8-static, or a section `compression` in the recipe",
            code="DL401",
        )
    folder = None if output is None else Path(output)
    return compress_by_steps(run, parse_steps(written), folder, own_code=own_code)
