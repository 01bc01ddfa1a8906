"""What a task is: the interface that every stage asks instead of the task's name.

A task is a small frozen component of the recipe (`data.task`), without state. Its fitted part, the labels or the
standardisation, is a `Target`, which the bundle keeps. Nothing here imports torch before a method needs it.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
import polars as pl
from pydantic import SerializerFunctionWrapHandler, model_serializer

from danlu.core.component import Frozen
from danlu.errors import DataError
from danlu.metrics.base import Metric, Predictions
from danlu.recipe.components import TaskOptions
from danlu.tasks.calibrations import ConformalQuantiles
from danlu.tasks.loss_weighting import LossWeighting

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Label = bool | int | float | str
LARGEST_TARGET = 1e30  # float32 ends at 3e38, and sums over the rows have to fit as well
# (logits, target, emphasis) -> the summed loss and the number of targets it is summed over.
Loss = Callable[[Any, "Tensor", LossWeighting], "tuple[Tensor, int]"]


class Target(Frozen):
    """Encode labels for the loss and decode a model's outputs.

    Attributes:
        task: the name of the task it belongs to.

    Example:
        >>> import danlu
        >>> target = danlu.load("runs/wine").target
        >>> target.task, target.outputs
        ('classification', 3)
    """

    task: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that `encode` reads; none where the preprocessor makes the target."""
        return ()

    @property
    @abstractmethod
    def outputs(self) -> int:
        """The number of model outputs per sample (or token)."""

    @abstractmethod
    def encode(self, frame: pl.DataFrame) -> "torch.Tensor":
        """Encode the labels of some rows for the loss, [samples]."""

    def calibrate(self, outputs: np.ndarray) -> np.ndarray:
        """Apply the calibration to a head's outputs, [samples, ...]."""
        return outputs

    @abstractmethod
    def decode(self, outputs: np.ndarray) -> pl.DataFrame:
        """Return readable predictions: one row per sample, in order.

        Args:
            outputs: as `calibrate` returns them, [samples, ...].
        """

    def answer_columns(self, outputs: np.ndarray) -> dict[str, list[Any]]:
        """Return the columns of `decode` as lists.

        A server asks for a few rows at a time, and a frame costs more.
        """
        return self.decode(outputs).to_dict(as_series=False)

    @property
    def output_names(self) -> list[str]:
        """The names of a linear model's outputs, in readable units."""
        return [f"output {number}" for number in range(1, self.outputs + 1)]

    def to_readable(self, weights: np.ndarray) -> np.ndarray:
        """Convert a linear model's weights, [..., outputs], to readable units, [..., names]."""
        return weights

    @property
    def readable_offset(self) -> float:
        """What is added to a sum of readable weights."""
        return 0.0

    @property
    def positive(self) -> Label | None:
        """The class of two that metrics and the threshold are about; None for other targets."""
        return None

    def decode_scores(self, scores: np.ndarray) -> pl.DataFrame:
        """Return the predictions of raw network outputs, [samples, outputs], for a rule."""
        raise NotImplementedError(f"{self.task} has no rules")

    def without_decisions(self) -> Self:
        """Return a copy that decides as a baseline does: by the likeliest class."""
        return self


class ColumnTarget(Target):
    """Encode a target that is one column of the data."""

    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)


