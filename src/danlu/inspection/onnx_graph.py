"""The graph of an ONNX file: its operators with what flows between them, measured, and replayed one by one.

In: a file. Out: a `Graph`, as a torch network has one. Inputs are drawn, since a file holds no rows; the replay runs
every operator as it was written and is compared with the answer of the file as ONNX Runtime optimizes it.
"""

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from danlu.core.console import info
from danlu.core.imports import missing_packages
from danlu.errors import ArtifactError
from danlu.inspection.graph import INPUT, OUTPUT, FailedAt, Graph, Module, Node
from danlu.inspection.onnx_file import OnnxFile
from danlu.inspection.onnx_names import layer_of
from danlu.inspection.trace import Shape
from danlu.inspection.weight_files import onnx_model

ROWS = 1  # of drawn inputs
NUMBERED = re.compile(r"(?:Name:'|Node \()node-(\d+)")  # the operator in ONNX Runtime's errors
KERNEL = re.compile(r"node-(\d+)_kernel_time$")
MATRIX_PRODUCTS = ("MatMul", "Gemm", "MatMulInteger")
CONVOLUTIONS = ("Conv", "ConvInteger")


@dataclass(frozen=True)
class _Measured:
    """Hold what was seen while a file ran.

    Attributes:
        shapes, sizes: of each value, the latter in bytes.
        ms: of each operator by position.
        deviation: of the replay; None where it failed.
        failed: position of the operator that failed, and the error; None for none.
    """

    shapes: Mapping[str, Shape]
    sizes: Mapping[str, int]
    ms: Mapping[int, float]
    deviation: float | None = None
    failed: tuple[int, str] | None = None


def onnx_graph(path: Path) -> Graph:
    """Return the graph of an ONNX file, measured where ONNX Runtime can run it.

    Elsewhere it has the shapes that the file tells of.

    Raises:
        ArtifactError: the file is damaged.
        MissingExtra: onnx is not installed.
    """
    model = onnx_model(path)
    if "onnxruntime" in missing_packages("export"):
        info(f"{path.name}: nothing is measured without onnxruntime")
        return _graph(model, _still(model))
    try:
        return _graph(model, _measure(OnnxFile(path)))
    except ArtifactError as error:
        info(f"{error}; its graph is drawn without measures")
        return _graph(model, _still(model))


def _still(model: Any, failed: tuple[int, str] | None = None) -> _Measured:
    """Return the shapes that the file itself tells of; sizes that are free are 0."""
    from onnx import shape_inference

    inferred = shape_inference.infer_shapes(model).graph
    shapes = {each.name: _told_shape(each) for each in (*inferred.value_info, *inferred.input, *inferred.output)}
    return _Measured(shapes, {}, {}, failed=failed)


def _told_shape(value: Any) -> Shape:
    return tuple(int(size.dim_value) for size in value.type.tensor_type.shape.dim)


def _measure(file: OnnxFile) -> _Measured:
    """Run every operator of a file as written, and the file as a whole."""
    given = file.drawn(ROWS)
    numbered = file.numbered()
    values = [name for node in file.model.graph.node for name in node.output if name]
    try:
        with tempfile.TemporaryDirectory() as folder:
            session = numbered.session(values, profile=Path(folder))
            found = dict(zip([each.name for each in session.get_outputs()], file.run(session, given), strict=True))
            ms = _kernel_times(Path(session.end_profiling()))
    except ArtifactError as error:
        failed = NUMBERED.search(str(error))
        if failed is None:
            raise
        return _until(file, numbered, given, int(failed[1]), str(error))
    arrays = {name: np.asarray(each) for name, each in {**given, **found}.items()}
    shapes = {name: tuple(each.shape) for name, each in arrays.items()}
    answers = file.run(file.session(()), given)
    own = [each.name for each in file.model.graph.output]
    deviation = max(
        (_apart(arrays[name], np.asarray(each)) for name, each in zip(own, answers, strict=True)), default=0
    )
    return _Measured(shapes, {name: int(each.nbytes) for name, each in arrays.items()}, ms, float(deviation))


def _until(file: OnnxFile, numbered: OnnxFile, given: Mapping[str, np.ndarray], failed: int, error: str) -> _Measured:
    """Return what is known of a file that fails, up to the operator that does."""
    told = " ".join(error.removeprefix(f"{file.path}: ").split())
    still = _still(file.model, (failed, re.sub(r"node-\d+", file.model.graph.node[failed].name, told)))
    made = {name for node in file.model.graph.node[:failed] for name in node.output}
    wanted = [name for name in file.model.graph.node[failed].input if name in made]
    part = numbered.until(failed, wanted)
    try:
        found = file.run(part.session(()), {name: each for name, each in given.items() if name in part.inputs})
    except ArtifactError:  # it cannot be opened in parts either; what the file tells is all there is
        return still
    shapes = {**still.shapes, **{name: np.shape(each) for name, each in zip(wanted, found, strict=True)}}
    return _Measured({**shapes, **{name: each.shape for name, each in given.items()}}, {}, {}, failed=still.failed)


