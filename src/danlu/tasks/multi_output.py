"""Multi-output regression: each row has several numbers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import polars as pl

from danlu.errors import DataError
from danlu.metrics.base import Metric, Predictions, Statistic, safe_divide, sum_statistic
from danlu.tasks.activations import identity
from danlu.tasks.base import (
    LARGEST_TARGET,
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
    tile_rows,
)
from danlu.tasks.ensembles import ensemble_answer, ensemble_loss, ensemble_predict
from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.regression import fit_ridge, nonzero_std, tenths
from danlu.tasks.summaries import describe_numbers

if TYPE_CHECKING:
    import torch
    from torch import Tensor

COLUMN = "targets"  # the target made of several columns
PREDICTION, TRUTH = "prediction_", "truth_"  # beginnings of the columns of predictions and truths
MEASURES = ("rmse", "mae", "r2")  # of each output


def unpack_numbers(values: pl.Series) -> pl.DataFrame:
    """Parse rows of JSON text, `{"a": 1.5, "b": 2.0}`, into a column per output."""
    first = values.drop_nulls()
    names = list(pl.Series(first.head(1)).str.json_decode(infer_schema_length=1).struct.fields) if len(first) else []
    return values.str.json_decode(pl.Struct(dict.fromkeys(names, pl.Float64))).struct.unnest()


class MultiNumericTarget(ColumnTarget):
    """Predict several numbers, each standardised for the model.

    Attributes:
        names: the outputs.
        means, stds: of the training rows.
    """

    task: Literal["multi-output-regression"] = "multi-output-regression"
    names: tuple[str, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]

    @property
    def outputs(self) -> int:
        return len(self.names)

    @property
    def output_names(self) -> list[str]:
        return list(self.names)

    def to_readable(self, weights: np.ndarray) -> np.ndarray:
        return np.asarray(weights * np.array(self.stds))

    def numbers(self, frame: pl.DataFrame) -> np.ndarray:
        """Return the numbers of some rows, [rows, outputs] float64."""
        found = unpack_numbers(frame[self.column]).select(self.names)
        return np.asarray(found.to_numpy(), dtype=np.float64)

    def encode(self, frame: pl.DataFrame) -> "torch.Tensor":
        import torch

        scaled = (self.numbers(frame) - np.array(self.means)) / np.array(self.stds)
        return torch.from_numpy(scaled.astype(np.float32))

    def in_units(self, outputs: np.ndarray) -> np.ndarray:
        """Convert standardised predictions, [samples, outputs], to the outputs' own units, float64."""
        return np.asarray(outputs.astype(np.float64) * np.array(self.stds) + np.array(self.means))

    def decode(self, outputs: np.ndarray) -> pl.DataFrame:
        """Return `prediction_NAME` in each output's own units."""
        values = self.in_units(outputs)
        return pl.DataFrame({f"{PREDICTION}{name}": values[:, place] for place, name in enumerate(self.names)})


def _moments(predictions: Predictions) -> np.ndarray:
    """Stack the terms of count, errors and moments of each output, [samples, 5 * outputs].

    The truth is centred by its mean, since squares about a far point would cancel.
    """
    true, said = predictions.y_true.astype(np.float64), predictions.y_pred.astype(np.float64)
    error, about = true - said, true - true.mean(axis=0)
    return np.concatenate([np.ones_like(true), error**2, np.abs(error), about, about**2], axis=1)


# Not additive: the sums of two batches are about two means.
MOMENTS: Statistic = Statistic(sum_statistic(_moments).prepare)


def _by_output(found: np.ndarray) -> dict[str, np.ndarray]:
    """Return each measure per output, [resamples, outputs], from the sums of `_moments`."""
    count, squares, sizes, about, about_squares = np.moveaxis(found.reshape(*found.shape[:-1], 5, -1), -2, 0)
    spread = np.maximum(about_squares - safe_divide(about**2, count, 0.0), 0.0)
    rmse = np.sqrt(safe_divide(squares, count))
    return {
        "rmse": rmse,
        "mae": safe_divide(sizes, count),
        "r2": np.where(spread == 0, np.where(squares == 0, 1.0, 0.0), 1 - safe_divide(squares, spread, 0.0)),
        "relative-rmse": safe_divide(rmse, np.sqrt(safe_divide(spread, count))),
    }


MULTI_OUTPUT_METRICS: dict[str, Metric] = {
    "mean-r2": Metric(
        "multi-output-regression",
        MOMENTS,
        lambda found: _by_output(found)["r2"].mean(axis=-1),
        True,
        "share of the variance explained, averaged over the outputs",
        bounds=(-np.inf, 1.0),
    ),
    "relative-rmse": Metric(
        "multi-output-regression",
        MOMENTS,
        lambda found: _by_output(found)["relative-rmse"].mean(axis=-1),
        False,
        "root mean squared error over the output's standard deviation, averaged over the outputs",
        bounds=(0.0, np.inf),
    ),
}


