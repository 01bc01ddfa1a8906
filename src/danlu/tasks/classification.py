"""Classification: each row has one of several classes."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import polars as pl

from danlu.errors import DataError
from danlu.metrics.base import Metric, Predictions
from danlu.metrics.classification import COUNT_METRICS, COUNTS, PROBABILITY_METRICS
from danlu.metrics.per_class import per_class_metrics, per_class_values
from danlu.metrics.ranking import ONE_VS_REST, RANKING_METRICS
from danlu.tasks.activations import softmax
from danlu.tasks.base import (
    Baseline,
    BaselineData,
    ConformalTarget,
    ErrorScores,
    FitInputs,
    Head,
    Label,
    SplitRows,
    Target,
    Task,
    Words,
    positions_of,
    probabilities,
    tile_rows,
)
from danlu.tasks.calibrations import AnyCalibration
from danlu.tasks.ensembles import ensemble_answer, ensemble_loss, ensemble_predict
from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.summaries import count_classes

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PREDICTION_SET = "prediction_set"  # the column of the classes in a row's set
MIN_LOG_PROB = -1e4  # of a log-probability: exp gives 0, and 0 * -1e4 is 0 where 0 * -inf is NaN
MIN_SHARE = 0.005  # of a mixed label that is worth showing


class ClassTarget(ConformalTarget):
    """Predict one of several labels.

    Attributes:
        calibration: applied to the model's probabilities.
        threshold: of two labels, the probability from which the second is predicted; else the likelier is.
    """

    task: str = "classification"
    labels: tuple[Label, ...]
    calibration: AnyCalibration | None = None
    threshold: float | None = None

    @property
    def outputs(self) -> int:
        return len(self.labels)

    @property
    def positive(self) -> Label | None:
        return self.labels[1] if len(self.labels) == 2 else None

    def codes(self, frame: pl.DataFrame) -> np.ndarray:
        """Return the position of each row's label in `labels`, [samples] int64.

        Raises:
            DataError: a label that the training split did not have.
        """
        values = frame[self.column].to_list()
        positions = positions_of(self.labels, values, f"{self.column!r} has the class", "split by stratified")
        return np.array([positions[value] for value in values], dtype=np.int64)

    def encode(self, frame: pl.DataFrame) -> "torch.Tensor":
        import torch

        return torch.from_numpy(self.codes(frame))

    def calibrate(self, outputs: np.ndarray) -> np.ndarray:
        return outputs if self.calibration is None else self.calibration.apply(outputs)

    def prediction_sets(self, outputs: np.ndarray) -> np.ndarray:
        """Return which labels each row's set holds, [samples, labels] bool; a set may be empty.

        Args:
            outputs: calibrated probabilities, [samples, labels].
        """
        assert self.conformal is not None
        return 1.0 - outputs.astype(np.float64) <= np.array(self.conformal.quantiles)

    def decode(self, outputs: np.ndarray) -> pl.DataFrame:
        """Return `prediction`, its `probability`, and `probability_LABEL` for every label.

        With conformal quantiles also `prediction_set`, the list of labels, the likeliest first.
        """
        best = self._best(outputs)
        columns = {
            "prediction": pl.Series([self.labels[index] for index in best], dtype=labels_dtype(self.labels)),
            "probability": pl.Series(outputs[np.arange(len(best)), best], dtype=pl.Float32),
        }
        for index, label in enumerate(self.labels):
            columns[f"probability_{label}"] = pl.Series(outputs[:, index], dtype=pl.Float32)
        if self.conformal is not None:
            order = np.argsort(-outputs, axis=1, kind="stable")
            held = np.take_along_axis(self.prediction_sets(outputs), order, axis=1)
            sets = [[self.labels[index] for index in row[kept]] for row, kept in zip(order, held, strict=True)]
            columns[PREDICTION_SET] = pl.Series(sets, dtype=pl.List(labels_dtype(self.labels)))
        return pl.DataFrame(columns)

    def answer_columns(self, outputs: np.ndarray) -> dict[str, list[Any]]:
        if self.conformal is not None:
            return super().answer_columns(outputs)
        best, shares = self._best(outputs), outputs.astype(np.float32, copy=False)
        labels, places = self.labels, best.tolist()
        columns = {
            "prediction": [labels[index] for index in places],
            "probability": shares[np.arange(len(best)), best].tolist(),
        }
        return columns | {f"probability_{label}": shares[:, index].tolist() for index, label in enumerate(labels)}

    def _best(self, outputs: np.ndarray) -> np.ndarray:
        """Return the place of each row's label, [samples] int64."""
        if self.threshold is not None:
            return (outputs[:, 1] >= self.threshold).astype(np.int64)
        return np.asarray(outputs.argmax(axis=1))

    @property
    def output_names(self) -> list[str]:
        """The classes; of two, the second, to whose log odds the weights add."""
        labels = [str(label) for label in self.labels]
        return labels[1:] if len(labels) == 2 else labels

    def to_readable(self, weights: np.ndarray) -> np.ndarray:
        return weights[..., 1:] - weights[..., :1] if len(self.labels) == 2 else weights

    def decode_scores(self, scores: np.ndarray) -> pl.DataFrame:
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        answers = self.decode((shares / shares.sum(axis=1, keepdims=True)).astype(np.float32))
        return answers.select("prediction", "probability")

    def without_decisions(self) -> Self:
        return self.model_copy(update={"threshold": None})


