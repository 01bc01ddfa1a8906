"""Search steps within a budget: try, measure, keep; then let rows that were not searched decide what is promised."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copytree

from danlu.artifacts.bundle import Bundle
from danlu.artifacts.files import StrPath, atomic_folder, write_json
from danlu.artifacts.ownership import lock_run
from danlu.compression.base import Candidate, Material, Step
from danlu.compression.beside import compare_with_original
from danlu.compression.compress import free_name, without_leftovers
from danlu.compression.judge import Judge
from danlu.compression.material import COMPRESSED, find_run, first_candidate, open_material
from danlu.compression.measure import compare_engines, peak_memory
from danlu.compression.once import apply_steps, require_order
from danlu.compression.points import describe
from danlu.compression.proposals import Proposal, one_by_one, propose
from danlu.compression.results import RESULT_FILE, CompressionResult, Figure, Latency
from danlu.compression.timing import SpeedComparison
from danlu.compression.tried import ORIGINAL, Kept, Refused, Tried, keep_tried, read_tried
from danlu.compression.verdict import Verdict
from danlu.compression.written import write_candidate
from danlu.core.console import info, suppressed
from danlu.errors import ArgumentError, DataError, Stopped
from danlu.experiment.run_evaluation import write_pages
from danlu.models.engines.onnxruntime_engine import ONNX_FILE
from danlu.recipe.sections.compression import Budget, Target
from danlu.training.stop_signals import catch_stop_signals

SECONDS_A_MINUTE = 60.0
UNTOUCHED = "original"
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
        steps: to try in order, each after those before it that have worked; none to search.
        resume: go on with an interrupted search of the same model, metric and confidence.
        output: also write the chosen bundle there.
        own_code: whether the bundle's own code may run.

    Raises:
        ArgumentError: there is no run, the metric is not evaluated, or its model cannot be compressed.
        ArtifactError, DataError: the run is damaged, or has too few rows.
        Stopped: a signal asked to stop; what was tried is kept for `resume`.
    """
    run, _ = find_run(path)
    require_order(steps)
    with lock_run(run), without_leftovers(run), open_material(path, own_code=own_code) as material:
        judge = Judge(material, options.budget)
        # Fine-tuning keeps the weights that are best on validation rows, so it may see the searched half alone.
        splits = replace(material.context.splits, validation=judge.searched)
        tuned = replace(material, context=replace(material.context, splits=splits))
        search = _Search(tuned, judge, options, run.path / COMPRESSED)
        search.run(steps, resume=resume)
        found = Verdict(material, judge, options.target).decide(search.tries, search.refused)
        if found.chosen != found.original:
            best = next(tried for tried in search.tries if tried.id == found.chosen)
            found = replace(found, beside=compare_with_original(material, judge, best.bundle, best.bound))
        write_json(run.path / RESULT_FILE, found.to_json())
        write_pages(run, material.context.recipe.evaluation.language)
    if output is not None:
        with atomic_folder(output) as written:
            copytree(found.bundle, written, dirs_exist_ok=True)
    return found


