"""A new bundle that holds the network in another engine's form beside its weights, and is answered by that engine."""

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from danlu.artifacts.bundle import GOLDEN, Bundle, files_in, write_manifest
from danlu.core.imports import require_extra
from danlu.data.descriptors import Origin
from danlu.data.specs import TokenInputs
from danlu.data.splits import Split
from danlu.errors import ArgumentError
from danlu.exporters.answer_module import LOGITS
from danlu.exporters.document import FORMAT, described_files
from danlu.exporters.forms import FORMS
from danlu.exporters.onnx.network import require_opset
from danlu.exporters.ports import BATCH, LENGTH, Port, network_ports, sample_inputs
from danlu.exporters.proof import Deviations, compare_decisions, conclude, proof_rows
from danlu.models.bundle_form import open_checked
from danlu.models.engines.table import ENGINES, RULE
from danlu.models.predictor import Predictor

ENGINE_OF = {engine.form: name for name, engine in ENGINES.items() if engine.form is not None}


def write_into(
    name: str, predictor: Predictor, bundle: Bundle, folder: Path, opset: int | None, tolerance: float, own_code: bool
) -> dict[str, Any]:
    """Copy a bundle with a further form of its network; return its document.

    Args:
        name: of the form.
        predictor: of the bundle, in torch.
        bundle: the files.
        folder: exists and is empty.
        opset: version of ONNX's operators.
        tolerance: the largest deviation that is allowed.
        own_code: whether the bundle's own code may run.

    Raises:
        ArgumentError: danlu answers with no such form, or not for this task.
        ArtifactError: the form answers otherwise.
        MissingExtra: packages are not installed.
    """
    form, engine = FORMS.get(name), ENGINE_OF.get(name, "")
    if form is None or form.write_network is None:
        raise ArgumentError(
            f"--into: no engine of danlu reads {name}; {' and '.join(ENGINE_OF)} can be kept", code="DL409"
        )
    if predictor.head.answer is None:
        raise ArgumentError(
            f"--into: {predictor.manifest.task} is answered by torch alone; without --into the file is written for "
            "others",
            code="DL409",
        )
    if form.extra is not None:
        require_extra(form.extra, f"--to {name}")
    rows = proof_rows(predictor, bundle)
    for listed in bundle.manifest.files:
        (folder / listed).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.folder / listed, folder / listed)
    form.write_network(predictor, folder, require_opset(opset))
    order = (engine, *(other for other in bundle.manifest.engines or RULE if other != engine))
    write_manifest(folder, bundle.manifest.model_copy(update={"engines": order}), files_in(folder))
    again = open_checked(folder)
    other, found, place = (
        Predictor.load(again, engine=engine, own_code=own_code),
        Deviations(rows.height),
        Origin(GOLDEN, Path.cwd()),
    )
    for part in (rows, rows.head(1)):
        before, after = (each.raw_outputs(Split.of(part), place) for each in (predictor, other))
        found.add(before, after)
        compare_decisions(found, predictor.target, *(predictor.target.calibrate(each) for each in (before, after)))
    check = conclude(found, f"{form.engine} {version(form.engine)}", tolerance)
    return {
        "format": FORMAT,
        "to": name,
        "model": again.manifest.name,
        "task": again.manifest.task,
        "bundle": again.manifest.digest,
        "engines": list(again.manifest.engines),
        "files": described_files(folder),
        "inputs": [port.described() for port in network_ports(predictor.preprocessor.inputs)],
        "outputs": [_logits(predictor).described()],
        "inside": [],
        "outside": [],
        "check": check,
    }


def _logits(predictor: Predictor) -> Port:
    """Return the network's output.

    An ensemble's has its members, a text's its tokens in the middle."""
    inputs = predictor.preprocessor.inputs
    given = {
        port.name: values.numpy() for port, values in zip(network_ports(inputs), sample_inputs(inputs), strict=True)
    }
    shape = predictor.engine.run(given).shape
    middle: list[int | str] = list(shape[1:-1])
    if middle and isinstance(inputs, TokenInputs):
        middle = [LENGTH]
    return Port(LOGITS, "float32", (BATCH, *middle, shape[-1]))
