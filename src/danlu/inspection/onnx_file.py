"""An ONNX file that is run, with what its layers give on the way.

In: a file and inputs by name. Out: values by layer, weights as torch has them. ONNX Runtime computes; what is wanted of
the inside is made an output of the graph, so fused operators are seen as they were written.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from danlu.core.imports import load_onnxruntime, require_extra
from danlu.inspection.drawn_inputs import draw_inputs
from danlu.inspection.layers import Outputs
from danlu.inspection.onnx_names import layer_of, tensor_name
from danlu.inspection.weight_files import onnx_model, onnx_tensors
from danlu.models.engines.onnxruntime_engine import damaged_onnx

ACTIVATIONS = ("Relu", "Gelu", "Tanh", "Sigmoid", "LeakyRelu", "Elu", "HardSwish", "HardSigmoid", "Mish", "Softplus")
MATRIX_PRODUCTS = ("Gemm", "MatMul", "MatMulInteger")
# What quantization puts behind an operator.
BEHIND = {
    "MatMulInteger": ("Cast", "Mul", "Add"),
    "ConvInteger": ("Cast", "Mul", "Add"),
    "Gather": ("DequantizeLinear",),
}
STRINGS = 8  # ONNX's number of the type
FLOAT_TYPES = (1, 10, 11, 16)  # of ONNX: float32, float16, float64, bfloat16
OTHER_SIZE = 8  # of drawn inputs: every free size but the first
LARGEST = 1 << 31  # bytes of a file that protobuf takes whole
Arrays = Mapping[str, np.ndarray]


class OnnxFile:
    """Hold an ONNX file that can be run.

    Attributes:
        path: of the file.
        model: as onnx has it.

    Raises:
        ArtifactError: it is damaged, or ONNX Runtime cannot run it.
        MissingExtra: packages are not installed.
    """

    def __init__(self, path: Path, model: Any = None) -> None:
        require_extra("export", f"running {path.name}", only=("onnx", "onnxruntime"))
        self.path, self.model = path, onnx_model(path) if model is None else model
        self._constants = {each.name for each in self.model.graph.initializer}

    def numbered(self) -> "OnnxFile":
        """Return the file with operators named `node-N`, which errors and times then tell."""
        copy = _copied(self.model)
        for place, node in enumerate(copy.graph.node):
            node.name = f"node-{place}"
        return OnnxFile(self.path, copy)

    def until(self, place: int, values: Sequence[str]) -> "OnnxFile":
        """Return the file's operators before a position, with values of theirs as the outputs."""
        import onnx

        copy = _copied(self.model)
        del copy.graph.node[place:]
        del copy.graph.output[:]
        copy.graph.output.extend(onnx.ValueInfoProto(name=value) for value in values)
        return OnnxFile(self.path, copy)

    @cached_property
    def _session(self) -> Any:
        """Return a session that gives the values of all layers behind the file's own outputs."""
        return self.session([value for _, value in self.layers.values()])

    @cached_property
    def inputs(self) -> dict[str, tuple[str, tuple[int | str, ...]]]:
        """The inputs by name: numpy's type (`str` of words) and shape."""
        from onnx import helper

        found = {}
        for each in self.model.graph.input:
            if each.name not in self._constants:
                told = each.type.tensor_type
                dtype = "str" if told.elem_type == STRINGS else helper.tensor_dtype_to_np_dtype(told.elem_type).name
                found[each.name] = (dtype, tuple(size.dim_value or size.dim_param or "?" for size in told.shape.dim))
        return found

    @property
    def answer(self) -> str:
        """The name of the first output of numbers with digits; empty where there is none."""
        given = self.model.graph.output
        return next((each.name for each in given if each.type.tensor_type.elem_type in FLOAT_TYPES), "")

    @cached_property
    def layers(self) -> dict[str, tuple[str, str]]:
        """Layers by name: the operator that gives a layer's value, and the value's name.

        A file whose names say nothing of layers gives each operator's own value.
        """
        import onnx

        inferred = onnx.shape_inference.infer_shapes(self.model) if self.model.ByteSize() < LARGEST else self.model
        known = inferred.graph.value_info
        whole = {each.name for each in known if each.type.tensor_type.elem_type not in FLOAT_TYPES}
        return _layers(self.model.graph, self._places, whole)

    @cached_property
    def _places(self) -> list[str]:
        """Return the layer of each operator; empty where names do not say it."""
        return _places(self.model.graph, self._constants)

    def session(self, values: Sequence[str], profile: Path | None = None) -> Any:
        """Open the file with values of its inside as further outputs.

        Args:
            values: their names.
            profile: folder for a log of each operator's time; operators then run as they are written, none fused.

        Raises:
            ArtifactError: ONNX Runtime cannot open it.
        """
        import onnx

        onnxruntime = load_onnxruntime()

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors are raised as well
        if profile is not None:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.enable_profiling, options.profile_file_prefix = True, str(profile / "profile")
        model, own = _copied(self.model), {each.name for each in self.model.graph.output}
        model.graph.output.extend(onnx.ValueInfoProto(name=value) for value in values if value not in own)
        try:
            return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its classes are those of a compiled module
            raise damaged_onnx(self.path, error) from error

    def outputs(self, inputs: Mapping[str, Any]) -> tuple[Outputs, Tensor]:
        """Return what every layer gives for some rows, and the answer.

        Args:
            inputs: tensors or arrays by the file's names, of its types.

        Raises:
            ArtifactError: it cannot compute these.
        """
        session = self._session
        given = {name: each.cpu().numpy() if isinstance(each, Tensor) else each for name, each in inputs.items()}
        found = dict(zip([each.name for each in session.get_outputs()], self.run(session, given), strict=True))
        outputs: Outputs = {}
        for name, (kind, value) in self.layers.items():
            array = np.asarray(found[value])
            if np.issubdtype(array.dtype, np.floating) and array.ndim:
                outputs[name] = (kind, torch.from_numpy(array))
        return outputs, torch.from_numpy(np.asarray(found[self.answer]))

    def drawn(self, rows: int) -> dict[str, np.ndarray]:
        """Draw inputs, as `draw_inputs` does.

        Args:
            rows: the first size of each input, where it is free.
        """
        return draw_inputs(self.inputs, lambda _, axis: OTHER_SIZE if axis else rows)

    def run(self, session: Any, given: Arrays) -> list[np.ndarray]:
        """Run a session of this file.

        Raises:
            ArtifactError: it cannot compute these inputs.
        """
        try:
            found: list[np.ndarray] = session.run(
                None, {name: np.ascontiguousarray(values) for name, values in given.items()}
            )
        except Exception as error:  # its classes are those of a compiled module
            raise damaged_onnx(self.path, error) from error
        return found

    def weights(self) -> dict[str, Tensor]:
        """Return the weights by torch's names and in its shapes, folded ones left out."""
        named, transposed, folded = self._matrices(), _transposed(self.model.graph), self._folded()
        found = {}
        for name, values in onnx_tensors(self.path, self.model):
            own = named.get(name, name)
            if own.rpartition(".")[0] not in folded:
                found[own] = values.T if name in transposed and values.ndim == 2 else values
        return found

    def _matrices(self) -> dict[str, str]:
        """Return torch's names of matrices whose own name says nothing, as their layer tells them."""
        found = {}
        for node, layer in zip(self.model.graph.node, self._places, strict=True):
            if node.op_type in MATRIX_PRODUCTS and layer and node.input[1] in self._constants:
                name = tensor_name(node.input[1])
                found[name] = name if name.endswith(".weight") else f"{layer}.weight"
        return found

    def _folded(self) -> set[str]:
        """Return the layers whose weights a norm reads that was folded into them."""
        found = set[str]()
        for node, at in zip(self.model.graph.node, self._places, strict=True):
            for name in node.input:
                own = tensor_name(name).rpartition(".")[0]
                if name in self._constants and own and at and own.rpartition(".")[2] != at.rpartition(".")[2]:
                    found.add(own)
        return found


