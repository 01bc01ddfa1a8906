"""Fill in the defaults that depend on the data: split, model, epochs, batch size, learning rate.

In: a recipe and its dataset. Out: the recipe with every default written out, as the run keeps it.
"""

import math

from danlu.core.component import Component, components
from danlu.data.augment.images import RandomCrop
from danlu.data.dataset import Dataset
from danlu.data.tabular.impute import Impute, KeepMissing
from danlu.errors import Problem, RecipeError
from danlu.evaluation.slices import check_slices
from danlu.experiment.checks import (
    check_components_fit_data,
    check_conformal,
    check_distillation,
    check_explanation,
    check_metric,
    check_no_gradient_options,
    check_tagging_model,
    check_task_options,
    check_threshold,
    check_visualization,
)
from danlu.experiment.column_options import check_column_options
from danlu.experiment.positive_class import resolve_positive
from danlu.models.base import Model, SelfFittingModel
from danlu.recipe.components import ImputationOptions
from danlu.recipe.durations import read_duration
from danlu.recipe.schema import Recipe
from danlu.recipe.sections.data import SplitOptions
from danlu.recipe.sections.training import EarlyStopping, Finetune, Training
from danlu.tasks.metric_table import resolve_metrics
from danlu.training.schedules import Constant, Cosine

SELF_FITTING_BATCH_SIZE = 1024  # rows per prediction batch of a self-fitting model
# Fraction of the run; its authors find that it needs one (Defazio et al. 2024, https://arxiv.org/abs/2405.15682).
SCHEDULE_FREE_WARMUP = 0.05


def resolve_recipe(recipe: Recipe, dataset: Dataset) -> Recipe:
    """Return the recipe with every data-dependent default filled in.

    Raises:
        RecipeError: the model or a metric does not fit the data.
    """
    model = Model.of(recipe.model or _default_component("model", dataset.kind.default_model))
    if not dataset.kind.fits(model.kinds):
        usual = f"{dataset.kind.default_model} is the default"
        message = f"{model.name} takes {' or '.join(model.kinds)} data; {dataset.origin} is {dataset.kind} ({usual})"
        raise RecipeError(Problem("", "model.name", message, code="DL114"))
    check_components_fit_data(recipe, dataset)
    check_column_options(recipe.data, dataset)
    positive = resolve_positive(recipe, dataset)
    if not dataset.kind.has_task_head and getattr(model, "finetune", Finetune()).mode == "head":
        message = "a language model has no task head that could be trained alone; use lora or full"
        raise RecipeError(Problem("", "model.finetune.mode", message, code="DL116"))
    if dataset.kind.answers_each_word:
        check_tagging_model(model)
    if isinstance(model, SelfFittingModel):
        check_no_gradient_options(recipe, model, dataset.task)
    check_task_options(recipe, dataset.task)
    check_distillation(recipe, dataset)
    check_explanation(recipe, dataset)
    check_visualization(recipe, dataset)
    if recipe.tuning is not None and recipe.tuning.metric is not None:
        check_metric(recipe.tuning.metric, dataset.task, "tuning.metric")
    metrics = resolve_metrics(dataset.task, recipe.evaluation.metrics)
    check_threshold(recipe.evaluation.threshold, dataset)
    check_conformal(recipe.evaluation.conformal, dataset)
    check_slices(recipe.evaluation.slices, dataset)
    data = recipe.data.model_copy(
        update={
            "task": dataset.task,
            "positive": positive,
            "target": recipe.data.target if dataset.task.takes_columns else dataset.target,
            "split": _resolve_split(recipe.data.split, dataset),
            "image_size": _resolve_image_size(recipe),
            "clean": recipe.data.clean.model_copy(update={"missing": _resolve_missing_values(recipe, model)}),
        }
    )
    return recipe.model_copy(
        update={
            "data": data,
            "model": model,
            "training": _resolve_training(recipe.training, model, dataset),
            "evaluation": recipe.evaluation.model_copy(update={"metrics": metrics}),
        }
    )


