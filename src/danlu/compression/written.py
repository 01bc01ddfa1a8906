"""Write a candidate as a bundle: the original's manifest and preparation, the new network, its answers."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from danlu.artifacts.bundle import GOLDEN, REFERENCE, REFERENCE_ROWS, Bundle
from danlu.artifacts.files import atomic_folder, write_bytes
from danlu.compression.base import Candidate, Material
from danlu.data.descriptors import Origin
from danlu.data.splits import Split
from danlu.errors import ArtifactError
from danlu.experiment.written_bundle import write_bundle_files
from danlu.models.bundle_form import open_checked
from danlu.models.engines.onnxruntime_engine import INT8_FILE
from danlu.models.golden import LABEL, golden_frame, golden_inputs

if TYPE_CHECKING:
    from danlu.models.predictor import Predictor


def write_candidate(material: Material, candidate: Candidate, folder: Path) -> Bundle:
    """Write a candidate as a bundle, with golden samples that it answered itself.

    Calibration, threshold and preparation are the original's.

    Args:
        folder: takes the place of one that exists.

    Raises:
        ArtifactError: it cannot be written, or the written bundle does not answer as the candidate does.
    """
    original = material.bundle
    manifest = original.manifest.model_copy(
        update={
            "structure": candidate.structure,
            "engines": candidate.engines,
            "steps": candidate.steps,
            "files": {},
        }
    )
    with atomic_folder(folder) as written:
        for name, content in candidate.files.items():
            write_bytes(written / name, content)
        for name in (REFERENCE, REFERENCE_ROWS):
            if name in original.manifest.files:
                write_bytes(written / name, original.require(name).read_bytes())
        write_bundle_files(written, manifest, candidate.options, candidate.network)
        _record_golden(material, open_checked(written))
    return open_checked(folder)


def _record_golden(material: Material, bundle: Bundle) -> None:
    """Answer the original's golden rows by the new bundle, and keep its answers."""
    golden = material.bundle.golden()
    if golden is None:
        raise ArtifactError(
            f"{material.bundle.folder}: holds no golden samples, whose answers a smaller model would be checked by; "
            "evaluate the run first",
            code="DL301",
        )
    rows = golden_inputs(golden, material.predictor.preprocessor.columns)
    predictor = _open(bundle, material, "torch")
    part, place = Split.of(rows), Origin(GOLDEN, Path.cwd())
    answers = predictor.outputs(part, place).astype(np.float64)
    int8 = None
    if INT8_FILE in bundle.manifest.files:
        int8 = _open(bundle, material, "onnxruntime").outputs(part, place).astype(np.float64)
    labels = golden[LABEL] if LABEL in golden.columns else None
    bundle.add_golden(golden_frame(rows, labels, answers, predictor.target.decode(answers), int8))


def _open(bundle: Bundle, material: Material, engine: str) -> "Predictor":
    from danlu.models.predictor import Predictor

    return Predictor.load(bundle, engine=engine, recipe_model=material.context.model, replay=False)
