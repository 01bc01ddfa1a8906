"""`danlu evaluate`: judges a run's bundle on validation and test, keeps golden samples, writes the report."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from danlu.artifacts.bundle import open_bundle
from danlu.artifacts.files import write_frame, write_json
from danlu.artifacts.run import EVALUATION, RECIPE, RunDirectory
from danlu.core.console import say
from danlu.data.chats.preprocessor import ChatPreprocessor
from danlu.data.targets import Classes, PreferredAnswer, Quantity
from danlu.data.texts import CorpusPreprocessor
from danlu.evaluation.baselines import Baseline, language_baselines, supervised_baselines
from danlu.evaluation.evaluate import judge
from danlu.recipe.load import load_recipe
from danlu.report.page import write_report
from danlu.verbs.prepare import Opened, judged_content, reopen, with_kept_reference

if TYPE_CHECKING:
    from danlu.models.predictor import Predictor

GOLDEN_SAMPLES = 8


def evaluate(run: str | Path) -> dict[str, Any]:
    """Judge a run's model on the splits it was trained with.

    Args:
        run: a run directory.

    Returns:
        what evaluation.json holds: split -> metric -> {value}.

    Raises:
        ArgumentError: it is no run.
        DataError: the data has changed.
        ArtifactError: the bundle is damaged.
    """
    directory = RunDirectory.open(run)
    recipe = load_recipe(directory.path / RECIPE)
    return evaluate_opened(reopen(recipe, directory), directory)


def evaluate_opened(opened: Opened, run: RunDirectory) -> dict[str, Any]:
    """Judge a run whose data is open already."""
    from danlu.models.predictor import Predictor

    opened = with_kept_reference(opened, run)
    bundle = open_bundle(run.path)
    predictor = Predictor.from_bundle(bundle, own_code=True)  # the recipe is the user's
    parts = {"validation": opened.splits.validation, "test": opened.splits.test}
    outputs: dict[str, np.ndarray] = {}
    for name, part in parts.items():
        outputs[name] = predictor.outputs(part, opened.place)
        answers = predictor.target.decode(outputs[name])
        recorded = pl.DataFrame({"row": part.rows}).hstack(answers)
        write_frame(run.path / "predictions" / f"{name}.parquet", recorded)
    figures = judge(
        predictor.target,
        opened.dataset.task,
        parts,
        outputs,
        _baselines(opened, predictor) if opened.recipe.evaluation.baselines else [],
        opened.recipe.evaluation.metrics or (),
        judged_content(opened),
    )
    write_json(run.path / EVALUATION, figures)
    bundle.add_golden(_golden(opened, predictor, outputs["test"]))
    write_report(run)
    return figures


def _baselines(opened: Opened, predictor: "Predictor") -> list[Baseline]:
    say("fitting the baselines on the same split")
    if isinstance(predictor.target, PreferredAnswer):
        return []  # the model that it began as is what it is judged against
    if isinstance(predictor.preprocessor, CorpusPreprocessor | ChatPreprocessor):
        return language_baselines(opened.splits, predictor.preprocessor)
    assert isinstance(predictor.target, Classes | Quantity)
    return supervised_baselines(opened.dataset, opened.splits, predictor.preprocessor, predictor.target)


def _golden(opened: Opened, predictor: "Predictor", outputs: np.ndarray) -> pl.DataFrame:
    """A few raw test rows with the model's answers; images go in as bytes, since their paths will not travel."""
    rows = opened.splits.test.frame.head(GOLDEN_SAMPLES).select(predictor.preprocessor.columns)
    column = predictor.preprocessor.columns[0]
    if opened.dataset.kind == "image" and rows[column].dtype == pl.String:
        images = [(opened.dataset.folder / str(path)).read_bytes() for path in rows[column].to_list()]
        rows = rows.with_columns(pl.Series(column, images, dtype=pl.Binary))
    answers = pl.Series("answer", outputs[: rows.height].tolist(), dtype=pl.List(pl.Float64))
    return rows.with_columns(answers)
