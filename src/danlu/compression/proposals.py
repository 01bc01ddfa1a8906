"""Which steps a search tries, from mild to strong, each further one following from what came before."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from danlu.compression.base import Candidate, Material, Step
from danlu.compression.distil import DistillStep
from danlu.compression.low_rank import LowRank
from danlu.compression.prune import Prune
from danlu.compression.quantize import Quantize
from danlu.errors import ArgumentError

PRUNED = (0.3, 0.5, 0.7)
ENERGIES = (0.95, 0.8)
TUNED_SHARE = 0.25  # of the run's epochs, for training after a step
FULL_PRECISION = "original in ONNX Runtime"


@dataclass(frozen=True)
class Proposal:
    """Hold steps to try, in order; the last one is new.

    Without any, the original moves to ONNX Runtime.
    """

    steps: tuple[Step, ...] = ()

    @property
    def before(self) -> "Proposal":
        """What it goes on from."""
        return Proposal(self.steps[:-1])

    @property
    def label(self) -> str:
        """The steps in a few words, which name the proposal."""
        return ", ".join(map(_described, self.steps)) or FULL_PRECISION

    def to_json(self) -> tuple[dict[str, Any], ...]:
        """Return the steps as a recipe has them."""
        return tuple(step.model_dump(mode="json") for step in self.steps)


def _described(step: Step) -> str:
    """Return a step's name with the options that differ from its defaults."""
    said = step.model_dump(mode="json", exclude_defaults=True)
    return " ".join([step.name, *(f"{key}={value}" for key, value in said.items() if key != "name")])


Works = Callable[[Proposal], bool]


def one_by_one(steps: Sequence[Step], works: Works) -> Iterator[Proposal]:
    """Yield given steps in order, each after those before it that have worked.

    Args:
        steps: to try.
        works: whether what was proposed before costs no more than the budget, as far as searched rows tell.
    """
    kept = Proposal()
    for step in steps:
        tried = Proposal((*kept.steps, step))
        yield tried
        if works(tried):
            kept = tried


def propose(material: Material, first: Candidate, works: Works) -> Iterator[Proposal]:
    """Yield what is worth trying on a model, where it can be applied.

    Args:
        material: the run.
        first: the original as a candidate.
        works: as `one_by_one` takes it.
    """
    fewer_bits = [step for step in _fewer_bits(material) if _fits(step, material, first)]
    for step in fewer_bits:
        yield Proposal((step,))
    for chain in (_pruned(material), _thinned(material), _students(material)):
        strongest = Proposal()
        for step in (step for step in chain if _fits(step, material, first)):
            tried = Proposal((step,))
            yield tried
            if not works(tried):
                break
            strongest = tried
        if strongest.steps:
            for step in fewer_bits[:1]:
                yield Proposal((*strongest.steps, step))


def _fewer_bits(material: Material) -> Iterator[Step]:
    """Yield 8-bit arithmetic; stored weights where the network is computed by torch alone."""
    if material.predictor.head.answer is not None:
        yield Quantize(scheme="int8-static")
        yield Quantize(scheme="int8-dynamic")
    else:
        yield Quantize(scheme="int8-weights")
        yield Quantize(scheme="int4-weights")


def _pruned(material: Material) -> Iterator[Step]:
    for amount in PRUNED:
        yield Prune(amount=amount, epochs=_epochs(material), distill=True)


def _thinned(material: Material) -> Iterator[Step]:
    for energy in ENERGIES:
        yield LowRank(energy=energy, epochs=_epochs(material), distill=True)


def _students(material: Material) -> Iterator[Step]:
    yield DistillStep(size="small")


def _epochs(material: Material) -> int:
    return max(1, round(TUNED_SHARE * (material.context.recipe.training.epochs or 1)))


def _fits(step: Step, material: Material, candidate: Candidate) -> bool:
    try:
        return step.obstacle(material, candidate) is None
    except ArgumentError:  # the family has no sizes
        return False
