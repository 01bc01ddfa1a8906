"""Multi-label classification: each row has any subset of labels."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import polars as pl

from danlu.errors import DataError
from danlu.metrics.base import Metric, Predictions
from danlu.metrics.multilabel import LABEL_COUNTS, MULTI_LABEL_THRESHOLD, MULTILABEL_METRICS
from danlu.metrics.per_class import per_class_metrics, per_class_values
from danlu.metrics.ranking import PER_LABEL
from danlu.tasks.activations import sigmoid
from danlu.tasks.base import (
    Baseline,
    BaselineData,
    ColumnTarget,
    ErrorScores,
    FitInputs,
    Head,
    PackedTarget,
    SplitRows,
    Target,
    TargetSource,
    Task,
    Words,
    positions_of,
    probabilities,
    tile_rows,
)
from danlu.tasks.classification import fit_logistic, spread_labels
from danlu.tasks.ensembles import ensemble_answer, ensemble_loss, ensemble_predict
from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.summaries import count_listed

if TYPE_CHECKING:
    import torch
    from torch import Tensor

COLUMN = "labels"  # the target made of several columns
ABSENT, PRESENT = ("0", "0.0", "false"), ("1", "1.0", "true")
MIN_PROBABILITY = 1e-7  # about float32's resolution near 1: bounds the loss of a confident wrong prediction
MAX_BOOSTED_LABELS = 20  # labels with boosted trees of their own
MIN_SHARE, MAX_SHARE = 0.005, 0.995  # of a mixed label: less is not shown, more is shown as the label alone


def read_labels(text: str) -> list[str]:
    """Parse a row's labels from JSON text.

    Raises:
        DataError: it is none, such as a column of plain words.
    """
    try:
        found: object = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise DataError(
            f"the target: {text[:40]!r} is no list of labels; set data.target_separator where a column holds several "
            "with a sign between them, or data.task: classification where each row has one",
            code="DL225",
        )
    return list(map(str, found))


def dump_labels(labels: Iterable[Any]) -> str:
    """Write labels as JSON text, sorted and without repetitions."""
    return json.dumps(sorted({str(label) for label in labels}), ensure_ascii=False)


def _cut_lists(name: str, separator: str | None) -> pl.Expr:
    """Convert a column of lists, or of strings with a separator, to JSON text."""
    return pl.col(name).map_batches(partial(_texts, separator=separator), return_dtype=pl.String)


def _texts(values: pl.Series, separator: str | None) -> pl.Series:
    found = [None if value is None else dump_labels(_parts(value, separator)) for value in values.to_list()]
    return pl.Series(values.name, found, dtype=pl.String)


def _parts(value: Any, separator: str | None) -> list[Any]:
    """Split a cell into labels; a separator alone stands for none."""
    parts = value if separator is None else [part.strip() for part in value.split(separator)]
    return [part for part in parts if part is not None and part != ""]


def _join_columns(given: TargetSource) -> PackedTarget:
    """Convert a 0/1 column per label to JSON text.

    A row with a missing value has no labels.
    """
    for name in given.names:
        _refuse_others(given.read(name), given.origin, given.learns)
    present = [pl.col(name).cast(pl.String).str.to_lowercase().is_in(PRESENT).alias(name) for name in given.names]
    known = pl.all_horizontal(pl.col(name).is_not_null() for name in given.names)
    column = pl.struct(pl.when(known).then(pl.struct(present)).alias("row")).map_batches(_names, return_dtype=pl.String)
    target = given.free_name(COLUMN)
    return PackedTarget(column.alias(target), target, ("task.columns", {"columns": len(given.names)}))


def _names(rows: pl.Series) -> pl.Series:
    held = (row["row"] for row in rows.to_list())
    found = [None if row is None else dump_labels(name for name, there in row.items() if there) for row in held]
    return pl.Series(COLUMN, found, dtype=pl.String)


def _refuse_others(values: pl.Series, origin: str, learns: bool) -> None:
    """Raise DataError unless a column says of each row whether it has a label."""
    words = values.cast(pl.String).str.to_lowercase().drop_nulls().unique(maintain_order=True)
    other = words.filter(~words.is_in([*ABSENT, *PRESENT]))
    if len(other):
        raise DataError(
            f"{origin}: {values.name!r} of data.target holds {other[0]!r}; of several columns each says with 0 and 1, "
            "or true and false, whether a row has the label",
            code="DL225",
        )
    if not learns:
        return
    if words.is_in(PRESENT).all() or not words.is_in(PRESENT).any():
        only = words[0] if len(words) else "missing"
        raise DataError(f"{origin}: {values.name!r} of data.target is {only} in every row; leave it out", code="DL225")


class MultiLabelTarget(ColumnTarget):
    """Predict any subset of labels, each from a probability of 0.5."""

    task: Literal["multi-label"] = "multi-label"
    labels: tuple[str, ...]

    @property
    def outputs(self) -> int:
        return len(self.labels)

    @property
    def output_names(self) -> list[str]:
        return list(self.labels)

    def multi_hot(self, frame: pl.DataFrame) -> np.ndarray:
        """Return which labels each row has, 0 and 1, [samples, labels] uint8.

        Raises:
            DataError: a label that the training split did not have.
        """
        rows = [read_labels(text) for text in frame[self.column].to_list()]
        there, what = chain.from_iterable(rows), f"{self.column!r} has the label"
        positions = positions_of(self.labels, there, what, "split by stratified")
        found = np.zeros((len(rows), len(self.labels)), dtype=np.uint8)
        places = [(row, positions[label]) for row, labels in enumerate(rows) for label in labels]
        if places:
            found[tuple(np.array(places).T)] = 1
        return found

    def encode(self, frame: pl.DataFrame) -> "torch.Tensor":
        import torch

        return torch.from_numpy(self.multi_hot(frame).astype(np.float32))

    def decode(self, outputs: np.ndarray) -> pl.DataFrame:
        """Return `prediction`, the list of labels, and `probability_LABEL` for every label."""
        given = [
            [label for label, there in zip(self.labels, row, strict=True) if there]
            for row in outputs >= MULTI_LABEL_THRESHOLD
        ]
        columns = {"prediction": pl.Series(given, dtype=pl.List(pl.String))}
        for index, label in enumerate(self.labels):
            columns[f"probability_{label}"] = pl.Series(outputs[:, index], dtype=pl.Float32)
        return pl.DataFrame(columns)


class MultiLabel(Task):
    """Predict any subset of several labels."""

    name: Literal["multi-label"] = "multi-label"
    words: ClassVar[Words] = {"en": {"name": "multi-label"}, "zh": {"name": "多标签分类"}}
    noun = "label"
    own_metrics: ClassVar[Mapping[str, Metric]] = MULTILABEL_METRICS
    default_metrics = (
        *("subset-accuracy", "hamming-loss", "label-f1", "label-f1-micro"),
        *("label-auroc", "mean-average-precision"),
    )
    main_metric = "label-f1"
    takes_columns = True
    takes_separator = True
    can_distill = True
    target_class: ClassVar[type[Target]] = MultiLabelTarget

    def pack_target(self, given: TargetSource) -> PackedTarget | None:
        if given.is_several:
            return _join_columns(given)
        (target,) = given.names
        values, separator = given.schema[target], given.separator
        if isinstance(values, pl.List | pl.Array) and not values.inner.is_nested():
            return PackedTarget(_cut_lists(target, None), target, ("task.lists", {}))
        if separator is None:
            if given.is_asked:
                raise DataError(
                    f"{given.origin}: the target {target!r} holds {values}, one label per row; for several set "
                    "data.target_separator, give lists, or name a column of 0 and 1 for each label",
                    code="DL225",
                )
            return None
        if values != pl.String:
            raise DataError(
                f"{given.origin}: the target {target!r} holds {values}, not strings to split at {separator!r}",
                code="DL225",
            )
        return PackedTarget(_cut_lists(target, separator), target, ("task.cut", {"separator": separator}))

    def label_matrix(self, values: pl.Series) -> np.ndarray:
        rows = [read_labels(text) for text in values.to_list()]
        places = {label: place for place, label in enumerate(sorted({label for row in rows for label in row}))}
        found = np.zeros((len(rows), len(places)), dtype=bool)
        for row, labels in enumerate(rows):
            found[row, [places[label] for label in labels]] = True
        return found

    def describe_target(self, parts: Mapping[str, pl.Series], values: pl.Series) -> dict[str, Any]:
        return {"classes": count_listed(parts, read_labels)}

    def format_cell(self, value: Any) -> Any:
        return ", ".join(read_labels(value))

    def fit_target(self, inputs: FitInputs) -> MultiLabelTarget:
        assert inputs.values is not None
        labels = sorted({label for text in inputs.values.unique().to_list() for label in read_labels(text)})
        if not labels:
            raise DataError(
                f"{inputs.origin}: no row of the training split has a label; nothing to learn", code="DL223"
            )
        return MultiLabelTarget(column=inputs.column, labels=tuple(labels))

    def describe_encoded(self, target: MultiLabelTarget, value: np.ndarray) -> str:
        shares = zip(value, target.labels, strict=True)
        told = [label if share > MAX_SHARE else f"{share:.0%} {label}" for share, label in shares if share > MIN_SHARE]
        return " + ".join(told) or "none"

    def head(self, target: MultiLabelTarget) -> Head:
        predict, answer = ensemble_predict(multilabel_predict), ensemble_answer(sigmoid)
        return Head(ensemble_loss(multilabel_loss), predict, len, ensemble_loss, answer)

    def mean_of_members(self, logits: "Tensor") -> "Tensor":
        from torch.nn import functional

        there, absent = (functional.logsigmoid(sign * logits).logsumexp(dim=1) for sign in (1, -1))
        return there - absent

    def soft_loss(self, logits: "Tensor", teacher: "Tensor", temperature: float) -> "Tensor":
        return soft_multilabel_loss(logits, teacher, temperature)

    def blank_predictions(self, target: MultiLabelTarget) -> Predictions:
        blank = np.full((1, target.outputs), 1 / target.outputs)
        return Predictions(np.zeros((1, target.outputs), dtype=np.int64), blank)

    def pair(
        self, split: SplitRows, target: MultiLabelTarget, y_pred: np.ndarray, text_column: str | None
    ) -> Predictions:
        return Predictions(target.multi_hot(split.columns(target.column)), y_pred)

    def truth_columns(self, split: SplitRows, target: MultiLabelTarget, predictions: Predictions) -> dict[str, Any]:
        return {"truth": [read_labels(text) for text in split.column(target.column).to_list()]}

    def read(self, table: pl.DataFrame, labels: Sequence[str]) -> Predictions:
        given = [[label in row for label in labels] for row in table["truth"].to_list()]
        found = table.select(f"probability_{label}" for label in labels).to_numpy()
        return Predictions(np.array(given, dtype=np.uint8), found)

    def align_labels(
        self, own: MultiLabelTarget, whole: MultiLabelTarget, outputs: np.ndarray
    ) -> tuple[np.ndarray, MultiLabelTarget]:
        """Reorder probabilities; labels that the fold never saw get 0."""
        found, labels = spread_labels(own.labels, whole.labels, outputs)
        return found, own.model_copy(update={"labels": labels})

    def labels_of_parts(self, target: MultiLabelTarget) -> list[str]:
        return [str(label) for label in target.labels]

    def part_metrics(self, target: MultiLabelTarget) -> dict[str, Metric]:
        return per_class_metrics(self.name, len(target.labels), LABEL_COUNTS, PER_LABEL)

    def part_figures(
        self, target: MultiLabelTarget, predictions: Predictions, figures: Mapping[str, Mapping[str, float]]
    ) -> dict[str, Any]:
        return {"classes": per_class_values(target.labels, LABEL_COUNTS, predictions, figures)}

    def score_errors(self, table: pl.DataFrame) -> ErrorScores:
        """Score rows by number of wrong labels; ties by highest loss."""
        found, labels = probabilities(table)
        truths, predicted = table["truth"].to_list(), table["prediction"].to_list()
        given = np.array([[label in row for label in labels] for row in truths], dtype=bool)
        right = np.clip(np.where(given, found, 1 - found), MIN_PROBABILITY, 1.0).astype(np.float64)
        wrong = np.array([len(set(true) ^ set(own)) for true, own in zip(truths, predicted, strict=True)])
        losses = -np.log(right).mean(axis=1)
        highest = -np.log(MIN_PROBABILITY) + 1  # so that a loss never outweighs a wrong label
        return ErrorScores("labels", np.flatnonzero(wrong), wrong + losses / highest, losses)

    def describe_error(self, table: pl.DataFrame, place: int) -> dict[str, Any]:
        """Describe also which labels were missed and which are superfluous."""
        own, said = list(table["truth"][place]), list(table["prediction"][place])
        return {
            "truth": ", ".join(own),
            "answer": ", ".join(said),
            "missed": [label for label in own if label not in said],
            "superfluous": [label for label in said if label not in own],
        }

    def baselines(self, target: MultiLabelTarget, data: BaselineData) -> list[Baseline]:
        """Fit each label's frequency, one-vs-rest logistic regression and, for tables, boosted trees per label."""
        shares = target.multi_hot(data.train.columns(target.column)).mean(axis=0)
        given = target.multi_hot(data.learned.columns(target.column))
        linear = data.predict_linear(lambda features: _fit_one_vs_rest(features, given, data.inverse_penalty))
        found = [
            Baseline("frequency", "each label as often as it occurs", tile_rows(shares, data.eval_splits)),
            Baseline("logistic-regression", f"{data.linear_description}, one for each label", linear),
        ]
        boosted = _boosted_labels(data, given)
        if boosted is not None:
            told = "boosted trees of the same columns, one for each label"
            found.append(Baseline("gradient-boosting", told, boosted))
        return found


