"""Learning rates over time, as a factor of the optimizer's own: a function of the step alone, with no state to save.

A schedule is fitted to the length of the run. What is given as a share (below 1) or in steps (a whole number) is
counted from the end of the warmup; points with a unit (`30 epochs`) are counted from the start of the run, as torch's
schedulers do. Only `plateau` depends on results: its `ReduceLROnPlateau` has a state.
"""

import math
from abc import abstractmethod
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, PrivateAttr, model_validator

from danlu.recipe.components import ScheduleOptions
from danlu.recipe.durations import Duration, Pace, StepCount, Written, is_written, to_steps, warmup_steps
from danlu.recipe.sections.training import LearningRateScaling


def scaled_lr(lr: float, batch_size: int, scaling: LearningRateScaling | None) -> float:
    """Scale the learning rate to `batch_size`.

    `linear` keeps the expected path of plain gradient descent over an epoch (Goyal et al. 2017,
    https://arxiv.org/abs/1706.02677); `sqrt` keeps the noise of adaptive optimizers (Malladi et al. 2022,
    https://arxiv.org/abs/2205.10287).

    Args:
        batch_size: samples per optimizer step, over all microbatches and processes.
        scaling: the rule and the batch size that `lr` was chosen for; None leaves the rate unchanged.
    """
    if scaling is None:
        return lr
    ratio = batch_size / scaling.reference
    return lr * (ratio if scaling.rule == "linear" else math.sqrt(ratio))


class ReduceLROnPlateau:
    """Count validations without a better value, as torch's ReduceLROnPlateau with relative thresholds.

    Attributes:
        factor: multiplies the learning rate besides the schedule's own factor; 1 at the start.
    """

    def __init__(
        self, gamma: float, patience: int, threshold: float, cooldown: int, floor: float, higher_is_better: bool
    ) -> None:
        self.gamma, self.patience, self.threshold = gamma, patience, threshold
        self.cooldown, self.floor, self.higher_is_better = cooldown, floor, higher_is_better
        self.factor = 1.0
        self._best = -math.inf if higher_is_better else math.inf
        self._num_bad, self._cooldown_left = 0, 0

    def update(self, value: float) -> None:
        """Record one validation. NaN counts as no improvement."""
        if self._is_better(value):
            self._best, self._num_bad = value, 0
        else:
            self._num_bad += 1
        if self._cooldown_left:
            self._cooldown_left, self._num_bad = self._cooldown_left - 1, 0
        if self._num_bad > self.patience:
            self.factor = max(self.floor, self.factor * self.gamma)
            self._cooldown_left, self._num_bad = self.cooldown, 0

    def _is_better(self, value: float) -> bool:
        if self.higher_is_better:
            return value > self._best * (1 + self.threshold)
        return value < self._best * (1 - self.threshold)

    def state_dict(self) -> dict[str, float | int | None]:
        """Return the values needed to resume, as JSON can hold them."""
        best = self._best if math.isfinite(self._best) else None
        return {"factor": self.factor, "best": best, "bad": self._num_bad, "cooling": self._cooldown_left}

    def load_state_dict(self, state: dict[str, float | int | None]) -> None:
        """Restore the values that `state_dict` returned."""
        worst = -math.inf if self.higher_is_better else math.inf
        best = state["best"]
        self.factor, self._best = float(state["factor"] or 0.0), worst if best is None else float(best)
        self._num_bad, self._cooldown_left = int(state["bad"] or 0), int(state["cooling"] or 0)


Gamma = Annotated[float, Field(gt=0.0, lt=1.0)]
Floor = Annotated[float, Field(ge=0.0, lt=1.0)]
FLOOR_DESCRIPTION = "smallest factor"
VANISHING, MOSTLY = 1e-8, 0.95
NUM_LOOKED_AT = 1000  # steps at which a schedule is looked at