def _copied(model: Any) -> Any:
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _layers(graph: Any, places: Sequence[str], whole: set[str]) -> dict[str, tuple[str, str]]:
    """Find the value that each layer gives: the first that none of its operators reads.

    Args:
        graph: of the file.
        places: the layer of each operator.
        whole: names of values that are no numbers with digits.
    """
    if not any(places):
        values = [(node.op_type, node.output[0]) for node in graph.node if node.op_type != "Constant"]
        return {f"{operator} {value}": (operator, value) for operator, value in values if value not in whole}
    readers = _readers(graph)
    around = {".".join(place.split(".")[:depth]) for place in places for depth in range(1, place.count(".") + 1)}
    found: dict[str, tuple[str, str]] = {}
    taken: Counter[str] = Counter()
    for node, place in zip(graph.node, places, strict=True):
        value = node.output[0]
        if place and place not in around:
            is_inside = any(places[reader] == place for reader in readers.get(value, ()))
            if not is_inside and value not in whole:
                found.setdefault(place, (node.op_type, value))
        elif node.op_type in ACTIVATIONS:
            name = f"{place}.{node.op_type.lower()}".strip(".")
            taken[name] += 1
            found[name if taken[name] == 1 else f"{name}#{taken[name]}"] = (node.op_type, value)
    return found


def _readers(graph: Any) -> dict[str, list[int]]:
    """Return the positions of the operators that read each value."""
    readers: dict[str, list[int]] = {}
    for at, node in enumerate(graph.node):
        for name in node.input:
            readers.setdefault(name, []).append(at)
    return readers


def _fixed_values(graph: Any, constants: set[str]) -> set[str]:
    """Return the names of values that are the same for all rows."""
    fixed = set(constants)
    for node in graph.node:
        if all(name in fixed for name in node.input if name):
            fixed.update(node.output)
    return fixed


def _places(graph: Any, constants: set[str]) -> list[str]:
    """Return the layer of each operator.

    What quantization puts behind a layer's operator belongs to the layer: casts, scales, a bias.
    """
    places, readers = [layer_of(node, constants) for node in graph.node], _readers(graph)
    fixed = _fixed_values(graph, constants)
    producer = {name: at for at, node in enumerate(graph.node) for name in node.output}
    for at, node in enumerate(graph.node):
        kinds, value = BEHIND.get(node.op_type, ()), node.output[0]
        while places[at] and len(readers.get(value, ())) == 1:
            (behind,) = readers[value]
            follower = graph.node[behind]
            others = [name for name in follower.input if name != value and name not in fixed]
            # A value of another layer is a branch that meets this one.
            if follower.op_type not in kinds or any(
                places[producer.get(name, behind)] != places[at] for name in others
            ):
                break
            places[behind], value = places[at], follower.output[0]
    return places


def _transposed(graph: Any) -> set[str]:
    """Return the names of matrices that stand as [in, out], where torch has [out, in]."""
    found = set[str]()
    for node in graph.node:
        is_turned = any(each.name == "transB" and each.i for each in node.attribute)
        if node.op_type in MATRIX_PRODUCTS and not is_turned:
            found.add(tensor_name(node.input[1]))
    return found
