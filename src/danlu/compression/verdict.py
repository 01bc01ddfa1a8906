"""What a search has found: rows that were not searched decide what is promised, and every step's own gain is told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from danlu.compression.acceptance import smallest_promise
from danlu.compression.base import Material
from danlu.compression.choice import choose, front
from danlu.compression.judge import Drop, Judge
from danlu.compression.results import AppliedStep, CompressionResult, Figure, Point, Promise, RolledBack
from danlu.compression.tried import ORIGINAL, Refused, Tried
from danlu.core.cpu import this_processor
from danlu.metrics.base import Predictions
from danlu.recipe.sections.compression import Target


@dataclass(frozen=True)
class Verdict:
    """Judge what a search has tried.

    Attributes:
        material: the run.
        judge: with the budget and both halves of rows.
        target: what the search makes small.
    """

    material: Material
    judge: Judge
    target: Target

    def decide(self, tries: Sequence[Tried], refused: Sequence[Refused]) -> CompressionResult:
        """Return the strongest compression that keeps the promise, and all that was found.

        Args:
            tries: the original first.
            refused: what could not be applied.
        """
        judge, budget = self.judge, self.judge.budget
        answers = {each.id: judge.predictions(each.bundle, judge.accepted) for each in tries}
        before = answers[ORIGINAL]
        drops = {each.id: judge.drop(before, answers[each.id], each.bound) for each in tries}
        # The order and each bound are fixed on searched rows, so that looking at all drops here costs no confidence.
        ordered = front(tries[1:], self.target)
        chosen = choose(ordered, budget.max_drop, drops)
        best = chosen or (ordered[0] if ordered else tries[0])
        smallest = smallest_promise(len(judge.accepted), budget.confidence) if judge.is_exact else 0.0
        promise = Promise(
            budget.metric,
            budget.max_drop,
            budget.confidence,
            kept=chosen is not None,
            smallest_drop=smallest if smallest > budget.max_drop else None,
        )
        shown = {ORIGINAL, *(each.id for each in ordered)}
        return CompressionResult(
            this_processor().to_json(),
            tuple(self._point(each, tries, drops, answers[each.id], is_on_front=each.id in shown) for each in tries),
            ORIGINAL,
            best.id,
            promise,
            len(judge.searched),
            len(judge.accepted),
            self._rolled_back(tries, refused),
        )

    def _point(
        self,
        tried: Tried,
        tries: Sequence[Tried],
        drops: Mapping[str, Drop],
        found: Predictions,
        *,
        is_on_front: bool,
    ) -> Point:
        drop = drops[tried.id]
        return Point(
            id=tried.id,
            bundle=tried.bundle.folder,
            engine=tried.engine,
            steps=_with_gains(tried, tries, drops),
            size_bytes=tried.size_bytes,
            bundle_bytes=tried.bundle_bytes,
            parameters=tried.parameters,
            sparsity=tried.sparsity,
            notes=tried.notes,
            peak_memory_bytes=tried.peak_memory_bytes,
            latency_ms={size: each.second for size, each in tried.speed.items()},
            speedup={size: each.speedup for size, each in tried.speed.items()},
            metrics=self.judge.metrics(found),
            drop=None if tried.id == ORIGINAL else drop.to_figure(),
            flipped=None if tried.id == ORIGINAL else drop.flipped,
            on_front=is_on_front,
        )

    def _rolled_back(self, tries: Sequence[Tried], refused: Sequence[Refused]) -> tuple[RolledBack, ...]:
        """Return the last steps of what went the wrong way, and why."""
        found = [RolledBack(each.steps[-1], each.why) for each in refused]
        budget = self.judge.budget
        for tried in (each for each in tries if each.steps):
            why = []
            if tried.is_slower:
                slower = [(size, each) for size, each in tried.speed.items() if each.is_slower]
                why += [f"{each.speedup.value:.2f} of the original's speed at batch {size}" for size, each in slower]
            if tried.drop.value > budget.max_drop:
                why.append(f"{budget.metric} is {tried.drop.value:.4g} worse on searched rows")
            if why:
                found.append(RolledBack(tried.steps[-1], f"{tried.label}: {'; '.join(why)}"))
        return tuple(found)


def _with_gains(tried: Tried, tries: Sequence[Tried], drops: Mapping[str, Drop]) -> tuple[AppliedStep, ...]:
    """Return the steps, each with what it alone has gained."""
    # Of the two tries without steps the later one is in ONNX Runtime, as compressed networks are.
    by_steps = {_key(each.steps): each for each in tries}
    found: list[AppliedStep] = []
    for place, step in enumerate(tried.steps):
        own, before = by_steps.get(_key(tried.steps[: place + 1])), by_steps.get(_key(tried.steps[:place]))
        gain = {} if own is None or before is None else _gain(own, before, drops)
        found.append(AppliedStep(step, gain))
    return tuple(found)


def _key(steps: Sequence[object]) -> str:
    return repr(list(steps))


def _gain(own: Tried, before: Tried, drops: Mapping[str, Drop]) -> dict[str, Figure]:
    """Return what a step gained over what it went on from.

    Speed-up at the largest batch, the metric's gain (above 0 is better) and the share of bytes left.
    """
    size = max(own.speed)
    return {
        "latency": Figure(own.speed[size].speedup.value / before.speed[size].speedup.value),
        "metric": Figure(drops[before.id].value - drops[own.id].value),
        "size": Figure(own.size_bytes / before.size_bytes),
    }
