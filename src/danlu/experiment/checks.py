"""Checks of a recipe against its data and its model, made before any work. Imports no torch."""

import numpy as np

from danlu.core.component import Component, components
from danlu.core.imports import require_extra
from danlu.data.augment.registry import Augmentation
from danlu.data.balance.base import Balancer
from danlu.data.dataset import Dataset
from danlu.data.splits import Splits
from danlu.data.tabular.categories import TargetEncoding
from danlu.errors import Problem, RecipeError
from danlu.evaluation.conformal import too_few_rows
from danlu.evaluation.metrics.table import METRICS
from danlu.evaluation.robustness import Perturbation
from danlu.evaluation.thresholds import threshold_metric
from danlu.models.base import Model, SelfFittingModel
from danlu.recipe.schema import Recipe
from danlu.recipe.sections.data import Data
from danlu.recipe.sections.evaluation import Conformal, Threshold
from danlu.recipe.sections.training import Finetune, Training

# Options of the `training` section that have a meaning without gradient steps; max_steps limits the rounds.
OPTIONS_WITHOUT_STEPS = ("max_steps", "batch_size", "early_stopping", "device", "threads", "track", "callbacks")
DISTILL_KEY = "training.distill"
INTERVALS_KEY = "evaluation.intervals"
TOKEN_TASKS = ("token-classification", "language-modelling")
DISTILLABLE_TASKS = ("classification", "multi-label", "regression", *TOKEN_TASKS)


def check_no_gradient_options(recipe: Recipe, model: SelfFittingModel, task: str) -> None:
    """Raise RecipeError for the first option that only makes sense with gradient steps."""
    if task == "multi-label":
        others = [name for name, family in components("model").items() if _steps_on_tables(family)]
        message = f"{model.name} predicts a single label per row, and rows have several; use one of {', '.join(others)}"
        raise RecipeError(Problem("", "model.name", message))
    grows = f"{model.name} is not trained by gradient steps"
    usual = Training()
    for key in Training.model_fields:
        if key not in OPTIONS_WITHOUT_STEPS and getattr(recipe.training, key) != getattr(usual, key):
            cure = "set max_steps to limit its rounds" if key == "epochs" else "remove it"
            raise RecipeError(Problem("", f"training.{key}", f"{grows}; {cure}"))
    if recipe.training.batch_size == "auto":
        message = f"{grows}, so auto cannot try sizes; set the number of rows per prediction batch, or remove it"
        raise RecipeError(Problem("", "training.batch_size", message))
    if recipe.data.augment:
        message = f"{model.name} has no epochs in which rows could be changed at random; remove it"
        raise RecipeError(Problem("", "data.augment", message))
    assert isinstance(recipe.data.balance, Balancer)
    emphasis = recipe.data.balance.loss_weighting(np.ones(2, dtype=np.int64))
    if emphasis.focal_gamma or emphasis.logit_offsets:
        message = f"{recipe.data.balance.name} changes the loss, and {model.name} has its own; use class-weights"
        raise RecipeError(Problem("", "data.balance", message))


def check_components_fit_data(recipe: Recipe, dataset: Dataset) -> None:
    """Reject balancing, augmentation and perturbations that do not fit the data; none is skipped silently."""
    balancer = recipe.data.balance
    assert isinstance(balancer, Balancer)
    if dataset.task == "multi-label":
        check_multi_label_encoders(recipe.data)
    if balancer.name != "none" and dataset.task != "classification":
        message = f"{balancer.name} balances classes, and this task is {dataset.task}; remove it"
        raise RecipeError(Problem("", "data.balance", message))
    changing = [
        *([("data.balance", balancer)] if balancer.name != "none" else []),
        *(("data.augment", step) for step in recipe.data.augment),
        *(("evaluation.robustness", step) for step in recipe.evaluation.robustness),
    ]
    for key, component in changing:
        assert isinstance(component, Balancer | Augmentation | Perturbation)
        if not dataset.kind.fits(component.kinds):
            message = f"{component.name} takes {' or '.join(component.kinds)} data; {dataset.origin} is {dataset.kind}"
            raise RecipeError(Problem("", key, message))


def check_tagging_model(model: Model) -> None:
    """Reject options that pool a whole text into one prediction, since tagging predicts per word."""
    pools, mode = getattr(model, "pooling", None) is not None, getattr(model, "finetune", Finetune()).mode
    for key, said in (("pooling", pools), ("finetune.mode", mode == "head")):
        if said:
            message = "gives one prediction per text, and tagging needs one per word; remove it"
            raise RecipeError(Problem("", f"model.{key}", message))


