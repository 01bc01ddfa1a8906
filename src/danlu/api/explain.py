"""`danlu explain`: why a bundle's model answers as it does, with intervals."""

from collections.abc import Sequence
from dataclasses import replace
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
from danlu.data.descriptors import RawData
from danlu.data.kinds.table import get_kind
from danlu.data.reading.later import ROW_ERROR
from danlu.errors import ArgumentError, DataError
from danlu.experiment.bundle_labels import labelled_for_bundle, target_columns
from danlu.experiment.data_evaluation import labelled_rows
from danlu.experiment.file_explanation import explain_file, exported_file
from danlu.experiment.run_data import load_run_data
from danlu.experiment.training_record import refuse_record, training_record
from danlu.models.bundle_form import open_checked
from danlu.models.read_for import read_for

if TYPE_CHECKING:
    from danlu.experiment.data_context import DataContext
    from danlu.explanation.influence import TrainingRecord
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
    target: str | None = None,
    seed: int = 0,
    output: str | Path | None = None,
    own_code: bool = False,
) -> "Explanation":
    """Explain single answers of a model, and the model itself.

    SHAP values say what each column adds to an answer, beside the mean answer to some training rows; of images and
    texts what each segment or word adds, beside the answer without any. They are exact where the model's structure or
    all coalitions of a few columns give them, else estimated with 95 % intervals. Permutation importance says how much
    worse a table's model answers without a column. No look at the test split is counted.

    Args:
        bundle: a bundle or a run; or an exported ONNX file of a table, or its folder, which needs rows.
        data: rows to explain, as in `danlu.predict`; by default a split of the run.
        rows: numbers of the rows to explain, from 0; by default the first 20.
        split: of the run: validation or test.
        methods: shap, permutation, lime, partial-dependence, accumulated-effects, interactions, surrogate,
            counterfactual, trust, tracin; by default the first two. Permutation importance needs rows with the target.
            Of images, texts, words, corpora and chats: shap (the default), lime, occlusion, integrated-gradients,
            deep-lift, gradient-shap, gradient-x-input, grad-cam, attention-rollout, trust; all but shap, lime,
            attention-rollout and trust need the extra `explain`.
        label: the label, output, tag or next token to explain; by default what is predicted. Of counterfactuals the
            label to reach; by default any other.
        error: stop when no interval is wider to either side: in units of probability, for numbers as a share of the
            answers' standard deviation.
        budget: most coalitions per row; by default 40 per column, 20 per segment or word, or all where they are few.
        actionable: columns that counterfactuals may change; by default all.
        target: of an exported file: the column of the rows that holds what it predicts, for permutation importance.
        seed: of the coalitions and shuffles.
        output: folder for explanation.json and values.npz, and of images for pictures.
        own_code: import the module that the bundle names, if its model is your own.

    Returns:
        a frozen result: `local` has an entry per row, `overall` one per method of the model.

    Raises:
        ArgumentError: there are no rows to explain, or a row, label, method or figure is wrong.
        DataError: the data cannot be read, or the run's data has changed.
        MissingExtra: a method needs captum.
        ArtifactError: the bundle is damaged.

    Example:
        >>> import danlu
        >>> found = danlu.explain("runs/wine", rows=[0], methods=["shap"])
        >>> one = found.local[0]
        >>> abs(one.base + sum(each.share.value for each in one.values) - one.answer) < 1e-6
        True
    """
    from danlu.explanation.asked import Wanted

    wanted = Wanted(methods, rows, label, error, budget, actionable, seed)
    file = exported_file(Path(bundle))
    if file is not None:
        return _written(explain_file(file, data, wanted, target), output)
    if target is not None:
        raise ArgumentError("target: is for exported files; a bundle knows what it predicts", code="DL402")
    opened = open_checked(bundle)
    frame, source, place, context = _rows_of(opened, Path(bundle), data, split)
    from danlu.explanation.beside_predictions import background_of
    from danlu.explanation.explain import explain_bundle
    from danlu.models.predictor import Predictor

    predictor = Predictor.load(opened, own_code=own_code)
    labelled = frame if data is None else _labelled(opened, Path(bundle), predictor, data, methods)
    wants_training = methods is not None and "tracin" in methods
    found = explain_bundle(
        predictor,
        opened,
        background_of(opened),
        frame,
        source,
        wanted,
        labelled=labelled,
        training=_training(Path(bundle), context, predictor, frame, labelled) if wants_training else "",
        folder=place,
    )
    return _written(found, output)


