"""Early stopping: the validation metric that decides which weights are kept and when training ends."""

from dataclasses import dataclass, field

from danlu.recipe.sections.training import EarlyStopping


@dataclass
class EarlyStopper:
    """Track the best value of one validation metric and how many validations ago it was.

    Attributes:
        metric: as `validation/loss`.
        patience: validations without a better value that end training; None never ends it.
        higher_is_better: whether a larger value is better.
        keep_last: whether the last weights are kept, whatever the metric.
        min_delta: improvements that are not larger do not begin patience anew; as Keras, they are measured from the
            last one that did, so that many small ones add up. The best weights are kept all the same.
        first_step: validations before this step do not count.
        best: best value so far; None before one was defined.
        best_step: its step.
        last_improvement: value that began patience anew; with a min_delta of 0, the best.
        num_bad_validations: validations since then.
    """

    metric: str
    patience: int | None
    higher_is_better: bool
    keep_last: bool = False
    min_delta: float = 0.0
    first_step: int = 0
    best: float | None = field(default=None, init=False)
    best_step: int = field(default=0, init=False)
    last_improvement: float | None = field(default=None, init=False)
    num_bad_validations: int = field(default=0, init=False)

    @classmethod
    def from_options(cls, stopping: EarlyStopping | None, higher_is_better: bool) -> "EarlyStopper":
        """Build from a recipe's `early_stopping`; without it, track the validation loss and never stop."""
        if stopping is None:
            return cls("validation/loss", None, higher_is_better)
        return cls(stopping.metric, stopping.patience, higher_is_better, min_delta=stopping.min_delta)

    def update(self, figures: dict[str, float], step: int) -> bool:
        """Record one validation and return whether it is the best so far.

        An undefined metric is never best.
        """
        if self.keep_last:
            self.best_step = step
            return True
        if step < self.first_step:
            return False
        value = figures.get(self.metric)
        better = value is not None and self._is_better(value, self.best, 0.0)
        if better:
            self.best, self.best_step = value, step
        if value is not None and self._is_better(value, self.last_improvement, self.min_delta):
            self.last_improvement, self.num_bad_validations = value, 0
        else:
            self.num_bad_validations += 1
        return better

    def _is_better(self, value: float, other: float | None, by: float) -> bool:
        """Return whether a value is better by more than `by`; anything is better than None."""
        if other is None:
            return True
        return value - by > other if self.higher_is_better else value + by < other

    @property
    def should_stop(self) -> bool:
        """Whether patience has run out."""
        return self.patience is not None and self.num_bad_validations >= self.patience

    @property
    def stop_reason(self) -> str:
        """Text for why patience has run out, to be followed by the number of validations."""
        return f"{self.metric} had not improved" + (f" by more than {self.min_delta:g}" if self.min_delta else "")

    @property
    def progress_note(self) -> str:
        """Text for the progress line."""
        return "" if self.best is None else f"best {self.metric} {self.best:.4f}"

    def state_dict(self) -> dict[str, float | int | None]:
        """Return the values that a checkpoint stores."""
        state = {"best": self.best, "best_step": self.best_step, "since": self.num_bad_validations}
        return state | ({"last_improvement": self.last_improvement} if self.min_delta else {})

    def load_state_dict(self, state: dict[str, float | int | None]) -> None:
        """Restore the values that `state_dict` returned."""
        best, step, since = state["best"], state["best_step"], state["since"]
        self.best, self.best_step, self.num_bad_validations = best, int(step or 0), int(since or 0)
        self.last_improvement = state.get("last_improvement", best)