class MultiOutput(Task):
    """Predict several numbers per row; each is standardised, so that none outweighs the others."""

    name: Literal["multi-output-regression"] = "multi-output-regression"
    words: ClassVar[Words] = {
        "en": {"name": "multi-output regression"},
        "zh": {
            "name": "多输出回归",
            "metric.mean-r2": "解释的方差比例，各输出的平均",
            "metric.relative-rmse": "均方根误差除以该输出的标准差，各输出的平均",
        },
    }
    own_metrics: ClassVar[Mapping[str, Metric]] = MULTI_OUTPUT_METRICS
    default_metrics = ("mean-r2", "relative-rmse")
    main_metric = "mean-r2"
    takes_columns = True
    has_logits = False
    target_class: ClassVar[type[Target]] = MultiNumericTarget

    def pack_target(self, given: TargetSource) -> PackedTarget | None:
        if not given.is_several:
            return None
        numeric = all(given.schema[name].is_numeric() for name in given.names)
        if not given.is_asked and (not numeric or all(_is_flag(given.read(name)) for name in given.names)):
            return None
        for name in given.names:
            _check_numbers(given.read(name), given.origin)
        numbers = [pl.col(name).cast(pl.Float64) for name in given.names]  # before all else: decimals know no NaN
        known = pl.all_horizontal(number.is_not_null() & number.is_not_nan() for number in numbers)
        row = pl.struct(numbers).struct.json_encode()
        target = given.free_name(COLUMN)
        packed = pl.when(known).then(row).alias(target)
        return PackedTarget(packed, target, ("task.columns", {"columns": len(given.names)}))

    def check_values(self, values: pl.Series, origin: str) -> None:
        if values.dtype != pl.String or not values.str.starts_with("{").all():  # that is, not packed
            raise DataError(
                f"{origin}: {self} needs several target columns; "
                "list them in data.target, or use data.task: regression",
                code="DL220",
            )

    def numbers(self, values: pl.Series) -> list[pl.Series]:
        return list(unpack_numbers(values))

    def strata(self, values: pl.Series, origin: str, fewest: int) -> np.ndarray:
        """Return the tenth that each row is in by the mean of its standardised numbers."""
        found = unpack_numbers(values).to_numpy()
        return tenths(((found - found.mean(axis=0)) / nonzero_std(found)).mean(axis=1))

    def describe_target(self, parts: Mapping[str, pl.Series], values: pl.Series) -> dict[str, Any]:
        return {"outputs": {column.name: describe_numbers(column) for column in unpack_numbers(values)}}

    def format_cell(self, value: Any) -> Any:
        return ", ".join(f"{column.name} {column[0]:.4g}" for column in unpack_numbers(pl.Series([value])))

    def fit_target(self, inputs: FitInputs) -> Target:
        assert inputs.values is not None
        found = unpack_numbers(inputs.values)
        numbers = found.to_numpy()
        means, stds = numbers.mean(axis=0), nonzero_std(numbers)
        return MultiNumericTarget(
            column=inputs.column, names=tuple(found.columns), means=tuple(means.tolist()), stds=tuple(stds.tolist())
        )

    def describe_encoded(self, target: MultiNumericTarget, value: np.ndarray) -> str:
        found = target.in_units(value[None])[0]
        return ", ".join(f"{name} {number:.4g}" for name, number in zip(target.names, found, strict=True))

    def head(self, target: MultiNumericTarget) -> Head:
        predict, answer = ensemble_predict(multi_output_predict), ensemble_answer(identity)
        return Head(ensemble_loss(multi_output_loss), predict, len, ensemble_loss, answer)

    def to_y_pred(self, target: MultiNumericTarget, outputs: np.ndarray) -> np.ndarray:
        return target.in_units(outputs)

    def blank_predictions(self, target: MultiNumericTarget) -> Predictions:
        blank = np.zeros((1, target.outputs))
        return Predictions(blank, blank)

    def pair(
        self, split: SplitRows, target: MultiNumericTarget, y_pred: np.ndarray, text_column: str | None
    ) -> Predictions:
        return Predictions(target.numbers(split.columns(target.column)), y_pred)

    def truth_columns(self, split: SplitRows, target: MultiNumericTarget, predictions: Predictions) -> dict[str, Any]:
        return {f"{TRUTH}{name}": predictions.y_true[:, place] for place, name in enumerate(target.names)}

    def read(self, table: pl.DataFrame, labels: Sequence[str]) -> Predictions:
        return Predictions(_table_of(table, TRUTH).to_numpy(), _table_of(table, PREDICTION).to_numpy())

    def part_metrics(self, target: MultiNumericTarget) -> dict[str, Metric]:
        return {
            _key(place, measure): Metric(self.name, MOMENTS, _measure_of(place, measure), measure == "r2", measure)
            for place in range(len(target.names))
            for measure in MEASURES
        }

    def part_figures(
        self, target: MultiNumericTarget, predictions: Predictions, figures: Mapping[str, Mapping[str, float]]
    ) -> dict[str, Any]:
        found: dict[str, dict[str, Any]] = {name: {} for name in target.names}
        for place, name in enumerate(target.names):
            for measure in MEASURES:
                figure = figures.get(_key(place, measure))
                if figure is not None:
                    found[name][measure] = figure
        return {"outputs": found}

    def score_errors(self, table: pl.DataFrame) -> ErrorScores:
        """Score every row by its absolute error in standard deviations, averaged over the outputs."""
        true, said = _table_of(table, TRUTH).to_numpy(), _table_of(table, PREDICTION).to_numpy()
        errors = (np.abs(true - said) / nonzero_std(true)).mean(axis=1)
        return ErrorScores("error", np.arange(table.height), errors, errors)

    def describe_error(self, table: pl.DataFrame, place: int) -> dict[str, Any]:
        def told(prefix: str) -> str:
            row = _table_of(table, prefix).row(place, named=True)
            return ", ".join(f"{name} {value:.4g}" for name, value in row.items())

        return {"truth": told(TRUTH), "answer": told(PREDICTION)}

    def baselines(self, target: MultiNumericTarget, data: BaselineData) -> list[Baseline]:
        """Fit the means, ridge regression and, for tables, boosted trees per output."""
        values = target.numbers(data.learned.columns(target.column))
        trivial = tile_rows(np.array(target.means), data.eval_splits)
        linear = data.predict_linear(lambda features: fit_ridge(features, values))
        linear = {
            name: answers.reshape(len(answers), -1) for name, answers in linear.items()
        }  # of one output it is flat
        found = [
            Baseline("mean", "always the training mean", trivial),
            Baseline("ridge", data.linear_description, linear),
        ]
        boosted = [data.predict_boosting(column, None) for column in values.T]
        known = [each for each in boosted if each is not None]
        if known:
            together = {name: np.stack([each[name] for each in known], axis=1) for name in data.eval_splits}
            told = f"boosted trees of the same columns, one for each output{data.boosting_note}"
            found.append(Baseline("gradient-boosting", told, together))
        return found


