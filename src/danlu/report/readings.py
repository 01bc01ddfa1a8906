"""What a run's files mean, as plain values: comparisons with the baselines, metric rows, the kept step, confusions.

In: evaluation.json and metrics.jsonl as they were read. Out: values that words, tables and figures are made of.
"""

from dataclasses import dataclass
from typing import Any, Literal

from danlu.evaluation.metrics import METRICS

Json = dict[str, Any]
Standing = Literal["ahead of", "level with", "behind"]

SPLITS = ("test", "validation")  # what a reader should look at first is first
LEVEL = 1e-9  # figures nearer than this, relative to their size where that is above 1, differ by rounding alone
TRIVIAL = frozenset({"majority", "mean", "unigram"})  # baselines that never look at the input


@dataclass(frozen=True)
class Comparison:
    """The model beside one baseline, by the main metric on test.

    Attributes:
        gap: how far apart the two are, never negative.
        low, high: the interval of the model's figure less the other's, on the same samples; None where there is none.
        trivial: whether the baseline answers without looking at the input.
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
class Figure:
    """One figure of the metrics table; `best` is whether none on the test split is better."""

    value: float | None
    best: bool = False


@dataclass(frozen=True)
class MetricRow:
    """One metric: what it means, which way is better, and split -> the figures of the model and of each baseline.

    Attributes:
        direction: higher, lower, or nothing where that is not known.
    """

    name: str
    meaning: str
    direction: str
    figures: dict[str, tuple[Figure, ...]]


@dataclass(frozen=True)
class Kept:
    """The step whose weights the model has, and what it was chosen by."""

    step: int
    metric: str
    value: float


@dataclass(frozen=True)
class Confused:
    """A class, what it was taken for, and how often."""

    truth: str
    answer: str
    count: int


def splits_of(evaluation: Json) -> tuple[str, ...]:
    """The splits that were judged; a model that learned from all rows that do not test has no validation."""
    return tuple(split for split in SPLITS if split in evaluation)


def compare(evaluation: Json) -> list[Comparison]:
    """The model beside every baseline that has the main metric on test, in the order they were written."""
    metric, model = main_metric(evaluation), main_value(evaluation)
    if model is None:
        return []
    higher = bool(evaluation["main"]["higher_is_better"])
    found: list[Comparison] = []
    for name, baseline in evaluation.get("baselines", {}).items():
        other = value_of(baseline.get("test", {}), metric)
        if other is not None:
            place, trivial = standing(model, other, higher), name in TRIVIAL
            apart = baseline.get("differences", {}).get("test", {}).get(metric, {})
            meaning, bounds = baseline.get("meaning", ""), (apart.get("low"), apart.get("high"))
            found.append(Comparison(name, meaning, metric, model, other, place, trivial, *bounds))
    return found


def standing(model: float, other: float, higher_is_better: bool) -> Standing:
    """Where the model stands beside another figure."""
    if level(model, other):
        return "level with"
    return "ahead of" if (model > other) == higher_is_better else "behind"


def level(one: float, other: float) -> bool:
    """Whether two figures are the same but for rounding."""
    return abs(one - other) <= LEVEL * max(1.0, abs(one), abs(other))


def main_metric(evaluation: Json) -> str:
    """The metric that sums the run up."""
    return str(evaluation["main"]["metric"])


def main_value(evaluation: Json) -> float | None:
    """The main metric on test; None where it is undefined there."""
    return value_of(evaluation.get("test", {}), main_metric(evaluation))


def value_of(figures: Json, metric: str) -> float | None:
    """A split's figure; None where the metric is undefined for it."""
    figure = figures.get(metric)
    return float(figure["value"]) if isinstance(figure, dict) and "value" in figure else None


def metric_rows(evaluation: Json) -> list[MetricRow]:
    """Every metric that any split has, the main one first."""
    main = main_metric(evaluation)
    names = [name for split in splits_of(evaluation) for name, figure in evaluation[split].items() if "value" in figure]
    ordered = sorted(dict.fromkeys(names), key=lambda name: name != main)
    return [_metric_row(name, evaluation) for name in ordered]


def _metric_row(name: str, evaluation: Json) -> MetricRow:
    known = METRICS.get(name)
    higher = known.higher_is_better if known else None
    if name == main_metric(evaluation):
        higher = bool(evaluation["main"]["higher_is_better"])
    baselines = evaluation.get("baselines", {}).values()
    splits = splits_of(evaluation)
    values = {split: [value_of(judged.get(split, {}), name) for judged in (evaluation, *baselines)] for split in splits}
    direction = "" if higher is None else ("higher" if higher else "lower")
    figures = {split: tuple(map(Figure, values[split])) for split in values}
    figures["test"] = _marked(values["test"], higher)
    return MetricRow(name, known.meaning if known else "", direction, figures)


def _marked(values: list[float | None], higher_is_better: bool | None) -> tuple[Figure, ...]:
    """The best of a row marked, all of them where several share the place; nothing where there is no rival."""
    present = [value for value in values if value is not None]
    if higher_is_better is None or len(present) < 2:
        return tuple(map(Figure, values))
    best = max(present) if higher_is_better else min(present)
    return tuple(Figure(value, value is not None and level(value, best)) for value in values)


def validation_metrics(log: list[Json]) -> list[str]:
    """The validation metrics of metrics.jsonl, the loss first."""
    names = dict.fromkeys(key for line in log for key in line if key.startswith("validation/"))
    return sorted(names, key=lambda name: name != "validation/loss")


def series(log: list[Json], name: str) -> tuple[list[int], list[float]]:
    """The steps at which a metric was logged, and its values."""
    points = [(int(line["step"]), float(line[name])) for line in log if name in line]
    return [step for step, _ in points], [value for _, value in points]


def kept_step(log: list[Json]) -> Kept | None:
    """The first best validation.

    Training logs the validation loss, and beside it the metric that it watches where that is another one.
    """
    names = validation_metrics(log)
    if not names:
        return None
    watched = names[-1]
    known = METRICS.get(watched.removeprefix("validation/"))
    steps, values = series(log, watched)
    best = max(values) if known is not None and known.higher_is_better else min(values)
    return Kept(steps[values.index(best)], watched, best)


def most_confused(confusion: Json, most: int = 10) -> list[Confused]:
    """The commonest mistakes, commonest first."""
    labels, counts = confusion["labels"], confusion["counts"]
    found = [
        Confused(labels[truth], labels[answer], count)
        for truth, row in enumerate(counts)
        for answer, count in enumerate(row)
        if count and truth != answer
    ]
    return sorted(found, key=lambda pair: -pair.count)[:most]