class ConformalTarget(ColumnTarget):
    """Keep the quantiles of prediction sets or intervals, if a recipe asks for them."""

    conformal: ConformalQuantiles | None = None

    @model_serializer(mode="wrap")
    def _leave_out_unset_conformal(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write `conformal` only where it is set; other bundles stay as they were."""
        return without_unset_conformal(write(self))


def without_unset_conformal(written: dict[str, Any]) -> dict[str, Any]:
    """Return a written target without quantiles that are not set.

    A class that writes more itself calls it, since pydantic asks one serializer of a class alone.
    """
    kept = written.pop("conformal", None)
    return written if kept is None else {"conformal": kept, **written}


# (outputs [batch, ...] float32, target or None) -> predictions [batch, ...] float32.
Answer = Callable[[np.ndarray, np.ndarray | None], np.ndarray]


@dataclass(frozen=True)
class Head:
    """Compute a task's loss and predictions from logits.

    Losses are computed in fp32 whatever the precision of the logits.

    Attributes:
        loss: (logits, target, emphasis) -> the summed loss and the number of targets it is summed over.
        predict: (logits, target) -> predictions [batch, ...], the input of metrics and `Target.decode`.
        answer: the same of arrays, for engines other than torch; None where only torch answers. The target is given to
            those tasks alone whose preprocessor makes it.
        num_targets: target -> number of targets the loss is summed over; needed when a batch is split.
        adapt_loss: adapts another loss of this task to all forms of logits that `loss` accepts.
    """

    loss: Loss
    predict: "Callable[[Any, Tensor | None], Tensor]"
    num_targets: "Callable[[Tensor], int]"
    adapt_loss: Callable[[Loss], Loss] = lambda loss: loss
    answer: Answer | None = None


@dataclass(frozen=True)
class TargetSource:
    """Show a task what raw data has as its target.

    Attributes:
        names: the target columns.
        is_several: whether the recipe lists them; else there is one.
        schema: types of all columns.
        read: reads a column.
        separator: of `data.target_separator`.
        is_asked: whether the recipe names the task.
        origin: how errors name the data.
        learns: whether a model is to learn from the rows, not only to be judged by them.
    """

    names: tuple[str, ...]
    is_several: bool
    schema: Mapping[str, pl.DataType]
    read: Callable[[str], pl.Series]
    separator: str | None
    is_asked: bool
    origin: str
    learns: bool = True

    def free_name(self, name: str) -> str:
        """Return a name for a new column that no other has."""
        while name in self.schema and name not in self.names:
            name += "_"
        return name


@dataclass(frozen=True)
class PackedTarget:
    """Hold the one column that a target becomes.

    Attributes:
        column: makes it from the rows.
        name: its name.
        reason: key of the message that says why, and the values for it.
    """

    column: pl.Expr
    name: str
    reason: tuple[str, Mapping[str, Any]]


@dataclass(frozen=True)
class FitInputs:
    """Hold what a target is fitted on.

    Attributes:
        values: the target of the training rows; None for tasks without a target column.
        column: its name; empty for tasks without one.
        origin: how errors name the data.
        vocabulary: number of tokens of a language model; 0 for other models.
        beta: of `training.preference`.
        positive: `data.positive`, of two classes the one that metrics are about; None for the second.
        transform: `data.target_transform`: what is done to numbers before they are learned.
    """

    values: pl.Series | None
    column: str
    origin: str
    vocabulary: int = 0
    beta: float = 0.0
    positive: Label | None = None
    transform: str = "standard"


@dataclass(frozen=True)
class ErrorScores:
    """Score how bad each prediction is.

    Attributes:
        by: the criterion: confidence (of wrong predictions), error, labels, tags, loss or margin.
        wrong: indices of the predictions that may be shown, [wrong].
        severity: larger is worse, [samples].
        shown: the number shown with each prediction, [samples].
    """

    by: str
    wrong: np.ndarray
    severity: np.ndarray
    shown: np.ndarray


@dataclass(frozen=True)
class Baseline:
    """Hold a simple model's predictions for each split, in the form of `Predictions.y_pred`."""

    name: str
    description: str
    predictions: dict[str, np.ndarray]


class SplitRows(Protocol):
    """Read the rows of a split."""

    def __len__(self) -> int: ...

    @property
    def frame(self) -> pl.DataFrame: ...

    def column(self, name: str) -> pl.Series: ...

    def columns(self, *names: str) -> pl.DataFrame: ...


class BaselineData(Protocol):
    """Give the baselines of a task the rows, and simple models of them.

    Attributes:
        train: the whole training split.
        learned: the training rows that simple models are fitted on, at most some hundred thousand.
        content: the column of the texts or words.
        inverse_penalty: how little a linear model's weights are held near 0, scikit-learn's `C`.
        linear_description: the features of a linear model, in words.
        boosting_note: what boosted trees were fitted on, if not on all rows.
    """

    @property
    def train(self) -> SplitRows: ...

    @property
    def learned(self) -> SplitRows: ...

    @property
    def eval_splits(self) -> Mapping[str, SplitRows]: ...

    @property
    def content(self) -> str: ...

    @property
    def inverse_penalty(self) -> float: ...

    @property
    def linear_description(self) -> str: ...

    @property
    def boosting_note(self) -> str: ...

    def predict_linear(self, fit: Callable[[Any], Callable[[Any], np.ndarray]]) -> dict[str, np.ndarray]:
        """Fit a linear model on the features of `learned`, and predict each split."""

    def predict_boosting(self, answers: np.ndarray, classes: int | None) -> dict[str, np.ndarray] | None:
        """Fit boosted trees to class codes or numbers; None without a table."""

    def successions(self, frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Return tokens, their predecessors, the rows that hold them, and the vocabulary size."""


# language -> key -> text: `name`, how reports name the task, and texts that a report looks up, as `metric.rmse`.
Words = Mapping[str, Mapping[str, str]]


class Task(TaskOptions):
    """Decide everything that depends on what is predicted.

    Attributes:
        words: the texts that reports need.
        noun: key of the noun that counts the target's classes.
        own_metrics: the metrics that this task brings, by name.
        metrics_of: further tasks whose metrics fit its predictions.
        default_metrics: those computed if the recipe names none: few enough to be read.
        main_metric: the metric that sums up a run, in the report and in `danlu runs`.
        has_target: whether the target is a column of the data.
        takes_columns: whether the recipe may list several target columns.
        takes_separator: whether `data.target_separator` may cut the target.
        has_classes: whether each row has exactly one of several classes.
        learns_numbers: whether its target is a column of numbers.
        has_order: whether its classes stand in the order of an ordered category, if the target is one.
        fits_trees: whether models that fit themselves can predict it: one class or number a row.
        per_token: whether a row has one prediction per token or word.
        counts_tokens: whether its loss is per token, and so comparable only with the same tokenizer.
        is_trained_on_pairs: whether rows are pairs of answers, of which one is preferred.
        transforms_target: whether `data.target_transform` can be set.
        has_sets: whether `evaluation.intervals: conformal` gives prediction sets or intervals.
        has_logits: whether its outputs are logits, which a temperature can soften.
        can_distill: whether a teacher's outputs can be learned.
        probe_metric: the metric of a linear probe; None where there is none.

    Example:
        >>> import danlu
        >>> recipe = danlu.load_recipe("wine", overrides=["data.task=classification"])
        >>> task = danlu.Task.of(recipe.data.task)
        >>> task.main_metric, task.has_classes
        ('accuracy', True)
    """

    words: ClassVar[Words]
    noun: ClassVar[str] = "class"
    own_metrics: ClassVar[Mapping[str, Metric]]
    metrics_of: ClassVar[tuple[str, ...]] = ()
    default_metrics: ClassVar[tuple[str, ...]]
    main_metric: ClassVar[str]
    has_target: ClassVar[bool] = True
    takes_columns: ClassVar[bool] = False
    takes_separator: ClassVar[bool] = False
    has_classes: ClassVar[bool] = False
    learns_numbers: ClassVar[bool] = False
    has_order: ClassVar[bool] = False
    fits_trees: ClassVar[bool] = False
    per_token: ClassVar[bool] = False
    counts_tokens: ClassVar[bool] = False
    is_trained_on_pairs: ClassVar[bool] = False
    has_sets: ClassVar[bool] = False
    transforms_target: ClassVar[bool] = False
    has_logits: ClassVar[bool] = True
    can_distill: ClassVar[bool] = False
    probe_metric: ClassVar[str | None] = None
    target_class: ClassVar[type[Target]]

    def __str__(self) -> str:
        return self.name

    @model_serializer(mode="wrap")
    def _write_short(self, write: SerializerFunctionWrapHandler) -> Any:
        """Write a task without options as its name, as recipes do."""
        written: dict[str, Any] = write(self)
        return self.name if all(value is None for key, value in written.items() if key != "name") else written

    # The target column.

    def check_values(self, values: pl.Series, origin: str) -> None:
        """Raise DataError if the target's values do not fit the task."""

    def pack_target(self, given: TargetSource) -> PackedTarget | None:
        """Combine several columns, or a column of lists, into one.

        Returns:
            None if the task has no use for them.

        Raises:
            DataError: the columns hold what the task cannot read.
        """
        return None

    def numbers(self, values: pl.Series) -> list[pl.Series]:
        """Return a column per number of a row; none for classes or labels."""
        return []

    def strata(self, values: pl.Series, origin: str, fewest: int) -> np.ndarray:
        """Return the stratum of each row for a stratified split, [rows] int64 from 0.

        Args:
            fewest: rows that a stratum must have.

        Raises:
            DataError: a class has fewer rows.
        """
        raise DataError(f"{origin}: {self} has no classes to stratify by; set data.split.by: random", code="DL250")

    def label_matrix(self, values: pl.Series) -> np.ndarray | None:
        """Return which labels each row has, [rows, labels] bool; None otherwise."""
        return None

    def describe_target(self, parts: Mapping[str, pl.Series], values: pl.Series) -> dict[str, Any]:
        """Describe the distribution of a target, for data/profile.json.

        Args:
            parts: its values in each split.
            values: all of them.
        """
        return {}

    def format_cell(self, value: Any) -> Any:
        """Format a target's cell for a reader."""
        return value

    @abstractmethod
    def fit_target(self, inputs: FitInputs) -> Target:
        """Learn the labels, or the mean and deviation, of the training rows.

        Raises:
            DataError: nothing can be learned from them.
        """

    def describe_encoded(self, target: Any, value: np.ndarray) -> str:
        """Describe an encoded target, which augmentation may have mixed."""
        return f"{target.decode(np.array([[value]]))['prediction'][0]:.4g}"

    def num_classes(self, target: Any) -> int | None:
        """Return the number of classes where a batch's target is a code; else None."""
        return None

    # The network's head.

    @abstractmethod
    def head(self, target: Any) -> Head:
        """Return the loss and the predictions from logits."""

    def mean_of_members(self, logits: "Tensor") -> "Tensor":
        """Return the logits of an ensemble's mean prediction, [batch, members, outputs] -> [batch, outputs]."""
        return logits.mean(dim=1)

    def soft_loss(self, logits: "Tensor", teacher: "Tensor", temperature: float) -> "Tensor":
        """Return the distance to a teacher's logits, summed over samples."""
        raise NotImplementedError(f"{self} learns from no teacher")

    def hard_target(self, target: "Tensor") -> "Tensor":
        """Return the task's own targets from those that stand beside a teacher's logits, [batch, outputs]."""
        return target

    def align_teacher(self, found: "Tensor", own: Any, student: Any) -> "Tensor":
        """Convert a teacher's logits to the student's order of labels or its units."""
        if own.labels == student.labels:
            return found
        return found[..., [own.labels.index(label) for label in student.labels]]

    # Predictions.

    def to_y_pred(self, target: Any, outputs: np.ndarray) -> np.ndarray:
        """Convert the model's outputs to `Predictions.y_pred`."""
        return outputs

    def blank_predictions(self, target: Any) -> Predictions:
        """Return a row to be counted without weight, which gives a statistic its shape."""
        blank = np.full((1, target.outputs), 1 / target.outputs)
        return Predictions(np.zeros(1, dtype=np.int64), self.to_y_pred(target, blank))

    @abstractmethod
    def pair(self, split: SplitRows, target: Any, y_pred: np.ndarray, text_column: str | None) -> Predictions:
        """Pair predictions with the truth of a split."""

    @abstractmethod
    def truth_columns(self, split: SplitRows, target: Any, predictions: Predictions) -> dict[str, Any]:
        """Return the columns that stand beside the decoded predictions in the table."""

    @abstractmethod
    def read(self, table: pl.DataFrame, labels: Sequence[str]) -> Predictions:
        """Read the predictions back from a table."""

    def same_truth(self, first: Predictions, other: Predictions) -> bool:
        """Return whether two runs were tested on the same answers."""
        return np.array_equal(first.y_true, other.y_true)

    def align_labels(self, own: Any, whole: Any, outputs: np.ndarray) -> tuple[np.ndarray, Any]:
        """Reorder a fold's outputs to the full list of labels.

        Returns:
            the outputs, and the fold's target with these labels.
        """
        return outputs, own

    def nonconformity(self, predictions: Predictions) -> np.ndarray:
        """Score how badly each prediction fits the truth, [samples] float64, for conformal prediction."""
        raise NotImplementedError(f"{self} has neither prediction sets nor intervals")

    def covered(self, target: Any, predictions: Predictions) -> np.ndarray:
        """Return which rows' prediction intervals hold the truth, [samples] bool."""
        return np.asarray(self.nonconformity(predictions) <= target.conformal.quantiles[0])

    def interval_widths(self, target: Any, predictions: Predictions) -> np.ndarray:
        """Return the widths of prediction intervals, [samples] or [1] if they are all the same."""
        raise NotImplementedError(f"{self} has no prediction intervals")

    # What evaluation adds to the metrics.

    def labels_of_parts(self, target: Any) -> list[str]:
        """Return the classes or labels as text, for evaluation.json; none for other tasks."""
        return []

    def part_metrics(self, target: Any) -> dict[str, Metric]:
        """Return the metrics of each class, label or output, under names of their own."""
        return {}

    def part_figures(
        self, target: Any, predictions: Predictions, figures: Mapping[str, Mapping[str, float]]
    ) -> dict[str, Any]:
        """Return the sections of evaluation.json that `part_metrics` make."""
        return {}

    @abstractmethod
    def score_errors(self, table: pl.DataFrame) -> ErrorScores:
        """Score the predictions of a table by how wrong they are."""

    def describe_error(self, table: pl.DataFrame, place: int) -> dict[str, Any]:
        """Describe truth and prediction of a row in the task's terms."""
        return {"truth": "", "answer": ""}

    def baselines(self, target: Any, data: BaselineData) -> list[Baseline]:
        """Fit the baselines that a model must beat."""
        return []


def positions_of(labels: Sequence[Label], given: Iterable[Label], what: str, cure: str) -> dict[Label, int]:
    """Map each label known from training to its position.

    Args:
        given: labels of some rows.
        what: beginning of the error about an unknown label; ends with the noun for it.
        cure: what to do besides removing it.

    Raises:
        DataError: there is one that training does not know.
    """
    positions = {label: position for position, label in enumerate(labels)}
    unseen = sorted({str(label) for label in given if label not in positions})
    if unseen:
        called = what.rsplit(" ", 1)[-1]
        raise DataError(
            f"{what} {unseen[0]!r}, which the training split lacks; {cure}, or remove the {called}", code="DL227"
        )
    return positions


def probabilities(table: pl.DataFrame) -> tuple[np.ndarray, list[str]]:
    """Return the probabilities of classes or labels, [samples, labels], and their names."""
    names = [name for name in table.columns if name.startswith("probability_")]
    return table.select(names).to_numpy(), [name.removeprefix("probability_") for name in names]


def tile_rows(row: np.ndarray, splits: Mapping[str, SplitRows]) -> dict[str, np.ndarray]:
    """Repeat a prediction for every row of each split."""
    return {name: np.tile(row, (len(split), 1)) for name, split in splits.items()}
