"""`danlu evaluate`: evaluate a run's model on its validation and test splits."""

from typing import Any

from danlu.artifacts.files import StrPath
from danlu.artifacts.run import RECIPE, RunDirectory
from danlu.experiment.run_data import load_run_data
from danlu.experiment.run_evaluation import evaluate_run
from danlu.recipe.load import load_recipe
from danlu.reporting.i18n import get_translator
from danlu.reporting.results import EvaluationResult
from danlu.search.study import train_or_search


def evaluate(run: StrPath, *, language: str | None = None) -> dict[str, Any]:
    """Evaluate a run's model on the splits it was trained with.

    Args:
        run: a run directory.
        language: of report and model card, en or zh; None for the recipe's.

    Returns:
        the contents of evaluation.json: split -> metric -> {value, low, high}, and more; a notebook shows a table.

    Raises:
        ArgumentError: it is not a run, or the language is not available.
        DataError: the data has changed.
        ArtifactError: the bundle is damaged.

    Example:
        >>> import danlu
        >>> figures = danlu.evaluate("runs/wine")
        >>> sorted(figures["test"]["accuracy"])
        ['high', 'low', 'value']
    """
    directory = RunDirectory.open(run)
    recipe = load_recipe(directory.path / RECIPE)
    t = get_translator(language or recipe.evaluation.language)  # reject an unknown language before the work
    context = load_run_data(recipe, directory)
    return EvaluationResult(evaluate_run(context, directory, learn=train_or_search, language=t.language))
