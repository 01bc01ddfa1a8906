"""`danlu explain`: why a bundle's model answers as it does, with intervals."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from danlu.artifacts.bundle import Bundle
from danlu.artifacts.files import StrPath
from danlu.artifacts.ownership import RECIPE
from danlu.artifacts.run import RunDirectory
from danlu.artifacts.run_recipe import load_run_recipe
from danlu.core.arguments import checked
from danlu.core.console import info
from danlu.data.reading.later import ROW_ERROR
from danlu.errors import ArgumentError, DataError
from danlu.experiment.data_evaluation import labelled_rows
from danlu.experiment.run_data import load_run_data
from danlu.models.bundle_form import open_checked
from danlu.models.read_for import read_for

if TYPE_CHECKING:
    from danlu.explanation.results import Explanation
    from danlu.models.predictor import Predictor

SPLITS = ("validation", "test")


@checked
def explain(
    bundle: StrPath,
    data: object | None = None,
    *,
    rows: Sequence[int] | None = None,
    split: str = "validation",
    methods: Sequence[str] | None = None,
    label: str | None = None,
    error: float | None = None,
    budget: int | None = None,
    actionable: Sequence[str] | None = None,
    seed: int = 0,
    output: str | Path | None = None,
    own_code: bool = False,
) -> "Explanation":
    """Explain single answers of a model, and the model itself.

    SHAP values say what each column adds to an answer, beside the mean answer to some training rows. They are exact
    where the model's structure or all coalitions of a few columns give them, else estimated with 95 % intervals.
    Permutation importance says how much worse the model answers without a column. No look at the test split is counted.

    Args:
        bundle: a bundle or a run.
        data: rows to explain, as in `danlu.predict`; by default a split of the run.
        rows: numbers of the rows to explain, from 0; by default the first 20.
        split: of the run: validation or test.
        methods: shap, permutation, lime, partial-dependence, accumulated-effects, interactions, surrogate,
            counterfactual, trust; by default the first two. Permutation importance needs a run, and rows with the
            target.
        label: the label or output to explain; by default what is predicted. Of counterfactuals the label to reach; by
            default any other.
        error: stop when no interval is wider to either side: in units of probability, for numbers as a share of the
            answers' standard deviation.
        budget: most coalitions per row; by default 40 per column, or all where they are few.
        actionable: columns that counterfactuals may change; by default all.
        seed: of the coalitions and shuffles.
        output: folder for explanation.json and values.npz.
        own_code: import the module that the bundle names, if its model is your own.

    Returns:
        a frozen result: `local` has an entry per row, `overall` one per method of the model.

    Raises:
        ArgumentError: there are no rows to explain, or a row, label, method or figure is wrong.
        DataError: the data cannot be read, or the run's data has changed.
        ArtifactError: the bundle is damaged.

    Example:
        >>> import danlu
        >>> found = danlu.explain("runs/wine", rows=[0], methods=["shap"])
        >>> one = found.local[0]
        >>> abs(one.base + sum(each.share.value for each in one.values) - one.answer) < 1e-6
        True
    """
    opened = open_checked(bundle)
    frame, source = _rows_of(opened, Path(bundle), data, split)
    from danlu.explanation.beside_predictions import background_of
    from danlu.explanation.explain import explain_bundle
    from danlu.explanation.written import write_explanation
    from danlu.models.predictor import Predictor

    predictor = Predictor.load(opened, own_code=own_code)
    labelled = frame if data is None else _labelled(opened, Path(bundle), predictor, data, methods)
    found = explain_bundle(
        predictor,
        opened,
        background_of(opened),
        frame,
        source,
        labelled=labelled,
        methods=methods,
        rows=rows,
        label=label,
        error=error,
        budget=budget,
        actionable=actionable,
        seed=seed,
    )
    return found if output is None else write_explanation(found, Path(output))


def _rows_of(
    bundle: Bundle, folder: Path, data: object | None, split: str
) -> tuple[pl.DataFrame, dict[str, str | int]]:
    """Return the rows, and what is said of them."""
    if data is not None:
        frame, origin = _read(bundle, data)
        return frame, {"origin": origin, "rows": frame.height}
    if not (folder / RECIPE).is_file():
        raise ArgumentError(f"{folder}: a bundle has no rows of its own; give DATA, or the run", code="DL401")
    if split not in SPLITS:
        raise ArgumentError(f"split: {split!r} is not allowed (allowed: {', '.join(SPLITS)})", code="DL402")
    run = RunDirectory.open(folder)
    context = load_run_data(load_run_recipe(run.path / RECIPE), run)
    part = dict(context.splits.items())[split]
    if len(part) == 0:
        raise ArgumentError(f"{folder}: its {split} split has no rows; give DATA, or another split", code="DL402")
    return part.frame, {"split": split, "rows": len(part)}


def _labelled(
    bundle: Bundle, folder: Path, predictor: "Predictor", data: object, methods: Sequence[str] | None
) -> pl.DataFrame | None:
    """Return the rows of data that have the target, if there are any."""
    if not (folder / RECIPE).is_file() or (methods is not None and "permutation" not in methods):
        return None
    read, run = read_for(bundle, data, labelled=True), RunDirectory.open(folder)
    recipe = load_run_recipe(run.path / RECIPE)
    if methods is None and not _has_target(recipe.data.target, read.frame.columns):
        return None
    try:
        labelled = labelled_rows(run, recipe, predictor, read)
    except DataError as error:
        if methods is not None:
            raise
        info(f"without permutation importance: {error}")
        return None
    return None if len(labelled.rows) == 0 else labelled.dataset.frame.lazy().collect()[labelled.rows]


def _has_target(target: str | tuple[str, ...] | None, columns: Sequence[str]) -> bool:
    names = (target,) if isinstance(target, str) else target or ()
    return bool(names) and set(names) <= set(columns)


def _read(bundle: Bundle, data: object) -> tuple[pl.DataFrame, str]:
    """Read rows as the model was trained on them; return them and their origin."""
    read = read_for(bundle, data)
    frame = read.frame.lazy().collect()
    if ROW_ERROR in frame.columns and frame[ROW_ERROR].null_count() < frame.height:
        row = int(frame[ROW_ERROR].is_not_null().arg_max() or 0)
        raise DataError(f"{read.origin}: row {row}: {frame[ROW_ERROR][row].partition(': ')[2]}", code="DL211")
    missing = [column["name"] for column in bundle.manifest.columns if column["name"] not in frame.columns]
    if missing:
        raise DataError(f"{read.origin}: no column {missing[0]!r}, which the model reads", code="DL210")
    if frame.height == 0:
        raise DataError(f"{read.origin}: has no rows", code="DL203")
    return frame, read.origin
