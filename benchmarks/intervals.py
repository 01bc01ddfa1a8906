"""What bootstrap intervals cost: 2,000 resamples of 100,000 predictions, all usual metrics of a task at once.

    python benchmarks/intervals.py

Wall and processor seconds. Beside them, what scikit-learn's functions would take one resample after the other,
reckoned from 5 of them.
"""

import os
import time

import numpy as np
import sklearn.metrics as reference

from danlu.core.seeds import Seed
from danlu.evaluation.intervals import Resampling, values_with_intervals
from danlu.metrics.base import Predictions
from danlu.tasks.metric_table import METRICS
from danlu.tasks.table import get_task

ROWS, RESAMPLES, FEW = 100_000, 2_000, 5


def classes(count: int) -> Predictions:
    generator = np.random.default_rng(0)
    values = generator.integers(count, size=ROWS)
    logits = generator.normal(size=(ROWS, count))
    logits[np.arange(ROWS), values] += 1
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Predictions(values, shares.astype(np.float32))


def numbers() -> Predictions:
    generator = np.random.default_rng(0)
    values = generator.normal(size=ROWS)
    return Predictions(values, values + generator.normal(size=ROWS))


def one_by_one(truth: Predictions) -> float:
    """Seconds that accuracy, F1, AUROC, average precision and log loss of scikit-learn would take in a loop."""
    generator, begun = np.random.default_rng(0), time.perf_counter()
    for _ in range(FEW):
        rows = generator.integers(ROWS, size=ROWS)
        values, shares = truth.y_true[rows], truth.y_pred[rows].astype(np.float64)
        shares /= shares.sum(axis=1, keepdims=True)
        reference.accuracy_score(values, shares.argmax(axis=1))
        reference.f1_score(values, shares.argmax(axis=1), average="macro")
        reference.roc_auc_score(values, shares[:, 1])
        reference.average_precision_score(values, shares[:, 1])
        reference.log_loss(values, shares)
    return (time.perf_counter() - begun) / FEW * RESAMPLES


def main() -> None:
    print(f"{RESAMPLES:,} resamples of {ROWS:,} predictions, {len(os.sched_getaffinity(0))} cores")
    print(f"{'case':<24}{'metrics':>8}{'wall s':>8}{'cpu s':>8}")
    cases = (("2 classes", "classification", classes(2)), ("5 classes", "classification", classes(5)))
    for name, task, truth in (*cases, ("numbers", "regression", numbers())):
        metrics = {metric: METRICS[metric] for metric in get_task(task).default_metrics}
        begun, spent = time.perf_counter(), time.process_time()
        values_with_intervals(metrics, truth, Resampling(Seed(0), 0.95, RESAMPLES))
        wall, cpu = time.perf_counter() - begun, time.process_time() - spent
        print(f"{name:<24}{len(metrics):>8}{wall:>8.1f}{cpu:>8.1f}")
    print(f"{'sklearn, 2 classes':<24}{5:>8}{one_by_one(classes(2)):>8.0f}  (one after the other, reckoned)")


if __name__ == "__main__":
    main()
