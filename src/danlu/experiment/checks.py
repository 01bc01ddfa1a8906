"""Checks of a recipe against its data and its model, made before any work. Imports no torch."""

from collections.abc import Sequence

import numpy as np

from danlu.core.component import Component, components
from danlu.core.devices.cpu import CPU
from danlu.core.imports import require_extra
from danlu.core.text import suggestion
from danlu.data.balance.base import Balancer
from danlu.data.dataset import Dataset
from danlu.data.splits import Splits
from danlu.data.tabular.categories import TargetEncoding
from danlu.errors import Problem, RecipeError
from danlu.evaluation.conformal import too_few_rows
from danlu.evaluation.thresholds import threshold_metric
from danlu.models.base import Model, SelfFittingModel
from danlu.recipe.components import DataComponent
from danlu.recipe.schema import Recipe
from danlu.recipe.sections.data import Data
from danlu.recipe.sections.evaluation import Conformal, Threshold
from danlu.recipe.sections.explanation import Explanation
from danlu.recipe.sections.training import Finetune, Preference, Training
from danlu.tasks.base import Task
from danlu.tasks.classification import find_label
from danlu.tasks.metric_table import METRICS, metrics_of
from danlu.tasks.table import all_tasks

# Options of the `training` section that have a meaning without gradient steps; max_steps limits the rounds.
OPTIONS_WITHOUT_STEPS = ("max_steps", "batch_size", "early_stopping", "device", "threads", "track", "callbacks")
BYTES_PER_WEIGHT = 8  # the weight and its gradient, in fp32
DISTILL_KEY = "training.distill"
INTERVALS_KEY = "evaluation.intervals"


def check_no_gradient_options(recipe: Recipe, model: SelfFittingModel, task: Task) -> None:
    """Raise RecipeError for the first option that only makes sense with gradient steps."""
    if not task.fits_trees:
        others = [name for name, family in components("model").items() if _steps_on_tables(family)]
        able = " and ".join(each.name for each in all_tasks() if each.fits_trees)
        message = f"{model.name} learns {able}, not {task}; use one of {', '.join(others)}"
        raise RecipeError(Problem("", "model.name", message, code="DL116"))
    grows = f"{model.name} is not trained by gradient steps"
    usual = Training()
    if recipe.training.from_run is not None and not model.goes_on:
        message = f"{model.name} grows anew from the rows and has no weights to begin from; remove it"
        raise RecipeError(Problem("", "training.from_run", message, code="DL116"))
    for key in Training.model_fields:
        if key not in (*OPTIONS_WITHOUT_STEPS, "from_run") and getattr(recipe.training, key) != getattr(usual, key):
            cure = "set max_steps to limit its rounds" if key == "epochs" else "remove it"
            raise RecipeError(Problem("", f"training.{key}", f"{grows}; {cure}", code="DL116"))
    if recipe.training.batch_size == "auto":
        message = f"{grows}, so auto cannot try sizes; set the number of rows per prediction batch, or remove it"
        raise RecipeError(Problem("", "training.batch_size", message, code="DL116"))
    if recipe.data.augment:
        message = f"{model.name} has no epochs in which rows could be changed at random; remove it"
        raise RecipeError(Problem("", "data.augment", message, code="DL116"))
    emphasis = Balancer.of(recipe.data.balance).loss_weighting(np.ones(2, dtype=np.int64))
    if emphasis.focal_gamma or emphasis.logit_offsets:
        message = f"{recipe.data.balance.name} changes the loss, and {model.name} has its own; use class-weights"
        raise RecipeError(Problem("", "data.balance", message, code="DL116"))


