"""Bootstrap intervals and paired tests: how far a metric might differ on other test samples.

Samples (or groups of samples that belong together) are drawn with replacement and every metric is recomputed; the
interval covers the middle of the results. Draws depend only on the seed and the number of the resample, so neither
threads nor other metrics change them.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from danlu.core.seeds import Seed
from danlu.metrics.base import Metric, Predictions, StatCache, compute_values

BLOCK_WEIGHTS = 1 << 18  # weights drawn at a time: 2 MB, which fits in a CPU cache
RESAMPLES_PER_SEED = 64  # resamples per seed, whatever the block size
SLOW_ROWS = 20_000_000  # total rows passed to a metric function that is called once per resample
MIN_DEFINED_SHARE = 0.9  # minimum share of defined resamples for an interval
MIN_UNITS = 2
# With at least this many units, each is drawn a Poisson number of times: a third of the time of a multinomial draw,
# and the same in the limit (Chamandy et al. 2012, https://research.google/pubs/pub43157).
POISSON_FROM_UNITS = 1_000


@dataclass(frozen=True)
class Resampling:
    """Configure the bootstrap.

    Attributes:
        confidence: the share of the resampled values within an interval.
        resamples: their number.
    """

    seed: Seed
    confidence: float = 0.95
    resamples: int = 2000


def bootstrap_values(
    metrics: Mapping[str, Metric], several: Sequence[Predictions], how: Resampling
) -> list[dict[str, np.ndarray]]:
    """Compute metrics on every resample, for each of several predictions of the same samples.

    Args:
        metrics: by name; those that cannot be bootstrapped are skipped.
        several: the same samples in the same order, so that differences are paired.

    Returns:
        for each of them, name -> [resamples]; shorter for a slow metric. NaN where undefined.
    """
    chosen = {name: metric for name, metric in metrics.items() if metric.can_bootstrap}
    gatherings = [StatCache(predictions) for predictions in several]
    for gathering in gatherings:
        for metric in chosen.values():
            gathering.get(metric)
    counts = {name: _num_resamples(metric, len(several[0]), how) for name, metric in chosen.items()}
    found = [{name: np.full(count, np.nan) for name, count in counts.items()} for _ in several]

    def fill(start: int, weights: np.ndarray) -> None:
        for gathering, figures in zip(gatherings, found, strict=True):
            known: dict[int, np.ndarray] = {}
            for name, metric in chosen.items():
                room = counts[name] - start
                if room <= 0:
                    continue
                key = id(metric.statistic)
                own = weights[:room]
                if key not in known or len(known[key]) != len(own):
                    known[key] = gathering.get(metric)(own)
                figures[name][start : start + len(own)] = metric.finalize(known[key])

    for_each_resample(len(several[0]), several[0].groups, how, fill)
    return found


def for_each_resample(
    count: int, groups: np.ndarray | None, how: Resampling, use: Callable[[int, np.ndarray], None]
) -> None:
    """Call `use(first, weights)` for each block of resamples; weights are [resamples, count].

    `first` is the index of the block's first resample. It is called from several threads.
    """
    draw = _Sampler.of(count, groups, how)
    step = RESAMPLES_PER_SEED

    def work(first: int) -> None:
        weights = draw.weights(first, min(step, how.resamples - first))
        rows = max(1, BLOCK_WEIGHTS // max(1, count))
        for start in range(0, len(weights), rows):
            use(first + start, weights[start : start + rows].astype(np.float64))

    with ThreadPoolExecutor(_threads()) as pool:
        for _ in pool.map(work, range(0, how.resamples, step)):
            pass


@dataclass(frozen=True)
class _Sampler:
    """Draw samples, or groups of them, with replacement."""

    units: int
    group_of: np.ndarray | None
    seed: Seed

    @classmethod
    def of(cls, count: int, groups: np.ndarray | None, how: Resampling) -> "_Sampler":
        if groups is None:
            return cls(count, None, how.seed)
        names, group_of = np.unique(groups, return_inverse=True)
        return cls(len(names), group_of, how.seed)

    def weights(self, first: int, resamples: int) -> np.ndarray:
        """Return how often each sample is drawn, [resamples, samples]."""
        generator = np.random.default_rng(self.seed.derive("resample", first).value)
        if self.units < POISSON_FROM_UNITS:
            drawn = generator.integers(self.units, size=(resamples, self.units), dtype=np.int32)
            counts = np.stack([np.bincount(row, minlength=self.units) for row in drawn])
        else:
            raw = generator.bit_generator.random_raw(resamples * self.units // 4 + 1)
            counts = _POISSON[raw.view(np.uint16)[: resamples * self.units]].reshape(resamples, self.units)
        return counts if self.group_of is None else counts[:, self.group_of]


def _poisson_table() -> np.ndarray:
    """Tabulate Poisson(1) counts for 16-bit random numbers.

    Poisson bootstrap: each count stands as often as it occurs in 65,536 draws.
    """
    mass = np.exp(-1.0) / np.cumprod(np.concatenate([[1.0], np.arange(1, 12)]))
    return np.searchsorted(np.cumsum(mass), (np.arange(1 << 16) + 0.5) / (1 << 16)).astype(np.int8)


_POISSON = _poisson_table()


def bias_corrected_interval(value: float, figures: np.ndarray, confidence: float) -> tuple[float, float] | None:
    """Compute a bias-corrected percentile interval; None if too many resamples are undefined.

    Bias correction (Efron 1981): if the value itself is not the median of the resamples (a calibration error is larger
    in resamples), the percentiles shift accordingly. The interval always contains the value.
    """
    from scipy.special import ndtr, ndtri

    defined = figures[np.isfinite(figures)]
    if not len(defined) or len(defined) < MIN_DEFINED_SHARE * len(figures):
        return None
    below = ((defined < value).mean() + (defined <= value).mean()) / 2
    bias = ndtri(np.clip(below, 1 / len(defined), 1 - 1 / len(defined)))
    reach = ndtri((1 + confidence) / 2)
    low, high = np.quantile(defined, ndtr([2 * bias - reach, 2 * bias + reach]))
    return min(float(low), value), max(float(high), value)


def values_with_intervals(
    metrics: Mapping[str, Metric], predictions: Predictions, how: Resampling | None
) -> dict[str, dict[str, float]]:
    """Return name -> {value, low, high}; undefined metrics and undefined intervals are left out.

    Args:
        how: None for no intervals.
    """
    values = compute_values(metrics, predictions)
    found = {name: {"value": value} for name, value in values.items() if np.isfinite(value)}
    if how is None or count_units(predictions) < MIN_UNITS:
        return found
    (drawn,) = bootstrap_values({name: metrics[name] for name in found}, [predictions], how)
    for name, resample in drawn.items():
        bounds = bias_corrected_interval(found[name]["value"], resample, how.confidence)
        if bounds is not None:
            found[name] |= {"low": bounds[0], "high": bounds[1]}
    return found


def paired_differences(
    metrics: Mapping[str, Metric], first: Predictions, second: Predictions, how: Resampling
) -> dict[str, dict[str, float]]:
    """Return name -> {value, low, high} of first minus second, on the same samples.

    Both are evaluated on the same resamples, so that whatever makes a sample hard for both cancels out.
    """
    ours, theirs = compute_values(metrics, first), compute_values(metrics, second)
    values = {name: ours[name] - theirs[name] for name in metrics}
    found = {name: {"value": value} for name, value in values.items() if np.isfinite(value)}
    drawn, beside = bootstrap_values({name: metrics[name] for name in found}, [first, second], how)
    for name, resample in drawn.items():
        bounds = bias_corrected_interval(found[name]["value"], resample - beside[name], how.confidence)
        if bounds is not None:
            found[name] |= {"low": bounds[0], "high": bounds[1]}
    return found


def count_units(predictions: Predictions) -> int:
    """Count the samples, or groups of samples, that are drawn."""
    return len(predictions) if predictions.groups is None else len(np.unique(predictions.groups))


def _num_resamples(metric: Metric, rows: int, how: Resampling) -> int:
    return how.resamples if metric.is_fast else max(100, min(how.resamples, SLOW_ROWS // max(1, rows)))


def _threads() -> int:
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


@dataclass(frozen=True)
class McNemarResult:
    """Hold the result of the exact test (McNemar 1947).

    It uses the binomial distribution instead of chi-square (https://doi.org/10.1007/BF02295996).

    Attributes:
        first_alone, second_alone: samples on which only the first, or only the second, is correct.
        p_value: probability of a split at least this uneven if both were wrong equally often.
    """

    first_alone: int
    second_alone: int
    p_value: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary for JSON."""
        return asdict(self)


def count_right_alone(first: Predictions, second: Predictions) -> tuple[int, int]:
    """Count the samples that only the first classifier, and only the second, gets right."""
    ours, theirs = first.predicted_classes == first.y_true, second.predicted_classes == second.y_true
    return int(np.sum(ours & ~theirs)), int(np.sum(theirs & ~ours))


def mcnemar_test(first: Predictions, second: Predictions) -> McNemarResult:
    """Compare two classifiers on the same samples."""
    from scipy.special import bdtr

    alone, other = count_right_alone(first, second)
    tail = float(bdtr(min(alone, other), alone + other, 0.5)) if alone + other else 1.0
    return McNemarResult(alone, other, min(1.0, 2 * tail))
