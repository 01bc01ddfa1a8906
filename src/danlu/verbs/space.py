"""Whether all that a search may try fits the data: found before the first trial, as other mistakes of a recipe are."""

from danlu.core.errors import Problem, RecipeError
from danlu.core.extras import require
from danlu.data.dataset import Dataset
from danlu.models.table import Model
from danlu.recipe.schema import Recipe
from danlu.recipe.variants import in_words, outermost, variant
from danlu.tuning.sampler import Sampler
from danlu.verbs.resolve import resolve

# Figures of tokens, of which each vocabulary has others.
OF_TOKENS = ("validation/loss", "validation/perplexity", "validation/token-accuracy")


def require_extras(recipe: Recipe) -> None:
    """Raise MissingExtra unless the packages that a resolved recipe's model needs are installed."""
    assert isinstance(recipe.model, Model)
    for extra in filter(None, (recipe.model.extra, recipe.model.extra_to_train)):
        require(extra, f"model.name: {recipe.model.name}")


def check_space(recipe: Recipe, dataset: Dataset) -> None:
    """Try the ends of every range and every choice on the data's kind and task.

    Args:
        recipe: as it was asked for; nothing is checked of one without a search.

    Raises:
        RecipeError: one of them does not fit.
        MissingExtra: one of them, or the sampler, needs packages that are not installed.
    """
    if recipe.tuning is None:
        return
    sampler = recipe.tuning.sampler
    assert isinstance(sampler, Sampler)
    if sampler.extra is not None:
        require(sampler.extra, f"tuning.sampler: {sampler.name}")
    for key, values in outermost(recipe.tuning.space):
        try:
            require_extras(resolve(variant(recipe, values), dataset))
        except RecipeError as error:
            message = in_words(recipe, key, values, error.problems[0])
            raise RecipeError(Problem("", f"tuning.space.{key}", message)) from None
    metric = watched_by(resolve(recipe, dataset))
    if dataset.task == "language-modelling" and metric in OF_TOKENS:
        for key in {"data.vocabulary", "model", "model.name", "model.pretrained"} & recipe.tuning.space.keys():
            message = f"{metric} is of tokens, which are others then; say tuning.metric: validation/bits-per-byte"
            raise RecipeError(Problem("", f"tuning.space.{key}", message))


def watched_by(resolved: Recipe) -> str:
    """The metric by which a search judges its trials: the one it names, or the one that training watches."""
    named = resolved.tuning.metric if resolved.tuning is not None else None
    stopping = resolved.training.early_stopping
    return named or (stopping.metric if stopping is not None else "validation/loss")
