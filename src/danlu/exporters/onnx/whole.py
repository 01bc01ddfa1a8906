"""A bundle's model as one ONNX graph: raw columns of a table, or pixels or tokens, in; answers out."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from danlu.data.specs import InputSpec, TabularInputs
from danlu.data.tabular.preprocessor import TabularPreprocessor
from danlu.exporters.answer_module import LOGITS, PROBABILITIES, Answered, Answers
from danlu.exporters.form_inputs import prepared_outside, require_one_file, torch_network
from danlu.exporters.onnx.content import Content
from danlu.exporters.onnx.gathered_trees import GatheredTrees
from danlu.exporters.onnx.graph import GraphBuilder
from danlu.exporters.onnx.network import module_graph, network_graph
from danlu.exporters.onnx.preparation import EngineTypes, Preparation, add_preparation
from danlu.exporters.onnx.trees import add_trees
from danlu.exporters.ports import BATCH, LENGTH, Port, network_ports
from danlu.models.answer_folding import Placement
from danlu.models.predictor import Predictor
from danlu.models.tabular.tree_ensemble import TreeEnsemble
from danlu.tasks.classification import ClassTarget

if TYPE_CHECKING:
    import onnx

LABEL = "label"


@dataclass(frozen=True)
class Target:
    """Say for what engine a graph is written.

    Attributes:
        types: what its inputs may be.
        has_trees: whether it has an operator for trees.
        opset: version of ONNX's operators.
    """

    types: EngineTypes = field(default_factory=EngineTypes)
    has_trees: bool = True
    opset: int = 20


def whole_graph(predictor: Predictor, target: Target) -> "tuple[onnx.ModelProto, Content]":
    """Write a bundle's model as a graph, and say what it holds.

    Raises:
        ArgumentError: something of it has no form in ONNX.
    """
    inputs: InputSpec = predictor.preprocessor.inputs
    answers = Answers(predictor.target, target.types.number == "float64")
    builder = GraphBuilder(taken=[*predictor.preprocessor.columns])
    network = torch_network(predictor)
    preparation: Preparation | None = None
    if isinstance(predictor.preprocessor, TabularPreprocessor):
        types = replace(target.types, has_steps=isinstance(network, TreeEnsemble))
        preparation = add_preparation(builder, predictor.preprocessor, types)
        given = {"numeric": preparation.numeric, "categories": preparation.categories}
        inside, outside = tuple(preparation.inside), tuple(preparation.outside)
    else:
        given = {port.name: builder.add_input(port.name, port.dtype, *port.shape) for port in network_ports(inputs)}
        inside, outside = prepared_outside(predictor)
    known = {name: value for name, value in given.items() if value is not None}
    require_one_file(network, "ONNX")
    found = _add_network(builder, network, inputs, answers, known, target)
    _add_outputs(builder, predictor, answers, found, target)
    placement = answers.placement(inside, outside)
    if len(builder.outputs) > 1:
        placement = Placement((*placement.inside, "labels"), placement.outside)
    model = builder.model(target.opset, predictor.manifest.name)
    return model, Content(tuple(builder.inputs), tuple(builder.outputs), answers, preparation, placement)


def prepared_graph(predictor: Predictor, opset: int, has_trees: bool = True) -> "onnx.ModelProto":
    """Return the network alone, prepared inputs -> logits, as engines inside danlu run it."""
    inputs: InputSpec = predictor.preprocessor.inputs
    network = torch_network(predictor)
    require_one_file(network, "ONNX")
    if not (isinstance(network, TreeEnsemble) and has_trees):
        return network_graph(_walked(network), inputs, opset, LOGITS)
    assert isinstance(inputs, TabularInputs)
    builder = GraphBuilder()
    given = {port.name: builder.add_input(port.name, port.dtype, *port.shape) for port in network_ports(inputs)}
    found = add_trees(builder, network, given.get("numeric"), given.get("categories"))
    _give(builder, found, Port(LOGITS, "float32", (BATCH, predictor.target.outputs)))
    return builder.model(opset, predictor.manifest.name)


def _add_network(
    builder: GraphBuilder, network: Any, inputs: InputSpec, answers: Answers, known: dict[str, str], target: Target
) -> str:
    """Add the network and the answers behind it, and return the answers' name."""
    if isinstance(network, TreeEnsemble) and target.has_trees:
        logits = add_trees(builder, network, known.get("numeric"), known.get("categories"))
        if answers.predict is None:
            return logits
        port = Port(LOGITS, "float32", (BATCH, answers.target.outputs))
        sample = torch.zeros(2, answers.target.outputs)
        behind = module_graph(answers, (port,), (sample,), target.opset, answers.output)
        return builder.include(behind, {LOGITS: logits}, "answers/")[0]
    graph = network_graph(Answered(_walked(network), answers).eval(), inputs, target.opset, answers.output)
    return builder.include(graph, known, "network/")[0]


def _walked(network: Any) -> Any:
    """Return trees in operators that every engine has; other networks as they are."""
    return GatheredTrees(network) if isinstance(network, TreeEnsemble) else network


def _add_outputs(builder: GraphBuilder, predictor: Predictor, answers: Answers, found: str, target: Target) -> None:
    names = answers.names
    if answers.predict is None:
        shape: tuple[int | str, ...] = (BATCH, LENGTH, predictor.target.outputs)
        _give(builder, found, Port(builder.name(LOGITS), "float32", shape, names))
        return
    is_double = answers.units is not None and answers.is_double
    width = len(names) if names else predictor.target.outputs
    dtype = "float64" if is_double else "float32"
    _give(builder, found, Port(builder.name(answers.output), dtype, (BATCH, width), names))
    wanted = predictor.target
    if answers.output != PROBABILITIES or not isinstance(wanted, ClassTarget) or not target.types.has_strings:
        return
    if wanted.threshold is None and all(step.what != "isotonic" for step in answers.steps.decisions):
        _add_label(builder, builder.outputs[0].name, wanted)


def _add_label(builder: GraphBuilder, probabilities: str, target: ClassTarget) -> None:
    """Give the likeliest label, the first of several, as danlu does."""
    import onnx

    likeliest = builder.add("ArgMax", probabilities, axis=1, keepdims=0)
    labels, dtype = label_values(target)
    if dtype == "string":
        named = builder.name("labels")
        words = [word.encode() for word in labels]
        builder.constants.append(onnx.helper.make_tensor(named, onnx.TensorProto.STRING, [len(words)], words))
    else:
        named = builder.constant(labels, np.int64, "labels")
    label = builder.add("Gather", named, likeliest, axis=0)
    _give(builder, label, Port(builder.name(LABEL), dtype, (BATCH,)))


def label_values(target: ClassTarget) -> tuple[list[Any], str]:
    """Return the labels and their type in a graph: whole numbers, or words."""
    if all(isinstance(label, int) and not isinstance(label, bool) for label in target.labels):
        return list(target.labels), "int64"
    return [str(label) for label in target.labels], "string"


def _give(builder: GraphBuilder, value: str, port: Port) -> None:
    from onnx import helper

    builder.nodes.append(helper.make_node("Identity", [value], [port.name]))
    builder.outputs.append(port)
