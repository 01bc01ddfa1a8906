"""Evaluate the same model on perturbed test rows, next to its metrics on the unchanged rows."""

from typing import TYPE_CHECKING, Any

from danlu.core.seeds import Seed
from danlu.data.splits import Part
from danlu.evaluation.evaluate import Question, truth
from danlu.evaluation.intervals import FEWEST_UNITS, paired_differences, units_of, with_intervals
from danlu.evaluation.metric import Truth
from danlu.evaluation.perturbations import Perturbation
from danlu.verbs.prepare import Opened, spread_over

if TYPE_CHECKING:
    from danlu.models.predictor import Predictor

MOST_IMAGES, MOST_ROWS = 2_000, 20_000


def robustness(opened: Opened, question: Question, predictor: "Predictor", judged: Truth) -> dict[str, Any]:
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
    chosen = spread_over(len(judged), MOST_IMAGES if opened.dataset.kind == "image" else MOST_ROWS)
    test = opened.splits.test
    part, plain = Part(test.rows[chosen], test.whole), judged.take(chosen)
    metrics, how = question.named(), question.of("robustness")
    seed = Seed(opened.recipe.seed).derive("robustness")

    def answered(rows: Part) -> Truth:
        outputs = predictor.outputs(rows, opened.place)
        return truth(rows, predictor.target, outputs, question.content, question.group)

    found: list[dict[str, Any]] = []
    for number, step in enumerate(steps):
        assert isinstance(step, Perturbation)
        harder = answered(Part.of(step.changed(part.frame, opened.dataset, seed.derive(step.name, number))))
        enough = how is not None and units_of(plain) >= FEWEST_UNITS
        found.append(
            {
                **step.model_dump(mode="json"),
                "metrics": with_intervals(metrics, harder, None),
                "differences": paired_differences(metrics, harder, plain, how) if how is not None and enough else {},
            }
        )
    return {"rows": len(part.rows), "plain": with_intervals(metrics, plain, None), "found": found}
