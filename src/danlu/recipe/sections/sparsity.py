"""The recipe's sections `training.sparsity` and `training.rounding`: weights that are zero, or of few bits."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from danlu.core.component import Frozen
from danlu.recipe.durations import Written, read_duration

Amount = Annotated[float, Field(gt=0.0, lt=1.0)]
Pattern = Annotated[str, Field(pattern=r"^[1-9]\d?:[1-9]\d?$")]


class Sparsity(Frozen):
    """Set weights to zero during training, from one sparsity to another between two steps.

    Those of linear layers and convolutions; the smallest first. The weights that are kept at the end are the best of
    the validations after `end`.
    """

    amount: Amount = Field(description="share of the weights that are zero at the end")
    schedule: Literal["constant", "polynomial", "cosine"] = Field(
        default="polynomial", description="constant: `amount` from `begin` on; the others rise from `start` to it"
    )
    start: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(default=0.0, description="share that is zero at `begin`")
    begin: NonNegativeInt | Annotated[float, Field(ge=0.0, lt=1.0)] | Written = Field(
        default=0, description="steps, a share of all steps, or 2 epochs, before sparsity rises"
    )
    end: PositiveInt | Annotated[float, Field(gt=0.0, lt=1.0)] | Written = Field(
        default=0.75, description="steps, a share of all steps, or 20 epochs, after which it stays"
    )
    power: PositiveFloat = Field(default=3.0, description="of polynomial")
    by: Literal["magnitude", "random"] = Field(default="magnitude", description="which weights become zero first")
    scope: Literal["global", "layer"] = Field(
        default="global", description="compare the weights of all layers, or of each by itself"
    )
    pattern: Pattern | None = Field(
        default=None, description="N:M, as 2:4: keep N of M neighbours along the inputs; amount is then 1 - N/M"
    )

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.start > self.amount:
            raise ValueError(f"start is {self.start}, above amount, {self.amount}; sparsity only rises")
        begin, end = (read_duration(each) if isinstance(each, str) else each for each in (self.begin, self.end))
        same = begin[1] == end[1] if isinstance(begin, tuple) and isinstance(end, tuple) else type(begin) is type(end)
        if same and begin >= end and self.schedule != "constant":  # type: ignore[operator]
            raise ValueError(f"begin is {self.begin}, not below end, {self.end}")
        if self.pattern is not None:
            kept, group = map(int, self.pattern.split(":"))
            if kept >= group or abs(self.amount - (1 - kept / group)) > 1e-6:
                raise ValueError(f"pattern {self.pattern} makes {1 - kept / group:g} of the weights zero, not amount")
            if self.schedule != "constant":
                raise ValueError(f"pattern {self.pattern} cannot rise step by step; set schedule: constant")
        return self


class Rounding(Frozen):
    """Let the network answer with rounded weights while it is trained (quantisation-aware training of weights).

    Those of linear layers and convolutions. The weights that are stepped and kept are not rounded.
    """

    bits: Literal[4, 8] = 8
    group: NonNegativeInt = Field(default=0, description="inputs that share a scale; 0 for all of an output")