def _fit_one_vs_rest(features: Any, given: np.ndarray, inverse_penalty: float) -> Any:
    """Fit logistic regression per label; return what predicts the probabilities, [rows, labels].

    A label that all training rows have, or none, is predicted by its frequency.
    """
    shares = given.mean(axis=0)
    learned = [label for label, share in enumerate(shares) if 0 < share < 1]
    models = [fit_logistic(features, given[:, label], 2, inverse_penalty) for label in learned]

    def predict(seen: Any) -> np.ndarray:
        found = np.tile(shares, (seen.shape[0], 1))
        for label, model in zip(learned, models, strict=True):
            found[:, label] = model(seen)[:, 1]
        return found

    return predict


def _boosted_labels(data: BaselineData, given: np.ndarray) -> dict[str, np.ndarray] | None:
    """Fit boosted trees per label of a table; skipped if there are many labels."""
    shares = given.mean(axis=0)
    found = tile_rows(shares, data.eval_splits)
    if len(shares) > MAX_BOOSTED_LABELS:
        return None
    for label in np.flatnonzero((shares > 0) & (shares < 1)).tolist():
        answers = data.predict_boosting(given[:, label].astype(np.int64), 2)
        if answers is None:
            return None
        for name, chances in answers.items():
            found[name][:, label] = chances[:, 1]
    return found