def _training(
    folder: Path,
    context: "DataContext | None",
    predictor: "Predictor",
    frame: pl.DataFrame,
    labelled: pl.DataFrame | None,
) -> "TrainingRecord | str":
    """Return what the run kept of its training, or why there is nothing."""
    if not (folder / RECIPE).is_file():
        return "needs a run, whose kept checkpoints it reads"
    run = RunDirectory.open(folder)
    context = context or load_run_data(load_run_recipe(run.path / RECIPE), run)
    refusal = refuse_record(context, run)
    if refusal is None and (labelled is None or labelled.height != frame.height):
        refusal = "needs rows that all have the target"
    if refusal is not None or labelled is None:
        return str(refusal)
    return training_record(context, run, predictor, labelled)


def _written(found: "Explanation", output: str | Path | None) -> "Explanation":
    if output is None:
        return found
    from danlu.explanation.written import write_explanation

    written = write_explanation(found, Path(output))
    if any(one.pixels is not None for one in written.local):
        from danlu.reporting.attribution_pictures import write_pictures

        write_pictures(Path(output))
    return written


def _rows_of(
    bundle: Bundle, folder: Path, data: object | None, split: str
) -> "tuple[pl.DataFrame, dict[str, str | int], Path, DataContext | None]":
    """Return the rows and their source, their folder, and the run's data if loaded."""
    if data is not None:
        read = _read(bundle, data)
        frame = read.frame.lazy().collect()
        return frame, {"origin": read.origin, "rows": frame.height}, read.folder, None
    if not (folder / RECIPE).is_file():
        raise ArgumentError(f"{folder}: a bundle has no rows of its own; give DATA, or the run", code="DL401")
    if split not in SPLITS:
        raise ArgumentError(f"split: {split!r} is not allowed (allowed: {', '.join(SPLITS)})", code="DL402")
    run = RunDirectory.open(folder)
    context = load_run_data(load_run_recipe(run.path / RECIPE), run)
    part = dict(context.splits.items())[split]
    if len(part) == 0:
        raise ArgumentError(f"{folder}: its {split} split has no rows; give DATA, or another split", code="DL402")
    return part.frame.lazy().collect(), {"split": split, "rows": len(part)}, context.dataset.folder, context


def _labelled(
    bundle: Bundle, folder: Path, predictor: "Predictor", data: object, methods: Sequence[str] | None
) -> pl.DataFrame | None:
    """Return the rows of data that have the target, if there are any."""
    is_table = get_kind(bundle.manifest.kind).has_feature_columns
    if not is_table or (methods is not None and not {"permutation", "tracin"} & set(methods)):
        return None
    read = read_for(bundle, data, labelled=True)
    recipe = load_run_recipe(folder / RECIPE) if (folder / RECIPE).is_file() else None
    named = target_columns(predictor.target) if recipe is None else recipe.data.target
    if methods is None and not _has_target(named, read.frame.columns):
        return None
    try:
        if recipe is None:
            labelled = labelled_for_bundle(bundle.manifest, predictor.target, read)
        else:
            labelled = labelled_rows(RunDirectory.open(folder), recipe, predictor, read)
    except DataError as error:
        if methods is not None:
            raise
        info(f"without permutation importance: {error}")
        return None
    return None if len(labelled.rows) == 0 else labelled.dataset.frame.lazy().collect()[labelled.rows]


def _has_target(target: str | tuple[str, ...] | None, columns: Sequence[str]) -> bool:
    names = (target,) if isinstance(target, str) else target or ()
    return bool(names) and set(names) <= set(columns)


def _read(bundle: Bundle, data: object) -> RawData:
    """Read rows as the model was trained on them."""
    read = read_for(bundle, data)
    read = get_kind(bundle.manifest.kind).read_samples(read, [column["name"] for column in bundle.manifest.columns])
    frame = read.frame.lazy().collect()
    if ROW_ERROR in frame.columns and frame[ROW_ERROR].null_count() < frame.height:
        row = int(frame[ROW_ERROR].is_not_null().arg_max() or 0)
        raise DataError(f"{read.origin}: row {row}: {frame[ROW_ERROR][row].partition(': ')[2]}", code="DL211")
    missing = [column["name"] for column in bundle.manifest.columns if column["name"] not in frame.columns]
    if missing:
        raise DataError(f"{read.origin}: no column {missing[0]!r}, which the model reads", code="DL210")
    if frame.height == 0:
        raise DataError(f"{read.origin}: has no rows", code="DL203")
    return replace(read, frame=frame)
