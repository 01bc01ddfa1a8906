"""A compressed model beside its original on test rows: what it costs there, whom most, which answers flip, and where.

Nothing is chosen here: the test split is only reported on.
"""

from typing import Any

import numpy as np

from danlu.artifacts.bundle import Bundle
from danlu.compression.base import Material
from danlu.compression.judge import Judge
from danlu.core.console import info
from danlu.errors import DanluError
from danlu.evaluation.intervals import Resampling
from danlu.evaluation.slices import Slice, evaluate_slices, make_slices, slice_columns
from danlu.experiment.difference_picture import measure_difference
from danlu.experiment.inspected import run_subject_of
from danlu.experiment.network_pairs import open_other
from danlu.experiment.run_evaluation import record_test_evaluation
from danlu.metrics.base import Metric, Predictions, Statistic, StatisticFn
from danlu.models.engines.onnxruntime_engine import INT8_FILE

Json = dict[str, Any]
MOST_SLICES, MOST_FLIPS = 12, 8
THRESHOLD_DB = 20.0
LAYER_ROWS = 256
LOSS = "loss of a row"


def compare_with_original(material: Material, judge: Judge, bundle: Bundle, bound: str) -> Json:
    """Return what a compressed bundle changes, as JSON.

    Args:
        material: the run, with all its rows.
        judge: of the budget.
        bundle: the compressed one.
        bound: of the drop, chosen on other rows, as `Judge.drop` takes it.

    Returns:
        `rows` and `drop` on the test split; `slices` that lose most, classes among them; `flips`, some of the rows
        whose decision is another; `layers`, as `danlu visualize --against` has them, where both networks are torch's.
    """
    test = material.context.splits.test
    before, after = (judge.predictions(each, test) for each in (material.bundle, bundle))
    drop = judge.drop(before, after, bound)
    record_test_evaluation(material.run, material.context.recipe, "compress")
    return {
        "rows": len(test),
        "drop": drop.to_figure().to_json(),
        "flipped": drop.flipped,
        "slices": _slices(material, before, after),
        "flips": _flips(material, before, after),
        "layers": _layers(material, bundle),
    }


def _row_costs(before: Predictions, after: Predictions) -> np.ndarray | None:
    """Return how much worse each row is answered, [rows]; None where that is undefined."""
    if before.y_true.dtype == object or before.y_pred.dtype == object:
        return None
    if before.y_true.ndim == 1 and before.y_pred.ndim == 2 and before.text_bytes is None:
        right = [each.predicted_classes == each.y_true for each in (before, after)]
        return np.asarray(right[0].astype(np.float64) - right[1])
    if before.y_true.shape == before.y_pred.shape:  # numbers, or a probability for each label
        costs = [np.abs(each.y_pred - each.y_true) for each in (before, after)]
        return np.asarray((costs[1] - costs[0]).reshape(len(before), -1).mean(axis=1))
    return None


def _slices(material: Material, before: Predictions, after: Predictions) -> list[Json]:
    """Return the test split's slices that lose most beside the rest, with simultaneous intervals."""
    costs = _row_costs(before, after)
    if costs is None:
        return []
    context = material.context
    slices = make_slices(*slice_columns(context.dataset, context.splits.test, None))
    if context.dataset.task.has_classes:
        labels = getattr(material.predictor.target, "labels", ())
        slices += [
            Slice("", "class", str(label), before.y_true == place)
            for place, label in enumerate(labels)
            if 0 < np.sum(before.y_true == place) < len(before)
        ]
    how = Resampling(material.seed.derive("slices"))
    found = evaluate_slices(slices, _MEAN, Predictions(np.zeros(len(costs)), costs, groups=before.groups), how)
    return [each for each in found if each["difference"] > 0][:MOST_SLICES]


def _prepare(predictions: Predictions) -> StatisticFn:
    values = np.stack([predictions.y_pred, np.ones(len(predictions))], axis=1)
    return lambda weights: weights @ values


_MEAN = Metric(
    task="",
    statistic=Statistic(_prepare, additive=True),
    finalize=lambda sums: sums[..., 0] / np.where(sums[..., 1] > 0, sums[..., 1], np.nan),
    higher_is_better=False,
    description=LOSS,
    bounds=(-np.inf, np.inf),
)


def _flips(material: Material, before: Predictions, after: Predictions) -> list[Json]:
    """Return some rows whose decision is another, those first that were right before."""
    context, target = material.context, material.predictor.target
    if not context.dataset.task.has_classes:
        return []
    labels = [str(label) for label in getattr(target, "labels", ())]
    old, new = before.predicted_classes, after.predicted_classes
    changed = np.flatnonzero(old != new)
    order = np.argsort(old[changed] != before.y_true[changed], kind="stable")
    chosen = np.sort(changed[order][:MOST_FLIPS])
    columns = [each for each in material.predictor.preprocessor.columns if context.dataset.kind.has_feature_columns]
    read = context.splits.test.take(chosen).columns(*columns) if columns else None
    return [
        {
            "row": int(context.splits.test.rows[row]),
            "truth": labels[int(before.y_true[row])],
            "before": labels[int(old[row])],
            "after": labels[int(new[row])],
            "fields": {} if read is None else {name: str(value) for name, value in read.row(place, named=True).items()},
        }
        for place, row in enumerate(chosen)
    ]


def _layers(material: Material, bundle: Bundle) -> Json:
    """Compare the networks layer by layer; empty where they cannot be."""
    subject = run_subject_of(material.context, material.run, LAYER_ROWS)
    # An 8-bit file rounds activations too, which the torch network of the same bundle does not.
    other = bundle.folder / INT8_FILE if INT8_FILE in bundle.manifest.files else bundle.folder
    try:
        return measure_difference(subject, open_other(subject, other), THRESHOLD_DB).data
    except DanluError as error:
        info(f"the layers are not compared: {error}")
        return {}
