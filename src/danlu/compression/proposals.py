"""Which steps a search tries, from mild to strong, each further one following from what came before."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from danlu.compression.base import Candidate, Material, Step
from danlu.compression.distil import DistillStep
from danlu.compression.low_rank import LowRank
from danlu.compression.prune import Prune
from danlu.compression.quantize import Quantize
from danlu.errors import ArgumentError

PRUNED = (0.3, 0.5, 0.7)
ENERGIES = (0.95, 0.8)
TUNED_SHARE = 0.25  # of the run's epochs, for training after a step


@dataclass(frozen=True)
class Proposal:
    """Hold steps to try.

    Attributes:
        steps: all of them, in order.
        after: those of an earlier proposal that they go on from; the last step alone is new.
    """

    steps: tuple[Step, ...]

    @property
    def after(self) -> tuple[Step, ...]:
        return self.steps[:-1]

    @property
    def label(self) -> str:
        """The steps in a few words."""
        return ", ".join(described(step) for step in self.steps) or "ONNX Runtime"


def described(step: Step) -> str:
    """Return a step's name with the options that differ from its defaults."""
    said = step.model_dump(mode="json", exclude_defaults=True)
    return " ".join([step.name, *(f"{key}={value}" for key, value in said.items() if key != "name")])


def propose(material: Material, first: Candidate, works: Callable[[Proposal], bool]) -> Iterator[Proposal]:
    """Yield what is worth trying on a model, where it can be applied.

    Args:
        material: the run.
        first: the original as a candidate.
        works: whether what was proposed before costs no more than the budget, as far as searched rows tell.
    """
    yield Proposal(())
    integers = [step for step in _integers(material) if _fits(step, material, first)]
    for step in integers:
        yield Proposal((step,))
    for chain in (_pruned(material), _thinned(material), _students(material)):
        strongest: Proposal | None = None
        for step in (step for step in chain if _fits(step, material, first)):
            tried = Proposal((step,))
            yield tried
            if not works(tried):
                break
            strongest = tried
        if strongest is not None:
            for step in integers[:1]:
                yield Proposal((*strongest.steps, step))


def _integers(material: Material) -> Iterator[Step]:
    for scheme in ("int8-static", "int8-dynamic"):
        yield Quantize(scheme=scheme)


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
