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
        best: best value so far; None before one was defined.
        best_step: its step.
        num_bad_validations: validations since then.
    """

    metric: str
    patience: int | None
    higher_is_better: bool
    keep_last: bool = False
    best: float | None = field(default=None, init=False)
    best_step: int = field(default=0, init=False)
    num_bad_validations: int = field(default=0, init=False)

    @classmethod
    def from_options(cls, stopping: EarlyStopping | None, higher_is_better: bool) -> "EarlyStopper":
        """Build from a recipe's `early_stopping`; without it, track the validation loss and never stop."""
        metric = stopping.metric if stopping else "validation/loss"
        return cls(metric, stopping.patience if stopping else None, higher_is_better)

    def update(self, figures: dict[str, float], step: int) -> bool:
        """Record one validation and return whether it is the best so far.

        An undefined metric is never best.
        """
        if self.keep_last:
            self.best_step = step
            return True
        value = figures.get(self.metric)
        better = value is not None and (self.best is None or self._is_better(value, self.best))
        if better:
            self.best, self.best_step, self.num_bad_validations = value, step, 0
        else:
            self.num_bad_validations += 1
        return better

    def _is_better(self, value: float, other: float) -> bool:
        return value > other if self.higher_is_better else value < other

    @property
    def should_stop(self) -> bool:
        """Whether patience has run out."""
        return self.patience is not None and self.num_bad_validations >= self.patience

    @property
    def progress_note(self) -> str:
        """Text for the progress line."""
        return "" if self.best is None else f"best {self.metric} {self.best:.4f}"

    def state_dict(self) -> dict[str, float | int | None]:
        """Return the values that a checkpoint stores."""
        return {"best": self.best, "best_step": self.best_step, "since": self.num_bad_validations}

    def load_state_dict(self, state: dict[str, float | int | None]) -> None:
        """Restore the values that `state_dict` returned."""
        best, step, since = state["best"], state["best_step"], state["since"]
        self.best, self.best_step, self.num_bad_validations = best, int(step or 0), int(since or 0)
