"""The network as an ONNX graph that onnxruntime's quantiser takes, and what the quantiser makes of it."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.compression.base import Candidate, Material
from danlu.core.cpu import this_processor
from danlu.core.imports import load_onnxruntime, silence_libraries
from danlu.data.specs import TokenInputs
from danlu.errors import ArgumentError

if TYPE_CHECKING:
    import onnx

OPSET = 20
MATRICES = ("MatMul", "Gemm")
# What a convolutional network computes between its matrices, so that numbers stay in 8 bits from one to the next.
BETWEEN = ("Conv", *MATRICES, "Add", "MaxPool", "GlobalAveragePool", "AveragePool", "Relu", "Concat", "Clip")


@dataclass(frozen=True)
class Graph:
    """Hold a network as ONNX, ready for the quantiser.

    Attributes:
        model: with shapes, batch norms folded into convolutions.
        types: of the operators that are quantised.
        nodes: the names of those that multiply by a matrix of their own: the layers.
    """

    model: "onnx.ModelProto"
    types: tuple[str, ...]
    nodes: tuple[str, ...]


def ready_graph(candidate: Candidate, material: Material, *, only_matrices: bool = False) -> Graph:
    """Return a candidate's network as a graph that the quantiser takes.

    Args:
        only_matrices: quantise no convolutions, as dynamic quantisation, whose convolutions are slow.

    Raises:
        ArgumentError: an operator has no form in ONNX, or there is nothing to quantise.
    """
    load_onnxruntime()
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from danlu.exporters.onnx.whole import prepared_graph

    predictor = material.predictor.with_model(deepcopy(candidate.network))
    plain = prepared_graph(predictor, OPSET)
    path, ready = material.scratch / "plain.onnx", material.scratch / "ready.onnx"
    onnx.save(plain, str(path))
    with silence_libraries():
        # Symbolic shapes fail on transformers' models, and nothing here needs them.
        quant_pre_process(str(path), str(ready), skip_symbolic_shape=True)
    model = onnx.load(str(ready))
    is_text = isinstance(predictor.preprocessor.inputs, TokenInputs)
    types = MATRICES if only_matrices or is_text else BETWEEN
    constants = {value.name for value in model.graph.initializer}
    for at, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{at}"
    layers = ("Conv", *MATRICES)
    nodes = tuple(
        node.name
        for node in model.graph.node
        if node.op_type in types and node.op_type in layers and len(node.input) > 1 and node.input[1] in constants
    )
    if not nodes:
        raise ArgumentError(
            f"quantize: {candidate.options.name} has no {' or '.join(types)} with weights of its own, which is all "
            "that is quantised" + ("; choose int8-static for convolutions" if only_matrices else ""),
            code="DL409",
        )
    return Graph(model, types, nodes)


def observed_values(graph: Graph) -> list[str]:
    """Return the values whose ranges static quantisation needs.

    They are what goes in and out of its operators.
    """
    import onnx

    numbers = {
        value.name
        for value in (*graph.model.graph.value_info, *graph.model.graph.input, *graph.model.graph.output)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    constants = {value.name for value in graph.model.graph.initializer}
    found = [
        name
        for node in graph.model.graph.node
        if node.op_type in graph.types
        for name in (*node.input, *node.output)
        if name in numbers - constants
    ]
    return list(dict.fromkeys(found))


def static_int8(graph: Graph, ranges: dict[str, tuple[float, float]], excluded: Sequence[str] = ()) -> Any:
    """Return a graph whose operators compute with 8 bits, by ranges.

    Weights have a scale per channel.

    On processors whose sums of 8-bit products saturate, weights take 7 bits.

    Args:
        graph: as `ready_graph` returns it.
        ranges: of the observed values.
        excluded: nodes that keep their precision.
    """
    load_onnxruntime()
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    known = {
        name: TensorData(lowest=np.float32(min(low, 0.0)), highest=np.float32(max(high, 0.0)))
        for name, (low, high) in ranges.items()
    }
    quantizer = QDQQuantizer(
        deepcopy(graph.model),
        True,
        not this_processor().adds_8_bit_exactly,
        QuantType.QInt8,
        QuantType.QUInt8,  # signed activations have no fast kernels on x64
        TensorsData(CalibrationMethod.MinMax, known),
        [],
        list(excluded),
        list(graph.types),
        {"MatMulConstBOnly": True},
    )
    with silence_libraries():
        quantizer.quantize_model()
    return quantizer.model.model


def dynamic_int8(graph: Graph) -> Any:
    """Return a graph whose matrices have 8 bits, activations by each batch."""
    load_onnxruntime()
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
    from onnxruntime.quantization.quant_utils import QuantizationMode

    split = ONNXModel(deepcopy(graph.model))
    split.replace_gemm_with_matmul()  # the quantiser takes no Gemm here
    with silence_libraries():
        quantizer = ONNXQuantizer(
            split.model,
            True,
            not this_processor().adds_8_bit_exactly,
            QuantizationMode.IntegerOps,
            False,
            QuantType.QInt8,
            QuantType.QUInt8,
            None,
            [],
            [],
            ["MatMul"],
            {"MatMulConstBOnly": True},
        )
        quantizer.quantize_model()
    return quantizer.model.model