def check_positive(recipe: Recipe, dataset: Dataset) -> None:
    """Raise RecipeError unless `data.positive` is one of the two classes of the target."""
    said, task, target = recipe.data.positive, dataset.task, dataset.target
    if said is None:
        return
    if not task.has_classes or task.has_order or target is None:
        message = f"names one of two classes, and this task is {task}; remove it"
        raise RecipeError(Problem("", "data.positive", message, code="DL115"))
    labels = [label for label in dataset.frame[target].unique().to_list() if label is not None]
    if len(labels) != 2:
        message = f"names one of two classes, and {target!r} has {len(labels)}; remove it"
        raise RecipeError(Problem("", "data.positive", message, code="DL115"))
    if find_label(labels, said) is None:
        words = sorted(map(str, labels))
        message = f"{target!r} has no class {said!r}{suggestion(str(said), words)}"
        raise RecipeError(Problem("", "data.positive", message, code="DL107"))


def check_components_fit_data(recipe: Recipe, dataset: Dataset) -> None:
    """Reject balancing, augmentation and perturbations that do not fit the data; none is skipped silently."""
    balancer = recipe.data.balance
    if dataset.task.takes_columns:
        check_several_answers(recipe.data)
    if balancer.name != "none" and not dataset.task.has_classes:
        message = f"{balancer.name} balances classes, and this task is {dataset.task}; remove it"
        raise RecipeError(Problem("", "data.balance", message, code="DL115"))
    changing: list[tuple[str, DataComponent]] = [
        *([("data.balance", balancer)] if balancer.name != "none" else []),
        *(("data.augment", step) for step in recipe.data.augment),
        *(("evaluation.robustness", step) for step in recipe.evaluation.robustness),
    ]
    for key, component in changing:
        if not dataset.kind.fits(component.kinds):
            message = f"{component.name} takes {' or '.join(component.kinds)} data; {dataset.origin} is {dataset.kind}"
            raise RecipeError(Problem("", key, message, code="DL114"))


def check_tagging_model(model: Model) -> None:
    """Reject options that pool a whole text into one prediction, since tagging predicts per word."""
    pools, mode = getattr(model, "pooling", None) is not None, getattr(model, "finetune", Finetune()).mode
    for key, said in (("pooling", pools), ("finetune.mode", mode == "head")):
        if said:
            message = "gives one prediction per text, and tagging needs one per word; remove it"
            raise RecipeError(Problem("", f"model.{key}", message, code="DL116"))


def check_several_answers(data: Data) -> None:
    """Reject encoders that need a single label or number per row, where rows have several."""
    encoders: dict[str, Component | None] = {"data.encode": data.encode}
    encoders |= {f"data.columns.{name}.encode": data.options_of(name).encode for name in data.columns}
    for key, encoder in encoders.items():
        if isinstance(encoder, TargetEncoding):
            message = "target encoding needs a single label per row, and rows have several; use embedding or one-hot"
            raise RecipeError(Problem("", key, message, code="DL115"))


def check_explanation(recipe: Recipe, dataset: Dataset) -> None:
    """Raise RecipeError where this model cannot be explained as asked, MissingExtra where captum lacks."""
    if recipe.explanation is None:
        return
    if dataset.kind.has_feature_columns:
        _check_table_explanation(recipe, recipe.explanation, dataset)
    else:
        _check_network_explanation(recipe.explanation, dataset)


def _check_network_explanation(options: Explanation, dataset: Dataset) -> None:
    from danlu.explanation.networks.methods import methods_of_kind, require_captum

    possible = methods_of_kind(dataset.kind.preprocessor)
    if not possible:
        message = f"models of {dataset.kind} data cannot be explained; leave it out"
        raise RecipeError(Problem("", "explanation", message, code="DL114"))
    for name in options.methods or ():
        if name not in possible:
            message = f"{name} does not explain models of {dataset.kind} data; these do: {', '.join(possible)}"
            raise RecipeError(Problem("", "explanation.methods", message, code="DL114"))
        require_captum(name)
    if options.actionable is not None:
        message = f"names columns of tables, and the data is {dataset.kind}; remove it"
        raise RecipeError(Problem("", "explanation.actionable", message, code="DL114"))


