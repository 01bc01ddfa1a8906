"""Evaluate the same model on perturbed test rows, next to its metrics on the unchanged rows."""

from typing import TYPE_CHECKING, Any

from danlu.core.seeds import Seed
from danlu.data.splits import Split
from danlu.evaluation.evaluate import EvalConfig, build_predictions
from danlu.evaluation.intervals import MIN_UNITS, count_units, paired_differences, values_with_intervals
from danlu.evaluation.metrics.base import Predictions
from danlu.evaluation.perturbations import Perturbation
from danlu.experiment.data_context import DataContext, evenly_spaced_rows

if TYPE_CHECKING:
    from danlu.models.predictor import Predictor

MAX_IMAGES, MAX_ROWS = 2_000, 20_000


def evaluate_robustness(
    opened: DataContext, question: EvalConfig, predictor: "Predictor", judged: Predictions
) -> dict[str, Any]:
    """Compute every metric on each perturbed version of the test split, with paired differences.

    Args:
        predictor: the model with the calibration and threshold that users get.
        judged: its predictions for the unchanged test rows.

    Returns:
        `rows`, `plain` and, under `found`, for each perturbation its options, `metrics` (name -> {value}) and
        `differences` (perturbed minus plain: name -> {value, low, high}); nothing if none is configured.
    """
    steps = opened.recipe.evaluation.robustness
    if not steps:
        return {}
    chosen = evenly_spaced_rows(len(judged), MAX_IMAGES if opened.dataset.kind == "image" else MAX_ROWS)
    test = opened.splits.test
    part, plain = Split(test.rows[chosen], test.table), judged.take(chosen)
    metrics, how = question.metrics_by_name(), question.resampling_for("robustness")
    seed = Seed(opened.recipe.seed).derive("robustness")

    def answered(rows: Split) -> Predictions:
        outputs = predictor.outputs(rows, opened.origin)
        return build_predictions(rows, predictor.target, outputs, question.text_column, question.group_column)

    found: list[dict[str, Any]] = []
    for number, step in enumerate(steps):
        assert isinstance(step, Perturbation)
        harder = answered(Split.of(step.apply(part.frame, opened.dataset, seed.derive(step.name, number))))
        enough = how is not None and count_units(plain) >= MIN_UNITS
        found.append(
            {
                **step.model_dump(mode="json"),
                "metrics": values_with_intervals(metrics, harder, None),
                "differences": paired_differences(metrics, harder, plain, how) if how is not None and enough else {},
            }
        )
    return {"rows": len(part.rows), "plain": values_with_intervals(metrics, plain, None), "found": found}
