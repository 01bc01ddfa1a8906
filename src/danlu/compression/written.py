"""Write a candidate as a bundle: the original's manifest and preparation, the new network, its answers."""

from pathlib import Path

import numpy as np

from danlu.artifacts.bundle import (
    GOLDEN,
    REFERENCE,
    REFERENCE_ROWS,
    WEIGHTS,
    Bundle,
    Coding,
    Manifest,
    files_in,
    write_manifest,
)
from danlu.artifacts.files import atomic_folder, write_bytes
from danlu.compression.base import Candidate, Material, WeightBits
from danlu.data.descriptors import Origin
from danlu.data.splits import Split
from danlu.experiment.written_bundle import write_bundle_files
from danlu.models.bundle_form import open_checked
from danlu.models.engines.onnxruntime_engine import INT8_FILE, OnnxRuntimeEngine
from danlu.models.golden import INT8_ANSWER, INT8_EXACT, LABEL, golden_frame, golden_inputs


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
            "processors": candidate.processors,
            "coding": None,
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
        if candidate.coding is not None:
            store_codes(written, manifest, candidate.coding)
        _record_golden(material, open_checked(written))
    return open_checked(folder)


def _record_golden(material: Material, bundle: Bundle) -> None:
    """Answer the original's golden rows by the new bundle, and keep its answers."""
    golden = material.bundle.golden()
    assert golden is not None, "a bundle without golden samples is not opened for compression"
    rows = golden_inputs(golden, material.predictor.preprocessor.columns)
    predictor = material.open_predictor(bundle, engine="torch")
    part, place = Split.of(rows), Origin(GOLDEN, Path.cwd())
    answers = predictor.outputs(part, place).astype(np.float64)
    int8 = {}
    if INT8_FILE in bundle.manifest.files:
        for name, exact in ((INT8_ANSWER, False), (INT8_EXACT, True)):
            predictor.engine = OnnxRuntimeEngine.open_int8(predictor.source, exact=exact)
            int8[name] = predictor.outputs(part, place).astype(np.float64)
    labels = golden[LABEL] if LABEL in golden.columns else None
    bundle.add_golden(golden_frame(rows, labels, answers, predictor.target.decode(answers), int8))


def store_codes(folder: Path, manifest: Manifest, bits: WeightBits) -> None:
    """Write a bundle's weights again, those of `bits` as codes."""
    from danlu.artifacts.tensors import load_tensors, save_tensors
    from danlu.models.coded_weights import CODES, SCALES, encode

    tensors = load_tensors(folder / WEIGHTS)
    shapes = {name: tuple(tensors[name].shape) for name in bits.names if name in tensors}
    stored = {name: value for name, value in tensors.items() if name not in shapes}
    for name in shapes:
        stored[f"{name}{CODES}"], stored[f"{name}{SCALES}"] = encode(tensors[name], bits.bits, bits.group)
    save_tensors(stored, folder / WEIGHTS)
    coding = Coding(bits=bits.bits, group=bits.group, shapes=shapes)
    write_manifest(folder, manifest.model_copy(update={"coding": coding}), files_in(folder))