def positive_last(labels: list[Label], positive: Label | None) -> list[Label]:
    """Return two labels with the positive one second, where metrics look for it."""
    found = None if positive is None else find_label(labels, positive)
    return labels if found is None else [label for label in labels if label != found] + [found]


def find_label(labels: Sequence[Label], said: Label) -> Label | None:
    """Return the label that a recipe means, whether it writes `1`, `"1"` or `true`."""
    same = [label for label in labels if type(label) is type(said) and label == said]
    alike = [label for label in labels if str(label) == str(said)] or [
        label for label in labels if str(label).lower() == str(said).lower()
    ]
    return next(iter(same or alike or [label for label in labels if label == said]), None)


def labels_dtype(labels: tuple[Label, ...]) -> type[pl.DataType]:
    """Return the type of a column of these labels."""
    kinds = {bool: pl.Boolean, int: pl.Int64, float: pl.Float64}
    return kinds.get(type(labels[0]), pl.String)


class ClassTask(Task):
    """Predict one of several classes, whatever the loss."""

    has_classes = True
    has_sets = True
    target_class: ClassVar[type[Target]] = ClassTarget

    def strata(self, values: pl.Series, origin: str, fewest: int) -> np.ndarray:
        """Return the class of each row."""
        counts = values.rename("label").value_counts().sort("count")
        if counts["count"][0] < fewest:
            rare = [str(name) for name, count in counts.rows() if count < fewest]
            raise DataError(
                f"{origin}: class {rare[0]!r} of {values.name!r} has {counts['count'][0]} sample(s)"
                + (f", and {len(rare) - 1} more classes are as small" if len(rare) > 1 else "")
                + "; a stratified split needs at least 3 (one each to train, validate and test): "
                "add samples, remove or merge the class, or set data.split.by: random",
                code="DL250",
            )
        labels = counts["label"]
        order = labels.cast(pl.String).arg_sort().arg_sort()
        return values.replace_strict(labels, order.cast(pl.Int64), return_dtype=pl.Int64).to_numpy()

    def describe_target(self, parts: Mapping[str, pl.Series], values: pl.Series) -> dict[str, Any]:
        return {"classes": count_classes(parts, values)}

    def fit_target(self, inputs: FitInputs) -> Target:
        assert inputs.values is not None
        labels = positive_last(sorted(inputs.values.unique().to_list()), inputs.positive)
        if len(labels) == 1:
            raise DataError(f"{inputs.origin}: the training split holds one class alone ({labels[0]!r})", code="DL223")
        return self.target_class.model_validate({"column": inputs.column, "labels": tuple(labels)})

    def describe_encoded(self, target: ClassTarget, value: np.ndarray) -> str:
        if value.ndim == 0:
            return str(target.labels[int(value)])
        largest = [index for index in np.argsort(-value) if value[index] > MIN_SHARE]
        if len(largest) == 1:
            return str(target.labels[largest[0]])
        return " + ".join(f"{value[index]:.0%} {target.labels[index]}" for index in largest)

    def num_classes(self, target: ClassTarget) -> int:
        return len(target.labels)

    def pair(self, split: SplitRows, target: ClassTarget, y_pred: np.ndarray, text_column: str | None) -> Predictions:
        return Predictions(target.codes(split.columns(target.column)), y_pred, threshold=target.threshold)

    def truth_columns(self, split: SplitRows, target: ClassTarget, predictions: Predictions) -> dict[str, Any]:
        return {"truth": split.column(target.column)}

    def read(self, table: pl.DataFrame, labels: Sequence[str]) -> Predictions:
        positions = {label: position for position, label in enumerate(labels)}
        values = np.array([positions[str(value)] for value in table["truth"].to_list()], dtype=np.int64)
        return Predictions(values, table.select(f"probability_{label}" for label in labels).to_numpy())

    def blank_predictions(self, target: ClassTarget) -> Predictions:
        """Return a row without weight that has a probability for every class."""
        classes = len(target.labels)
        return Predictions(np.zeros(1, dtype=np.int64), np.full((1, classes), 1 / classes))

    def nonconformity(self, predictions: Predictions) -> np.ndarray:
        """Return 1 - the probability of the true class."""
        likely = predictions.y_pred[np.arange(len(predictions)), predictions.y_true]
        return np.asarray(1.0 - likely.astype(np.float64))

    def align_labels(self, own: ClassTarget, whole: ClassTarget, outputs: np.ndarray) -> tuple[np.ndarray, ClassTarget]:
        """Reorder probabilities; classes that the fold never saw get 0."""
        found, labels = spread_labels(own.labels, whole.labels, outputs)
        changed = labels != own.labels
        return found, own.model_copy(update={"labels": labels, "threshold": None}) if changed else own

    def labels_of_parts(self, target: ClassTarget) -> list[str]:
        return [str(label) for label in target.labels]

    def part_metrics(self, target: ClassTarget) -> dict[str, Metric]:
        areas = ONE_VS_REST if len(target.labels) > 2 else None
        return per_class_metrics(self.name, len(target.labels), COUNTS, areas)

    def part_figures(
        self, target: ClassTarget, predictions: Predictions, figures: Mapping[str, Mapping[str, float]]
    ) -> dict[str, Any]:
        return {"classes": per_class_values(target.labels, COUNTS, predictions, figures)}

    def score_errors(self, table: pl.DataFrame) -> ErrorScores:
        """Score wrong classes by confidence, highest first."""
        found, labels = probabilities(table)
        positions = {label: index for index, label in enumerate(labels)}
        predicted = [positions[str(label)] for label in table["prediction"].to_list()]
        wrong = (table["prediction"].cast(pl.String) != table["truth"].cast(pl.String)).to_numpy()
        confidence = found[np.arange(table.height), predicted]
        return ErrorScores("confidence", np.flatnonzero(wrong), confidence, confidence)

    def describe_error(self, table: pl.DataFrame, place: int) -> dict[str, Any]:
        return {"truth": table["truth"][place], "answer": table["prediction"][place]}

    def baselines(self, target: ClassTarget, data: BaselineData) -> list[Baseline]:
        """Fit class frequencies, logistic regression and, for tables, boosted trees."""
        size = len(target.labels)
        share = np.bincount(target.codes(data.train.columns(target.column)), minlength=size) / len(data.train)
        codes = target.codes(data.learned.columns(target.column))
        trivial = Baseline("majority", "always the most frequent class", tile_rows(share, data.eval_splits))
        if share.max() == 1.0:  # a dry run on few rows may contain a single class
            return [trivial]
        linear = data.predict_linear(lambda features: fit_logistic(features, codes, size, data.inverse_penalty))
        found = [trivial, Baseline("logistic-regression", data.linear_description, linear)]
        boosted = data.predict_boosting(codes, size)
        if boosted is not None:
            found.append(
                Baseline("gradient-boosting", f"boosted trees of the same columns{data.boosting_note}", boosted)
            )
        return found


