"""Training of self-fitting models (trees, boosting): every round is validated, logged and may stop early."""

from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from danlu.artifacts.run import RunDirectory
from danlu.core.console import info, progress
from danlu.core.threads import plan_threads
from danlu.data.specs import TabularInputs, require_inputs
from danlu.errors import Stopped
from danlu.evaluation.predictions import build_predictions
from danlu.experiment.setup import TrainingSetup
from danlu.models.base import FitData, Rows, SelfFittingModel
from danlu.tasks.metric_table import compute_metrics

if TYPE_CHECKING:
    from danlu.data.loader import PreparedDataset
    from danlu.training.loop import TrainResult


def fit_rounds(setup: TrainingSetup, run: RunDirectory) -> "TrainResult":
    """Fit the model round by round and load the best round into the setup's network.

    Raises:
        Stopped: a signal asked to stop.
    """
    import torch

    from danlu.training.loop import TrainResult
    from danlu.training.monitoring.callbacks import CallbackContext
    from danlu.training.monitoring.trackers import build_callbacks
    from danlu.training.stop_signals import catch_stop_signals

    model, options, stopper = setup.context.model, setup.context.recipe.training, setup.new_early_stopping()
    assert isinstance(model, SelfFittingModel)
    fit_data = build_fit_data(setup)
    assert not isinstance(options.max_steps, str)
    most = min(model.max_rounds, options.max_steps or model.max_rounds)
    if setup.fixed_epochs is not None:
        most = min(most, max(1, round(setup.fixed_epochs)))
    info(f"fitting {model.name} on {len(fit_data.train.target):,} samples: {most:,} rounds at most")
    fit, callbacks, done = model.start_fit(fit_data), build_callbacks(options), 0
    with ExitStack() as stack:
        stop = stack.enter_context(catch_stop_signals())
        bar = stack.enter_context(progress("fitting", most, "rounds"))
        for callback in callbacks:
            stack.callback(callback.on_end)
            callback.on_start(CallbackContext(run, setup.model, options, most, 0))
        for done, loss in enumerate(fit.iter_rounds(), start=1):
            figures = _validation_metrics(setup, fit.validation_scores()) if setup.validation is not None else {}
            record = {"step": done, "epoch": float(done), "train/loss": loss, **figures}
            run.log(record)
            stopper.update(figures, done)
            bar.advance(1, stopper.progress_note)
            for callback in callbacks:
                callback.on_step(done, torch.tensor(loss))
                callback.on_log(record)
            if stop:
                raise Stopped(
                    f"stopped at round {done} of {most}; a partly fitted model is not kept, so train again",
                    code="DL510",
                )
            if stopper.should_stop or done == most:
                break
    if stopper.best_step:
        fit.load_rounds_into(setup.model, stopper.best_step)
    ended = "as many as planned" if done == most else "since no further round improves the fit"
    if stopper.should_stop:
        ended = f"stopped early since {stopper.stop_reason} for {stopper.patience} rounds"
    return TrainResult(done, stopper.best_step, stopper.best, ended)


def build_fit_data(setup: TrainingSetup) -> FitData:
    """Collect the training rows of the first epoch, with their class weights."""
    loader = setup.balanced.loader
    inputs = require_inputs(setup.preprocessing.preprocessor.inputs, TabularInputs, setup.context.model.name)
    taken, validation = loader.order(0) % len(loader.dataset), setup.validation
    train = _to_arrays(loader.dataset, taken)
    by_class = setup.balanced.loss_weighting.class_weights
    return FitData(
        inputs=inputs,
        outputs=setup.preprocessing.target.outputs,
        loss=setup.context.dataset.task.head(setup.preprocessing.target).loss,
        train=train,
        sample_weights=None if by_class is None else np.array(by_class)[train.target],
        validation=_to_arrays(loader.dataset, taken[:0])
        if validation is None
        else _to_arrays(validation, np.arange(len(validation))),
        seed=setup.seed,
        num_threads=plan_threads(setup.context.recipe.training.threads).compute,
        start=None if setup.context.recipe.training.from_run is None else setup.model,
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


def _validation_metrics(setup: TrainingSetup, scores: np.ndarray) -> dict[str, float]:
    """Compute the validation loss and the monitored metric from logits (or standardized numbers)."""
    import torch

    from danlu.tasks.loss_weighting import LossWeighting

    context, watched = setup.context, setup.monitored_metric
    head, logits = context.dataset.task.head(setup.preprocessing.target), torch.from_numpy(scores.astype(np.float32))
    assert setup.validation is not None
    target = setup.validation.target
    assert target is not None
    loss, count = head.loss(logits, target.cpu(), LossWeighting())
    figures = {"validation/loss": float(loss) / count}
    if watched != "loss":
        answers = head.predict(logits, None).numpy()
        judged = build_predictions(
            context.splits.validation, setup.preprocessing.target, answers, context.dataset.content
        )
        figures |= {f"validation/{name}": value for name, value in compute_metrics((watched,), judged).items()}
    return figures
