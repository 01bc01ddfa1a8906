"""How much worse than its original a compressed model answers: on the rows that are searched, and on those that accept.

Accuracy of single rows is bounded exactly by what changed sides; any other metric, and rows that come in groups, by a
paired bootstrap.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from danlu.artifacts.bundle import Bundle
from danlu.compression.acceptance import BOUNDS, closest_bound, count_flips
from danlu.compression.base import Material
from danlu.compression.halves import split_in_halves
from danlu.compression.results import Figure
from danlu.data.splits import Split
from danlu.errors import ArgumentError, DataError
from danlu.evaluation.evaluate import EvalConfig
from danlu.evaluation.intervals import Resampling, paired_differences, values_with_intervals
from danlu.evaluation.predictions import build_predictions, group_codes
from danlu.experiment.run_evaluation import build_eval_config, require_numbers
from danlu.metrics.base import Metric, Predictions
from danlu.recipe.sections.compression import Budget

EXACT = "accuracy"
BOOTSTRAP = "bootstrap"
RESAMPLES = 2000


@dataclass(frozen=True)
class Drop:
    """Hold how much worse a model is than its original; positive is worse.

    In the metric's own units.

    Attributes:
        value: as observed.
        upper: what the true drop does not exceed, with the asked confidence.
        flipped: rows whose decision is another; None where there are no decisions.
    """

    value: float
    upper: float
    flipped: int | None

    def to_figure(self) -> Figure:
        """Return it as a figure whose upper end is the bound."""
        return Figure(self.value, None, self.upper if np.isfinite(self.upper) else None)


@dataclass(frozen=True)
class Judge:
    """Judge bundles beside the original.

    Attributes:
        material: with the whole validation split.
        budget: the metric, and how sure its bound is.
    """

    material: Material
    budget: Budget

    def __post_init__(self) -> None:
        known = self._config.metrics
        if self.budget.metric not in known:
            raise ArgumentError(
                f"budget: {self.budget.metric!r} is not evaluated by this run; it has {', '.join(known)}", code="DL402"
            )

    @cached_property
    def halves(self) -> tuple[Split, Split]:
        """The rows that are searched on, and those that accept."""
        validation = self.material.context.splits.validation
        column = self._config.group_column
        groups = None if column is None else group_codes(validation, column)
        return split_in_halves(validation, groups, self.material.seed.derive("halves"))

    @property
    def searched(self) -> Split:
        """Rows that candidates are compared on."""
        return self.halves[0]

    @property
    def accepted(self) -> Split:
        """Rows that judge what was chosen."""
        return self.halves[1]

    def predictions(self, bundle: Bundle, part: Split) -> Predictions:
        """Let a bundle answer rows, as users are answered."""
        predictor = self.material.open_predictor(bundle)
        outputs = predictor.outputs(part, self.material.context.origin)
        require_numbers(outputs, "validation")
        config = self._config
        return build_predictions(part, predictor.target, outputs, config.text_column, config.group_column)

    def metrics(self, found: Predictions) -> dict[str, Figure]:
        """Return the run's metrics with their intervals."""
        how = replace(self._how, confidence=0.95)
        measured = values_with_intervals(self._config.metrics_by_name(), found, how)
        return {name: Figure(each["value"], each.get("low"), each.get("high")) for name, each in measured.items()}

    def closest_bound(self, original: Predictions, compressed: Predictions) -> str:
        """Return the name of the bound that is closest here, for use on others."""
        if not self.is_exact:
            return BOOTSTRAP
        return closest_bound(count_flips(original, compressed), self.budget.confidence)

    def drop(self, original: Predictions, compressed: Predictions, bound: str) -> Drop:
        """Return how much worse a model answers the same rows.

        Args:
            original: the original's predictions.
            compressed: the model's.
            bound: a name of `closest_bound`.
        """
        has_decisions = self.material.context.dataset.task.has_classes
        changed = original.predicted_classes != compressed.predicted_classes if has_decisions else None
        flipped = None if changed is None else int(np.sum(changed))
        if bound in BOUNDS:
            flips = count_flips(original, compressed)
            return Drop(flips.drop, BOUNDS[bound](flips, self.budget.confidence), flipped)
        name = self.budget.metric
        metric: Metric = self._config.metrics_by_name()[name]
        first, second = (original, compressed) if metric.higher_is_better else (compressed, original)
        found = paired_differences({name: metric}, first, second, self._how).get(name, {})
        if not found:
            raise DataError(f"budget: {name} is undefined on {len(original)} validation rows", code="DL203")
        return Drop(found["value"], found.get("high", np.inf), flipped)

    @property
    def is_exact(self) -> bool:
        """Whether the bound is exact: of accuracy, where rows stand by themselves."""
        has_classes = self.material.context.dataset.task.has_classes
        return self.budget.metric == EXACT and has_classes and self._config.group_column is None

    @cached_property
    def _config(self) -> EvalConfig:
        return build_eval_config(self.material.context, self.material.predictor)

    @property
    def _how(self) -> Resampling:
        # One-sided: the upper end of an interval of 90 % is exceeded by 5 % of true values.
        return Resampling(self.material.seed.derive("judge"), 2 * self.budget.confidence - 1, RESAMPLES)