class Classification(ClassTask):
    """Predict one of several classes."""

    name: Literal["classification"] = "classification"
    words: ClassVar[Words] = {"en": {"name": "classification"}, "zh": {"name": "分类"}}
    own_metrics: ClassVar[Mapping[str, Metric]] = {**COUNT_METRICS, **RANKING_METRICS, **PROBABILITY_METRICS}
    default_metrics = (
        *("accuracy", "balanced-accuracy", "precision", "recall", "f1", "auroc", "average-precision"),
        *("log-loss", "brier", "mcc", "calibration-error"),
    )
    main_metric = "accuracy"
    probe_metric = "balanced-accuracy"
    fits_trees = True
    can_distill = True

    def head(self, target: ClassTarget) -> Head:
        loss = ensemble_loss(classification_loss)
        predict, answer = ensemble_predict(classification_predict), ensemble_answer(softmax)
        return Head(loss, predict, len, ensemble_loss, answer)

    def mean_of_members(self, logits: "Tensor") -> "Tensor":
        import torch

        return torch.log_softmax(logits, dim=2).logsumexp(dim=1)

    def soft_loss(self, logits: "Tensor", teacher: "Tensor", temperature: float) -> "Tensor":
        return soft_classification_loss(logits, teacher, temperature)


def spread_labels(
    own: tuple[Any, ...], whole: tuple[Any, ...], outputs: np.ndarray
) -> tuple[np.ndarray, tuple[Any, ...]]:
    """Reorder columns of labels to a full list; labels that `own` lacks get 0.

    Returns:
        the outputs, and the full list with labels of `own` alone at its end.
    """
    if own == whole:
        return outputs, own
    labels = (*whole, *(label for label in own if label not in whole))
    found = np.zeros((len(outputs), len(labels)), dtype=outputs.dtype)
    found[:, [labels.index(label) for label in own]] = outputs
    return found, labels