def multilabel_loss(logits: "Tensor", target: "Tensor", emphasis: LossWeighting) -> "tuple[Tensor, int]":
    """Compute binary cross-entropy of logits [batch, labels] against 0/1 or soft labels [batch, labels].

    A sample costs the mean over its labels. With smoothing s, a target y becomes (1 - s) y + s / 2.
    """
    import torch
    from torch.nn import functional

    wanted = torch.lerp(target, torch.full_like(target, 0.5), emphasis.smoothing) if emphasis.smoothing else target
    total = functional.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="sum")
    return total / target.shape[1], len(target)


def multilabel_predict(logits: "Tensor", target: "Tensor | None") -> "Tensor":
    """Return the probability of each label, [batch, labels]."""
    import torch

    return torch.sigmoid(logits.float())


def soft_multilabel_loss(logits: "Tensor", teacher_logits: "Tensor", temperature: float) -> "Tensor":
    """Return `soft_classification_loss` of each label and its absence, averaged over labels."""
    from torch.nn import functional

    terms = [
        functional.logsigmoid(sign * teacher_logits / temperature).exp()
        * (
            functional.logsigmoid(sign * teacher_logits / temperature)
            - functional.logsigmoid(sign * logits / temperature)
        )
        for sign in (1, -1)
    ]
    return temperature**2 * (terms[0] + terms[1]).sum() / logits.shape[1]
