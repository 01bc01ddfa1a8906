"""A torch network as an ONNX graph of prepared inputs, by torch's exporter."""

import re
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from danlu.data.specs import InputSpec
from danlu.errors import ArgumentError
from danlu.exporters.answer_module import Answered
from danlu.exporters.ports import Port, network_ports, sample_inputs
from danlu.exporters.tracing import module_of, quiet, trace
from danlu.inspection.onnx_names import scope_of

if TYPE_CHECKING:
    import onnx

OPSETS = range(18, 24)  # those that torch writes and onnxruntime reads
OPSET = 20
MISSING = re.compile(r"No ONNX function found for <OpOverload\(op='([\w.:]+)', overload='(\w+)'\)>")


def require_opset(opset: int | None) -> int:
    """Return the version of ONNX's operators to write.

    Raises:
        ArgumentError: torch writes none such.
    """
    if opset is not None and opset not in OPSETS:
        raise ArgumentError(
            f"--opset {opset}: the operators of ONNX are written in the versions {OPSETS[0]} to {OPSETS[-1]}",
            code="DL402",
        )
    return opset or OPSET


def network_graph(network: nn.Module, inputs: InputSpec, opset: int, output: str = "logits") -> "onnx.ModelProto":
    """Return a network as a graph of prepared inputs.

    Args:
        network: in evaluation mode, on the CPU.
        inputs: specification of a prepared sample.
        opset: version of the operators.
        output: the name of what it gives.

    Raises:
        ArgumentError: an operator has no form in ONNX, or a size that should be free is not.
    """
    return module_graph(
        network, network_ports(inputs), sample_inputs(inputs), opset, output, getattr(inputs, "longest", 1)
    )


def module_graph(
    network: nn.Module, ports: tuple[Port, ...], samples: tuple[Tensor, ...], opset: int, output: str, longest: int = 1
) -> "onnx.ModelProto":
    """Return a module as a graph, like `network_graph`.

    Args:
        ports: the module's inputs, which its forward takes by name.
        samples: a tensor for each.
    """
    program = trace(network, ports, samples, longest)
    names = [port.name for port in ports]
    with quiet():
        try:
            written = torch.onnx.export(
                program,
                samples,
                dynamo=True,
                input_names=names,
                output_names=[output],
                opset_version=opset,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # the exporter's own classes are private
            raise ArgumentError(_refusal(error, program), code="DL409") from error
    assert written is not None
    model: onnx.ModelProto = written.model_proto
    _name_sizes(model, ports)
    _name_nodes(model, wrappers=2 if isinstance(network, Answered) else 1)
    _forget_origins(model)
    return model


def _refusal(error: Exception, program: torch.export.ExportedProgram) -> str:
    chained: Any = error
    while chained is not None:
        found = MISSING.search(str(chained))
        if found is not None:
            operator = found[1].replace("::", ".")
            place = module_of(program, operator)
            inside = f" in the module {place}" if place else ""
            return f"the operator {operator}{inside} has no form in ONNX; choose another layer, or --to torch-export"
        chained = chained.__cause__ or chained.__context__
    return f"the network has no form in ONNX: {(str(error).strip() or type(error).__name__).splitlines()[0]}"


def _name_sizes(model: "onnx.ModelProto", ports: tuple[Port, ...]) -> None:
    """Give the free sizes their names; forget those of values in between.

    Raises:
        ArgumentError: a size that should be free is fixed.
    """
    given = {value.name: value for value in model.graph.input}
    if list(given) != [port.name for port in ports]:
        raise ArgumentError(
            f"the network does not use all of its inputs: the graph has {', '.join(given) or 'none'} of "
            f"{', '.join(port.name for port in ports)}",
            code="DL409",
        )
    renamed: dict[str, str] = {}
    for port in ports:
        for size, wanted in zip(given[port.name].type.tensor_type.shape.dim, port.shape, strict=True):
            if isinstance(wanted, int):
                continue
            if not size.dim_param:
                raise ArgumentError(
                    f"the network was followed with one {wanted} only ({size.dim_value}); it looks at the size of "
                    f"{port.name}",
                    code="DL409",
                )
            renamed[size.dim_param] = wanted
            size.dim_param = wanted
    for value in model.graph.output:
        for size in value.type.tensor_type.shape.dim:
            size.dim_param = renamed.get(size.dim_param, size.dim_param)
    del model.graph.value_info[:]


def _name_nodes(model: "onnx.ModelProto", wrappers: int) -> None:
    """Name each node after the module whose code it is, as `layer1.0.conv1/Conv_3`.

    Args:
        model: as torch's exporter wrote it.
        wrappers: modules of danlu's own around the network, each of which calls it `network`.
    """
    for node in model.graph.node:
        parts = scope_of(node).split(".")
        for _ in range(wrappers):
            parts = parts[1:] if parts[:1] == ["network"] else parts
        node.name = "/".join(part for part in (".".join(parts), node.name.removeprefix("node_")) if part)


def _forget_origins(model: "onnx.ModelProto") -> None:
    """Take out which lines of code each node came from.

    They are paths of this machine, and three times the size of a small network."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
