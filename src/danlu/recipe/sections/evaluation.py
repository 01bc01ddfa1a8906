"""The recipe's section `evaluation`: how a trained model is evaluated."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from danlu.core.component import Frozen, OneOf
from danlu.recipe.bounds import FoldCount, Resamples, Threads, Times
from danlu.recipe.components import PerturbationOptions


class Costs(Frozen):
    """Set the cost of each kind of error; `data.positive` names the positive class."""

    false_positive: NonNegativeFloat = 1.0
    false_negative: NonNegativeFloat = 1.0


class Threshold(Frozen):
    """Choose the decision threshold of binary classification on the validation split."""

    metric: str | None = Field(default=None, description="a metric of predictions, as f1 or f1-positive")
    costs: Costs | None = None

    @model_validator(mode="after")
    def _for_one_thing(self) -> "Threshold":
        if (self.metric is None) == (self.costs is None):
            raise ValueError("set either a metric or costs")
        return self


class Folds(Frozen):
    """Cross-validate the rows outside the test split."""

    folds: FoldCount = 5
    repeats: Times = 1
    stratified: bool | None = Field(default=None, description="like data.split by default")
    grouped: str | None = Field(default=None, description="a column whose rows stay together")
    column: str | None = Field(
        default=None, description="a column that names each row's fold, in place of the options above"
    )
    processes: Threads = Field(default=1, description="folds that are trained in parallel")
    final: Literal["split", "refit"] = Field(
        default="split",
        description="the final model: split is trained with a validation split; refit is trained on "
        "all rows that do not test, for the median of the epochs (or rounds) after which the folds were best",
    )

    @model_validator(mode="after")
    def _dealt_out_in_one_way(self) -> "Folds":
        if self.grouped is not None and self.stratified is not None:
            raise ValueError("grouped and stratified are two ways to assign rows; set one of them")
        fields = type(self).model_fields
        said = [
            key for key in ("folds", "repeats", "stratified", "grouped") if getattr(self, key) != fields[key].default
        ]
        if self.column is not None and said:
            raise ValueError(f"column names each row's fold, so {said[0]} has no effect; remove it")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that assign rows to folds; they are not given to the model."""
        return tuple(filter(None, (self.grouped, self.column)))


class Slices(Frozen):
    """Choose the slices of the test split to evaluate, and their metric."""

    metric: str | None = Field(
        default=None, description="as recall-positive or rmse; the task's main metric by default"
    )
    columns: tuple[str, ...] | None = Field(
        default=None, description="columns to slice by, also those that the model is not given; all by default"
    )
    min_size: Annotated[int, Field(ge=2)] | None = Field(
        default=None, description="samples of a slice; by default 20 and one in a hundred"
    )


class Conformal(Frozen):
    """Set the coverage of conformal sets and intervals (https://arxiv.org/abs/2107.07511)."""

    coverage: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=0.9, description="share of new rows whose true value the set or interval should hold"
    )
    by: Literal["none", "class"] = Field(
        default="none", description="class: the coverage holds within every class, at the price of larger sets"
    )


class PredictionIntervals(Frozen):
    """Choose how predictions get sets (classification) or intervals (regression)."""

    conformal: Conformal = Field(default=Conformal(), description="calibrated on the validation split")

    @model_validator(mode="before")
    @classmethod
    def _from_a_name(cls, said: Any) -> Any:
        """Accept `{name: conformal, coverage: 0.8}`, as components are written too."""
        if not isinstance(said, Mapping) or said.get("name") != "conformal":
            return said
        options = {key: value for key, value in said.items() if key != "name"}
        return options if "conformal" in options else {"conformal": options}


class Evaluation(Frozen):
    """Set how the trained model is evaluated."""

    metrics: tuple[str, ...] | None = Field(
        default=None, description="the task's usual metrics by default; custom ones as package.module:function"
    )
    folds: FoldCount | Folds | None = None
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = Field(
        default=0.95, description="coverage of the confidence intervals"
    )
    resamples: Resamples = Field(default=2000, description="of the bootstrap; 0 for no intervals")
    intervals: Literal["conformal"] | PredictionIntervals | None = Field(
        default=None,
        description="sets of classes or intervals of numbers beside each prediction; those of metrics are `confidence`",
    )
    baselines: bool = Field(
        default=True, description="also fit a trivial model, a linear model and gradient boosting on the same split"
    )
    calibration: Literal["none", "temperature", "isotonic", "auto"] = Field(
        default="none", description="of a classifier's probabilities, fitted on validation"
    )
    threshold: Threshold | None = Field(default=None, description="the likelier of two classes by default")
    slices: bool | Slices = Field(default=True, description="look for slices of the test split with worse predictions")
    robustness: tuple[Annotated[PerturbationOptions, OneOf("perturbation")], ...] = Field(
        default=(), description="also evaluate the model on perturbed versions of the test rows"
    )
    language: Literal["en", "zh"] = Field(default="en", description="of the report and the model card")

    @model_serializer(mode="wrap")
    def _leave_out_unset_intervals(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write `intervals` only where it is set; other recipes stay as they were."""
        written: dict[str, Any] = write(self)
        if written.get("intervals") is None:
            written.pop("intervals", None)
        return written

    @property
    def conformal(self) -> Conformal | None:
        """The options of conformal prediction, defaults filled in; None without it."""
        said = PredictionIntervals() if self.intervals == "conformal" else self.intervals
        return None if said is None else said.conformal

    @property
    def cross_validation(self) -> Folds | None:
        """The options of cross-validation, defaults filled in."""
        return Folds(folds=self.folds) if isinstance(self.folds, int) else self.folds

    @property
    def fold_columns(self) -> tuple[str, ...]:
        """The columns that assign rows to folds."""
        return self.cross_validation.columns if self.cross_validation is not None else ()

    @property
    def refits(self) -> bool:
        """Whether the final model is trained on all rows outside the test split."""
        return self.cross_validation is not None and self.cross_validation.final == "refit"
