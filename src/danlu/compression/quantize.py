"""The step `quantize`: numbers of 8 bits or fewer, in an ONNX file that computes with them or in stored weights."""

from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, model_validator

from danlu.artifacts.bundle import WEIGHTS
from danlu.compression.base import Candidate, Material, Step, WeightBits
from danlu.compression.finetune import Tuning, fine_tune
from danlu.compression.rows import FEWEST_ROWS
from danlu.core.seeds import Seed
from danlu.models.base import SelfFittingModel

Scheme = Literal["int8-static", "int8-dynamic", "int8-weights", "int4-weights", "float8"]
GROUP = 32  # inputs that share a scale where weights have 4 bits, as in llama.cpp's Q4_0
FILES = ("int8-static", "int8-dynamic")


class Quantize(Step):
    """Compute with integers of 8 bits by ONNX Runtime, or store few bits.

    int8-static takes the ranges of activations from training rows, int8-dynamic from each batch; both write
    `model.int8.onnx` and store the other weights with 8 bits. int8-weights and int4-weights round stored weights to the
    nearest of their levels by groups; they are computed with in float32.
    """

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
    keep: Literal["auto", "none"] | tuple[str, ...] = Field(
        default="auto",
        description="int8-static: layers that keep their precision, by name; auto: those that alone leave less than "
        "`sensitive_db`",
    )
    sensitive_db: PositiveFloat = Field(
        default=15.0, description="signal to noise of the answers, in dB, below which a layer is sensitive"
    )
    group: NonNegativeInt | None = Field(
        default=None, description="weights: inputs that share a scale; 0 for all of an output; by default 32 at 4 bits"
    )
    epochs: NonNegativeInt = Field(
        default=0, description="of training before, in which the network answers with weights of these bits"
    )
    lr_factor: PositiveFloat = Field(default=0.1, description="of the run's learning rate")
    distill: bool = Field(default=False, description="learn from the original's answers, too")

    @model_validator(mode="after")
    def _fits_the_scheme(self) -> Self:
        if self.scheme in FILES and self.group is not None:
            raise ValueError(f"group is for stored weights; {self.scheme} has a scale for each output")
        return self

    @property
    def bits(self) -> Literal[4, 8]:
        """Bits of a weight."""
        return 4 if self.scheme == "int4-weights" else 8

    @property
    def inputs_per_scale(self) -> int:
        """Inputs that share a scale; 0 for all of an output."""
        if self.group is not None:
            return self.group
        return GROUP if self.bits == 4 else 0

    def obstacle(self, material: Material, candidate: Candidate) -> str | None:
        if isinstance(candidate.options, SelfFittingModel):
            return "its trees compare numbers and multiply none"
        if self.scheme == "float8":
            return "no processor computes with numbers of 8-bit floating point, and danlu's engines have none for GPUs"
        if candidate.options.weights_file != WEIGHTS:
            return f"it keeps its weights in {candidate.options.weights_file}"
        if self.scheme in FILES and material.predictor.head.answer is None:
            return (
                f"what a model of {material.predictor.target.task} answers is computed by torch alone; int8-weights "
                "and int4-weights are for it"
            )
        return None

    def apply(self, candidate: Candidate, material: Material, seed: Seed) -> Candidate:
        from danlu.training.masks import embedding_weights, prunable_weights

        if self.epochs:
            tuning = Tuning(
                self.epochs, self.lr_factor, self.distill, weight_bits=self.bits, group=self.inputs_per_scale
            )
            candidate = fine_tune(candidate, material, tuning, seed.derive("aware"))
        rounded = {**prunable_weights(candidate.network), **embedding_weights(candidate.network)}
        stored = replace(candidate, coding=WeightBits(self.bits, self.inputs_per_scale, tuple(rounded)))
        if self.scheme in FILES:
            from danlu.compression.int8 import Int8, quantized

            precision = Int8(
                self.scheme == "int8-dynamic",
                self.calibration,
                self.percentile,
                self.rows,
                self.keep,
                self.sensitive_db,
            )
            return quantized(stored, precision, material, seed)
        count = sum(weight.numel() for weight in rounded.values())
        groups = f"groups of {self.inputs_per_scale}" if self.inputs_per_scale else "a scale for each output"
        note = f"{count:,} weights are rounded to the nearest of {self.bits} bits, {groups}"
        return replace(stored, engines=(), notes=(*candidate.notes, note))