def _kernel_times(log: Path) -> dict[int, float]:
    """Return the milliseconds of each operator, from ONNX Runtime's profile."""
    found: dict[int, float] = {}
    for event in json.loads(log.read_text(encoding="utf-8")):
        named = KERNEL.search(str(event.get("name", "")))
        if named is not None:
            found[int(named[1])] = float(event["dur"]) / 1e3
    return found


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest difference of two answers; infinity where words differ."""
    if one.dtype.kind not in "fiu":
        return 0.0 if np.array_equal(one, other) else float("inf")
    with np.errstate(invalid="ignore"):
        apart = np.abs(one.astype(np.float64) - other.astype(np.float64))
    apart = np.where((one == other) | (np.isnan(apart) & np.isnan(one) & np.isnan(other)), 0.0, apart)
    return float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0))


def _graph(model: Any, measured: _Measured) -> Graph:
    """Make nodes of operators and modules of the layers that they belong to."""
    graph, shapes = model.graph, measured.shapes
    weights = {each.name: tuple(int(size) for size in each.dims) for each in graph.initializer}
    modules = {"": Module("", "", "ONNX", None, (), ())}
    producer: dict[str, str] = {}
    nodes: list[Node] = []
    edges: list[tuple[str, str]] = []
    for given in graph.input:
        if given.name not in weights:
            producer[given.name] = f"input.{given.name}"
            shape = shapes.get(given.name, ())
            nodes.append(Node(f"input.{given.name}", given.name, INPUT, (shape,), (shape,)))
    taken, counted = {node.id for node in nodes}, set[str]()
    failed_at: FailedAt | None = None
    for place, each in enumerate(graph.node):
        own = each.name or f"{each.op_type}_{place}"
        own = own if own not in taken else f"{own}#{place}"
        taken.add(own)
        read = [name for name in each.input if name and name not in weights]
        used = [name for name in each.input if name in weights and name not in counted]
        counted.update(used)
        edges += [(producer[name], own) for name in read if name in producer]
        producer |= dict.fromkeys(each.output, own)
        is_failing = measured.failed is not None and measured.failed[0] == place
        made = () if is_failing else tuple(shapes.get(name, ()) for name in each.output)
        nodes.append(
            Node(
                id=own,
                name=own.rpartition("/")[2],
                type=each.op_type,
                inputs=tuple(shapes.get(name, ()) for name in read),
                outputs=made,
                parameters=sum(prod(weights[name]) for name in used),
                flops=_flops(each, {**weights, **shapes}),
                ms=measured.ms.get(place),
                bytes=sum(measured.sizes[name] for name in each.output if name in measured.sizes) or None,
                module=_module(modules, layer_of(each, weights)),
            )
        )
        if is_failing and measured.failed is not None:
            met = tuple((name, {**weights, **shapes}.get(name, ())) for name in each.input if name)
            failed_at = FailedAt(own, each.op_type, met, measured.failed[1])
            break
    for given in graph.output if failed_at is None else ():
        shape = shapes.get(given.name, ())
        nodes.append(Node(f"output.{given.name}", given.name, OUTPUT, (shape,), (shape,)))
        if given.name in producer:
            edges.append((producer[given.name], f"output.{given.name}"))
    unique = tuple(dict.fromkeys(edges))
    return Graph(tuple(nodes), unique, tuple(modules.values()), measured.deviation, failed_at)


def _module(modules: dict[str, Module], layer: str) -> str:
    """Return the id of the module that a layer is, with those around it."""
    parts = layer.split(".") if layer else []
    for depth in range(1, len(parts) + 1):
        own = ".".join(parts[:depth])
        modules.setdefault(own, Module(own, parts[depth - 1], "module", ".".join(parts[: depth - 1]), (), ()))
    return layer


def _flops(node: Any, shapes: Mapping[str, Shape]) -> int:
    """Count the operations of matrix products and convolutions, two for each multiplication with its addition."""
    out = shapes.get(node.output[0])
    read: Sequence[Shape] = [shapes.get(name, ()) for name in node.input[:2]]
    if not out or len(read) < 2 or not read[0] or not read[1]:
        return 0
    if node.op_type in MATRIX_PRODUCTS:
        is_turned = any(each.name == "transA" and each.i for each in node.attribute)
        return 2 * prod(out) * (read[0][0] if is_turned else read[0][-1])
    return 2 * prod(out) * prod(read[1][1:]) if node.op_type in CONVOLUTIONS else 0
