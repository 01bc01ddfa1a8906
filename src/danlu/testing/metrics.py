"""`check_metric`: a metric of weighted samples means the same as the metric of repeated samples.

The predictions that it is tried on are of real data, by models simple enough to be fitted here: least squares for
tables, counts of words for texts.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import polars as pl

from danlu.data.builtin import read_builtin
from danlu.metrics.base import Metric, Predictions
from danlu.tasks.metric_table import METRICS, to_metric
from danlu.testing.options import require

NEAR = 1e-9  # relative; sums are taken in another order
RESAMPLES = 5
TEXTS, LONGEST = 60, 200  # passages looked at, and how many characters of each
ENTITY = "NAME"


def check_metric(
    metric: Metric | Callable[..., float],
    *,
    predictions: tuple[Predictions, Predictions] | None = None,
    seed: int = 0,
) -> None:
    """Check a metric as danlu uses it.

    Tried on predictions of real data for its task (for every task, if it names none): it is a number, it does not
    depend on the order of rows, a row of weight 2 counts like that row twice, several resamples at once give what each
    gives alone, a sum over samples adds up over parts, and right predictions are not worse than wrong ones.

    Args:
        metric: a `danlu.Metric`, or a function of true and predicted values as `evaluation.metrics` takes it.
        predictions: those of a model, and right ones for the same samples; needed for a task of another package.
        seed: of the order of rows and of the weights.

    Raises:
        CheckFailed: with the first thing that is wrong.

    Example:
        >>> import numpy as np
        >>> from danlu.testing import check_metric
        >>> def largest_error(true, predicted):
        ...     "largest absolute error"
        ...     return np.abs(true - predicted).max()
        >>> largest_error.task, largest_error.higher_is_better = "regression", False
        >>> check_metric(largest_error)
    """
    made = to_metric(metric)
    listed = next((name for name, known in METRICS.items() if known is made), made.description)
    label = str(getattr(metric, "__name__", listed) or type(metric).__name__)
    tasks = [made.task] if made.task or predictions is not None else list(_CASES)
    require(
        predictions is not None or set(tasks) <= set(_CASES),
        f"{label}: task is {made.task!r}; name one of {', '.join(_CASES)}, none for all, or give predictions",
    )
    require(bool(made.description), f"{label}: has no description; pages show it beside the value")
    for task in tasks:
        cases = [_Case(*predictions)] if predictions is not None else _CASES[task]()
        found = [_Trial(f"{label} ({task})", made, case, seed) for case in cases]
        require(
            any(np.isfinite(trial.value(trial.case.given)) for trial in found),
            f"{label} ({task}): gives no number for real predictions",
        )
        for trial in found:
            if np.isfinite(trial.value(trial.case.given)):
                trial.check()


@dataclass(frozen=True)
class _Case:
    """Hold predictions of a task, and right ones for the same samples."""

    given: Predictions
    right: Predictions


@dataclass(frozen=True)
class _Trial:
    """Try one metric on the predictions of one case."""

    label: str
    metric: Metric
    case: _Case
    seed: int

    def check(self) -> None:
        """Raise CheckFailed with the first thing that is wrong."""
        self._check_bounds()
        self._check_order()
        self._check_weights()
        if self.metric.statistic.additive:
            self._check_additive()
        self._check_direction()

    def value(self, predictions: Predictions, weights: np.ndarray | None = None) -> float:
        """Return the metric of samples with these weights, all 1 by default."""
        if weights is None:
            weights = np.ones(len(predictions))
        return float(self._values(predictions, weights[None, :])[0])

    def _values(self, predictions: Predictions, weights: np.ndarray) -> np.ndarray:
        found = np.asarray(self.metric.finalize(self.metric.statistic.prepare(predictions)(weights)))
        require(
            found.shape == (len(weights),),
            f"{self.label}: {len(weights)} resamples give values of shape {list(found.shape)}; finalize must give one "
            "value for each",
        )
        return found

    def _check_bounds(self) -> None:
        if not any(known is self.metric for known in METRICS.values()):
            return  # a plain function says no range
        value, (low, high) = self.value(self.case.given), self.metric.bounds
        require(low - NEAR <= value <= high + NEAR, f"{self.label}: is {value}, outside of its bounds [{low}, {high}]")

    def _check_order(self) -> None:
        rows = np.random.default_rng(self.seed).permutation(len(self.case.given))
        self._same(self.value(self.case.given.take(rows)), self.value(self.case.given), "rows in another order")

    def _check_weights(self) -> None:
        given, generator = self.case.given, np.random.default_rng(self.seed)
        needed = _covering_rows(given.y_true)
        weights = generator.integers(0, 4, size=(RESAMPLES, len(given))).astype(np.float64)
        weights[:, needed] += 1.0  # a class without any row is another question
        together = self._values(given, weights)
        for row, value in zip(weights, together, strict=True):
            repeated = given.take(np.repeat(np.arange(len(given)), row.astype(np.int64)))
            self._same(value, self.value(repeated), "rows that are repeated in place of being weighted")
            self._same(value, self.value(given, row), "one resample alone in place of several at once")

    def _check_additive(self) -> None:
        given, half = self.case.given, len(self.case.given) // 2
        whole = self.metric.statistic.prepare(given)(np.ones((1, len(given))))
        parts = [given.take(np.arange(half)), given.take(np.arange(half, len(given)))]
        summed = sum(self.metric.statistic.prepare(part)(np.ones((1, len(part)))) for part in parts)
        require(
            bool(np.allclose(whole, summed, rtol=NEAR, atol=NEAR)),
            f"{self.label}: its statistic says additive, and those of two halves do not add up to that of the whole",
        )

    def _check_direction(self) -> None:
        given, right = self.value(self.case.given), self.value(self.case.right)
        if not np.isfinite(right):
            return
        better = right >= given - NEAR if self.metric.higher_is_better else right <= given + NEAR
        require(
            better,
            f"{self.label}: is {right:.4g} for right predictions and {given:.4g} for a model's; with "
            f"higher_is_better = {self.metric.higher_is_better} the right ones would be the worse",
        )

    def _same(self, found: float, expected: float, how: str) -> None:
        require(
            bool(np.isclose(found, expected, rtol=NEAR, atol=NEAR, equal_nan=True)),
            f"{self.label}: gives {found:.10g} in place of {expected:.10g} for {how}",
        )


def _covering_rows(truth: np.ndarray) -> np.ndarray:
    """Return rows that together hold every label, tag or sign that occurs, [rows]."""
    seen: set[object] = set()
    rows: list[int] = []
    for row, value in enumerate(truth):
        labels = set(value) if isinstance(value, tuple) else {(i, v) for i, v in enumerate(np.atleast_1d(value))}
        if np.issubdtype(truth.dtype, np.floating) or isinstance(value, str):
            labels = {row} if row < 2 else set()
        if labels - seen:
            seen |= labels
            rows.append(row)
    return np.array(rows, dtype=np.int64)


def _classes() -> Iterator[_Case]:
    """Yield diagnoses, cultivars and eighths of a number, from few measurements."""
    for source, target, columns in (("wine", "cultivar", 3), ("breast-cancer", "diagnosis", 2)):
        frame = _frame(source)
        _, truth = np.unique(frame[target].to_numpy(), return_inverse=True)
        yield _classified(frame.drop(target).to_numpy()[:, :columns], truth)
    yield from _eighths()


def _eighths() -> Iterator[_Case]:
    """Yield eighths of the progression of diabetes, which have an order."""
    frame = _frame("diabetes")
    order = np.argsort(np.argsort(frame["progression"].to_numpy(), kind="stable"), kind="stable")
    yield _classified(frame.drop("progression").to_numpy()[:, :6].astype(np.float64), order * 8 // len(order))


def _classified(inputs: np.ndarray, truth: np.ndarray) -> _Case:
    """Return probabilities of classes by least squares, and the right ones."""
    hot = np.eye(truth.max() + 1)[truth]
    scores = 4 * _least_squares(inputs, hot)
    given = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return _Case(Predictions(truth, given), Predictions(truth, hot))


def _numbers() -> Iterator[_Case]:
    """Yield the progression of diabetes from three measurements."""
    frame = _frame("diabetes")
    truth = frame["progression"].to_numpy().astype(np.float64)
    given = _least_squares(frame.drop("progression").to_numpy()[:, :3].astype(np.float64), truth[:, None])[:, 0]
    yield _Case(Predictions(truth, given), Predictions(truth, truth))


def _counts() -> Iterator[_Case]:
    """Yield tens of the same numbers as counts, with mean counts above 0."""
    for case in _numbers():
        truth = np.floor(case.given.y_true / 10)
        yield _Case(Predictions(truth, np.maximum(case.given.y_pred / 10, 1.0)), Predictions(truth, truth))


def _intervals() -> Iterator[_Case]:
    """Yield the same numbers with intervals of one standard deviation of their errors."""
    for case in _numbers():
        truth, given = case.given.y_true, case.given.y_pred
        width = float(np.std(truth - given))
        around = np.stack([given - width, given + width], axis=1)
        exact = np.stack([truth, truth], axis=1)
        yield _Case(replace(case.given, bounds=around), replace(case.right, bounds=exact))


def _several_numbers() -> Iterator[_Case]:
    """Yield three measurements of a wine from three others."""
    values = _frame("wine").drop("cultivar").to_numpy().astype(np.float64)
    truth = values[:, :3]
    yield _Case(Predictions(truth, _least_squares(values[:, 3:6], truth)), Predictions(truth, truth))


def _labels() -> Iterator[_Case]:
    """Yield which of three measurements of a wine are above their medians, from three others."""
    values = _frame("wine").drop("cultivar").to_numpy()
    truth = (values[:, :3] > np.median(values[:, :3], axis=0)).astype(np.int64)
    given = 1 / (1 + np.exp(-6 * (_least_squares(values[:, 3:6], truth) - 0.5)))
    yield _Case(Predictions(truth, given), Predictions(truth, truth.astype(np.float64)))


def _tags() -> Iterator[_Case]:
    """Yield the capitalised words within sentences, told by the words of other passages."""
    passages = [text.split() for text in _passages()]
    known = {word for words in passages[1::2] for word in words[1:] if word[:1].isupper()}
    truth, given = _objects(len(passages)), _objects(len(passages))
    for row, words in enumerate(passages):
        truth[row] = _bio([place > 0 and word[:1].isupper() for place, word in enumerate(words)])
        given[row] = _bio([word in known for word in words])
    yield _Case(Predictions(truth, given), Predictions(truth, truth))


def _bio(inside: list[bool]) -> tuple[str, ...]:
    before = [False, *inside[:-1]]
    return tuple(f"{'I' if last else 'B'}-{ENTITY}" if now else "O" for now, last in zip(inside, before, strict=True))


def _tokens() -> Iterator[_Case]:
    """Yield passages under the frequencies of their characters; the likeliest is guessed each time."""
    passages = _passages()
    logs, likeliest = _frequencies(passages)
    truth = _objects(len(passages))
    for row, text in enumerate(passages):
        truth[row] = tuple(text)
    totals = [[-sum(logs[c] for c in text), len(text), text.count(likeliest)] for text in passages]
    given = np.array(totals, dtype=np.float64)
    right = np.stack([np.zeros(len(given)), given[:, 1], given[:, 1]], axis=1)
    sizes = np.array([len(text.encode()) for text in passages])
    yield _Case(Predictions(truth, given, sizes), Predictions(truth, right, sizes))


def _pairs() -> Iterator[_Case]:
    """Yield a passage of an era and one of another, under the frequencies of each."""
    passages = _passages()
    chosen, rejected = passages[0::2], passages[1::2]
    reference, _ = _frequencies(passages)
    own, _ = _frequencies(chosen[: len(chosen) // 2], known="".join(passages))
    before, after = (
        np.array([[sum(logs[c] for c in text) for text in pair] for pair in zip(chosen, rejected, strict=True)])
        for logs in (reference, own)
    )
    gain = np.abs(after - before).max()
    right = before + np.array([gain, -gain])
    yield _Case(Predictions(before, after), Predictions(before, right))


def _texts() -> Iterator[_Case]:
    """Yield passages with their first half alone, every fifth of them in full."""
    passages = _passages()
    truth, given = _objects(len(passages)), _objects(len(passages))
    for row, text in enumerate(passages):
        truth[row], given[row] = text, text if row % 5 == 0 else text[: len(text) // 2] + " and so on"
    yield _Case(Predictions(truth, given), Predictions(truth, truth))


_CASES: Mapping[str, Callable[[], Iterator[_Case]]] = {
    "classification": _classes,
    "ordinal": _eighths,
    "regression": _numbers,
    "poisson-regression": _counts,
    "quantile-regression": _intervals,
    "multi-output-regression": _several_numbers,
    "multi-label": _labels,
    "token-classification": _tags,
    "language-modelling": _tokens,
    "preference": _pairs,
    "text-generation": _texts,
}


@cache
def _frame(name: str) -> pl.DataFrame:
    return read_builtin(f"builtin:{name}").frame.lazy().collect()


def _passages() -> list[str]:
    """Return beginnings of passages, spread over the eras."""
    texts = _frame("speeches")["text"].to_list()
    return [text[:LONGEST] for text in texts[:: len(texts) // TEXTS][:TEXTS]]


def _frequencies(texts: list[str], known: str = "") -> tuple[dict[str, float], str]:
    """Return the log-frequency of each character, and the most frequent one."""
    letters = "".join(texts)
    counts = {letter: letters.count(letter) + 1 for letter in set(letters + known)}
    total = sum(counts.values())
    return {letter: float(np.log(n / total)) for letter, n in counts.items()}, max(counts, key=lambda c: (counts[c], c))


def _least_squares(inputs: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return fitted values of a linear regression, [rows, outputs]."""
    scaled = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    design = np.concatenate([scaled, np.ones((len(scaled), 1))], axis=1)
    return np.asarray(design @ np.linalg.lstsq(design, target, rcond=None)[0])


def _objects(count: int) -> np.ndarray:
    return np.empty(count, dtype=object)
