"""The graph of a network: layers and what flows between them, measured, and replayed to prove that it is the network.

In: a torch module and inputs by name. Out: a `Graph`, whose `as_json` is what `danlu visualize --json` prints. A node
is a module without modules inside, or one operation of a module's own code; views belong to the node that they look at.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from danlu.core.torch_compat import tree_map_only
from danlu.inspection.trace import ROOT, Failure, ModuleCall, Operation, Ref, Shape, Trace, tensors_of, trace

Json = dict[str, Any]
INPUT, OUTPUT = "Input", "Output"
REPEATS = 3  # timed passes; a node's time is the least of them
QUICK_S = 1.0  # a pass that takes longer is timed once


@dataclass(frozen=True)
class Node:
    """Hold one layer or operation of a graph.

    Attributes:
        id: unique: the module's path, or the path of the module that runs the operation with the operation's name.
        name: the last part of it.
        type: the module's class or the operation's name.
        inputs: shapes of the tensors that come in, weights aside.
        outputs: shapes of the tensors that go out.
        parameters: numbers learned that no earlier node uses.
        flops: floating-point operations of matrix products, convolutions and attention, two for each multiplication
            with its addition.
        ms: measured milliseconds on this machine.
        bytes: most memory that the tensors which it makes hold at once.
        module: id of the module whose code runs it; empty for the network's own.
    """

    id: str
    name: str
    type: str
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    parameters: int = 0
    flops: int = 0
    ms: float | None = None
    bytes: int | None = None
    module: str = ""


@dataclass(frozen=True)
class Module:
    """Hold one call of a module that has others inside.

    Attributes:
        id: its path in the network, numbered where it is called again; empty for the network.
        name: its path within the module that calls it.
        type: its class.
        parent: id of the module that calls it; None for the network.
        inputs: shapes of the tensors given.
        outputs: shapes of the tensors returned.
    """

    id: str
    name: str
    type: str
    parent: str | None
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]


@dataclass(frozen=True)
class FailedAt:
    """Hold the layer at which a network failed and the shapes that did not fit."""

    node: str
    operation: str
    shapes: tuple[tuple[str, Shape], ...]
    error: str


@dataclass(frozen=True)
class Graph:
    """Hold a network's graph.

    Attributes:
        nodes: in the order in which they run.
        edges: ids of the nodes that a tensor leaves and enters.
        modules: calls of modules with modules inside, the network first.
        replay_deviation: largest difference between the network's answer and that of the replayed graph; None where
            nothing was replayed.
        failed_at: where the network failed, or None.
        unused: parameters that the pass did not use.
    """

    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]
    modules: tuple[Module, ...]
    replay_deviation: float | None = None
    failed_at: FailedAt | None = None
    unused: tuple[str, ...] = ()

    def as_json(self) -> Json:
        """Return the graph as `danlu visualize --json` prints it."""
        failed = self.failed_at
        return {
            "nodes": [
                {
                    **_described(node, {"module": node.module}),
                    "parameters": node.parameters,
                    "flops": node.flops,
                    "ms": None if node.ms is None else round(node.ms, 4),
                    "bytes": node.bytes,
                }
                for node in self.nodes
            ],
            "edges": [list(edge) for edge in self.edges],
            "modules": [_described(module, {"parent": module.parent}) for module in self.modules],
            "replay_deviation": self.replay_deviation,
            "failed_at": None
            if failed is None
            else {
                "node": failed.node,
                "operation": failed.operation,
                "shapes": [{"of": name, "shape": list(shape)} for name, shape in failed.shapes],
                "error": failed.error,
            },
            "unused": list(self.unused),
        }


def _described(layer: Node | Module, within: Json) -> Json:
    """Return what nodes and modules have in common, with what they stand within."""
    return {
        "id": layer.id,
        "name": layer.name,
        "type": layer.type,
        **within,
        "inputs": [list(shape) for shape in layer.inputs],
        "outputs": [list(shape) for shape in layer.outputs],
    }


@dataclass
class _Step:
    """Hold the operations of one node, in the order in which they run."""

    node: Node
    operations: list[Operation] = field(default_factory=list)


def build_graph(network: nn.Module, inputs: Mapping[str, Tensor]) -> Graph:
    """Trace a network, group its operations into layers, replay these and compare the answers.

    Args:
        network: in any mode; it is run in evaluation mode.
        inputs: a few rows, by name as forward takes them.

    Returns:
        the graph; drawn up to the failing layer where the network raises an error.
    """
    traced = trace(network, inputs)
    grouping = _group(traced)
    steps, edges = grouping.steps, grouping.edges
    deviation: float | None = None
    if traced.failure is None:
        answer, steps = _measure(network, traced, steps, inputs)
        deviation = largest_difference(traced.answer, answer)
    used = set(traced.weights)
    return Graph(
        nodes=tuple(step.node for step in steps),
        edges=tuple(dict.fromkeys(edges)),
        modules=tuple(grouping.modules.values()),
        replay_deviation=deviation,
        failed_at=grouping.failed_at,
        unused=() if traced.failure else tuple(name for name, _ in network.named_parameters() if name not in used),
    )


def replay(network: nn.Module, inputs: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """Trace a network on some rows and answer others by the graph alone.

    Args:
        network: gives the weights.
        inputs: rows that the graph is traced with.
        others: rows that the graph answers.
    """
    traced = trace(network, inputs)
    return _run(network, traced, _group(traced).steps, others)[0]


def largest_difference(expected: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """Return the largest absolute difference of answers; values that are not finite must be equal."""
    largest = 0.0
    for one, other in zip(expected, found, strict=True):
        apart = (one.double() - other.double()).abs()
        apart = torch.where((one == other) | (one.isnan() & other.isnan()), torch.zeros_like(apart), apart)
        if apart.numel():
            largest = max(largest, float(apart.nan_to_num(nan=float("inf")).max()))
    return largest


def _group(traced: Trace) -> "_Grouping":
    """Group operations into nodes, and find what flows between these."""
    grouping = _Grouping(traced)
    for operation in traced.operations:
        grouping.add(operation)
    if traced.failure is None:
        grouping.finish()
    else:
        grouping.fail(traced.failure)
    return grouping


class _Grouping:
    """Assign operations to nodes one after the other."""

    def __init__(self, traced: Trace) -> None:
        self.traced, self.modules = traced, _modules(traced.calls)
        self.failed_at: FailedAt | None = None
        self.steps: list[_Step] = []
        self.edges: list[tuple[str, str]] = []
        self._producer: dict[int, _Step] = {}
        self._looks_at: dict[int, int] = {}  # a view's number -> that of the tensor whose memory it shares
        self._writer: dict[int, _Step] = {}  # memory -> the node that last changed it
        self._pending: dict[int, list[Operation]] = {}  # views of weights and constants, until a node reads them
        self._of_call: dict[int, _Step] = {}
        self._taken: Counter[str] = Counter()
        self._counted: set[int] = set()
        self._weights = {number: name for name, number in traced.weights.items()}
        self._sizes: dict[int, Shape] = {}
        for name, number in traced.inputs.items():
            shape = traced.input_shapes[name]
            self._producer[number] = self._new(Node(f"input.{name}", name, INPUT, (shape,), (shape,)))

    def add(self, operation: Operation) -> None:
        """Assign one operation."""
        self._sizes.update(operation.sizes)
        call = self.traced.calls[operation.call]
        leaf = call.children == 0 and operation.call != ROOT
        if not leaf and operation.is_view and self._keep_view(operation):
            return
        step = self._step_of(operation, call, leaf)
        for number in operation.inputs:
            for earlier in self._pending.pop(number, ()):
                step.operations.append(earlier)
                for source in earlier.inputs:
                    self._read(step, source)
            self._read(step, number)
        step.operations.append(operation)
        for number in operation.written:
            self._writer[self._memory(number)] = step
            self._producer[number] = step
        for number in operation.outputs:
            self._producer[number] = step
            if operation.is_view and operation.inputs:
                self._looks_at[number] = self._memory(operation.inputs[0])
        step.node = replace(step.node, flops=step.node.flops + operation.flops)

    def finish(self) -> None:
        """Add the output node, and leave out operations whose results nothing reads."""
        shapes = tuple(tuple(values.shape) for values in self.traced.answer)
        step = self._new(Node("output", "output", OUTPUT, shapes, shapes))
        for number in self.traced.results:
            for earlier in self._pending.pop(number, ()):
                step.operations.append(earlier)
            self._read(step, number)
        while True:
            read = {source for source, _ in self.edges}
            left_out = {each.node.id for each in self.steps if each.node.id not in read and self._is_idle(each)}
            if not left_out:
                return
            self.steps = [each for each in self.steps if each.node.id not in left_out]
            self.edges = [edge for edge in self.edges if edge[1] not in left_out]

    def fail(self, failure: Failure) -> None:
        """Add the node at which the network failed, with what it read."""
        call, before = self.traced.calls[failure.call], self.steps[-1]
        if call.children == 0 and failure.call != ROOT:
            step = self._of_call.get(failure.call) or self._new(_leaf_node(call, self.modules))
        else:
            module, name = self.modules[failure.call].id, failure.operation.strip("_") or "forward"
            shapes = tuple(shape for _, shape in failure.shapes)
            step = self._new(Node(f"{module}.{name}".strip("."), name, name, shapes, (), module=module))
        for number in failure.reads:
            self._read(step, number)
        known = {target for _, target in self.edges}
        if step.node.id not in known and before is not step:  # no operation was reached: what ran last comes before
            self.edges.append((before.node.id, step.node.id))
        self.failed_at = FailedAt(step.node.id, failure.operation, failure.shapes, failure.message)

    def _is_idle(self, step: _Step) -> bool:
        """Return whether a node that nothing reads may be left out."""
        if step.node.type in (INPUT, OUTPUT) or any(operation.written for operation in step.operations):
            return False
        return all(self.traced.calls[op.call].children or op.call == ROOT for op in step.operations)

    def _keep_view(self, operation: Operation) -> bool:
        """Give a view to the node that it looks at, or to its first reader."""
        if len(operation.inputs) != 1:
            return False
        (source,) = operation.inputs
        for number in operation.outputs:
            self._looks_at[number] = self._memory(source)
        if source in self._producer:
            self._producer[source].operations.append(operation)
            for number in operation.outputs:
                self._producer[number] = self._producer[source]
            return True
        if len(operation.outputs) != 1:
            return False
        self._pending[operation.outputs[0]] = [*self._pending.pop(source, []), operation]
        return True

    def _memory(self, number: int) -> int:
        return self._looks_at.get(number, number)

    def _read(self, step: _Step, number: int) -> None:
        """Note what a node reads: an edge, or parameters."""
        for source in (self._producer.get(number), self._writer.get(self._memory(number))):
            if source is not None and source is not step:
                self.edges.append((source.node.id, step.node.id))
        if self._weights.get(number) in self.traced.parameters and number not in self._counted:
            self._counted.add(number)
            size = int(torch.Size(self._sizes.get(number, ())).numel())
            step.node = replace(step.node, parameters=step.node.parameters + size)

    def _step_of(self, operation: Operation, call: ModuleCall, leaf: bool) -> _Step:
        if not leaf:
            shapes = tuple(operation.sizes[n] for n in operation.inputs if n not in self._weights)
            given = tuple(operation.sizes[n] for n in operation.outputs)
            filled = tuple(shape for shape in given if 0 not in shape) or given  # statistics that are left empty
            module, name = self.modules[operation.call].id, operation.name
            return self._new(Node(f"{module}.{name}".strip("."), name, name, shapes, filled, module=module))
        if operation.call not in self._of_call:
            self._of_call[operation.call] = self._new(_leaf_node(call, self.modules))
        return self._of_call[operation.call]

    def _new(self, node: Node) -> _Step:
        self._taken[node.id] += 1
        if self._taken[node.id] > 1:
            node = replace(node, id=f"{node.id}#{self._taken[node.id]}")
        self.steps.append(_Step(node))
        return self.steps[-1]


def _leaf_node(call: ModuleCall, modules: Mapping[int, Module]) -> Node:
    container, parent = modules[call.parent], _plain(modules[call.parent].id)
    name = call.path.removeprefix(f"{parent}.") if parent else call.path
    return Node(call.path, name, call.type, tuple(call.inputs), tuple(call.outputs), module=container.id)


def _plain(identifier: str) -> str:
    """Return a module's path without the number of its call."""
    return identifier.partition("#")[0]


