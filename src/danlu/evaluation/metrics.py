"""The metrics, with scikit-learn's definitions. Averages over classes are macro: every class counts alike."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from danlu.core.errors import Problem, RecipeError
from danlu.core.names import suggestion
from danlu.data.targets import Classes, Quantity

SMALLEST_PROBABILITY = 1e-7  # float32 probabilities reach 0; its logarithm does not exist


@dataclass(frozen=True)
class Truth:
    """What the answers of a split are judged by.

    Attributes:
        values: the classes' positions [samples], or the numbers in the target's own units [samples].
        answers: probabilities [samples, classes]; predicted numbers [samples]; or summed loss, tokens and rightly
            predicted tokens of each block [blocks, 3]; or beta times the log-probabilities of the chosen and the
            rejected answer, [pairs, 2], of which `values` are the reference's.
        text_bytes: UTF-8 bytes of the text that the blocks are of.
    """

    values: np.ndarray
    answers: np.ndarray
    text_bytes: int = 0


@dataclass(frozen=True)
class Metric:
    """A figure of merit."""

    task: str
    compute: Callable[[Truth], float]
    higher_is_better: bool
    meaning: str


def compute_metrics(names: Iterable[str], truth: Truth) -> dict[str, float]:
    """Metrics by name; one that is undefined for this truth (a class is absent) is left out."""
    found = {name: METRICS[name].compute(truth) for name in names}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def metrics_for(task: str, asked: tuple[str, ...] | None) -> tuple[str, ...]:
    """The metrics to compute: those asked for, or all of the task.

    Raises:
        RecipeError: one is unknown or does not fit the task.
    """
    fitting = [name for name, metric in METRICS.items() if metric.task == task]
    if asked is None:
        return tuple(fitting)
    wrong = [name for name in asked if name not in fitting]
    if wrong:
        message = f"no metric {wrong[0]!r} for {task}{suggestion(wrong[0], fitting)}"
        raise RecipeError(Problem("", "evaluation.metrics", message))
    return asked


def class_figures(target: Classes, truth: Truth) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support of every class."""
    from sklearn.metrics import precision_recall_fscore_support

    labels = np.arange(len(target.labels))
    columns = precision_recall_fscore_support(truth.values, _predicted(truth), labels=labels, zero_division=0.0)
    return {
        str(label): {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
        for label, p, r, f, s in zip(target.labels, *columns, strict=True)
    }


def confusion(target: Classes, truth: Truth) -> list[list[int]]:
    """How many samples of each class (row) were taken for each class (column)."""
    counts = np.zeros((len(target.labels), len(target.labels)), dtype=np.int64)
    np.add.at(counts, (truth.values, _predicted(truth)), 1)
    return [[int(count) for count in row] for row in counts]


def in_units(target: Classes | Quantity, outputs: np.ndarray) -> np.ndarray:
    """A head's answers as `Truth.answers`: numbers in the target's own units, probabilities as they are."""
    if isinstance(target, Quantity):
        return outputs[:, 0].astype(np.float64) * target.std + target.mean
    return outputs.astype(np.float64)


def _predicted(truth: Truth) -> np.ndarray:
    return np.asarray(truth.answers.argmax(axis=1))


def _accuracy(truth: Truth) -> float:
    return float((_predicted(truth) == truth.values).mean())


def _balanced_accuracy(truth: Truth) -> float:
    predicted = _predicted(truth)
    return float(np.mean([(predicted[truth.values == label] == label).mean() for label in np.unique(truth.values)]))


def _macro(name: str) -> Callable[[Truth], float]:
    def compute(truth: Truth) -> float:
        import sklearn.metrics

        labels = np.arange(truth.answers.shape[1])
        score = getattr(sklearn.metrics, name)
        return float(score(truth.values, _predicted(truth), labels=labels, average="macro", zero_division=0.0))

    return compute


def _auroc(truth: Truth) -> float:
    """Area under the ROC curve; of several classes, the mean of each against the rest."""
    from sklearn.metrics import roc_auc_score

    classes = truth.answers.shape[1]
    present = [label for label in range(classes) if 0 < (truth.values == label).sum() < len(truth.values)]
    if len(present) < classes:
        return float("nan")
    if classes == 2:
        return float(roc_auc_score(truth.values == 1, truth.answers[:, 1]))
    return float(np.mean([roc_auc_score(truth.values == label, truth.answers[:, label]) for label in present]))


def _log_loss(truth: Truth) -> float:
    chosen = truth.answers[np.arange(len(truth.values)), truth.values]
    return float(-np.log(np.clip(chosen, SMALLEST_PROBABILITY, 1.0)).mean())


def _r2(truth: Truth) -> float:
    spread = float(((truth.values - truth.values.mean()) ** 2).sum())
    return 1 - float(((truth.values - truth.answers) ** 2).sum()) / spread if spread else float("nan")


def _token_loss(truth: Truth) -> float:
    return float(truth.answers[:, 0].sum() / truth.answers[:, 1].sum())


def _margins(truth: Truth) -> np.ndarray:
    """How much more each chosen answer has gained over the reference than the rejected one, [pairs]."""
    gained = truth.answers - truth.values
    return np.asarray(gained[:, 0] - gained[:, 1])


METRICS: dict[str, Metric] = {
    "accuracy": Metric("classification", _accuracy, True, "share answered rightly"),
    "balanced-accuracy": Metric("classification", _balanced_accuracy, True, "mean recall of the classes"),
    "precision": Metric("classification", _macro("precision_score"), True, "share of a class's answers that are right"),
    "recall": Metric("classification", _macro("recall_score"), True, "share of a class that is found"),
    "f1": Metric("classification", _macro("f1_score"), True, "harmonic mean of precision and recall"),
    "auroc": Metric("classification", _auroc, True, "chance that a member of a class is ranked before another"),
    "log-loss": Metric("classification", _log_loss, False, "cost of the probabilities given, in nats"),
    "rmse": Metric(
        "regression",
        lambda truth: float(np.sqrt(((truth.values - truth.answers) ** 2).mean())),
        False,
        "root of the mean squared error, in the target's units",
    ),
    "mae": Metric(
        "regression",
        lambda truth: float(np.abs(truth.values - truth.answers).mean()),
        False,
        "mean absolute error, in the target's units",
    ),
    "r2": Metric("regression", _r2, True, "share of the variance explained"),
    "perplexity": Metric(
        "language-modelling",
        lambda truth: float(np.exp(_token_loss(truth))),
        False,
        "as unsure as a choice among so many tokens",
    ),
    "bits-per-byte": Metric(
        "language-modelling",
        lambda truth: float(truth.answers[:, 0].sum() / np.log(2) / (truth.text_bytes or np.nan)),
        False,
        "bits to write a byte of text, whatever the tokenizer",
    ),
    "token-accuracy": Metric(
        "language-modelling",
        lambda truth: float(truth.answers[:, 2].sum() / truth.answers[:, 1].sum()),
        True,
        "share of next tokens guessed rightly",
    ),
    "preference-accuracy": Metric(
        "preference",
        lambda truth: float((_margins(truth) > 0).mean()),
        True,
        "share of pairs of which the model has come to favour the chosen answer",
    ),
    "reward-margin": Metric(
        "preference",
        lambda truth: float(_margins(truth).mean()),
        True,
        "how much more a chosen answer has gained over the first model than a rejected one, times beta",
    ),
    "preference-loss": Metric(
        "preference",
        lambda truth: float(np.logaddexp(0.0, -_margins(truth)).mean()),
        False,
        "cost of the preferences as given, in nats; 0.693 for a model that has not changed",
    ),
}

# What a task is summed up by, in the report and by `danlu runs`.
MAIN_METRIC = {
    "classification": "accuracy",
    "regression": "rmse",
    "language-modelling": "perplexity",
    "preference": "preference-accuracy",
}