def _resolve_missing_values(recipe: Recipe, model: Model) -> ImputationOptions:
    """Choose what to do about missing values.

    They are kept if the model and every other step handle them, else imputed.
    """
    said, data = recipe.data.clean.missing, recipe.data
    minds = ["model"] if not model.handles_missing else []
    minds += ["data.select"] if data.select is not None else []
    minds += ["data.balance"] if data.balance.uses_distances else []
    if said is None:
        return Impute() if minds else KeepMissing()
    if isinstance(said, KeepMissing) and minds:
        names = {"model": model.name, "data.select": "data.select", "data.balance": data.balance.name}
        message = f"{names[minds[0]]} cannot handle missing values; use impute"
        raise RecipeError(Problem("", "data.clean.missing", message, code="DL116"))
    return said


def _resolve_image_size(recipe: Recipe) -> int | None:
    """Return the image size that the recipe sets, directly or by a crop.

    None leaves it to the data.
    """
    crops = [step for step in recipe.data.augment if isinstance(step, RandomCrop)]
    if len(crops) > 1:
        raise RecipeError(Problem("", "data.augment", "random-crop may appear only once in the list", code="DL110"))
    said, cropped = recipe.data.image_size, crops[0].size if crops else None
    if said is not None and cropped is not None and said != cropped:
        message = f"random-crop gives images of {cropped} pixels and data.image_size is {said}; set only one of them"
        raise RecipeError(Problem("", "data.augment", message, code="DL110"))
    return said or cropped


def _default_component(kind: str, name: str) -> Component:
    return components(kind)[name.split(":")[0]].model_validate({"name": name})


def _resolve_split(split: SplitOptions, dataset: Dataset) -> SplitOptions:
    if split.by is not None:
        return split
    if dataset.split_column is not None:
        by = components("splitter")["column"].model_validate({"name": "column", "column": dataset.split_column})
        return split.model_copy(update={"by": by})
    chosen = dataset.kind.default_split(dataset.frame, dataset.target)
    by = components("splitter")[chosen["name"]].model_validate(chosen)
    return split.model_copy(update={"by": by})


def _resolve_training(training: Training, model: Model, dataset: Dataset) -> Training:
    early_stopping = training.early_stopping
    if early_stopping is not None:
        check_metric(early_stopping.metric, dataset.task, "training.early_stopping.metric")
    elif model.defaults.patience is not None:
        early_stopping = EarlyStopping(patience=model.defaults.patience)
    if isinstance(model, SelfFittingModel):  # other options concern gradient steps; keep their defaults
        size = training.batch_size or SELF_FITTING_BATCH_SIZE
        return training.model_copy(update={"batch_size": size, "early_stopping": early_stopping})
    epochs = training.epochs
    if epochs is None:  # with max_steps alone, epochs must not end training earlier
        most = training.max_steps
        most = math.ceil(read_duration(most)[0]) if isinstance(most, str) else most
        epochs = dataset.kind.default_epochs if most is None else most
    optimizer = training.optimizer
    if optimizer.lr is None:
        lr = model.default_lr(optimizer.default_lr, optimizer.pretrained_factor)
        optimizer = optimizer.model_copy(update={"lr": lr})
    if optimizer.averages_itself and training.average is not None:
        message = f"{optimizer.name} already averages the weights; remove training.average"
        raise RecipeError(Problem("", "training.average", message, code="DL110"))
    schedule = training.schedule
    if schedule is None:
        schedule = Constant(warmup=SCHEDULE_FREE_WARMUP) if optimizer.averages_itself else Cosine()
    return training.model_copy(
        update={
            "epochs": epochs,
            "batch_size": training.batch_size or dataset.kind.default_batch_size(dataset.frame.height),
            "optimizer": optimizer,
            "schedule": schedule,
            "early_stopping": early_stopping,
        }
    )