def fit_logistic(features: Any, codes: np.ndarray, classes: int, inverse_penalty: float) -> Callable[[Any], np.ndarray]:
    """Fit logistic regression; return its probabilities of all classes, some of which `codes` may lack."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=inverse_penalty, max_iter=1000).fit(features, codes)

    def predict(seen: Any) -> np.ndarray:
        answers = model.predict_proba(seen)
        found = np.zeros((len(answers), classes))
        found[:, model.classes_] = answers
        return found

    return predict


def classification_loss(logits: "Tensor", target: "Tensor", emphasis: LossWeighting) -> "tuple[Tensor, int]":
    """Compute cross-entropy of logits [batch, classes] against classes [batch] or soft labels [batch, classes].

    With emphasis, a sample of class y costs w_y ((1 - s) l_y + s mean(l)), where w are the class weights, s is the
    label smoothing and l_c = -(1 - p_c)^gamma log p_c are the focal terms of the logits with their offsets. A mixed
    sample costs the average over its classes, weighted by their shares. The loss sums over w-weighted samples and the
    count is the number of samples, so weights of mean 1 do not change the gradient's scale.
    """

    import torch
    from torch.nn import functional

    logits = logits.float()
    if emphasis.logit_offsets is not None:
        logits = logits + logits.new_tensor(emphasis.logit_offsets)
    if emphasis.class_weights is None and emphasis.focal_gamma == 0.0:
        loss = functional.cross_entropy(logits, target, reduction="sum", label_smoothing=emphasis.smoothing)
        return loss, len(target)
    terms = -functional.log_softmax(logits, dim=1)
    if emphasis.focal_gamma > 0.0:
        # 1 - p, exact where p nears 1; not 0, where a power below 1 has no gradient.
        terms = terms * (-torch.expm1(-terms)).clamp(min=torch.finfo(terms.dtype).tiny) ** emphasis.focal_gamma
    shares = target.to(terms.dtype) if target.ndim == 2 else functional.one_hot(target, terms.shape[1]).to(terms.dtype)
    if emphasis.class_weights is not None:
        shares = shares * shares.new_tensor(emphasis.class_weights)
    if emphasis.smoothing > 0.0:
        shares = torch.lerp(shares, shares.mean(dim=1, keepdim=True), emphasis.smoothing)
    return (shares * terms).sum(), len(target)


def classification_predict(logits: "Tensor", target: "Tensor | None") -> "Tensor":
    """Return class probabilities, [batch, classes]."""

    import torch

    return torch.softmax(logits.float(), dim=1)


def soft_classification_loss(logits: "Tensor", teacher_logits: "Tensor", temperature: float) -> "Tensor":
    """Return T^2 KL(teacher || student) of class probabilities at temperature T, summed.

    T^2 keeps the size of the gradient, which a temperature would shrink by that factor. Hinton et al. 2015,
    https://arxiv.org/abs/1503.02531.
    """

    import torch

    student = torch.log_softmax(logits / temperature, dim=1)
    teacher = torch.log_softmax(teacher_logits / temperature, dim=1).clamp(min=MIN_LOG_PROB)
    return temperature**2 * (teacher.exp() * (teacher - student)).sum()
