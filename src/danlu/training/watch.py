"""Early stopping: the validation metric that decides which weights are kept and when training ends."""

from dataclasses import dataclass, field

from danlu.recipe.sections import EarlyStopping


@dataclass
class Watch:
    """Track the best value of one validation metric and how many validations ago it was.

    Attributes:
        metric: as `validation/loss`.
        patience: validations without a better value that end training; None never ends it.
        higher_is_better: whether a larger value is better.
        keep_last: whether the last weights are kept, whatever the metric.
        best: best value so far; None before one was defined.
        best_step: its step.
        num_bad_validations: validations since then.
    """

    metric: str
    patience: int | None
    higher_is_better: bool
    latest: bool = False
    best: float | None = field(default=None, init=False)
    best_step: int = field(default=0, init=False)
    since: int = field(default=0, init=False)

    @classmethod
    def over(cls, stopping: EarlyStopping | None, higher_is_better: bool) -> "Watch":
        """Build from a recipe's `early_stopping`; without it, track the validation loss and never stop."""
        metric = stopping.metric if stopping else "validation/loss"
        return cls(metric, stopping.patience if stopping else None, higher_is_better)

    def look(self, figures: dict[str, float], step: int) -> bool:
        """Record one validation and return whether it is the best so far.

        An undefined metric is never best.
        """
        if self.latest:
            self.best_step = step
            return True
        value = figures.get(self.metric)
        better = value is not None and (self.best is None or self._beats(value, self.best))
        if better:
            self.best, self.best_step, self.since = value, step, 0
        else:
            self.since += 1
        return better

    def _beats(self, value: float, other: float) -> bool:
        return value > other if self.higher_is_better else value < other

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return self.patience is not None and self.since >= self.patience

    @property
    def note(self) -> str:
        """Text for the progress line."""
        return "" if self.best is None else f"best {self.metric} {self.best:.4f}"

    def state(self) -> dict[str, float | int | None]:
        """Return the values that a checkpoint stores."""
        return {"best": self.best, "best_step": self.best_step, "since": self.since}

    def load(self, state: dict[str, float | int | None]) -> None:
        """Restore the values that `state_dict` returned."""
        best, step, since = state["best"], state["best_step"], state["since"]
        self.best, self.best_step, self.since = best, int(step or 0), int(since or 0)
