"""Apply steps in order to a run's model."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise

from danlu.compression.base import Candidate, Material, Step
from danlu.compression.material import first_candidate
from danlu.core.console import info
from danlu.core.imports import missing_packages
from danlu.errors import ArgumentError
from danlu.models.engines.onnxruntime_engine import INT8_FILE, ONNX_FILE


def apply_steps(material: Material, steps: Sequence[Step], start: Candidate | None = None) -> Candidate:
    """Apply steps in order to the original or another candidate; add the engine's file.

    Raises:
        ArgumentError: a step does not fit the model, or the order.
    """
    candidate = start or first_candidate(material)
    require_order(steps)
    for step in steps:
        candidate = apply_step(material, step, candidate)
    return with_onnx(candidate, material)


def with_onnx(candidate: Candidate, material: Material) -> Candidate:
    """Return the candidate with its network as `model.onnx`, from which ONNX Runtime answers.

    It stays as it is where that is no gain: it holds an 8-bit file already, or its task is answered by torch alone.
    """
    if INT8_FILE in candidate.files or material.predictor.head.answer is None or missing_packages("export"):
        return candidate
    from danlu.exporters.onnx.network import OPSET
    from danlu.exporters.onnx.whole import prepared_graph

    try:
        graph = prepared_graph(material.predictor.with_model(deepcopy(candidate.network)), OPSET)
    except ArgumentError as error:
        return replace(candidate, notes=(*candidate.notes, f"torch answers, since {error}"))
    content = graph.SerializeToString()
    return replace(candidate, files={**candidate.files, ONNX_FILE: content}, engines=("onnxruntime", "torch"))


def require_order(steps: Sequence[Step]) -> None:
    """Raise ArgumentError where a step follows one that nothing can follow."""
    for step, following in pairwise(steps):
        if step.is_last:
            raise ArgumentError(
                f"steps: {following.name} cannot follow {step.name}, whose form no step reads; put {step.name} last",
                code="DL402",
            )


def apply_step(material: Material, step: Step, candidate: Candidate) -> Candidate:
    """Apply one step, and note it in the candidate.

    Raises:
        ArgumentError: the step does not fit the model.
    """
    obstacle = step.obstacle(material, candidate)
    if obstacle is not None:
        raise ArgumentError(f"{step.name}: cannot be applied to {candidate.options.name}: {obstacle}", code="DL409")
    place = len(candidate.steps)
    found = step.apply(candidate, material, material.seed.derive(step.name, place))
    for note in found.notes[len(candidate.notes) :]:
        info(f"{step.name}: {note}")
    return replace(found, steps=(*candidate.steps, step.model_dump(mode="json")))