class Schedule(ScheduleOptions):
    """Scale the learning rate by step.

    Example:
        >>> import danlu
        >>> class Stairs(danlu.Schedule):
        ...     name: str = "stairs"
        ...     stairs: int = 4
        ...     def factor(self, step: int, steps: int) -> float:
        ...         return 1 - step * self.stairs // steps / self.stairs
        >>> [Stairs().factor(step, 8) for step in (0, 2, 7)]
        [1.0, 0.75, 0.25]
    """

    @abstractmethod
    def factor(self, step: int, steps: int) -> float:
        """Return the factor at `step` of `steps`, counted from 0."""

    def momentum(self, step: int, steps: int) -> float | None:
        """Return the momentum at `step` of `steps`; None leaves it to the optimizer.

        For Adam and similar optimizers it is the first beta.
        """
        return None

    def plateau_reducer(self, higher_is_better: bool = False) -> ReduceLROnPlateau | None:
        """Return a reducer of the factor by validation results; None without one."""
        return None

    def misfit(self, steps: int) -> str | None:
        """Return which lengths a run of so many steps cannot hold, or None."""
        return None

    def vanishing(self, steps: int) -> str | None:
        """Return from which step the rate is below 1e-8 of its start, or None.

        The last twentieth of a run does not count: there a cosine comes to nothing as it should.
        """
        if steps == 0 or self.factor(int(MOSTLY * steps), steps) >= VANISHING:
            return None
        looked_at = range(0, int(MOSTLY * steps) + 1, max(1, steps // NUM_LOOKED_AT))
        first = next((step for step in looked_at if self.factor(step, steps) < VANISHING), int(MOSTLY * steps))
        return (
            f"the rate falls below {VANISHING:g} of training.optimizer.lr by step {first + 1:,} of {steps:,}, and "
            "nothing is learned after it; a whole number counts steps: say epochs if these are meant (10 epochs)"
        )


class WarmupSchedule(Schedule):
    """Start with a warmup, in which the factor grows linearly to 1."""

    warmup: Duration = Field(default=0.05, description="share of the run, steps, or 2 epochs")

    def factor(self, step: int, steps: int) -> float:
        """Return the factor at `step` of `steps`, counted from 0."""
        warm = warmup_steps(self.warmup, steps)
        if step < warm:
            return (step + 1) / warm
        return self.after_warmup(step - warm, max(1, steps - warm))

    def misfit(self, steps: int) -> str | None:
        """Return whether warmup or later lengths exceed the run, in words."""
        warm = to_steps(self.warmup, steps, math.ceil)
        if warm <= steps:
            return self.misfit_after_warmup(steps - warm)
        return (
            f"warmup: {warm:,} steps are longer than the run of {steps:,}: the rate ends at {steps / warm:.3g} of "
            "training.optimizer.lr and never falls"
        )

    @abstractmethod
    def after_warmup(self, step: int, steps: int) -> float:
        """Return the factor at `step` of the `steps` that follow the warmup, counted from 0."""

    def misfit_after_warmup(self, steps: int) -> str | None:
        """Return which lengths do not fit in the `steps` after the warmup."""
        return None


class Cosine(WarmupSchedule):
    """Decay along half a cosine from 1 to the floor, optionally with warm restarts.

    Loshchilov & Hutter 2017, SGDR, https://arxiv.org/abs/1608.03983.
    """

    name: Literal["cosine"] = "cosine"
    floor: Floor = Field(default=0.0, description=FLOOR_DESCRIPTION)
    cycles: PositiveInt = 1
    growth: Annotated[float, Field(ge=1.0)] = Field(
        default=1.0, description="how many times longer each cycle is than the one before"
    )
    decay: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=1.0, description="each cycle's peak as a share of the one before"
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


class Linear(WarmupSchedule):
    """Decay in a straight line from 1 to the floor."""

    name: Literal["linear"] = "linear"
    floor: Floor = Field(default=0.0, description=FLOOR_DESCRIPTION)

    def after_warmup(self, step: int, steps: int) -> float:
        return self.floor + (1 - self.floor) * (1 - step / steps)


class Polynomial(WarmupSchedule):
    """Decay from 1 to the floor as a power of the remaining run.

    Chen et al. 2017, DeepLab, https://arxiv.org/abs/1606.00915.
    """

    name: Literal["polynomial"] = "polynomial"
    power: PositiveFloat = 0.9
    floor: Floor = Field(default=0.0, description=FLOOR_DESCRIPTION)

    def after_warmup(self, step: int, steps: int) -> float:
        return float(self.floor + (1 - self.floor) * (1 - step / steps) ** self.power)


class Exponential(WarmupSchedule):
    """Shrink by the same share in every step, from 1 to `end`."""

    name: Literal["exponential"] = "exponential"
    end: Gamma | None = Field(default=None, description="the factor at the end of the run; 0.01 by default")
    gamma: Gamma | None = Field(
        default=None, description="in place of `end`: the factor of each `every`, as of torch's ExponentialLR"
    )
    every: Duration = Field(default="1 epochs", description="with gamma: in which the rate shrinks by it, evenly")

    @model_validator(mode="after")
    def _shrinks_in_one_way(self) -> Self:
        if self.end is not None and self.gamma is not None:
            raise ValueError("end and gamma both say how fast the rate shrinks; remove one of them")
        if self.gamma is None and self.every != type(self).model_fields["every"].default:
            raise ValueError("every belongs to gamma; set gamma, or remove it")
        return self

    def after_warmup(self, step: int, steps: int) -> float:
        if self.gamma is not None:
            return float(self.gamma ** (step / max(1, to_steps(self.every, steps))))
        return float((0.01 if self.end is None else self.end) ** (step / steps))


class Step(WarmupSchedule):
    """Multiply by gamma at regular intervals."""

    name: Literal["step"] = "step"
    every: Annotated[float, Field(gt=0.0, lt=1.0)] | StepCount | Written = Field(
        default=0.3, description="share of the run after the warmup, steps of it, or 10 epochs of the whole run"
    )
    gamma: Gamma = 0.1
    floor: Floor = Field(default=0.0, description=FLOOR_DESCRIPTION)
    _counted_before: int = PrivateAttr(0)  # steps of the warmup that `every` counts too

    def in_steps(self, pace: Pace, key: str) -> Self:
        timed = super().in_steps(pace, key)
        if is_written(self.every):
            timed._counted_before = warmup_steps(timed.warmup, pace.steps)
        return timed

    def after_warmup(self, step: int, steps: int) -> float:
        counted = step + self._counted_before
        return max(self.floor, float(self.gamma ** (counted // max(1, to_steps(self.every, steps)))))

    def misfit_after_warmup(self, steps: int) -> str | None:
        every, late = to_steps(self.every, steps), steps + self._counted_before
        return f"every: {every:,} steps, and {late:,} follow the warmup: the rate never falls" if every > late else None


class MultiStep(WarmupSchedule):
    """Multiply by gamma at each milestone; the defaults are those of He et al. 2016.

    https://arxiv.org/abs/1512.03385.
    """

    name: Literal["multi-step"] = "multi-step"
    milestones: tuple[Duration, ...] = Field(
        default=(0.5, 0.75),
        min_length=1,
        description="shares of the run after the warmup, steps of it, or points of the whole run, as 30 epochs",
    )
    gamma: Gamma = 0.1

    def in_steps(self, pace: Pace, key: str) -> Self:
        timed = super().in_steps(pace, key)
        warm = warmup_steps(timed.warmup, pace.steps)
        pairs = zip(self.milestones, timed.milestones, strict=True)
        moved = tuple(max(1, int(place) - warm) if is_written(said) else place for said, place in pairs)
        return timed.model_copy(update={"milestones": moved})

    def after_warmup(self, step: int, steps: int) -> float:
        # The first step is before every milestone, however few steps there are.
        passed = sum(max(1, to_steps(milestone, steps)) <= step for milestone in self.milestones)
        return float(self.gamma**passed)

    def misfit_after_warmup(self, steps: int) -> str | None:
        late = [f"{each:,}" for each in self.milestones if to_steps(each, steps) > steps]
        told = f"milestones: {', '.join(late)} are never reached, since {steps:,} steps follow the warmup"
        return told if late else None


class WarmupStableDecay(WarmupSchedule):
    """Stay at 1 for most of the run, then decay to the floor.

    Hu et al. 2024, MiniCPM, https://arxiv.org/abs/2404.06395. The decay is 1 - sqrt by default (Hägele et al. 2024,
    https://arxiv.org/abs/2405.18392).
    """

    name: Literal["warmup-stable-decay"] = "warmup-stable-decay"
    decay: Duration = Field(
        default=0.2, description="length of the decay: share of the run after the warmup, steps, or 5 epochs"
    )
    shape: Literal["sqrt", "linear", "cosine"] = "sqrt"
    floor: Floor = Field(default=0.0, description=FLOOR_DESCRIPTION)

    def after_warmup(self, step: int, steps: int) -> float:
        falling = min(to_steps(self.decay, steps), steps)
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

    def misfit_after_warmup(self, steps: int) -> str | None:
        falling = to_steps(self.decay, steps)
        told = f"decay: {falling:,} steps, and {steps:,} follow the warmup, so that the decay is cut to these"
        return told if falling > steps else None


class OneCycle(Schedule):
    """Rise to 1 and fall again, each along half a cosine, without a separate warmup.

    Momentum moves the other way, from `most_momentum` down and up again, in optimizers that have one. Smith & Topin
    2019, Super-Convergence, https://arxiv.org/abs/1708.07120.
    """

    name: Literal["one-cycle"] = "one-cycle"
    rise: Annotated[float, Field(gt=0.0, lt=1.0)] | StepCount | Written = Field(
        default=0.3, description="in which the rate rises: share of the run, steps, or 3 epochs"
    )
    start: Gamma = Field(default=0.04, description="the first factor")
    end: Floor = Field(default=4e-6, description="the last factor")
    least_momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.85, description="where the rate is highest"
    )
    most_momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(default=0.95, description="at the start and the end")

    def factor(self, step: int, steps: int) -> float:
        """Return the factor at `step` of `steps`, counted from 0."""
        return self._interpolate(step, steps, self.start, 1.0, self.end)

    def momentum(self, step: int, steps: int) -> float:
        """Return the momentum at `step` of `steps`, counted from 0."""
        return self._interpolate(step, steps, self.most_momentum, self.least_momentum, self.most_momentum)

    def _interpolate(self, step: int, steps: int, first: float, middle: float, end: float) -> float:
        # The top is between two steps, as in torch's OneCycleLR.
        top, last = (self.rise if isinstance(self.rise, int) else float(self.rise) * steps) - 1, steps - 1
        if step < top or top >= last:
            return _cosine_interpolate(first, middle, step / top)
        return _cosine_interpolate(middle, end, (step - top) / (last - top))


class Constant(WarmupSchedule):
    """Stay at 1, after an optional warmup."""

    name: Literal["constant"] = "constant"
    warmup: Duration = Field(default=0.0, description="share of the run, steps, or 2 epochs")

    def after_warmup(self, step: int, steps: int) -> float:
        return 1.0


class Plateau(WarmupSchedule):
    """Multiply by gamma after more than `patience` validations without improvement.

    The metric is the one that early stopping watches, else the validation loss.
    """

    needs_validation: ClassVar[bool] = True

    name: Literal["plateau"] = "plateau"
    gamma: Gamma = 0.1
    patience: NonNegativeInt = 5
    threshold: NonNegativeFloat = Field(default=1e-4, description="relative improvement that counts as one")
    cooldown: NonNegativeInt = Field(default=0, description="validations after a reduction that are ignored")
    floor: Floor = Field(default=0.0, description=FLOOR_DESCRIPTION)

    def after_warmup(self, step: int, steps: int) -> float:
        return 1.0

    def plateau_reducer(self, higher_is_better: bool = False) -> ReduceLROnPlateau:
        return ReduceLROnPlateau(
            self.gamma, self.patience, self.threshold, self.cooldown, self.floor, higher_is_better=higher_is_better
        )


def _cosine_interpolate(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


SCHEDULES: dict[str, type[Schedule]] = {
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
