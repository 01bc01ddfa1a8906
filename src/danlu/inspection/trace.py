"""Trace a network: the operations of one forward pass, the layer that runs each, and the tensors between them.

In: a torch module and inputs by name. Out: a `Trace`, whose operations can be run again (`replay`). Operations are
recorded where torch dispatches them, so any eager code is traced as it ran; no tensor but constants is kept.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry, sdpa_flop_count
from torch.utils.weak import WeakTensorKeyDictionary

from danlu.core.torch_compat import TorchDispatchMode, tree_leaves, tree_map_only

Shape = tuple[int, ...]
ROOT = 0  # the call of the network itself
CPU_ATTENTION = "_scaled_dot_product_flash_attention_for_cpu"  # which torch's own counter leaves out


@dataclass(frozen=True)
class Ref:
    """Stand for a tensor among an operation's arguments or results."""

    value: int


@dataclass(frozen=True)
class Operation:
    """Hold one dispatched operation.

    Attributes:
        function: torch's operator.
        args: its arguments, a `Ref` in place of each tensor.
        kwargs: its arguments by name, likewise.
        results: its results, likewise.
        call: position of the module call that ran it.
        flops: floating-point operations, a multiplication with its addition counting as two.
        sizes: shape of each tensor by number, of arguments and results.
    """

    function: Any
    args: Any
    kwargs: Any
    results: Any
    call: int
    flops: int
    sizes: Mapping[int, Shape]

    @property
    def name(self) -> str:
        """The operator's plain name."""
        return str(self.function._schema.name).partition("::")[2].strip("_")

    @property
    def is_view(self) -> bool:
        """Whether it only looks at a tensor in another way."""
        if self.function._schema.name == "aten::_unsafe_view":
            return True
        returns = self.function._schema.returns
        return bool(returns) and all(each.alias_info and not each.alias_info.is_write for each in returns)

    @property
    def inputs(self) -> list[int]:
        """Numbers of the tensors that it reads."""
        return [leaf.value for leaf in tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Ref)]

    @property
    def outputs(self) -> list[int]:
        """Numbers of the tensors that it gives."""
        return [leaf.value for leaf in tree_leaves(self.results) if isinstance(leaf, Ref)]

    @property
    def written(self) -> list[int]:
        """Numbers of the tensors that it changes in place."""
        schema = self.function._schema
        if not schema.is_mutable:
            return []
        given = [*self.args, *self.kwargs.values()]
        return [
            leaf.value
            for argument, value in zip(schema.arguments, given, strict=False)
            if argument.alias_info is not None and argument.alias_info.is_write
            for leaf in tree_leaves(value)
            if isinstance(leaf, Ref)
        ]


@dataclass
class ModuleCall:
    """Hold one call of a module in the forward pass.

    Attributes:
        path: the module's name in the network; empty for the network.
        type: its class.
        parent: position of the call that it happened in.
        inputs: shapes of the tensors given.
        outputs: shapes of the tensors returned; empty where it failed.
        children: number of modules that it called.
    """

    path: str
    type: str
    parent: int
    inputs: list[Shape]
    outputs: list[Shape] = field(default_factory=list)
    children: int = 0


@dataclass(frozen=True)
class Failure:
    """Hold where a forward pass failed.

    Attributes:
        call: position of the innermost module call.
        operation: the operator's name; empty where none was reached.
        shapes: what met there: name of a tensor and its shape.
        message: torch's own words, on one line.
        reads: numbers of the tensors that the failing operation was given.
    """

    call: int
    operation: str
    shapes: tuple[tuple[str, Shape], ...]
    message: str
    reads: tuple[int, ...] = ()


@dataclass(frozen=True)
class Trace:
    """Hold a traced forward pass.

    Attributes:
        inputs: number of each input's tensor.
        input_shapes: their shapes.
        weights: number of each parameter and buffer that was used, by its name.
        parameters: which of these are parameters.
        constants: other tensors that the pass found, by number.
        operations: in order.
        calls: of modules, in order; the first is the network's.
        results: numbers of the tensors that the network returned.
        answer: these tensors themselves, for comparison.
        failure: where it failed, or None.
    """

    inputs: Mapping[str, int]
    input_shapes: Mapping[str, Shape]
    weights: Mapping[str, int]
    parameters: frozenset[str]
    constants: Mapping[int, Tensor]
    operations: tuple[Operation, ...]
    calls: tuple[ModuleCall, ...]
    results: tuple[int, ...]
    answer: tuple[Tensor, ...]
    failure: Failure | None


def trace(network: nn.Module, inputs: Mapping[str, Tensor]) -> Trace:
    """Run a network once in evaluation mode, without gradients, and record what it does.

    Args:
        network: its training mode is restored.
        inputs: by name, as forward takes them.

    Returns:
        what was recorded; up to the failing operation where the network raised an error.
    """
    recorder = _Recorder(network, inputs)
    failure: Failure | None = None
    answer: list[Tensor] = []
    own = {name: values.clone() for name, values in inputs.items()}
    recorder.name_inputs(own)
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad(), recorder.hooked(), recorder:
            returned = network(**own)
        answer = tensors_of(returned)
    except Exception as error:  # whatever the network's own code raises is what is asked for
        failure = recorder.failure(error)
    finally:
        network.train(was_training)
    # The caller's input may be handed through unchanged; numbers are looked up while these tensors live.
    results = tuple(recorder.number(values) for values in answer)
    return Trace(
        inputs=recorder.inputs,
        input_shapes={name: tuple(values.shape) for name, values in inputs.items()},
        weights=recorder.weights,
        parameters=frozenset(recorder.weights) & {name for name, _ in network.named_parameters()},
        constants=recorder.constants,
        operations=tuple(recorder.operations),
        calls=tuple(recorder.calls),
        results=results,
        answer=tuple(answer),
        failure=failure,
    )


