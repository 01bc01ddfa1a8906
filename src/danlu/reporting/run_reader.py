"""Plain values from a run's files: comparisons with baselines, metric rows, the kept step, confusions.

In: the parsed evaluation.json and metrics.jsonl. Out: values for sentences, tables and figures.
"""

from dataclasses import dataclass
from typing import Any, Literal

from danlu.artifacts.final_figures import figures_of, final_figures, final_split
from danlu.artifacts.run import best_record
from danlu.tasks.metric_table import METRICS

Json = dict[str, Any]
Standing = Literal["ahead of", "level with", "behind"]

SPLITS = ("test", "validation")  # in the order of the page
LEVEL_TOLERANCE = 1e-9  # closer values are equal up to rounding; relative for values above 1
TRIVIAL_BASELINES = frozenset({"majority", "mean", "unigram"})  # baselines that ignore the input


@dataclass(frozen=True)
class BaselineComparison:
    """Compare the model with one baseline by the main metric on test.

    Attributes:
        gap: the absolute difference.
        low, high: the interval of model minus baseline on the same samples; None if there is none.
        trivial: whether the baseline ignores the input.
    """

    baseline: str
    meaning: str
    metric: str
    model: float
    other: float
    standing: Standing
    trivial: bool
    low: float | None = None
    high: float | None = None

    @property
    def gap(self) -> float:
        return abs(self.model - self.other)


@dataclass(frozen=True)
class MetricCell:
    """Hold one cell of the metrics table.

    `best` is whether no other on the test split is better.
    """

    value: float | None
    best: bool = False


@dataclass(frozen=True)
class MetricRow:
    """Hold one metric: name, direction, and split -> values of model and baselines.

    Attributes:
        direction: higher, lower, or empty if unknown.
    """

    name: str
    direction: str
    figures: dict[str, tuple[MetricCell, ...]]


@dataclass(frozen=True)
class Kept:
    """Hold the step of the kept weights and the metric that chose it."""

    step: int
    metric: str
    value: float


@dataclass(frozen=True)
class ConfusedPair:
    """Hold a class, the class it was mistaken for, and the count."""

    truth: str
    answer: str
    count: int


def evaluated_splits(evaluation: Json) -> tuple[str, ...]:
    """Return the evaluated splits; a model trained on all non-test rows has no validation."""
    return tuple(split for split in SPLITS if split in evaluation)


def compare_with_baselines(evaluation: Json) -> list[BaselineComparison]:
    """Compare the model with every baseline that has the main metric on test, in order."""
    metric, model = main_metric(evaluation), main_value(evaluation)
    if model is None:
        return []
    higher, final = bool(evaluation["main"]["higher_is_better"]), final_split(evaluation)
    found: list[BaselineComparison] = []
    for name, baseline in evaluation.get("baselines", {}).items():
        other = metric_value(figures_of(baseline, final), metric)
        if other is not None:
            place, trivial = standing(model, other, higher), name in TRIVIAL_BASELINES
            apart = baseline.get("differences", {}).get(final, {}).get(metric, {})
            meaning, bounds = baseline.get("meaning", ""), (apart.get("low"), apart.get("high"))
            found.append(BaselineComparison(name, meaning, metric, model, other, place, trivial, *bounds))
    return found


def standing(model: float, other: float, higher_is_better: bool) -> Standing:
    """Compare the model's value with another."""
    if is_level(model, other):
        return "level with"
    return "ahead of" if (model > other) == higher_is_better else "behind"


def is_level(one: float, other: float) -> bool:
    """Return whether two values are equal up to rounding."""
    return abs(one - other) <= LEVEL_TOLERANCE * max(1.0, abs(one), abs(other))


def main_metric(evaluation: Json) -> str:
    """Return the metric that sums up the run."""
    return str(evaluation["main"]["metric"])


def main_value(evaluation: Json) -> float | None:
    """Return the main metric of the final figures; None if undefined."""
    return metric_value(final_figures(evaluation), main_metric(evaluation))


def metric_value(figures: Json, metric: str) -> float | None:
    """Return a metric of a split; None if undefined."""
    figure = figures.get(metric)
    return float(figure["value"]) if isinstance(figure, dict) and "value" in figure else None


def metric_rows(evaluation: Json) -> list[MetricRow]:
    """Return every metric that any split has, the main one first."""
    main = main_metric(evaluation)
    names = [
        name
        for split in evaluated_splits(evaluation)
        for name, figure in evaluation[split].items()
        if "value" in figure
    ]
    ordered = sorted(dict.fromkeys(names), key=lambda name: name != main)
    return [_metric_row(name, evaluation) for name in ordered]


def _metric_row(name: str, evaluation: Json) -> MetricRow:
    known = METRICS.get(name)
    higher = known.higher_is_better if known else None
    if name == main_metric(evaluation):
        higher = bool(evaluation["main"]["higher_is_better"])
    baselines = evaluation.get("baselines", {}).values()
    splits = evaluated_splits(evaluation)
    values = {
        split: [metric_value(judged.get(split, {}), name) for judged in (evaluation, *baselines)] for split in splits
    }
    direction = "" if higher is None else ("higher" if higher else "lower")
    figures = {split: tuple(map(MetricCell, values[split])) for split in values}
    final = final_split(evaluation)
    if final in values:
        figures[final] = _mark_best(values[final], higher)
    return MetricRow(name, direction, figures)


def _mark_best(values: list[float | None], higher_is_better: bool | None) -> tuple[MetricCell, ...]:
    """Mark the best values of a row, ties included; none without a rival."""
    present = [value for value in values if value is not None]
    if higher_is_better is None or len(present) < 2:
        return tuple(map(MetricCell, values))
    best = max(present) if higher_is_better else min(present)
    return tuple(MetricCell(value, value is not None and is_level(value, best)) for value in values)


def validation_metrics(log: list[Json]) -> list[str]:
    """Return the validation metrics of metrics.jsonl, the loss first."""
    names = dict.fromkeys(key for line in log for key in line if key.startswith("validation/"))
    return sorted(names, key=lambda name: name != "validation/loss")


def series(log: list[Json], name: str) -> tuple[list[int], list[float]]:
    """Return the steps at which a metric was logged, and its values."""
    points = [(int(line["step"]), float(line[name])) for line in log if name in line]
    return [step for step, _ in points], [value for _, value in points]


def kept_step(log: list[Json]) -> Kept | None:
    """Return the first best validation.

    Training logs the validation loss, and the watched metric if that is another one.
    """
    names = validation_metrics(log)
    if not names:
        return None
    watched = names[-1]
    known = METRICS.get(watched.removeprefix("validation/"))
    best = best_record(log, watched, known is not None and known.higher_is_better)
    assert best is not None, "the metric was found in the log"
    return Kept(int(best["step"]), watched, float(best[watched]))


def most_confused(confusion: Json, most: int = 10) -> list[ConfusedPair]:
    """Return the most frequent confusions, most frequent first."""
    labels, counts = confusion["labels"], confusion["counts"]
    found = [
        ConfusedPair(labels[truth], labels[answer], count)
        for truth, row in enumerate(counts)
        for answer, count in enumerate(row)
        if count and truth != answer
    ]
    return sorted(found, key=lambda pair: -pair.count)[:most]
