"""The step `quantize`: numbers of 8 bits or fewer, in an ONNX file that computes with them or in stored weights."""

from typing import Annotated, Literal

from pydantic import Field

from danlu.compression.base import Candidate, Material, Step
from danlu.core.seeds import Seed
from danlu.models.base import SelfFittingModel

Scheme = Literal["int8-static", "int8-dynamic"]
FEWEST_ROWS = 8  # to calibrate on


class Quantize(Step):
    """Compute with integers of 8 bits, by ONNX Runtime from `model.int8.onnx`."""

    is_last = True
    name: Literal["quantize"] = "quantize"
    scheme: Scheme = "int8-static"
    calibration: Literal["minmax", "percentile", "entropy"] = Field(
        default="minmax", description="int8-static: how the range of each activation follows from training rows"
    )
    percentile: Annotated[float, Field(gt=50.0, le=100.0)] = Field(default=99.99, description="of calibration")
    rows: Annotated[int, Field(ge=FEWEST_ROWS, le=1_000_000)] = Field(
        default=512, description="training rows to calibrate on"
    )

    def obstacle(self, material: Material, candidate: Candidate) -> str | None:
        if isinstance(candidate.options, SelfFittingModel):
            return "its trees compare numbers and multiply none"
        if material.predictor.head.answer is None:
            return f"what a model of {material.predictor.target.task} answers is computed by torch alone"
        return None

    def apply(self, candidate: Candidate, material: Material, seed: Seed) -> Candidate:
        from danlu.compression.int8 import quantized

        return quantized(candidate, self, material, seed)
