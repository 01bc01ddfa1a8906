"""Learning rates over time, as a factor of the optimizer's own: a function of the step alone, with no state to save.

A schedule is fitted to the length of the run. What is given as a share (below 1) or in steps (a whole number) is
counted from the end of the warmup. `plateau` alone looks at results: its watcher, in `plateau`, has a state.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from danlu.core.component import Component
from danlu.training.plateau import PlateauWatcher

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Steps = Annotated[int, Field(ge=1, strict=True)]
Gamma = Annotated[float, Field(gt=0.0, lt=1.0)]
Floor = Annotated[float, Field(ge=0.0, lt=1.0)]
FLOOR = "the least factor"


class Schedule(Component):
    """What the learning rate is multiplied with, by step."""

    @abstractmethod
    def factor(self, step: int, steps: int) -> float:
        """The factor at `step` of `steps`, counted from 0."""

    def momentum(self, step: int, steps: int) -> float | None:
        """The momentum at `step` of `steps` (of Adam and its kin the first beta); None leaves it to the optimizer."""
        return None

    def watcher(self, higher_is_better: bool = False) -> PlateauWatcher | None:
        """What multiplies the factor once more by what validation found; None for schedules that do not look."""
        return None


class Warmed(Schedule):
    """A schedule that starts with a warmup, in which the factor grows linearly to 1."""

    warmup: Share | Steps = Field(default=0.05, description="share of the run, or steps")

    def factor(self, step: int, steps: int) -> float:
        """The factor at `step` of `steps`, counted from 0."""
        warm = min(in_steps(self.warmup, steps, math.ceil), steps)
        if step < warm:
            return (step + 1) / warm
        return self.after_warmup(step - warm, max(1, steps - warm))

    @abstractmethod
    def after_warmup(self, step: int, steps: int) -> float:
        """The factor at `step` of the `steps` that follow the warmup, counted from 0."""


class Cosine(Warmed):
    """Half a cosine from 1 down to the floor, once or, with warm restarts, in cycles (Loshchilov & Hutter 2017)."""

    name: Literal["cosine"] = "cosine"
    floor: Floor = Field(default=0.0, description=FLOOR)
    cycles: PositiveInt = 1
    growth: Annotated[float, Field(ge=1.0)] = Field(default=1.0, description="how much longer each cycle is")
    decay: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=1.0, description="what each cycle's peak is of the last"
    )

    def after_warmup(self, step: int, steps: int) -> float:
        length = steps / sum(self.growth**cycle for cycle in range(self.cycles))
        position, peak = float(step), 1.0
        for _ in range(self.cycles - 1):
            if position < length - 1e-6:  # rounding of lengths that are whole numbers
                break
            position -= length
            length *= self.growth
            peak *= self.decay
        fallen = (1 + math.cos(math.pi * max(0.0, position) / length)) / 2 if length else 1.0
        return self.floor + max(0.0, peak - self.floor) * fallen


class Linear(Warmed):
    """A straight line from 1 down to the floor."""

    name: Literal["linear"] = "linear"
    floor: Floor = Field(default=0.0, description=FLOOR)

    def after_warmup(self, step: int, steps: int) -> float:
        return self.floor + (1 - self.floor) * (1 - step / steps)


class Polynomial(Warmed):
    """A power of what is left of the run, from 1 down to the floor (Chen et al. 2017)."""

    name: Literal["polynomial"] = "polynomial"
    power: PositiveFloat = 0.9
    floor: Floor = Field(default=0.0, description=FLOOR)

    def after_warmup(self, step: int, steps: int) -> float:
        return float(self.floor + (1 - self.floor) * (1 - step / steps) ** self.power)


class Exponential(Warmed):
    """Falls by the same share in every step, from 1 down to `end`."""

    name: Literal["exponential"] = "exponential"
    end: Gamma = Field(default=0.01, description="the factor at the end of the run")

    def after_warmup(self, step: int, steps: int) -> float:
        return float(self.end ** (step / steps))


class Step(Warmed):
    """Multiplied with gamma every so often."""

    name: Literal["step"] = "step"
    every: Annotated[float, Field(gt=0.0, lt=1.0)] | Steps = Field(
        default=0.3, description="share of the run after the warmup, or steps"
    )
    gamma: Gamma = 0.1
    floor: Floor = Field(default=0.0, description=FLOOR)

    def after_warmup(self, step: int, steps: int) -> float:
        return max(self.floor, float(self.gamma ** (step // max(1, in_steps(self.every, steps)))))


class MultiStep(Warmed):
    """Multiplied with gamma at each milestone; the usual ones are those of He et al. 2016."""

    name: Literal["multi-step"] = "multi-step"
    milestones: tuple[Share | Steps, ...] = Field(
        default=(0.5, 0.75), min_length=1, description="shares of the run after the warmup, or steps"
    )
    gamma: Gamma = 0.1

    def after_warmup(self, step: int, steps: int) -> float:
        # The first step is before every milestone, however few steps there are.
        passed = sum(max(1, in_steps(milestone, steps)) <= step for milestone in self.milestones)
        return float(self.gamma**passed)


class WarmupStableDecay(Warmed):
    """1 for most of the run, then down to the floor (Hu et al. 2024), by default as 1 - sqrt (Hägele et al. 2024)."""

    name: Literal["warmup-stable-decay"] = "warmup-stable-decay"
    decay: Share | Steps = Field(default=0.2, description="how much of the end: share of what follows warmup, or steps")
    shape: Literal["sqrt", "linear", "cosine"] = "sqrt"
    floor: Floor = Field(default=0.0, description=FLOOR)

    def after_warmup(self, step: int, steps: int) -> float:
        falling = min(in_steps(self.decay, steps), steps)
        gone = step - (steps - falling)
        if gone <= 0:
            return 1.0
        progress = gone / falling
        left = {
            "sqrt": 1 - math.sqrt(progress),
            "linear": 1 - progress,
            "cosine": (1 + math.cos(math.pi * progress)) / 2,
        }
        return self.floor + (1 - self.floor) * left[self.shape]


class OneCycle(Schedule):
    """Up to 1 and down again, each as half a cosine (Smith & Topin 2019); has no warmup besides.

    Momentum goes the other way, down from `most_momentum` and up again, in optimizers that have any.
    """

    name: Literal["one-cycle"] = "one-cycle"
    rise: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(default=0.3, description="share of the run that goes up")
    start: Gamma = Field(default=0.04, description="the first factor")
    end: Floor = Field(default=4e-6, description="the last factor")
    least_momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.85, description="where the rate is highest"
    )
    most_momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(default=0.95, description="at first and last")

    def factor(self, step: int, steps: int) -> float:
        """The factor at `step` of `steps`, counted from 0."""
        return self._on_the_way(step, steps, self.start, 1.0, self.end)

    def momentum(self, step: int, steps: int) -> float:
        """The momentum at `step` of `steps`, counted from 0."""
        return self._on_the_way(step, steps, self.most_momentum, self.least_momentum, self.most_momentum)

    def _on_the_way(self, step: int, steps: int, first: float, middle: float, end: float) -> float:
        top, last = self.rise * steps - 1, steps - 1  # the top is between two steps, as in torch's OneCycleLR
        if step < top:
            return _cosine_between(first, middle, step / top)
        return _cosine_between(middle, end, (step - top) / (last - top))


class Constant(Warmed):
    """1 throughout, after a warmup where one is asked for."""

    name: Literal["constant"] = "constant"
    warmup: Share | Steps = Field(default=0.0, description="share of the run, or steps")

    def after_warmup(self, step: int, steps: int) -> float:
        return 1.0


class Plateau(Warmed):
    """Multiplied with gamma when more than `patience` validations in a row have not improved.

    What they are judged by is the metric that early stopping watches, else the validation loss.
    """

    name: Literal["plateau"] = "plateau"
    gamma: Gamma = 0.1
    patience: NonNegativeInt = 5
    threshold: NonNegativeFloat = Field(default=1e-4, description="share of the best by which a better one must differ")
    cooldown: NonNegativeInt = Field(default=0, description="validations after a reduction that are not counted")
    floor: Floor = Field(default=0.0, description=FLOOR)

    def after_warmup(self, step: int, steps: int) -> float:
        return 1.0

    def watcher(self, higher_is_better: bool = False) -> PlateauWatcher:
        return PlateauWatcher(
            self.gamma, self.patience, self.threshold, self.cooldown, self.floor, higher_is_better=higher_is_better
        )


def in_steps(amount: float, steps: int, rounded: Callable[[float], int] = round) -> int:
    """Steps that a share (a float) of `steps` means; a whole number means itself."""
    return amount if isinstance(amount, int) else rounded(amount * steps)


def _cosine_between(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


SCHEDULES: dict[str, type[Component]] = {
    "cosine": Cosine,
    "linear": Linear,
    "constant": Constant,
    "warmup-stable-decay": WarmupStableDecay,
    "one-cycle": OneCycle,
    "plateau": Plateau,
    "step": Step,
    "multi-step": MultiStep,
    "exponential": Exponential,
    "polynomial": Polynomial,
}
