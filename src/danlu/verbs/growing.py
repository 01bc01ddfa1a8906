"""Training of self-fitting models (trees, boosting): every round is validated, logged and may stop early."""

from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from danlu.artifacts.run import RunDirectory
from danlu.core.console import progress, say
from danlu.core.errors import Stopped
from danlu.core.threads import plan_threads
from danlu.evaluation.evaluate import truth
from danlu.evaluation.metrics import compute_metrics
from danlu.models.base import FitsItself, Lesson, Rows
from danlu.verbs.fitting import Fitting

if TYPE_CHECKING:
    from danlu.data.examples import Examples
    from danlu.training.loop import Outcome


def grow(fitting: Fitting, run: RunDirectory) -> "Outcome":
    """Fit the model round by round and load the best round into the setup's network.

    Raises:
        Stopped: a signal asked to stop.
    """
    import torch

    from danlu.training.callbacks import Setting
    from danlu.training.loop import Outcome
    from danlu.training.stopping import stop_requests
    from danlu.training.trackers import callbacks_for

    model, options, watch = fitting.opened.model, fitting.opened.recipe.training, fitting.watch()
    assert isinstance(model, FitsItself)
    lesson = lesson_of(fitting)
    most = min(model.most_rounds, options.max_steps or model.most_rounds)
    if fitting.until is not None:
        most = min(most, max(1, round(fitting.until)))
    say(f"fitting {model.name} on {len(lesson.train.target):,} samples: {most:,} rounds at most")
    growth, callbacks, done = model.begin(lesson), callbacks_for(options), 0
    with ExitStack() as stack:
        stop = stack.enter_context(stop_requests())
        bar = stack.enter_context(progress("fitting", most, "rounds"))
        for callback in callbacks:
            stack.callback(callback.on_end)
            callback.on_start(Setting(run, fitting.model, options, most, 0))
        for done, loss in enumerate(growth.rounds(), start=1):
            figures = _judged(fitting, growth.scores()) if fitting.validation is not None else {}
            record = {"step": done, "epoch": float(done), "train/loss": loss, **figures}
            run.log(record)
            watch.look(figures, done)
            bar.advance(1, watch.note)
            for callback in callbacks:
                callback.on_step(done, torch.tensor(loss))
                callback.on_log(record)
            if stop:
                raise Stopped(f"stopped at round {done} of {most}; a partly fitted model is not kept, so train again")
            if watch.exhausted or done == most:
                break
    if watch.best_step:
        growth.put_into(fitting.model, watch.best_step)
    ended = "as many as planned" if done == most else "since no further round improves the fit"
    if watch.exhausted:
        ended = f"stopped early since {watch.metric} had not improved for {watch.patience} rounds"
    return Outcome(done, watch.best_step, watch.best, ended)


def lesson_of(fitting: Fitting) -> Lesson:
    """Collect the training rows of the first epoch, with their class weights."""
    inputs, feed = fitting.prepared.preprocessor.inputs, fitting.balanced.feed
    assert inputs.kind == "tabular"
    taken, judging = feed.order(0) % len(feed.examples), fitting.validation
    train = _rows(feed.examples, taken)
    by_class = fitting.balanced.emphasis.class_weights
    return Lesson(
        inputs=inputs,
        outputs=fitting.prepared.target.outputs,
        train=train,
        weights=None if by_class is None else np.array(by_class)[train.target],
        validation=_rows(feed.examples, taken[:0]) if judging is None else _rows(judging, np.arange(len(judging))),
        seed=fitting.seed,
        threads=plan_threads(fitting.opened.recipe.training.threads).compute,
    )


def _rows(examples: "Examples", taken: np.ndarray) -> Rows:
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


def _judged(fitting: Fitting, scores: np.ndarray) -> dict[str, float]:
    """Compute the validation loss and the monitored metric from logits (or standardized numbers)."""
    import torch

    from danlu.data.balance.emphasis import Emphasis
    from danlu.models.heads import HEADS

    opened, watched = fitting.opened, fitting.watched
    head, logits = HEADS[opened.dataset.task], torch.from_numpy(scores.astype(np.float32))
    assert fitting.validation is not None
    target = fitting.validation.target
    assert target is not None
    loss, count = head.loss(logits, target.cpu(), Emphasis())
    figures = {"validation/loss": float(loss) / count}
    if watched != "loss":
        answers = head.answer(logits, None).numpy()
        judged = truth(opened.splits.validation, fitting.prepared.target, answers, opened.dataset.content)
        figures |= {f"validation/{name}": value for name, value in compute_metrics((watched,), judged).items()}
    return figures
