"""Validation during training: the loss and the monitored metric of the current weights."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from danlu.data.targets import MultiLabelTarget, Supervised
from danlu.evaluation.metrics.base import Predictions
from danlu.evaluation.metrics.streaming import StreamingMetrics
from danlu.evaluation.metrics.table import METRICS, compute_metrics, to_target_units
from danlu.evaluation.predictions import build_predictions, pair_with_truth
from danlu.experiment.data_context import scored_text_column
from danlu.experiment.setup import TrainingSetup

if TYPE_CHECKING:
    from danlu.training.train_state import TrainState


def make_validation_fn(fitting: TrainingSetup, machine: "TrainState") -> Callable[[], dict[str, float]]:
    """Make the function that validates the current weights: the loss and the monitored metric.

    Without a validation split it returns an empty dict.
    """
    from danlu.models.heads import head_for
    from danlu.models.infer import eval_mode, mean_loss, predict_all, predict_batches

    opened, model, device = fitting.context, machine.model, fitting.accelerator.torch_device
    part, target = opened.splits.validation, fitting.preprocessing.target
    judge = machine.step.parallel_model.evaluator if machine.step.parallel_model else None
    head, watched = head_for(target), fitting.monitored_metric
    supervised = isinstance(target, Supervised)
    sums_up = supervised and watched != "loss" and METRICS[watched].statistic.additive
    batch_size, team = opened.recipe.training.batch_size, fitting.team
    assert isinstance(batch_size, int)

    if fitting.validation is None:
        return dict
    examples = fitting.validation

    def validate() -> dict[str, float]:
        with machine.step.precision.autocast():
            return measured()

    def measured() -> dict[str, float]:
        figures = {"validation/loss": mean_loss(model, head, examples, batch_size, device, judge, team)}
        if watched != "loss":
            # A metric may be undefined, as AUROC without positive samples; then nothing is logged.
            found = streamed() if sums_up else whole()
            figures |= {f"validation/{name}": value for name, value in found.items()}
        return figures

    def whole() -> dict[str, float]:
        found = predict_all(model, head, examples, batch_size, device, evaluator=judge, groups=team)
        return compute_metrics((watched,), build_predictions(part, target, found, scored_text_column(opened)))

    def streamed() -> dict[str, float]:
        assert isinstance(target, Supervised)
        running, zero = StreamingMetrics({watched: METRICS[watched]}), np.zeros((1, 1))
        with eval_mode(model, team):
            for rows, found in predict_batches(model, head, examples, batch_size, device, judge, team):
                if len(rows):
                    running.add(pair_with_truth(part.take(rows), target, to_target_units(target, found.cpu().numpy())))
            blank = np.full((1, target.outputs), 1 / target.outputs)
            shape = (1, target.outputs) if isinstance(target, MultiLabelTarget) else 1
            running.add_weighted(Predictions(np.zeros(shape, dtype=np.int64), to_target_units(target, blank)), zero)
        return running.compute(team, device)

    return validate