class _Search:
    """Try proposals one after the other.

    Attributes:
        material: whose validation rows are the searched half.
        folder: of all bundles that are tried.
        tries: bundles with what was measured of them; the original first.
        refused: proposals that cannot be applied.
    """

    def __init__(self, material: Material, judge: Judge, options: SearchOptions, folder: Path) -> None:
        self.material, self.judge, self.options, self.folder = material, judge, options, folder
        self.tries: list[Tried] = []
        self.refused: list[Refused] = []
        self._before = judge.predictions(material.bundle, judge.searched)
        self._made = {Proposal().label: first_candidate(material)}  # what further steps go on from
        self._kept = Kept()

    def run(self, steps: Sequence[Step], *, resume: bool) -> None:
        """Try what is proposed, or given, while there is time.

        Raises:
            Stopped: a signal asked to stop.
        """
        until = time.monotonic() + SECONDS_A_MINUTE * (self.options.minutes or float("inf"))
        if resume:
            self._kept = read_tried(self.folder, self._key, self.material.bundle)
            info(f"{len(self._kept.tries) + len(self._kept.refused)} tries of an earlier search are taken over")
        with catch_stop_signals() as stop:
            self._begin()
            for proposal in self._proposals(steps):
                if time.monotonic() > until:
                    info(f"the time is used up after {len(self.tries) - 1} tries; --resume goes on")
                    return
                try:
                    self._try(proposal)
                except Stopped as error:  # while a step was training
                    raise self._stopped() from error
                keep_tried(self.folder, self.tries, self.refused, self._key)
                if stop:
                    raise self._stopped()

    @property
    def _key(self) -> str:
        """Names the search: another original, other rows or another bound make its tries worthless."""
        budget, rows = self.options.budget, len(self.judge.searched)
        return f"{self.material.bundle.manifest.digest} {budget.metric} {budget.confidence} {rows}"

    def _begin(self) -> None:
        """Measure the original, as it is and in ONNX Runtime.

        The faster of both is what times are compared with.
        """
        original, plain = self._kept.tries.get(UNTOUCHED), self._kept.tries.get(Proposal().label)
        if original is not None and (plain is not None or _is_baseline(original)):
            self.tries = [each for each in (original, plain) if each is not None]
            return
        bundle, candidate = self.material.bundle, apply_steps(self.material, ())
        original = self._measured(ORIGINAL, UNTOUCHED, self._made[Proposal().label], bundle, None)
        if ONNX_FILE in candidate.files:
            name = free_name(self.folder)
            moved = write_candidate(self.material, candidate, self.folder / name)
            self.tries = [*_faster_first(original, self._measured(name, Proposal().label, candidate, moved, bundle))]
        else:  # torch alone computes it
            speed = compare_engines(bundle, bundle, self.material, self.judge.searched)
            self.tries = [replace(original, speed={size: _alone(each.first) for size, each in speed.items()})]
        keep_tried(self.folder, self.tries, self.refused, self._key)

    def _proposals(self, steps: Sequence[Step]) -> Iterator[Proposal]:
        if steps:
            return one_by_one(steps, self._works)
        return propose(self.material, self._made[Proposal().label], self._works)

    def _works(self, proposal: Proposal) -> bool:
        found = next((each for each in self.tries if each.label == proposal.label), None)
        return found is not None and found.drop.value <= self.options.budget.max_drop and not found.is_slower

    def _try(self, proposal: Proposal) -> None:
        label = proposal.label
        if label in self._kept.tries:
            self.tries.append(self._kept.tries[label])
            return
        if label in self._kept.refused:
            self.refused.append(self._kept.refused[label])
            return
        info(f"{len(self.tries)}: {label}")
        try:
            with suppressed():
                candidate = apply_steps(self.material, proposal.steps[-1:], self._start(proposal.before))
        except (ArgumentError, DataError) as error:
            self.refused.append(Refused(label, proposal.to_json(), str(error)))
            info(f"   cannot be applied: {error}")
            return
        self._made[label] = candidate
        name = free_name(self.folder)
        bundle = write_candidate(self.material, candidate, self.folder / name)
        found = self._measured(name, label, candidate, bundle, self._baseline)
        self.tries.append(found)
        speed = ", ".join(f"{each.speedup.value:.2f}x at batch {size}" for size, each in found.speed.items())
        info(f"   {self.options.budget.metric} {found.drop.value:.4g} worse on searched rows; speed {speed}")

    def _start(self, proposal: Proposal) -> Candidate:
        """Return what further steps go on from; after an interruption its bundle is read again."""
        if proposal.label not in self._made:
            self._made[proposal.label] = self._reopened(self._kept.tries[proposal.label])
        return self._made[proposal.label]

    def _reopened(self, tried: Tried) -> Candidate:
        manifest = tried.bundle.manifest
        opened = self.material.open_predictor(tried.bundle, engine="torch")
        network = opened.model.cpu().float().eval()
        return Candidate(
            opened.options,
            network,
            manifest.structure,
            engines=manifest.engines,
            steps=manifest.steps,
            notes=tried.notes,
        )

    @property
    def _baseline(self) -> Bundle:
        """The original in its faster engine."""
        return next(each.bundle for each in self.tries if _is_baseline(each))

    def _measured(self, name: str, label: str, candidate: Candidate, bundle: Bundle, beside: Bundle | None) -> Tried:
        """Measure a bundle.

        Args:
            name: its id.
            label: its steps in a few words.
            candidate: what it holds.
            bundle: what is measured.
            beside: what its time is compared with; None for nothing.
        """
        found = self.judge.predictions(bundle, self.judge.searched)
        bound = self.judge.closest_bound(self._before, found)
        known = describe(self.material, name, bundle, candidate)
        return Tried(
            id=name,
            label=label,
            steps=tuple(each.step for each in known.steps),
            bundle=bundle,
            size_bytes=known.size_bytes,
            bundle_bytes=known.bundle_bytes,
            parameters=known.parameters,
            sparsity=known.sparsity,
            engine=known.engine,
            notes=known.notes,
            drop=self.judge.drop(self._before, found, bound),
            bound=bound,
            speed={} if beside is None else compare_engines(beside, bundle, self.material, self.judge.searched),
            peak_memory_bytes=peak_memory(bundle),
        )

    def _stopped(self) -> Stopped:
        budget = f"{self.options.budget.metric}={self.options.budget.max_drop:g}"
        return Stopped(
            f"stopped after {len(self.tries) - 1} tries, which are kept in {self.folder}; go on with `danlu compress "
            f"{self.material.run.path} --budget {budget} --resume`, and the other options as they were",
            code="DL510",
        )


def _is_baseline(tried: Tried) -> bool:
    return all(each.speedup == SAME for each in tried.speed.values())


def _faster_first(original: Tried, plain: Tried) -> tuple[Tried, Tried]:
    """Return both with times beside the one that is faster at the largest batch.

    Args:
        original: not timed yet.
        plain: timed beside the original.
    """
    speed = plain.speed
    if speed[max(speed)].speedup.value <= 1.0:
        return replace(original, speed={size: _alone(each.first) for size, each in speed.items()}), plain
    slower = {size: SpeedComparison(each.second, each.first, _inverse(each.speedup)) for size, each in speed.items()}
    itself = {size: _alone(each.second) for size, each in speed.items()}
    return replace(original, speed=slower), replace(plain, speed=itself)


def _alone(latency: Latency) -> SpeedComparison:
    return SpeedComparison(latency, latency, SAME)


def _inverse(speedup: Figure) -> Figure:
    low, high = (None if end is None else 1 / end for end in (speedup.high, speedup.low))
    return Figure(1 / speedup.value, low, high)