def _check_table_explanation(recipe: Recipe, options: Explanation, dataset: Dataset) -> None:
    from danlu.explanation.explain import usual_methods

    methods = usual_methods() if options.methods is None else options.methods
    _check_methods_of_tables(recipe, methods, dataset)
    columns = [column.name for column in dataset.columns if column.used]
    for name in options.actionable or ():
        if name not in columns:
            message = f"the model reads no column {name!r}{suggestion(name, columns)}"
            raise RecipeError(Problem("", "explanation.actionable", message, code="DL114"))
    if options.budget is not None and {"shap", "trust"} & {*methods}:
        from danlu.explanation.shapley import fewest_calls

        if options.budget < fewest_calls(len(columns)):
            message = f"too few calls for {len(columns)} columns; give at least {fewest_calls(len(columns))}"
            raise RecipeError(Problem("", "explanation.budget", message, code="DL108"))
    if recipe.bundle.reference == "rows":
        return
    follows_training = recipe.model is not None and recipe.model.name == "boosting"
    needing = {"lime", "counterfactual", "trust", *(() if follows_training else ("shap",))}
    if asked := [name for name in methods if name in needing]:
        message = f"{asked[0]} needs training rows that stand for absent columns; set bundle.reference: rows"
        raise RecipeError(Problem("", "explanation.methods", message, code="DL110"))


def _check_methods_of_tables(recipe: Recipe, methods: Sequence[str], dataset: Dataset) -> None:
    from danlu.explanation.explain import METHODS

    for name in methods:
        if name not in METHODS:
            message = f"{name} explains networks of images and texts; these explain tables: {', '.join(METHODS)}"
            raise RecipeError(Problem("", "explanation.methods", message, code="DL114"))
    if "counterfactual" in methods and not dataset.task.has_classes:
        message = f"counterfactual needs a model that predicts one label a row; this task is {dataset.task}"
        raise RecipeError(Problem("", "explanation.methods", message, code="DL115"))
    if "tracin" in methods and recipe.model is not None:
        from danlu.explanation.influence import refuse_model

        if refusal := refuse_model(Model.of(recipe.model), getattr(recipe.model, "finetune", Finetune())):
            raise RecipeError(Problem("", "explanation.methods", f"tracin {refusal}", code="DL114"))


def check_visualization(recipe: Recipe, dataset: Dataset) -> None:
    """Raise RecipeError for a picture that no model of this data has."""
    options = recipe.visualization
    if options is None:
        return
    lacking = {
        "features": None if dataset.kind.shows_pictures else f"are maps of images, and the data is {dataset.kind}",
        "confusion": None if dataset.task.has_classes else f"needs one class a row, and data.task is {dataset.task}",
    }
    for name in options.pictures:
        if why := lacking.get(name):
            raise RecipeError(Problem("", "visualization.pictures", f"{name} {why}; leave it out", code="DL115"))


def check_task_options(recipe: Recipe, task: Task) -> None:
    """Reject options that only other tasks have."""
    options = recipe.training
    if options.preference != Preference() and not task.is_trained_on_pairs:
        message = f"applies only to preferences, and data.task is {task}; remove it"
        raise RecipeError(Problem("", "training.preference", message, code="DL115"))
    if isinstance(options.memory.loss_chunk, int) and not (task.counts_tokens or task.is_trained_on_pairs):
        message = f"applies only to language models, and data.task is {task}; remove it"
        raise RecipeError(Problem("", "training.memory.loss_chunk", message, code="DL115"))


def check_metric(metric: str, task: Task, key: str) -> None:
    """Raise RecipeError unless `validation/NAME` is measured for this task.

    Args:
        metric: with or without `validation/`.
        key: of the recipe that names it.
    """
    watched = metric.removeprefix("validation/")
    allowed = ["loss", *(name for name in metrics_of(task) if name in METRICS)]
    if watched not in allowed:
        message = f"{metric!r} is not a {task} metric (allowed: {', '.join(f'validation/{m}' for m in allowed)})"
        raise RecipeError(Problem("", key, message, code="DL117"))


