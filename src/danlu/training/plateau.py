"""Lower the learning rate when validation no longer improves: the state behind the `plateau` schedule."""

import math


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
