"""Which of two classes is the positive one: said by `data.positive`, known by its word, or asked for. No torch."""

from danlu.core.text import suggestion
from danlu.data.dataset import Dataset
from danlu.errors import Problem, RecipeError
from danlu.recipe.schema import Recipe
from danlu.tasks.base import Label
from danlu.tasks.classification import ClassTask, find_label

KEY = "data.positive"
# Words for two classes, the negative one first, in lower case.
KNOWN_PAIRS = (
    ("0", "1"),
    ("0.0", "1.0"),
    ("-1", "1"),
    ("false", "true"),
    ("f", "t"),
    ("no", "yes"),
    ("n", "y"),
    ("negative", "positive"),
    ("neg", "pos"),
    ("benign", "malignant"),
    ("ham", "spam"),
    ("否", "是"),
    ("假", "真"),
    ("阴性", "阳性"),
    ("正常", "异常"),
)


def resolve_positive(recipe: Recipe, dataset: Dataset) -> Label | None:
    """Return the positive class that is said or known by its word.

    None where it is not clear and nothing needs it.

    Raises:
        RecipeError: `data.positive` is no class of two, or costs or a `-positive` metric need it and it is not clear.
    """
    said = recipe.data.positive
    counts = _class_counts(dataset)
    if said is not None:
        return _check_said(said, dataset, counts)
    if counts is None or len(counts) != 2:
        return None
    by_word = {str(label).strip().lower(): label for label in counts}
    for negative, positive in KNOWN_PAIRS:
        if by_word.keys() == {negative, positive}:
            return by_word[positive]
    asking = next((key for key, asked in _users(recipe).items() if asked), None)
    if asking is not None:
        message = f"{asking} is about one of two classes; {describe_choice(dataset)}"
        raise RecipeError(Problem("", KEY, message, code="DL115"))
    return None


def describe_choice(dataset: Dataset) -> str:
    """Say which line names the positive class, the rarer one first, as a clause."""
    counts = _class_counts(dataset)
    assert counts is not None and len(counts) == 2
    (rarer, few), (other, many) = sorted(counts.items(), key=lambda item: item[1])
    return (
        f"say `{KEY}: {rarer}` (the rarer one, {few / (few + many):.1%} of the rows) or `{KEY}: {other}`: "
        f"nothing tells which class of {dataset.target!r} is the positive one"
    )


def two_classes(dataset: Dataset) -> tuple[Label, ...]:
    """Return the two classes by name; an empty tuple where there are no two."""
    counts = _class_counts(dataset)
    return tuple(counts) if counts is not None and len(counts) == 2 else ()


def _users(recipe: Recipe) -> dict[str, bool]:
    """Return the keys whose meaning depends on the positive class, and whether each is used."""
    evaluation, stopping = recipe.evaluation, recipe.training.early_stopping
    threshold = evaluation.threshold
    metrics = {
        "evaluation.metrics": " ".join(name for name in evaluation.metrics or () if _is_positive(name)),
        "evaluation.threshold.metric": "" if threshold is None else threshold.metric,
        "evaluation.slices.metric": getattr(evaluation.slices, "metric", None),
        "training.early_stopping.metric": "" if stopping is None else stopping.metric,
        "tuning.metric": "" if recipe.tuning is None else recipe.tuning.metric,
    }
    costs = threshold is not None and threshold.costs is not None
    return {"evaluation.threshold.costs": costs} | {key: _is_positive(name) for key, name in metrics.items()}


def _is_positive(metric: str | None) -> bool:
    return metric is not None and ":" not in metric and metric.endswith("-positive")


def _class_counts(dataset: Dataset) -> dict[Label, int] | None:
    """Count the rows of each class; None for tasks without classes."""
    if not isinstance(dataset.task, ClassTask) or dataset.task.has_order or dataset.target is None:
        return None
    values = dataset.frame[dataset.target].drop_nulls()
    return dict(values.rename("label").value_counts().sort("label").rows())


def _check_said(said: Label, dataset: Dataset, counts: dict[Label, int] | None) -> Label:
    if counts is None:
        message = f"names one of two classes, and this task is {dataset.task}; remove it"
        raise RecipeError(Problem("", KEY, message, code="DL115"))
    if len(counts) != 2:
        message = f"names one of two classes, and {dataset.target!r} has {len(counts)}; remove it"
        raise RecipeError(Problem("", KEY, message, code="DL115"))
    if find_label(list(counts), said) is None:
        message = f"{dataset.target!r} has no class {said!r}{suggestion(str(said), sorted(map(str, counts)))}"
        raise RecipeError(Problem("", KEY, message, code="DL107"))
    return said