def _modules(calls: Sequence[ModuleCall]) -> dict[int, Module]:
    """Return the calls of modules that have others inside, by position."""
    found: dict[int, Module] = {}
    taken: Counter[str] = Counter()
    for place, call in enumerate(calls):
        if not call.children and place != ROOT:
            continue
        taken[call.path] += 1
        own = call.path if taken[call.path] == 1 else f"{call.path}#{taken[call.path]}"
        parent = None if place == ROOT else found[call.parent].id
        name = call.path.removeprefix(f"{_plain(parent)}.") if parent else call.path
        found[place] = Module(own, name, call.type, parent, tuple(call.inputs), tuple(call.outputs))
    return found


def _measure(
    network: nn.Module, traced: Trace, steps: list[_Step], inputs: Mapping[str, Tensor]
) -> tuple[tuple[Tensor, ...], list[_Step]]:
    """Replay a graph a few times; return its answer and its nodes, measured."""
    begun = time.perf_counter()
    answer, times, memory = _run(network, traced, steps, inputs)
    if time.perf_counter() - begun < QUICK_S:
        for _ in range(REPEATS):
            _, again, _ = _run(network, traced, steps, inputs)
            times = [min(pair) for pair in zip(times, again, strict=True)]
    return answer, [
        replace(step, node=replace(step.node, ms=seconds * 1e3, bytes=size))
        for step, seconds, size in zip(steps, times, memory, strict=True)
    ]


