"""`danlu evaluate`: evaluate a run's model on its validation and test splits, or on other labelled data."""

from pathlib import Path
from typing import Any

from danlu.artifacts.files import StrPath
from danlu.artifacts.ownership import RECIPE
from danlu.artifacts.run import RunDirectory
from danlu.artifacts.run_recipe import load_run_recipe
from danlu.core.arguments import checked
from danlu.errors import ArgumentError
from danlu.experiment.data_evaluation import evaluate_data
from danlu.experiment.run_data import load_run_data
from danlu.experiment.run_evaluation import evaluate_run
from danlu.reporting.i18n import get_translator
from danlu.reporting.results import EvaluationResult
from danlu.search.study import train_or_search


@checked
def evaluate(
    run: StrPath,
    data: object | None = None,
    *,
    language: str | None = None,
    output: str | Path | None = None,
    engine: str | None = None,
) -> dict[str, Any]:
    """Evaluate a run's model on its own splits, or on other labelled data.

    With `data` nothing of the run changes: its figures and predictions go to a folder of their own, and no look at the
    test split is counted.

    Args:
        run: a run directory.
        data: labelled rows to judge the model on: a file, folder, glob, a list of these or builtin:NAME, or rows in
            memory as in `danlu.train(data=...)`.
        language: of report and model card, en or zh; None for the recipe's.
        engine: what computes the network, `numpy` or `torch`; by default the bundle's own order decides.
        output: with `data`, the folder for NAME.json and NAME.parquet; RUN/evaluations by default.

    Returns:
        the contents of evaluation.json: split -> metric -> {value, low, high}, and more; with `data` its only split is
        `data`, and `worst` holds the worst errors. A notebook shows a table.

    Raises:
        ArgumentError: it is not a run, the language is not available, or the engine cannot answer its bundle.
        DataError: the run's data has changed, or `data` lacks the target or has a label that the model does not know.
        ArtifactError: the bundle is damaged, or no longer gives its recorded predictions.

    Example:
        >>> import danlu
        >>> figures = danlu.evaluate("runs/wine")
        >>> sorted(figures["test"]["accuracy"])
        ['high', 'low', 'value']
        >>> danlu.evaluate("runs/wine", "builtin:wine")["source"]["rows"]
        178
    """
    directory = RunDirectory.open(run)
    recipe = load_run_recipe(directory.path / RECIPE)
    t = get_translator(language or recipe.evaluation.language)  # reject an unknown language before the work
    if data is not None:
        folder = None if output is None else Path(output)
        return EvaluationResult(evaluate_data(directory, recipe, data, folder, engine=engine))
    if output is not None:
        raise ArgumentError("output: is the folder for figures on other data; give data, or remove it", code="DL401")
    context = load_run_data(recipe, directory)
    return EvaluationResult(evaluate_run(context, directory, learn=train_or_search, language=t.language, engine=engine))
