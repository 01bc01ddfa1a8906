"""Nodes, constants and names of a graph while it is put together; no two values have one name."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.errors import ArgumentError
from danlu.exporters.ports import Port

if TYPE_CHECKING:
    import onnx

ML, ML_VERSION = "ai.onnx.ml", 5  # the first with splits by sets of categories
IR_VERSION = 10
TYPES = {"string": "STRING", "float32": "FLOAT", "float64": "DOUBLE", "int64": "INT64", "uint8": "UINT8"}


class GraphBuilder:
    """Collect the nodes of a graph.

    Attributes:
        inputs, outputs: what goes in and comes out.
    """

    def __init__(self, taken: Sequence[str] = ()) -> None:
        self.inputs: list[Port] = []
        self.outputs: list[Port] = []
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.domains: dict[str, int] = {}
        self._taken = set(taken)

    def name(self, wanted: str) -> str:
        """Return a name that nothing has yet."""
        found, number = wanted, 1
        while found in self._taken:
            number += 1
            found = f"{wanted}_{number}"
        self._taken.add(found)
        return found

    def add_input(self, name: str, dtype: str, *shape: int | str) -> str:
        """Declare an input under its own name, and return the name."""
        self._taken.add(name)
        self.inputs.append(Port(name, dtype, shape))
        return name

    def constant(self, values: Any, dtype: Any = None, name: str = "constant") -> str:
        """Add a constant, and return its name."""
        from onnx import numpy_helper

        named = self.name(name)
        array = np.ascontiguousarray(np.asarray(values, dtype=dtype))
        self.constants.append(numpy_helper.from_array(array, named))
        return named

    def add(self, operator: str, *inputs: str, domain: str = "", output: str = "", **attributes: Any) -> str:
        """Add a node with one output, and return the output's name."""
        from onnx import helper

        found = self.name(output or operator.lower())
        self.domains.setdefault(domain, ML_VERSION if domain == ML else 0)
        self.nodes.append(helper.make_node(operator, list(inputs), [found], domain=domain, **attributes))
        return found

    def cast(self, value: str, dtype: str) -> str:
        """Cast a value, and return the result's name."""
        from onnx import TensorProto

        return self.add("Cast", value, to=getattr(TensorProto, TYPES[dtype]))

    def include(self, model: "onnx.ModelProto", renamed: Mapping[str, str], prefix: str) -> list[str]:
        """Take over another graph, its names behind a prefix, and return its outputs' names.

        Args:
            model: whose inputs are values of this graph.
            renamed: each input's name -> the value that it is.
            prefix: before all other names.

        Raises:
            ArgumentError: it has functions of its own.
        """
        from onnx import compose, helper

        joined = compose.add_prefix(model, prefix)
        self._taken |= {value for node in joined.graph.node for value in node.output}
        for name, value in renamed.items():
            self.nodes.append(helper.make_node("Identity", [value], [f"{prefix}{name}"]))
        self.nodes += joined.graph.node
        self.constants += joined.graph.initializer
        for opset in joined.opset_import:
            self.domains[opset.domain] = max(self.domains.get(opset.domain, 0), opset.version)
        if joined.functions:
            named = ", ".join(function.name for function in joined.functions)
            raise ArgumentError(
                f"the network's graph has functions of its own ({named}), which no file holds", code="DL409"
            )
        return [output.name for output in joined.graph.output]

    def model(self, opset: int, name: str) -> "onnx.ModelProto":
        """Return the whole as a file, checked by onnx."""
        from onnx import checker, helper

        graph = helper.make_graph(
            self.nodes,
            name,
            [value_info(port) for port in self.inputs],
            [value_info(port) for port in self.outputs],
            self.constants,
        )
        versions = {**{domain: version for domain, version in self.domains.items() if domain}, "": opset}
        opsets = [helper.make_opsetid(domain, version) for domain, version in sorted(versions.items())]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="danlu")
        checker.check_model(model)
        return model


def value_info(port: Port) -> "onnx.ValueInfoProto":
    """Return a port as onnx has it."""
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(port.name, getattr(TensorProto, TYPES[port.dtype]), list(port.shape))