def check_multi_label_encoders(data: Data) -> None:
    """Reject encoders that need a single label per row for multi-label data."""
    encoders: dict[str, Component | None] = {"data.encode": data.encode}
    encoders |= {f"data.columns.{name}.encode": data.options_of(name).encode for name in data.columns}
    for key, encoder in encoders.items():
        if isinstance(encoder, TargetEncoding):
            message = "target encoding needs a single label per row, and rows have several; use embedding or one-hot"
            raise RecipeError(Problem("", key, message))


def check_metric(metric: str, task: str, key: str) -> None:
    """Raise RecipeError unless `validation/NAME` is measured for this task.

    Args:
        metric: with or without `validation/`.
        key: of the recipe that names it.
    """
    watched = metric.removeprefix("validation/")
    allowed = ["loss", *(name for name, known in METRICS.items() if known.task == task)]
    if watched not in allowed:
        message = f"{metric!r} is not a {task} metric (allowed: {', '.join(f'validation/{m}' for m in allowed)})"
        raise RecipeError(Problem("", key, message))


def check_threshold(threshold: Threshold | None, dataset: Dataset) -> None:
    """Reject a decision threshold before training if it could not be chosen after it."""
    if threshold is None:
        return
    if threshold.metric is not None:
        threshold_metric(threshold.metric)
    classes = dataset.frame[dataset.target].drop_nulls().n_unique() if dataset.target is not None else 0
    if dataset.task != "classification" or classes != 2:
        what = f"this target has {classes}" if dataset.task == "classification" else f"this task is {dataset.task}"
        message = f"a threshold needs exactly two classes; {what}; remove it"
        raise RecipeError(Problem("", "evaluation.threshold", message))


def check_conformal(options: Conformal | None, dataset: Dataset) -> None:
    """Reject prediction sets and intervals for tasks that have none."""
    if options is None:
        return
    if dataset.task not in ("classification", "regression"):
        message = f"conformal gives sets of classes and intervals of numbers; this task is {dataset.task}; remove it"
        raise RecipeError(Problem("", INTERVALS_KEY, message))
    if options.by == "class" and dataset.task == "regression":
        message = "regression has no classes; remove by: class"
        raise RecipeError(Problem("", f"{INTERVALS_KEY}.conformal.by", message))


def check_conformal_rows(recipe: Recipe, dataset: Dataset, splits: Splits) -> None:
    """Reject conformal coverage that the calibration rows are too few for, before training.

    They are the validation split, or with `folds.final: refit` all rows outside the test split.
    """
    options = recipe.evaluation.conformal
    if options is None:
        return
    refits = recipe.evaluation.refits
    split = splits.train if refits else splits.validation
    where = "what does not test" if refits else "the validation split"
    counts = {where: len(split)}
    if options.by == "class" and dataset.target is not None:
        labels = splits.train.column(dataset.target).unique().sort().to_list()
        found = split.column(dataset.target)
        counts = {f"class {label!r} of {where}": int((found == label).sum()) for label in labels}
    fewest = min(counts, key=lambda name: counts[name])
    if told := too_few_rows(options.coverage, counts[fewest], fewest):
        raise RecipeError(Problem("", INTERVALS_KEY, told))


def check_distillation(recipe: Recipe, dataset: Dataset) -> None:
    """Raise RecipeError if distillation does not fit the task or the rest of the recipe."""
    options = recipe.training.distill
    if options is None:
        return
    if dataset.task not in DISTILLABLE_TASKS:
        message = f"distillation works for {', '.join(DISTILLABLE_TASKS)}; this task is {dataset.task}; remove it"
        raise RecipeError(Problem("", DISTILL_KEY, message))
    if dataset.task == "regression" and options.temperature is not None:
        message = "a temperature applies to class probabilities, and this task is regression; remove it"
        raise RecipeError(Problem("", f"{DISTILL_KEY}.temperature", message))
    if dataset.task in TOKEN_TASKS and options.hidden is not None:
        message = f"needs one prediction per sample, and this task is {dataset.task}; remove it"
        raise RecipeError(Problem("", f"{DISTILL_KEY}.hidden", message))
    if recipe.evaluation.folds is not None:
        message = "the teacher was trained on rows that the folds would test; remove folds or training.distill"
        raise RecipeError(Problem("", "evaluation.folds", message))


def require_model_extras(recipe: Recipe) -> None:
    """Raise MissingExtra unless the packages that the model of a resolved recipe needs are installed."""
    assert isinstance(recipe.model, Model)
    for extra in filter(None, (recipe.model.extra, recipe.model.extra_to_train)):
        require_extra(extra, f"model.name: {recipe.model.name}")


def _steps_on_tables(family: type[Component]) -> bool:
    """Return whether a family takes tables and is trained by gradient steps."""
    return issubclass(family, Model) and "tabular" in family.kinds and not issubclass(family, SelfFittingModel)
