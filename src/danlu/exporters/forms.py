"""The forms of other engines: ONNX, OpenVINO, torch.export. Each is written, opened by its engine, and proved."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from danlu.artifacts.bundle import Bundle
from danlu.artifacts.files import write_bytes
from danlu.core.imports import require_extra
from danlu.exporters.answer_module import LOGITS, Answered, Answers
from danlu.exporters.document import describe_export
from danlu.exporters.form_inputs import Arrays, prepared_outside, torch_network
from danlu.exporters.onnx.content import Content
from danlu.exporters.onnx.network import require_opset
from danlu.exporters.onnx.preparation import EngineTypes
from danlu.exporters.onnx.whole import Target, prepared_graph, whole_graph
from danlu.exporters.openvino import save_openvino
from danlu.exporters.ports import BATCH, LENGTH, Port, network_ports, sample_inputs
from danlu.exporters.proof import Run, proof_rows, prove
from danlu.exporters.tracing import quiet, save_program, trace
from danlu.models.engines.onnxruntime_engine import ONNX_FILE, open_session, run_session
from danlu.models.engines.openvino_engine import OPENVINO_FILE, compile_model, run_request
from danlu.models.predictor import Predictor

TOLERANCE = 1e-4
OPENVINO_NAME, PROGRAM = "model.xml", "model.pt2"


@dataclass(frozen=True)
class Written:
    """Hold a written form.

    Attributes:
        run: its inputs -> its answers, by its own engine from the file.
        content: what the file holds.
    """

    run: Run
    content: Content


@dataclass(frozen=True)
class Form:
    """Say how a form is written.

    Attributes:
        extra: danlu's extra that holds its packages; None where torch is enough.
        engine: the package that runs it.
        write: (predictor, folder, opset): writes the files and opens them.
        takes_opset: whether it has a version of ONNX's operators.
        write_network: (predictor, folder, opset): writes the network alone for danlu's own engine; its file.
    """

    extra: str | None
    engine: str
    write: Callable[[Predictor, Path, int], Written]
    takes_opset: bool = False
    write_network: Callable[[Predictor, Path, int], None] | None = None


def write_form(
    name: str, predictor: Predictor, bundle: Bundle, folder: Path, opset: int | None, tolerance: float
) -> dict[str, Any]:
    """Write a form into a folder, prove it on real rows, and return its document.

    Args:
        name: a key of FORMS.
        predictor: of the bundle, in torch.
        bundle: holds the rows.
        folder: exists and is empty.
        opset: version of ONNX's operators; None for the usual one.
        tolerance: the largest deviation that is allowed.

    Raises:
        ArgumentError: the model has no such form.
        ArtifactError: the form answers otherwise.
        MissingExtra: packages are not installed.
    """
    form = FORMS[name]
    if form.extra is not None:
        require_extra(form.extra, f"--to {name}")
    version_of_operators = require_opset(opset)
    rows = proof_rows(predictor, bundle)
    written = form.write(predictor, folder, version_of_operators)
    engine = f"{form.engine} {version(form.engine)}"
    content = written.content
    check = prove(predictor, rows, written.run, content.answers, content.preparation, engine, tolerance)
    document = describe_export(predictor, name, folder, content.placement, check)
    document["inputs"] = [port.described() for port in content.inputs]
    document["outputs"] = [port.described() for port in content.outputs]
    return document


def write_onnx(predictor: Predictor, folder: Path, opset: int) -> Written:
    """Write `model.onnx`, and open it by ONNX Runtime."""
    model, content = whole_graph(predictor, Target(opset=opset))
    write_bytes(folder / ONNX_FILE, model.SerializeToString())
    session = open_session(folder / ONNX_FILE)
    return Written(lambda inputs: run_session(session, inputs), content)


def write_openvino(predictor: Predictor, folder: Path, opset: int) -> Written:
    """Write `model.xml` and `model.bin` with all digits, and open them by OpenVINO."""
    types = EngineTypes(number="float32", has_strings=False)
    model, content = whole_graph(predictor, Target(types, has_trees=False, opset=opset))
    save_openvino(model.SerializeToString(), folder / OPENVINO_NAME)
    request = compile_model(folder / OPENVINO_NAME).create_infer_request()
    return Written(lambda inputs: run_request(request, inputs), content)


def write_program(predictor: Predictor, folder: Path, opset: int) -> Written:
    """Write `model.pt2`, and open it by torch; tables are prepared outside."""
    inputs: Any = predictor.preprocessor.inputs
    ports, answers = network_ports(inputs), Answers(predictor.target)
    network = Answered(torch_network(predictor), answers).eval()
    program = trace(network, ports, sample_inputs(inputs), getattr(inputs, "longest", 1))
    save_program(program, folder / PROGRAM)
    with quiet():
        module: Any = torch.export.load(folder / PROGRAM).module()

    def run(given: Arrays) -> list[np.ndarray]:
        with torch.inference_mode():
            found = module(*(torch.from_numpy(np.ascontiguousarray(given[port.name])) for port in ports))
        return [np.asarray(found.numpy())]

    inside, outside = prepared_outside(predictor)
    output = _answers_port(predictor, answers)
    return Written(run, Content(ports, (output,), answers, None, answers.placement(inside, outside)))


def _answers_port(predictor: Predictor, answers: Answers) -> Port:
    if answers.predict is None:
        return Port(LOGITS, "float32", (BATCH, LENGTH, predictor.target.outputs), answers.names)
    dtype = "float32" if answers.units is None else "float64"
    return Port(answers.output, dtype, (BATCH, len(answers.names)), answers.names)


def write_onnx_network(predictor: Predictor, folder: Path, opset: int) -> None:
    """Write the network alone as `model.onnx`."""
    write_bytes(folder / ONNX_FILE, prepared_graph(predictor, opset).SerializeToString())


def write_openvino_network(predictor: Predictor, folder: Path, opset: int) -> None:
    """Write the network alone as `openvino/model.xml`."""
    (folder / OPENVINO_FILE).parent.mkdir(exist_ok=True)
    graph = prepared_graph(predictor, opset, has_trees=False)
    save_openvino(graph.SerializeToString(), folder / OPENVINO_FILE)


FORMS: dict[str, Form] = {
    "onnx": Form("export", "onnxruntime", write_onnx, True, write_onnx_network),
    "openvino": Form("openvino", "openvino", write_openvino, True, write_openvino_network),
    "torch-export": Form(None, "torch", write_program),
}
