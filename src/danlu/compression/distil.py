"""The step `distill`: a smaller model of the same family, or of another, learns from the original's answers."""

from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from danlu.compression.base import Candidate, Material, Step
from danlu.compression.finetune import Tuning, train_anew
from danlu.core.component import components, first_fault
from danlu.core.seeds import Seed
from danlu.errors import ArgumentError
from danlu.experiment.model_summary import count_parameters
from danlu.models.base import HasPresets, Model, SelfFittingModel, Size
from danlu.recipe.paths import RecipePath


class DistillStep(Step):
    """Train a smaller model from the labels and the original's answers (Hinton et al. 2015).

    Hinton et al. 2015, https://arxiv.org/abs/1503.02531.

    `training.distill` trains from a teacher without a compression.
    """

    name: Literal["distill"] = "distill"
    size: Size | None = Field(default=None, description="of the model's family: small, base or large")
    options: dict[str, Any] | None = Field(
        default=None, description="options of the model that differ, as {hidden: [32]}; with name, another family's"
    )
    teacher: RecipePath | None = Field(default=None, description="a run or bundle; the original by default")
    epochs: PositiveInt | None = Field(default=None, description="those of the run by default")
    temperature: PositiveFloat | None = Field(default=None, description="softens probabilities; 2 by default")
    weight: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=0.5, description="of the teacher's answers in the loss; the labels have the rest"
    )

    @model_validator(mode="after")
    def _names_a_student(self) -> Self:
        if self.size is None and self.options is None:
            raise ValueError("names no student; give size, as small, or options of the model, as {hidden: [32]}")
        return self

    def obstacle(self, material: Material, candidate: Candidate) -> str | None:
        student = self.student(candidate.options)
        if isinstance(student, SelfFittingModel):
            return f"{student.name} fits itself, and learns from no teacher"
        if candidate.options.handles_missing and not student.handles_missing:
            return (
                f"its preparation leaves gaps and scales nothing, as {student.name} needs; train a recipe of that "
                "model with training.distill"
            )
        return None

    def student(self, options: Model) -> Model:
        """Return the smaller model's options.

        Raises:
            ArgumentError: the family has no sizes, or no such option.
        """
        known = options.model_dump(mode="json")
        if self.size is not None:
            if not isinstance(options, HasPresets):
                raise ArgumentError(f"distill: {options.name} has no sizes; give options of the model", code="DL409")
            fields = {key for preset in options.presets.values() for key in preset}
            known = {key: value for key, value in known.items() if key not in fields} | {"size": self.size}
            if options.name.startswith("hf:"):
                known["config"] = None
        asked = self.options or {}
        if asked.get("name", known["name"]) != known["name"]:
            known = {}
        family = components("model").get(str((known | asked)["name"]).split(":", 1)[0])
        if family is None:
            raise ArgumentError(f"distill: the model {asked.get('name')!r} is unknown", code="DL402")
        try:
            return Model.of(family.model_validate(known | asked))
        except ValidationError as error:
            raise ArgumentError(f"distill: options: {first_fault(error)}", code="DL402") from None

    def apply(self, candidate: Candidate, material: Material, seed: Seed) -> Candidate:
        student = self.student(candidate.options)
        before = count_parameters(candidate.network)
        inputs, outputs = material.predictor.preprocessor.inputs, material.predictor.target.outputs
        size = count_parameters(student.build(inputs, outputs))
        if size >= before:
            raise ArgumentError(
                f"distill: the student would have {size:,} parameters, and the model has {before:,}; choose a smaller "
                "size or options",
                code="DL409",
            )
        epochs = self.epochs or material.context.recipe.training.epochs
        assert epochs is not None, "a run's recipe says its epochs"
        tuning = Tuning(epochs, teacher=self.teacher or True, temperature=self.temperature, teacher_weight=self.weight)
        network = train_anew(student, material, tuning, seed)
        note = f"a student of {size:,} parameters learned from the original of {before:,}"
        return replace(
            candidate, options=student.portable(), network=network, structure=None, notes=(*candidate.notes, note)
        )
