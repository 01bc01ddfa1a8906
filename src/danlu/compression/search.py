"""Search steps within a budget: try, measure, keep; then let rows that were not searched decide what is promised."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copytree

from danlu.artifacts.bundle import Bundle
from danlu.artifacts.files import StrPath, atomic_folder, write_json
from danlu.artifacts.ownership import lock_run
from danlu.compression.acceptance import smallest_promise
from danlu.compression.base import Candidate, Material, Step
from danlu.compression.choice import choose, front
from danlu.compression.judge import EXACT, Drop, Judge
from danlu.compression.material import COMPRESSED, find_run, first_candidate, open_material
from danlu.compression.measure import compare_engines, peak_memory
from danlu.compression.once import apply_steps, require_order
from danlu.compression.points import ORIGINAL, describe, original_point
from danlu.compression.proposals import Proposal, propose
from danlu.compression.results import (
    RESULT_FILE,
    AppliedStep,
    CompressionResult,
    Figure,
    Point,
    Promise,
    RolledBack,
)
from danlu.compression.timing import SpeedComparison
from danlu.compression.tried import Tried, keep_tried, read_tried
from danlu.compression.written import write_candidate
from danlu.core.console import info
from danlu.core.cpu import this_processor
from danlu.errors import ArgumentError, DataError
from danlu.metrics.base import Predictions
from danlu.recipe.sections.compression import Budget, Target

SECONDS_A_MINUTE = 60.0
NO_GAIN = 1.0
SAME = Figure(1.0, 1.0, 1.0)


@dataclass(frozen=True)
class SearchOptions:
    """Say what a search looks for.

    Attributes:
        budget: what compression may cost.
        target: what it makes small.
        minutes: after which nothing new is begun; None for no limit.
    """

    budget: Budget
    target: Target = "latency"
    minutes: float | None = None


def search_steps(
    path: StrPath,
    options: SearchOptions,
    *,
    steps: Sequence[Step] = (),
    resume: bool = False,
    output: Path | None = None,
    own_code: bool = False,
) -> CompressionResult:
    """Search how a run's model can be made smaller or faster within a budget.

    Args:
        path: a run, or a bundle inside one.
        options: budget, target and time.
        steps: to try in order, each after those before; none to search.
        resume: go on with an interrupted search of the same run and options.
        output: also write the chosen bundle there.
        own_code: whether the bundle's own code may run.

    Raises:
        ArgumentError: there is no run, the metric is not evaluated, or its model cannot be compressed.
        ArtifactError, DataError: the run is damaged, or has too few rows.
    """
    run, _ = find_run(path)
    with lock_run(run), open_material(path, own_code=own_code) as material:
        judge = Judge(material, options.budget)
        splits = replace(material.context.splits, validation=judge.searched)
        tuned = replace(material, context=replace(material.context, splits=splits))
        search = _Search(tuned, judge, options, run.path / COMPRESSED, {})
        search.run(steps, resume=resume)
        found = search.result()
        write_json(run.path / RESULT_FILE, found.to_json())
    if output is not None:
        with atomic_folder(output) as written:
            copytree(found.bundle, written, dirs_exist_ok=True)
    return found


class _Search:
    """Try proposals one after the other.

    Attributes:
        material: whose validation rows are the searched half, so that fine-tuning sees no others.
        folder: of all bundles that are tried.
        made: candidates by their labels, which further steps go on from.
    """

    def __init__(
        self, material: Material, judge: Judge, options: SearchOptions, folder: Path, made: dict[str, Candidate]
    ) -> None:
        self.material, self.judge, self.options, self.folder, self.made = material, judge, options, folder, made
        self.tries: list[Tried] = []
        self.rolled_back: list[RolledBack] = []
        self.original = judge.predictions(material.bundle, judge.searched)
        self.baseline = material.bundle
        self.original_speed: dict[int, SpeedComparison] = {}

    @property
    def key(self) -> str:
        """Names the search: another original or other searched rows make its tries worthless."""
        return f"{self.material.bundle.manifest.digest} {self.options.budget.metric} {len(self.judge.searched)}"

    def run(self, steps: Sequence[Step], *, resume: bool) -> None:
        """Try what is proposed, or given, until nothing is left or the time is used up."""
        until = time.monotonic() + SECONDS_A_MINUTE * (self.options.minutes or float("inf"))
        kept = read_tried(self.folder, self.key) if resume else {}
        first = self.made[Proposal(()).label] = first_candidate(self.material)
        require_order(steps)
        given = [Proposal(tuple(steps[:count])) for count in range(len(steps) + 1)]
        for proposal in given if steps else propose(self.material, first, self._works):
            if self.tries and time.monotonic() > until:
                info(f"the time is used up after {len(self.tries)} tries; --resume goes on")
                break
            known = kept.get(proposal.label)
            if known is None:
                self._try(proposal)
            else:
                self.tries.append(known)
            self._settle_baseline(proposal)
            keep_tried(self.folder, self.tries, self.key)

    def result(self) -> CompressionResult:
        """Let rows that were not searched decide, and return all that was found."""
        before = self.judge.predictions(self.material.bundle, self.judge.accepted)
        answers: dict[str, Predictions] = {}

        def accept(tried: Tried) -> Drop:
            answers[tried.id] = self.judge.predictions(tried.bundle, self.judge.accepted)
            return self.judge.drop(before, answers[tried.id], tried.bound)

        budget = self.options.budget
        ordered = front(self.tries, self.options.target)
        chosen, judged = choose(ordered, budget.max_drop, accept)
        best = chosen or self._best(ordered)
        exact = budget.metric == EXACT
        smallest = smallest_promise(len(self.judge.accepted), budget.confidence) if exact else None
        promise = Promise(
            budget.metric,
            budget.max_drop,
            budget.confidence,
            kept=chosen is not None,
            smallest_drop=smallest if smallest is not None and smallest > budget.max_drop else None,
        )
        shown = {each.id for each in ordered}
        points = [self._original(before)]
        points += [
            self._point(each, judged.get(each.id), answers.get(each.id), each.id in shown) for each in self.tries
        ]
        return CompressionResult(
            this_processor().to_json(),
            tuple(points),
            ORIGINAL,
            ORIGINAL if best is None else best.id,
            promise,
            len(self.judge.searched),
            len(self.judge.accepted),
            tuple(self.rolled_back),
        )

    def _best(self, ordered: list[Tried]) -> Tried | None:
        """Return the safest one, where none keeps the promise."""
        return ordered[0] if ordered else None

    def _works(self, proposal: Proposal) -> bool:
        found = self._known(proposal.label)
        return found is not None and found.drop.value <= self.options.budget.max_drop and not found.is_slower

    def _known(self, label: str) -> Tried | None:
        return next((each for each in self.tries if each.label == label), None)

    def _try(self, proposal: Proposal) -> None:
        info(f"{len(self.tries) + 1}: {proposal.label}")
        try:
            start = self._start(proposal)
            candidate = apply_steps(self.material, proposal.steps[len(proposal.after) :], start)
        except (ArgumentError, DataError) as error:
            self.rolled_back.append(RolledBack(proposal.label, str(error)))
            return
        self.made[proposal.label] = candidate
        name = f"p{len(self.tries) + 1}"
        bundle = write_candidate(self.material, candidate, self.folder / name)
        tried = self._measured(name, proposal, candidate, bundle)
        self.tries.append(tried)
        self._roll_back(proposal, tried)

    def _start(self, proposal: Proposal) -> Candidate:
        """Return what a proposal goes on from; after an interruption it is made again."""
        label = Proposal(proposal.after).label
        if label not in self.made:
            self.made[label] = apply_steps(self.material, proposal.after)
        return self.made[label]

    def _measured(self, name: str, proposal: Proposal, candidate: Candidate, bundle: Bundle) -> Tried:
        found = self.judge.predictions(bundle, self.judge.searched)
        bound = self.judge.closest_bound(self.original, found)
        known = describe(name, bundle, candidate, candidate.steps)
        return Tried(
            id=name,
            label=proposal.label,
            steps=candidate.steps[len(self.material.bundle.manifest.steps) :],
            bundle=bundle,
            size_bytes=known.size_bytes,
            bundle_bytes=known.bundle_bytes,
            parameters=known.parameters,
            sparsity=known.sparsity,
            engine=known.engine,
            notes=candidate.notes,
            drop=self.judge.drop(self.original, found, bound),
            bound=bound,
            speed=compare_engines(self.baseline, bundle, self.material, self.judge.searched),
            peak_memory_bytes=peak_memory(bundle),
        )

    def _settle_baseline(self, proposal: Proposal) -> None:
        """Let the original in its faster engine be what times are compared with, once both were timed."""
        if proposal.steps or not self.tries:
            return
        plain = self.tries[-1]
        if plain.speed[max(plain.speed)].speedup.value > NO_GAIN:
            self.baseline = plain.bundle
            self.original_speed = {
                size: SpeedComparison(each.second, each.first, _inverse(each.speedup))
                for size, each in plain.speed.items()
            }
            same = {size: SpeedComparison(each.second, each.second, SAME) for size, each in plain.speed.items()}
            self.tries[-1] = replace(plain, speed=same)

    def _roll_back(self, proposal: Proposal, tried: Tried) -> None:
        """Note a step that made the model slower or cost more than the budget."""
        if not proposal.steps:
            return
        if tried.is_slower:
            self.rolled_back.append(RolledBack(proposal.label, f"slower: {_ratio(tried)} of the original's speed"))
        elif tried.drop.value > self.options.budget.max_drop:
            cost = f"{self.options.budget.metric} falls by {tried.drop.value:.4g} on searched rows"
            self.rolled_back.append(RolledBack(proposal.label, cost))

    def _original(self, found: Predictions) -> Point:
        return replace(
            original_point(self.material),
            metrics=self.judge.metrics(found),
            latency_ms={size: each.second for size, each in self.original_speed.items()},
            speedup={size: each.speedup for size, each in self.original_speed.items()},
            peak_memory_bytes=peak_memory(self.material.bundle),
        )

    def _point(self, tried: Tried, drop: Drop | None, found: Predictions | None, on_front: bool) -> Point:
        return Point(
            id=tried.id,
            bundle=tried.bundle.folder,
            engine=tried.engine,
            steps=self._steps(tried),
            size_bytes=tried.size_bytes,
            bundle_bytes=tried.bundle_bytes,
            parameters=tried.parameters,
            sparsity=tried.sparsity,
            notes=tried.notes,
            peak_memory_bytes=tried.peak_memory_bytes,
            latency_ms={size: each.second for size, each in tried.speed.items()},
            speedup={size: each.speedup for size, each in tried.speed.items()},
            metrics={} if found is None else self.judge.metrics(found),
            drop=(drop or tried.drop).to_figure(),
            flipped=(drop or tried.drop).flipped,
            on_front=on_front,
        )

    def _steps(self, tried: Tried) -> tuple[AppliedStep, ...]:
        """Return the steps, each with what it gained over the try that it went on from."""
        found: list[AppliedStep] = []
        for place, step in enumerate(tried.steps):
            own = self._by_steps(tried.steps[: place + 1])
            before = self._by_steps(tried.steps[:place])
            gain = {} if own is None or before is None else _gain(own, before)
            found.append(AppliedStep(step, gain))
        return tuple(found)

    def _by_steps(self, steps: tuple[object, ...]) -> Tried | None:
        return next((each for each in self.tries if each.steps == steps), None)


def _gain(own: Tried, before: Tried) -> dict[str, Figure]:
    """Return the speed-up at the larger batch, the drop and the share of bytes that a step alone made."""
    size = max(own.speed)
    return {
        "latency": Figure(own.speed[size].speedup.value / before.speed[size].speedup.value),
        "metric": Figure(before.drop.value - own.drop.value),
        "size": Figure(own.size_bytes / before.size_bytes),
    }


def _ratio(tried: Tried) -> str:
    return ", ".join(f"{each.speedup.value:.2f} at batch {size}" for size, each in tried.speed.items())


def _inverse(speedup: Figure) -> Figure:
    low, high = (None if end is None else 1 / end for end in (speedup.high, speedup.low))
    return Figure(1 / speedup.value, low, high)