def _run(
    network: nn.Module, traced: Trace, steps: list[_Step], inputs: Mapping[str, Tensor]
) -> tuple[tuple[Tensor, ...], list[float], list[int]]:
    """Run every node in order, holding a tensor only until its last use."""
    last = {number: place for place, step in enumerate(steps) for op in step.operations for number in op.inputs}
    kept = set(traced.results)
    values: dict[int, Tensor] = dict(traced.constants)
    values |= {number: inputs[name].clone() for name, number in traced.inputs.items()}
    state = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    values |= {number: state[name] for name, number in traced.weights.items()}
    times, memory = [], []
    with torch.no_grad():
        for place, step in enumerate(steps):
            begun = time.perf_counter()
            made: set[int] = set()
            for operation in step.operations:
                args, kwargs = tree_map_only(Ref, lambda ref: values[ref.value], (operation.args, operation.kwargs))
                results = tensors_of(operation.function(*args, **kwargs))
                numbers = operation.outputs
                values.update(zip(numbers, results, strict=True))
                made.update(numbers)
            times.append(time.perf_counter() - begun)
            memory.append(_bytes_made(step, values))
            for number in made | {number for op in step.operations for number in op.inputs}:
                if number not in kept and last.get(number, -1) <= place:
                    values.pop(number, None)
    return tuple(values[number] for number in traced.results), times, memory


def _bytes_made(step: _Step, values: Mapping[int, Tensor]) -> int:
    """Return the most memory that a node's own new tensors hold at once."""
    own_last = {number: place for place, op in enumerate(step.operations) for number in op.inputs}
    held: dict[int, int] = {}
    largest = 0
    leaving = {number for op in step.operations for number in op.outputs} - set(own_last)
    for place, operation in enumerate(step.operations):
        if not operation.is_view and not operation.written:
            for number in operation.outputs:
                held[number] = values[number].numel() * values[number].element_size()
        largest = max(largest, sum(held.values()))
        for number in operation.inputs:
            if own_last[number] == place and number not in leaving:
                held.pop(number, None)
    return largest
