"""Training of self-fitting models (trees, boosting): every round is validated, logged and may stop early."""

from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from danlu.artifacts.run import RunDirectory
from danlu.core.console import info, progress
from danlu.core.threads import plan_threads
from danlu.errors import Stopped
from danlu.evaluation.metrics.table import compute_metrics
from danlu.evaluation.predictions import build_predictions
from danlu.experiment.setup import TrainingSetup
from danlu.models.base import FitData, Rows, SelfFittingModel

if TYPE_CHECKING:
    from danlu.data.loader import PreparedDataset
    from danlu.training.loop import TrainResult


def fit_rounds(fitting: TrainingSetup, run: RunDirectory) -> "TrainResult":
    """Fit the model round by round and load the best round into the setup's network.

    Raises:
        Stopped: a signal asked to stop.
    """
    import torch

    from danlu.training.loop import TrainResult
    from danlu.training.monitoring.callbacks import CallbackContext
    from danlu.training.monitoring.trackers import build_callbacks
    from danlu.training.stop_signals import catch_stop_signals

    model, options, watch = fitting.context.model, fitting.context.recipe.training, fitting.new_early_stopping()
    assert isinstance(model, SelfFittingModel)
    lesson = build_fit_data(fitting)
    most = min(model.max_rounds, options.max_steps or model.max_rounds)
    if fitting.fixed_epochs is not None:
        most = min(most, max(1, round(fitting.fixed_epochs)))
    info(f"fitting {model.name} on {len(lesson.train.target):,} samples: {most:,} rounds at most")
    growth, callbacks, done = model.start_fit(lesson), build_callbacks(options), 0
    with ExitStack() as stack:
        stop = stack.enter_context(catch_stop_signals())
        bar = stack.enter_context(progress("fitting", most, "rounds"))
        for callback in callbacks:
            stack.callback(callback.on_end)
            callback.on_start(CallbackContext(run, fitting.model, options, most, 0))
        for done, loss in enumerate(growth.iter_rounds(), start=1):
            figures = _validation_metrics(fitting, growth.validation_scores()) if fitting.validation is not None else {}
            record = {"step": done, "epoch": float(done), "train/loss": loss, **figures}
            run.log(record)
            watch.update(figures, done)
            bar.advance(1, watch.progress_note)
            for callback in callbacks:
                callback.on_step(done, torch.tensor(loss))
                callback.on_log(record)
            if stop:
                raise Stopped(f"stopped at round {done} of {most}; a partly fitted model is not kept, so train again")
            if watch.should_stop or done == most:
                break
    if watch.best_step:
        growth.load_rounds_into(fitting.model, watch.best_step)
    ended = "as many as planned" if done == most else "since no further round improves the fit"
    if watch.should_stop:
        ended = f"stopped early since {watch.metric} had not improved for {watch.patience} rounds"
    return TrainResult(done, watch.best_step, watch.best, ended)


def build_fit_data(fitting: TrainingSetup) -> FitData:
    """Collect the training rows of the first epoch, with their class weights."""
    inputs, feed = fitting.preprocessing.preprocessor.inputs, fitting.balanced.loader
    assert inputs.kind == "tabular"
    taken, judging = feed.order(0) % len(feed.dataset), fitting.validation
    train = _to_arrays(feed.dataset, taken)
    by_class = fitting.balanced.loss_weighting.class_weights
    return FitData(
        inputs=inputs,
        outputs=fitting.preprocessing.target.outputs,
        train=train,
        sample_weights=None if by_class is None else np.array(by_class)[train.target],
        validation=_to_arrays(feed.dataset, taken[:0])
        if judging is None
        else _to_arrays(judging, np.arange(len(judging))),
        seed=fitting.seed,
        num_threads=plan_threads(fitting.context.recipe.training.threads).compute,
    )


def _to_arrays(examples: "PreparedDataset", taken: np.ndarray) -> Rows:
    """Return the chosen samples as arrays on the host."""
    import torch

    inputs, target = examples.take(taken, torch.device("cpu"))
    assert target is not None
    empty = np.zeros((len(taken), 0))
    return Rows(
        numeric=inputs["numeric"].numpy() if "numeric" in inputs else empty.astype(np.float32),
        codes=inputs["categories"].numpy() if "categories" in inputs else empty.astype(np.int64),
        target=target.numpy(),
    )


def _validation_metrics(fitting: TrainingSetup, scores: np.ndarray) -> dict[str, float]:
    """Compute the validation loss and the monitored metric from logits (or standardized numbers)."""
    import torch

    from danlu.data.balance.base import LossWeighting
    from danlu.models.heads import HEADS

    opened, watched = fitting.context, fitting.monitored_metric
    head, logits = HEADS[opened.dataset.task], torch.from_numpy(scores.astype(np.float32))
    assert fitting.validation is not None
    target = fitting.validation.target
    assert target is not None
    loss, count = head.loss(logits, target.cpu(), LossWeighting())
    figures = {"validation/loss": float(loss) / count}
    if watched != "loss":
        answers = head.predict(logits, None).numpy()
        judged = build_predictions(
            opened.splits.validation, fitting.preprocessing.target, answers, opened.dataset.content
        )
        figures |= {f"validation/{name}": value for name, value in compute_metrics((watched,), judged).items()}
    return figures
