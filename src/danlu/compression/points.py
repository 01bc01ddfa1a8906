"""Points: an original or compressed bundle with what is known of it without measuring."""

from pathlib import Path

from danlu.artifacts.bundle import MANIFEST, Bundle
from danlu.compression.base import Candidate, Material
from danlu.compression.material import first_candidate
from danlu.compression.results import AppliedStep, Point
from danlu.compression.tried import ORIGINAL
from danlu.experiment.model_summary import count_parameters
from danlu.models.engines.onnxruntime_engine import INT8_FILE, ONNX_FILE
from danlu.models.engines.openvino_engine import OPENVINO_FILE


def original_point(material: Material) -> Point:
    """Return the point of the model that was trained."""
    return describe(material, ORIGINAL, material.bundle, first_candidate(material))


def describe(material: Material, name: str, bundle: Bundle, candidate: Candidate) -> Point:
    """Return the point of a bundle, with what is known of it without measuring.

    Args:
        material: the run; code of the user's own is imported where its recipe names it.
        name: the point's id.
        bundle: what is described.
        candidate: what the bundle holds.
    """
    from danlu.training.masks import sparsity_of

    engine = material.open_predictor(bundle).engine.name
    steps = candidate.steps[len(material.bundle.manifest.steps) :]
    return Point(
        id=name,
        bundle=bundle.folder,
        engine=engine,
        steps=tuple(map(AppliedStep, steps)),
        size_bytes=engine_bytes(bundle, engine, candidate.options.weights_file),
        bundle_bytes=sum(path.stat().st_size for path in _files(bundle)),
        parameters=count_parameters(candidate.network),
        sparsity=sparsity_of(candidate.network),
        notes=candidate.notes,
    )


def engine_bytes(bundle: Bundle, engine: str, weights: str) -> int:
    """Return the bytes of the files that hold the network for an engine."""
    own = {"onnxruntime": (INT8_FILE, ONNX_FILE), "openvino": (OPENVINO_FILE, OPENVINO_FILE.replace(".xml", ".bin"))}
    held = [name for name in own.get(engine, (weights,)) if name in bundle.manifest.files]
    if engine == "onnxruntime":
        held = held[:1]  # the 8-bit file before the other
    return sum((bundle.folder / name).stat().st_size for name in held)


def _files(bundle: Bundle) -> list[Path]:
    return [bundle.folder / MANIFEST, *(bundle.folder / name for name in bundle.manifest.files)]
