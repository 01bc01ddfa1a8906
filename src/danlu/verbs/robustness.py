"""The same model on harder versions of the test rows, beside its figures on the rows as they are."""

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
    """Every metric on each harder version of the test split, and by how much it differs, with a paired interval.

    Args:
        predictor: answers as it will be given out.
        judged: its answers to the test rows as they are.

    Returns:
        `rows`, and under `found` for each perturbation its options, `metrics` (name -> {value}) and `differences`
        (harder less plain: name -> {value, low, high}); nothing where none is asked for.
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
