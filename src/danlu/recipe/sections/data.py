"""The recipe's section `data`: where the data is, what its columns mean, how rows are cleaned, split and prepared.

Frozen values with defaults; a default that depends on the data is None here and filled in by
`danlu.experiment.defaults`.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from danlu.core.component import Frozen, OneOf
from danlu.recipe.bounds import Pixels, Width
from danlu.recipe.components import (
    AugmentationOptions,
    BalancerOptions,
    DuplicatesOptions,
    EncoderOptions,
    ImputationOptions,
    ScalerOptions,
    SplitterOptions,
    TaskOptions,
)
from danlu.recipe.paths import SourcePath, TemplatePath
from danlu.recipe.sections.training import Fraction

ColumnType = Literal["number", "category", "datetime", "text", "image", "identifier"]


class Outliers(Frozen):
    """Handle values far from the rest of a column, or rows far from the rest.

    Limits come from the training split. `clip` moves a value to the nearest limit, in training and when predicting;
    `flag` adds a feature that says whether a row holds such a value; `drop` leaves rows out of the training split,
    never out of the others.
    """

    method: Literal["iqr", "z-score", "isolation-forest"] = "iqr"
    factor: PositiveFloat = Field(
        default=3.0, description="interquartile ranges (iqr), or standard deviations (z-score)"
    )
    share: Annotated[float, Field(gt=0.0, le=0.5)] | None = Field(
        default=None, description="share of rows that isolation-forest marks; it decides itself by default"
    )
    action: Literal["drop", "clip", "flag"] = "clip"

    @model_validator(mode="after")
    def _rows_can_only_be_dropped(self) -> "Outliers":
        if self.method == "isolation-forest" and self.action != "drop":
            raise ValueError(f"isolation-forest marks whole rows, so it cannot {self.action} values; set action: drop")
        return self


class Clean(Frozen):
    """Handle invalid rows before anything is learned from them."""

    duplicates: Annotated[DuplicatesOptions, OneOf("duplicates")] = Field(default="keep", validate_default=True)
    missing: Annotated[ImputationOptions, OneOf("gaps", "impute")] | None = Field(
        default=None, description="impute by default; keep for models that handle missing numbers (boosting)"
    )
    outliers: Outliers | None = None
    categories: Literal["keep", "merge"] = Field(
        default="keep", description="merge: treat values that differ only in case and white space as one"
    )
    broken: Literal["fail", "skip"] = Field(default="fail", description="images that cannot be read")
    unlabelled: Literal["fail", "drop"] = Field(default="fail", description="rows whose target is missing")


class ColumnOptions(Frozen):
    """Override for one column the options that hold for all."""

    type: ColumnType | Literal["drop"] | None = None
    format: str | None = Field(default=None, description="of dates, as %d/%m/%Y")
    decimal: Literal[".", ","] | None = Field(default=None, description="the decimal sign of written numbers")
    grouping: Literal["", ",", ".", " ", "'", "_"] | None = Field(
        default=None, description="the sign between groups of digits; a space stands for every kind of space"
    )
    scale: Annotated[ScalerOptions, OneOf("scaler")] | None = None
    encode: Annotated[EncoderOptions, OneOf("encoder")] | None = None
    missing: Literal["median", "mean", "most-frequent"] | float | None = Field(
        default=None, description="fill value of a missing number, or a way to compute it"
    )

    @model_validator(mode="after")
    def _signs_differ(self) -> "ColumnOptions":
        if self.decimal is not None and self.decimal == self.grouping:
            raise ValueError(f"decimal and grouping are both {self.decimal!r}; a number has two signs, or only one")
        return self


class Select(Frozen):
    """Keep the `keep` features most informative about the target; for pca, as many directions."""

    method: Literal["variance", "anova", "mutual-information", "model", "pca"] = "mutual-information"
    keep: PositiveInt


class SplitOptions(Frozen):
    """Set which rows train, validate and test.

    The rows left after validation and test train.
    """

    validation: Fraction = Field(default=0.15, description="0 for none: the last weights are kept")
    test: Fraction = Field(default=0.15, description="0 for none: the final figures are then of validation")
    by: Annotated[SplitterOptions, OneOf("splitter")] | None = Field(
        default=None,
        description="by default stratified where there is a target; a corpus by document, or random if it has few",
    )

    @model_validator(mode="after")
    def _leaves_rows_to_train_on(self) -> "SplitOptions":
        if self.validation + self.test >= 1.0:
            raise ValueError(f"validation {self.validation} and test {self.test} leave nothing to train on")
        return self


class WeightedSource(Frozen):
    """Give a source with its weight in a mixture.

    A training epoch holds each of its training rows `weight` times: 2 twice, 0.5 a half of them, 1.5 all of them and a
    half again, drawn by the recipe's seed. Rows that validate or test are there once.
    """

    path: SourcePath | tuple[SourcePath, ...] = Field(description="a file, a folder, a glob, or a list of these")
    weight: PositiveFloat = 1.0

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path of it."""
        return (self.path,) if isinstance(self.path, str) else self.path


class SplitSources(Frozen):
    """Give the splits apart, each a file, folder, glob or list of these.

    Without `validation` or `test`, that split is drawn from `train` as `data.split` says. `train` may have weights.
    """

    train: SourcePath | tuple[SourcePath | WeightedSource, ...]
    validation: SourcePath | tuple[SourcePath, ...] | None = None
    test: SourcePath | tuple[SourcePath, ...] | None = None

    def given(self) -> dict[str, str | tuple[str | WeightedSource, ...]]:
        """Return the sources by the names of their splits."""
        splits: dict[str, str | tuple[str | WeightedSource, ...] | None]
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: source for name, source in splits.items() if source is not None}