def _is_flag(values: pl.Series) -> bool:
    return bool(values.cast(pl.Float64).drop_nulls().is_in([0.0, 1.0]).all())


def _check_numbers(values: pl.Series, origin: str) -> None:
    """Raise DataError unless a target column holds numbers that can be learned."""
    if not values.dtype.is_numeric():
        raise DataError(
            f"{origin}: {values.name!r} of data.target is {values.dtype}; several numbers are predicted", code="DL221"
        )
    present = values.cast(pl.Float64).drop_nulls().drop_nans()
    beyond = present.filter(present.abs() > LARGEST_TARGET)
    if len(beyond):
        raise DataError(
            f"{origin}: {values.name!r} of data.target is {beyond[0]} in {len(beyond)} rows, too large to learn "
            f"(at most {LARGEST_TARGET:g}); correct or remove these rows, or give it another unit",
            code="DL223",
        )
    if present.n_unique() < 2:
        raise DataError(
            f"{origin}: {values.name!r} of data.target is the same in every row; leave it out", code="DL223"
        )


def _table_of(table: pl.DataFrame, prefix: str) -> pl.DataFrame:
    """Return the columns that begin with a prefix, without it."""
    names = [name for name in table.columns if name.startswith(prefix)]
    return table.select(pl.col(name).alias(name.removeprefix(prefix)) for name in names)


def _key(place: int, measure: str) -> str:
    return f"output {place}/{measure}"


def _measure_of(place: int, measure: str) -> Any:
    return lambda found: _by_output(found)[measure][..., place]


def multi_output_loss(logits: "Tensor", target: "Tensor", emphasis: LossWeighting) -> "tuple[Tensor, int]":
    """Compute squared error of [batch, outputs], averaged over the outputs."""
    from torch.nn import functional

    return functional.mse_loss(logits.float(), target, reduction="sum") / target.shape[1], len(target)


def multi_output_predict(logits: "Tensor", target: "Tensor | None") -> "Tensor":
    """Return standardized predictions, [batch, outputs]."""
    return logits.float()