def check_threshold(threshold: Threshold | None, dataset: Dataset) -> None:
    """Reject a decision threshold before training if it could not be chosen after it."""
    if threshold is None:
        return
    if threshold.metric is not None:
        threshold_metric(threshold.metric)
    classes = dataset.frame[dataset.target].drop_nulls().n_unique() if dataset.target is not None else 0
    if not dataset.task.has_classes or classes != 2:
        what = f"this target has {classes}" if dataset.task.has_classes else f"this task is {dataset.task}"
        message = f"a threshold needs exactly two classes; {what}; remove it"
        raise RecipeError(Problem("", "evaluation.threshold", message, code="DL115"))


def check_conformal(options: Conformal | None, dataset: Dataset) -> None:
    """Reject prediction sets and intervals for tasks that have none."""
    if options is None:
        return
    if not dataset.task.has_sets:
        message = f"conformal gives sets of classes and intervals of numbers; this task is {dataset.task}; remove it"
        raise RecipeError(Problem("", INTERVALS_KEY, message, code="DL115"))
    if options.by == "class" and not dataset.task.has_classes:
        message = f"{dataset.task} has no classes; remove by: class"
        raise RecipeError(Problem("", f"{INTERVALS_KEY}.conformal.by", message, code="DL115"))


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
        raise RecipeError(Problem("", INTERVALS_KEY, told, code="DL118"))


def check_distillation(recipe: Recipe, dataset: Dataset) -> None:
    """Raise RecipeError if distillation does not fit the task or the rest of the recipe."""
    options = recipe.training.distill
    if options is None:
        return
    if not dataset.task.can_distill:
        able = [task.name for task in all_tasks() if task.can_distill]
        message = f"distillation works for {', '.join(able)}; this task is {dataset.task}; remove it"
        raise RecipeError(Problem("", DISTILL_KEY, message, code="DL115"))
    if options.temperature is not None and not dataset.task.has_logits:
        message = f"a temperature applies to class probabilities, and this task is {dataset.task}; remove it"
        raise RecipeError(Problem("", f"{DISTILL_KEY}.temperature", message, code="DL115"))
    if dataset.task.per_token and options.hidden is not None:
        message = f"needs one prediction per sample, and this task is {dataset.task}; remove it"
        raise RecipeError(Problem("", f"{DISTILL_KEY}.hidden", message, code="DL115"))
    if recipe.evaluation.folds is not None:
        message = "the teacher was trained on rows that the folds would test; remove folds or training.distill"
        raise RecipeError(Problem("", "evaluation.folds", message, code="DL110"))


def check_size(recipe: Recipe) -> None:
    """Raise RecipeError if weights and gradients alone exceed this machine's memory.

    A closed formula of the options, without torch; what is left to find out is found by `danlu plan`.
    """
    if recipe.model is None:
        return
    least = BYTES_PER_WEIGHT * Model.of(recipe.model).fewest_parameters()
    memory = CPU().total_bytes()
    if memory is not None and least > memory:
        raise RecipeError(
            Problem(
                "",
                "model",
                f"needs at least {least / 1e9:,.1f} GB for its weights and their gradients, and this machine has "
                f"{memory / 1e9:,.1f} GB; make it narrower or give it fewer layers",
                "DL108",
            )
        )


def require_model_extras(recipe: Recipe) -> None:
    """Raise MissingExtra unless the packages that the model of a resolved recipe needs are installed."""
    model = Model.of(recipe.model)
    for extra in filter(None, (model.extra, model.extra_to_train)):
        require_extra(extra, f"model.name: {model.name}")


def _steps_on_tables(family: type[Component]) -> bool:
    """Return whether a family takes tables and is trained by gradient steps."""
    return issubclass(family, Model) and "tabular" in family.kinds and not issubclass(family, SelfFittingModel)
