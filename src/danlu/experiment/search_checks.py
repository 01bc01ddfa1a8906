"""Check before the first trial that everything a search may try fits the data.

Also which metric a search optimizes.
"""

from danlu.core.imports import require_extra
from danlu.data.dataset import Dataset
from danlu.errors import Problem, RecipeError
from danlu.experiment.checks import require_model_extras
from danlu.experiment.defaults import resolve_recipe
from danlu.recipe.schema import Recipe
from danlu.recipe.variants import explain_refusal, outermost, variant

# Metrics per token, not comparable between vocabularies.
PER_TOKEN_METRICS = ("validation/loss", "validation/perplexity", "validation/token-accuracy")


def check_search_space(recipe: Recipe, dataset: Dataset) -> None:
    """Resolve the recipe at both ends of every range and at every choice.

    Args:
        recipe: as the user wrote it; without a tuning section nothing is checked.

    Raises:
        RecipeError: a value does not fit the data.
        MissingExtra: a value, or the sampler, needs packages that are not installed.
    """
    if recipe.tuning is None:
        return
    sampler = recipe.tuning.sampler
    extra: str | None = getattr(sampler, "extra", None)  # samplers belong to `search`, a layer above
    if extra is not None:
        require_extra(extra, f"tuning.sampler: {sampler.name}")
    for key, values in outermost(recipe.tuning.space):
        try:
            require_model_extras(resolve_recipe(variant(recipe, values), dataset))
        except RecipeError as error:
            message = explain_refusal(recipe, key, values, error.problems[0])
            raise RecipeError(Problem("", f"tuning.space.{key}", message, code="DL113")) from None
    metric = search_metric(resolve_recipe(recipe, dataset))
    if dataset.task.counts_tokens and metric in PER_TOKEN_METRICS:
        for key in {"data.vocabulary", "model", "model.name", "model.pretrained"} & recipe.tuning.space.keys():
            message = (
                f"changes the tokens, so {metric} is not comparable between trials; set tuning.metric: "
                "validation/bits-per-byte"
            )
            raise RecipeError(Problem("", f"tuning.space.{key}", message, code="DL113"))


def search_metric(resolved: Recipe) -> str:
    """Return the metric that a search optimizes: `tuning.metric`, else the one early stopping monitors."""
    named = resolved.tuning.metric if resolved.tuning is not None else None
    stopping = resolved.training.early_stopping
    return named or (stopping.metric if stopping is not None else "validation/loss")