def tensors_of(value: object) -> list[Tensor]:
    """Return the tensors within any nesting of tuples, lists, dicts and model outputs, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [each for inner in value.values() for each in tensors_of(inner)]
    if isinstance(value, tuple | list):
        return [each for inner in value for each in tensors_of(inner)]
    return []


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Record operations with the module call that runs them."""

    def __init__(self, network: nn.Module, inputs: Mapping[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.network = network
        self.inputs: dict[str, int] = {}
        self.weights: dict[str, int] = {}
        self.constants: dict[int, Tensor] = {}
        self.operations: list[Operation] = []
        self.calls: list[ModuleCall] = []
        self._open: list[int] = []
        self._modules: list[nn.Module] = []  # of each call
        self._failed: tuple[str, tuple[tuple[str, Shape], ...], tuple[int, ...]] | None = None
        self._count = 0
        self._numbers: Any = WeakTensorKeyDictionary()
        self._names: Any = WeakTensorKeyDictionary()
        for name, values in [*network.named_parameters(), *network.named_buffers()]:
            self._names[values] = name

    def name_inputs(self, inputs: Mapping[str, Tensor]) -> None:
        """Give each input its number."""
        for name, values in inputs.items():
            self.inputs[name] = self._new_number(values)

    def number(self, values: Tensor) -> int:
        """Return a tensor's number; one that no operation made is a weight or a constant."""
        known = self._numbers.get(values)
        if known is not None:
            return int(known)
        made = self._new_number(values)
        name = self._names.get(values)
        if name is None:
            self.constants[made] = values
        else:
            self.weights[str(name)] = made
        return made

    def _new_number(self, values: Tensor) -> int:
        self._count += 1
        self._numbers[values] = self._count
        return self._count

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        sizes: dict[int, Shape] = {}

        def reference(values: Tensor) -> Ref:
            number = self.number(values)
            sizes[number] = tuple(values.shape)
            return Ref(number)

        found_args, found_kwargs = tree_map_only(Tensor, reference, (tuple(args), dict(kwargs)))
        try:
            results = func(*args, **kwargs)
        except Exception:
            reads = tuple(leaf.value for leaf in tree_leaves((found_args, found_kwargs)) if isinstance(leaf, Ref))
            self._failed = (str(func._schema.name).partition("::")[2], self._met(args, kwargs), reads)
            raise
        self._failed = None  # the network's own code may have caught an earlier error
        references = tree_map_only(Tensor, lambda values: self._result(values, sizes), results)
        self.operations.append(
            Operation(
                func,
                found_args,
                found_kwargs,
                references,
                self._open[-1] if self._open else ROOT,
                _count_flops(func, args, kwargs, results),
                sizes,
            )
        )
        return results

    def _result(self, values: Tensor, sizes: dict[int, Shape]) -> Ref:
        known = self._numbers.get(values)  # an operation in place returns what it was given
        number = self._new_number(values) if known is None else int(known)
        sizes[number] = tuple(values.shape)
        return Ref(number)

    def _met(self, args: Any, kwargs: Any) -> tuple[tuple[str, Shape], ...]:
        """Name the tensors that an operation was given, with their shapes."""
        leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        return tuple((str(self._names.get(leaf) or "input"), tuple(leaf.shape)) for leaf in leaves)

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Follow which module is running."""
        handles = []
        for path, module in self.network.named_modules(remove_duplicate=True):
            handles.append(module.register_forward_pre_hook(self._entering(path), with_kwargs=True, prepend=True))
            handles.append(module.register_forward_hook(self._left, with_kwargs=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _entering(self, path: str) -> Any:
        def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
            parent = self._open[-1] if self._open else ROOT
            if self._open:
                self.calls[parent].children += 1
            shapes = [tuple(values.shape) for values in tensors_of([args, kwargs])]
            self._open.append(len(self.calls))
            self._modules.append(module)
            self.calls.append(ModuleCall(path, type(module).__name__, parent, shapes))

        return enter

    def _left(self, module: nn.Module, args: Any, kwargs: Any, returned: Any) -> None:
        at = self._open.pop()
        while self._modules[at] is not module:  # a module that failed within, whose error was caught
            at = self._open.pop()
        self.calls[at].outputs = [tuple(values.shape) for values in tensors_of(returned)]

    def failure(self, error: Exception) -> Failure:
        """Describe where the pass failed: the innermost running module and the shapes that met."""
        at = self._open[-1] if self._open else ROOT
        if not self.calls:
            self.calls.append(ModuleCall("", type(self.network).__name__, ROOT, []))
        message = " ".join(str(error).split()) or type(error).__name__
        operation, met, reads = self._failed or ("", (), ())
        module = self.network.get_submodule(self.calls[at].path)
        own = [(name, tuple(values.shape)) for name, values in module.named_parameters(recurse=False)]
        if own:  # as the user knows them: what the layer was given, and its weight
            prefix = f"{self.calls[at].path}." if self.calls[at].path else ""
            met = (
                *(("input", shape) for shape in self.calls[at].inputs[:1]),
                *((prefix + name, shape) for name, shape in own[:1]),
            )
        return Failure(at, operation, tuple(met), f"{type(error).__name__}: {message}", reads)


def _count_flops(func: Any, args: Any, kwargs: Any, results: Any) -> int:
    """Count an operation's floating-point operations as torch's counter does."""
    if CPU_ATTENTION in str(func) and "backward" not in str(func):
        count_attention: Any = sdpa_flop_count
        return int(count_attention(args[0].shape, args[1].shape, args[2].shape))
    count = flop_registry.get(func._overloadpacket)
    return 0 if count is None else int(count(*args, **kwargs, out_val=results))
