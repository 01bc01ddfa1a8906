"""The steps of compression by name."""

from danlu.compression.base import Step
from danlu.compression.distil import DistillStep
from danlu.compression.low_rank import LowRank
from danlu.compression.prune import Prune
from danlu.compression.quantize import Quantize

STEPS: dict[str, type[Step]] = {
    "prune": Prune,
    "low-rank": LowRank,
    "distill": DistillStep,
    "quantize": Quantize,
}