def _paths_in(source: str | Sequence[str | WeightedSource] | SplitSources) -> tuple[str, ...]:
    """Return every path of a source; a list without any has an empty one."""
    parts = source.given().values() if isinstance(source, SplitSources) else (source,)
    listed = (each for part in parts for each in ((part,) if isinstance(part, str) else part or ("",)))
    return tuple(path for each in listed for path in (each.paths if isinstance(each, WeightedSource) else (each,)))


class Data(Frozen):
    """Set where the data is, what its columns mean and how it is prepared."""

    source: SourcePath | tuple[SourcePath | WeightedSource, ...] | SplitSources = Field(
        description="a file, a folder, a glob, a list of these, or builtin:NAME; a mixture, of which training reads "
        "some more often: [{path: ..., weight: 2}, ...]; or splits that are given apart: "
        "{train: ..., validation: ..., test: ...}"
    )
    target: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        default=None, description="the column to predict; or several: numbers, or a column of 0 and 1 for each label"
    )
    target_separator: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="separator of several labels in a target of strings; lists need none"
    )
    positive: bool | int | float | str | None = Field(
        default=None,
        description="of two classes, the one that metrics, costs and thresholds are about; known for words such as 1, "
        "true, yes and 是, else the second by name, and costs and -positive metrics need it said",
    )
    target_transform: Literal["none", "standard", "minmax", "log1p", "yeo-johnson"] = Field(
        default="standard",
        description="what is done to a number before it is learned; answers and metrics are in its own units",
    )
    task: Annotated[TaskOptions, OneOf("task")] | None = Field(
        default=None, description="inferred from the target by default"
    )
    text: str | None = Field(default=None, description="the column that holds the text")
    image: str | None = Field(default=None, description="the column that holds image paths")
    columns: dict[str, ColumnType | Literal["drop"] | ColumnOptions] = Field(
        default_factory=dict, description="by column: its type, or options that override those of all columns"
    )
    missing_values: tuple[str, ...] = Field(
        default=("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?"),
        description="words that stand for a missing value; numbers and truth values are compared as such",
    )
    encoding: str | None = Field(default=None, description="of text files, such as gb18030; found out by default")
    skip_rows: NonNegativeInt | None = Field(
        default=None, description="lines above the header of separated values; found out by default"
    )
    class_folder: PositiveInt | None = Field(
        default=None,
        description="which folders name the classes of images: 1 those directly in the source, 2 those inside these; "
        "found out by default",
    )
    clean: Clean = Field(default_factory=Clean)
    split: SplitOptions = Field(default_factory=SplitOptions)
    scale: Annotated[ScalerOptions, OneOf("scaler", "standard")] = Field(default="standard", validate_default=True)
    encode: Annotated[EncoderOptions, OneOf("encoder", "embedding")] = Field(default="embedding", validate_default=True)
    select: Select | None = None
    balance: Annotated[BalancerOptions, OneOf("balancer")] = Field(default="none", validate_default=True)
    augment: tuple[Annotated[AugmentationOptions, OneOf("augmentation")], ...] = ()
    image_size: Pixels | None = Field(default=None, description="side in pixels; inferred by default")
    sequence_length: Width | None = Field(default=None, description="maximum tokens of a text or a block")
    vocabulary: Annotated[int, Field(ge=300)] = Field(
        default=4096, description="size of a tokenizer trained here; unused with a pretrained one"
    )
    packing: bool = Field(
        default=True, description="several documents per block, attention within each; false: one per block, padded"
    )
    special_tokens: Literal["words", "tokens"] = Field(
        default="words",
        description="what the tokenizer's special tokens and added marks (<think>) inside texts, documents, messages "
        "and prompts are: words like any other, or the tokens themselves, as in transformers; those that the chat "
        "template writes, and the marks that the assistant does, are always tokens",
    )
    chat_template: TemplatePath | None = Field(
        default=None,
        description="template of conversations: chatml, plain, a Jinja file (with a suffix or a folder in its path), "
        "or the name of one of the tokenizer's own; its only one, or the one named default, if left out",
    )

    @field_validator("source")
    @classmethod
    def _names_a_source(cls, source: Any) -> Any:
        paths = _paths_in(source)
        if not paths or not all(path.strip() for path in paths):
            raise ValueError("is empty; give a file, a folder, a glob, a list of these, or builtin:NAME")
        if any("\0" in path for path in paths):
            raise ValueError("has a zero byte, which no path has")
        return source

    @model_validator(mode="after")
    def _labels_in_one_form(self) -> "Data":
        if isinstance(self.target, tuple):
            if self.target_separator is not None:
                raise ValueError("target_separator splits one column, and target names several; remove one of them")
            if len(set(self.target)) < len(self.target):
                raise ValueError("target names a column twice")
        return self

    @property
    def sources(self) -> tuple[str, ...]:
        """Every path that the source names."""
        return _paths_in(self.source)

    def options_of(self, column: str) -> ColumnOptions:
        """Return the recipe's options of one column."""
        said = self.columns.get(column, ColumnOptions())
        return said if isinstance(said, ColumnOptions) else ColumnOptions(type=said)
