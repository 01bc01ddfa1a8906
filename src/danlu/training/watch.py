"""The validation metric that decides which weights are kept and when training has learned enough."""

from dataclasses import dataclass, field

from danlu.recipe.sections import EarlyStopping


@dataclass
class Watch:
    """Remembers the best value of one validation metric, and how many validations ago it was.

    Attributes:
        metric: as `validation/loss`.
        patience: validations without a better value that end training; None never ends it.
        higher_is_better: whether the metric is to grow.
        latest: whether the last weights are kept, without a look at any metric.
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
        """The watch that a recipe asks for; without early stopping, over the validation loss."""
        metric = stopping.metric if stopping else "validation/loss"
        return cls(metric, stopping.patience if stopping else None, higher_is_better)

    def look(self, figures: dict[str, float], step: int) -> bool:
        """Whether these figures are the best so far; an undefined one never is."""
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
        """Whether it is time to stop."""
        return self.patience is not None and self.since >= self.patience

    @property
    def note(self) -> str:
        """For the progress line."""
        return "" if self.best is None else f"best {self.metric} {self.best:.4f}"

    def state(self) -> dict[str, float | int | None]:
        """What a checkpoint keeps."""
        return {"best": self.best, "best_step": self.best_step, "since": self.since}

    def load(self, state: dict[str, float | int | None]) -> None:
        """Go on from what a checkpoint kept."""
        best, step, since = state["best"], state["best_step"], state["since"]
        self.best, self.best_step, self.since = best, int(step or 0), int(since or 0)
