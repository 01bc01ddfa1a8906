"""Validation during training: the loss and the monitored metric of the current weights."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from danlu.evaluation.predictions import build_predictions, pair_with_truth
from danlu.experiment.data_context import scored_text_column
from danlu.experiment.setup import TrainingSetup
from danlu.metrics.streaming import StreamingMetrics
from danlu.tasks.metric_table import METRICS, compute_metrics

if TYPE_CHECKING:
    from danlu.training.train_state import TrainState


def make_validation_fn(setup: TrainingSetup, state: "TrainState") -> Callable[[], dict[str, float]]:
    """Make the function that validates the current weights: the loss and the monitored metric.

    Without a validation split it returns an empty dict.
    """
    from danlu.models.infer import eval_mode, mean_loss, predict_all, predict_batches, share_buffers

    context, model, device = setup.context, state.model, setup.accelerator.torch_device
    split, target = context.splits.validation, setup.preprocessing.target
    evaluator = state.step.parallel_model.evaluator if state.step.parallel_model else None
    task = context.dataset.task
    head, metric = task.head(target), setup.monitored_metric
    is_additive = task.has_target and not task.per_token and metric != "loss" and METRICS[metric].statistic.additive
    batch_size, groups = context.recipe.training.batch_size, setup.groups
    assert isinstance(batch_size, int)

    if setup.validation is None:
        return dict
    dataset = setup.validation

    def validate() -> dict[str, float]:
        share_buffers(model, groups)
        with state.step.precision.autocast():
            return measured()

    def measured() -> dict[str, float]:
        figures = {"validation/loss": mean_loss(model, head, dataset, batch_size, device, evaluator, groups)}
        if metric != "loss":
            # A metric may be undefined, as AUROC without positive samples; then nothing is logged.
            values = streamed() if is_additive else whole()
            figures |= {f"validation/{name}": value for name, value in values.items()}
        return figures

    def whole() -> dict[str, float]:
        outputs = predict_all(model, head, dataset, batch_size, device, evaluator=evaluator, groups=groups)
        return compute_metrics((metric,), build_predictions(split, target, outputs, scored_text_column(context)))

    def streamed() -> dict[str, float]:
        streaming, zero = StreamingMetrics({metric: METRICS[metric]}), np.zeros((1, 1))
        with eval_mode(model, groups):
            for rows, outputs in predict_batches(model, head, dataset, batch_size, device, evaluator, groups):
                if len(rows):
                    streaming.add(
                        pair_with_truth(split.take(rows), target, task.to_y_pred(target, outputs.cpu().numpy()))
                    )
            streaming.add_weighted(task.blank_predictions(target), zero)
        return streaming.compute(groups, device)

    return validate
